//! Instructions per packet: `cargo run --release --package benches --bin instructions`. With `--accept` the numbers become
//! those that the test guards. `instructions profile [CASE...]` prints where the instructions of some cases go.
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
    if verb == "profile" {
        return profile(&env::args().skip(2).collect::<Vec<_>>());
    }
    let counts = instructions::measure(&env::current_exe()?, &results::dir())?;
    let figures: Vec<Figure> =
        counts.iter().map(|(name, count)| Figure::exact(name, "instructions/packet", *count)).collect();
    results::write("instructions", &figures)?;
    if verb == "--accept" {
        let too_dear = instructions::too_dear(&counts)?;
        if !too_dear.is_empty() {
            return Err(format!("above what benches/ceilings.txt allows:\n  {}", too_dear.join("\n  ")).into());
        }
        let whole = counts.iter().map(|(name, count)| format!("{name} {count:.0}\n"));
        fs::write(instructions::guarded_file(), format!("{}{}", instructions::HEADER, whole.collect::<String>()))?;
    }
    Ok(())
}

fn profile(cases: &[String]) -> Result<(), Box<dyn Error>> {
    let cases: Vec<&str> =
        if cases.is_empty() { instructions::PROFILED.into() } else { cases.iter().map(String::as_str).collect() };
    let mut profiles = Vec::new();
    for case in cases {
        let profile = instructions::profile(&env::current_exe()?, &results::dir(), case)?;
        println!("{}", profile.markdown()?);
        profiles.push(profile);
    }
    fs::write(results::dir().join("profile.json"), serde_json::to_string_pretty(&profiles)?)?;
    Ok(())
}
