//! Where the programs under test are.

use crate::lab::run;
use crate::{Failure, Outcome};
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// Names a gateway program to test instead of the workspace's own, an installed one for example.
const OVERRIDE: &str = "SLUICEGATE_PROGRAM";

/// The gateway. Under cargo it is built first, so that no scenario runs on a stale one.
///
/// # Errors
/// It cannot be built, or is not where cargo puts it.
pub fn gateway() -> Outcome<PathBuf> {
    static BUILT: OnceLock<Result<(), String>> = OnceLock::new();
    if let Some(path) = std::env::var_os(OVERRIDE) {
        return Ok(path.into());
    }
    let built = BUILT.get_or_init(|| build().map_err(|failure| failure.reason().to_owned()));
    built.clone().map_err(Failure::new)?;
    beside_this("sluicegate")
}

/// The traffic tool of this package.
///
/// # Errors
/// It is not where cargo puts it.
pub fn traffic() -> Outcome<PathBuf> {
    beside_this("traffic")
}

fn build() -> Outcome {
    let Some(cargo) = std::env::var_os("CARGO") else { return Ok(()) };
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "--workspace", "--bins"]);
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    run(build.current_dir(env!("CARGO_MANIFEST_DIR"))).map(drop)
}

/// Cargo puts test programs into `target/PROFILE/deps` and others into `target/PROFILE`.
fn beside_this(name: &str) -> Outcome<PathBuf> {
    let this = std::env::current_exe()?;
    let found = this.ancestors().skip(1).take(2).map(|dir| dir.join(name)).find(|path| path.is_file());
    found.ok_or_else(|| Failure::new(format!("no program `{name}` near {}: build the workspace first", this.display())))
}
