//! Tells the program from which commit it is built, when that is known.

use std::process::Command;

fn main() {
    let log = "../.git/logs/HEAD";
    println!("cargo::rerun-if-changed=build.rs");
    if std::path::Path::new(log).exists() {
        println!("cargo::rerun-if-changed={log}");
    }
    let Ok(output) = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output() else { return };
    if let (true, Ok(commit)) = (output.status.success(), String::from_utf8(output.stdout)) {
        println!("cargo::rustc-env=SLUICEGATE_COMMIT={}", commit.trim());
    }
}
