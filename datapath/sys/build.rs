//! Compiles the XDP filter. Needs `clang` with its BPF target and nothing else: the program includes no header of the system.

use std::error::Error;
use std::path::PathBuf;
use std::process::Command;

const SOURCE: &str = "src/bpf/filter.c";
const PARTS: &str = "src/bpf";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={PARTS}");
    println!("cargo:rerun-if-env-changed=CLANG");
    let clang = std::env::var("CLANG").unwrap_or_else(|_| "clang".into());
    let object = PathBuf::from(std::env::var("OUT_DIR")?).join("filter.o");
    let status = Command::new(&clang)
        .args(["-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Werror", "-nostdinc", "-c", SOURCE, "-o"])
        .arg(object)
        .status()
        .map_err(|error| {
            format!("cannot run {clang} ({error}): install Debian's package `clang`, or name it in CLANG")
        })?;
    if !status.success() {
        return Err(format!("{clang} could not compile {SOURCE}").into());
    }
    Ok(())
}
