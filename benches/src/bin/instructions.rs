//! Instructions per packet: `cargo run --release --package benches --bin instructions`. With `--accept` the numbers become
//! those that the test guards. For a profile of one case:
//! `valgrind --tool=callgrind --collect-atstart=no --toggle-collect=benches::instructions::counted
//! target/release/instructions run to_task/64B/burst64`, and `callgrind_annotate` on what that writes.
#![forbid(unsafe_code)]

use std::error::Error;
use std::{env, fs};

use benches::instructions;
use benches::results::{self, Figure};

fn main() -> Result<(), Box<dyn Error>> {
    let verb = env::args().nth(1).unwrap_or_default();
    if verb == "run" {
        return Ok(instructions::run_cases(env::args().nth(2).as_deref())?);
    }
    let counts = instructions::measure(&env::current_exe()?, &results::dir())?;
    let figures: Vec<Figure> =
        counts.iter().map(|(name, count)| Figure::exact(name, "instructions/packet", *count)).collect();
    results::write("instructions", &figures)?;
    if verb == "--accept" {
        let whole = counts.iter().map(|(name, count)| format!("{name} {count:.0}\n"));
        fs::write(instructions::guarded_file(), format!("{}{}", instructions::HEADER, whole.collect::<String>()))?;
    }
    Ok(())
}
