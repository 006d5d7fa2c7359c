//! Instructions per packet of the main cases stay where they are: a slowdown is seen in the change that makes it.
//!
//! Counted in the release build, which is made here if `make test` has not done so. Beside the tolerance of one change stand
//! ceilings, which many small changes do not pass either.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

use std::path::{Path, PathBuf};
use std::process::Command;

use benches::{instructions, results};

/// How much more or less, in percent, than what the file says. The count itself is exact; another compiler moves it by this much.
const TOLERANCE_PERCENT: f64 = 2.0;

fn program() -> PathBuf {
    let build = Command::new(env!("CARGO"))
        .args(["build", "--release", "--quiet", "--package", "benches", "--bin", "instructions"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    assert!(build.unwrap().success(), "the release build failed");
    results::target().join("release/instructions")
}

#[test]
fn no_case_costs_more_than_it_did() {
    let valgrind = Command::new("valgrind").arg("--version").output();
    assert!(valgrind.is_ok_and(|said| said.status.success()), "valgrind does not run here: `make setup` installs it");
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let counted = instructions::measure(&program(), dir).unwrap();
    let guarded = instructions::guarded().unwrap();
    assert!(guarded.keys().eq(counted.keys()), "cases: {:?}, guarded: {:?}", counted.keys(), guarded.keys());
    let off: Vec<String> = guarded
        .iter()
        .filter_map(|(name, was)| {
            let (is, percent) = (counted[name], 100.0 * (counted[name] / was - 1.0));
            (percent.abs() > TOLERANCE_PERCENT).then(|| format!("{name}: {was:.0} -> {is:.0} ({percent:+.1} %)"))
        })
        .collect();
    assert!(
        off.is_empty(),
        "instructions per packet have moved by more than {TOLERANCE_PERCENT} %:\n  {}\nIf that is meant to be, run \
         `cargo run --release --package benches --bin instructions -- --accept` and commit the file.",
        off.join("\n  ")
    );
    let too_dear = instructions::too_dear(&counted).unwrap();
    assert!(too_dear.is_empty(), "above what benches/ceilings.txt allows:\n  {}", too_dear.join("\n  "));
}
