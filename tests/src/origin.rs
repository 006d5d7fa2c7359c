//! What a bench's page says of its own making: of which day, which commit, on which machine.

use crate::Outcome;
use crate::lab::run;
use std::process::Command;

/// The day, as 2026-11-22.
///
/// # Errors
/// `date` failed.
pub fn date() -> Outcome<String> {
    say("date +%F")
}

/// The commit, `-dirty` if what would be run is not quite that. Pages of earlier runs are not run.
///
/// # Errors
/// This is no tree of `git`'s.
pub fn commit() -> Outcome<String> {
    let dirty = "git diff --quiet HEAD -- . ':!docs/benchmarks' || echo -dirty";
    Ok(say("git describe --always")? + &say(dirty)?)
}

/// Kernel and CPUs.
///
/// # Errors
/// One of the programs that tell them failed.
pub fn machine() -> Outcome<String> {
    say("echo \"$(uname -sr), $(nproc) CPUs ($(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1))\"")
}

/// What a line of the shell prints, in the project's folder.
///
/// # Errors
/// It failed.
pub fn say(line: &str) -> Outcome<String> {
    let mut shell = Command::new("sh");
    shell.args(["-c", line]).current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    Ok(run(&mut shell)?.trim().to_owned())
}
