//! Compiles the tracing program that tells which namespace spends CPU time in softirqs (`make bench-peers`).

use std::error::Error;
use std::path::PathBuf;
use std::process::Command;

const SOURCE: &str = "src/peers/bpf/cpu.c";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={SOURCE}");
    println!("cargo:rerun-if-env-changed=CLANG");
    let clang = std::env::var("CLANG").unwrap_or_else(|_| "clang".into());
    let object = PathBuf::from(std::env::var("OUT_DIR")?).join("cpu.o");
    let status = Command::new(&clang)
        .args(["-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Werror", "-nostdinc", "-c", SOURCE, "-o"])
        .arg(object)
        .status()
        .map_err(|error| format!("cannot run {clang} ({error}): run `make setup`"))?;
    if !status.success() {
        return Err(format!("{clang} could not compile {SOURCE}").into());
    }
    Ok(())
}
