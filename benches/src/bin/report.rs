//! Joins what the benches have written into `target/bench/results.json`, and makes `docs/benchmarks/in-memory-DATE.md` of it;
//! of a quick run, the page stays in `target/bench/`.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fs;
use std::path::Path;

use benches::callgrind::Profile;
use benches::report::book::Book;
use benches::report::page;
use benches::report::sheet::{self, Place};
use benches::results::{Figure, dir, quick, target};
use serde_json::Value;

/// Benches that write their own file, in the order of the report.
const BENCHES: [&str; 5] = ["instructions", "flow_table", "expiry", "tables", "control"];

fn main() -> Result<(), Box<dyn Error>> {
    let mut figures = Vec::new();
    criterion(&target().join("criterion"), &mut figures)?;
    figures.sort_by(|a, b| a.name.cmp(&b.name));
    for bench in BENCHES {
        if let Ok(text) = fs::read_to_string(dir().join(bench).with_extension("json")) {
            let theirs: Vec<Figure> = serde_json::from_str(&text)?;
            figures
                .extend(theirs.into_iter().map(|figure| Figure { name: format!("{bench}/{}", figure.name), ..figure }));
        }
    }
    let Place { date, commit, machine, load } = Place::here();
    let book = Book { date, commit, machine, load, figures };
    fs::create_dir_all(dir())?;
    fs::write(dir().join("results.json"), serde_json::to_string_pretty(&book)?)?;
    let profiles = fs::read_to_string(dir().join("profile.json")).unwrap_or_else(|_| "[]".into());
    page::write(&book, &serde_json::from_str::<Vec<Profile>>(&profiles)?, &sheet::dir(quick()))
}

/// Criterion's own files: a directory of estimates and of the benchmark's throughput for each case, at any depth.
fn criterion(at: &Path, figures: &mut Vec<Figure>) -> Result<(), Box<dyn Error>> {
    let Ok(entries) = fs::read_dir(at) else { return Ok(()) };
    for entry in entries {
        let path = entry?.path();
        if path.join("estimates.json").exists() && path.ends_with("new") {
            figures.extend(packet_time(&path)?);
        } else if path.is_dir() {
            criterion(&path, figures)?;
        }
    }
    Ok(())
}

fn packet_time(dir: &Path) -> Result<Option<Figure>, Box<dyn Error>> {
    let read = |name: &str| -> Result<Value, Box<dyn Error>> {
        Ok(serde_json::from_str(&fs::read_to_string(dir.join(name))?)?)
    };
    let (benchmark, sample) = (read("benchmark.json")?, read("sample.json")?);
    let numbers =
        |key: &str| sample[key].as_array().into_iter().flatten().filter_map(Value::as_f64).collect::<Vec<_>>();
    let packets = benchmark["throughput"]["Elements"].as_f64().unwrap_or(1.0);
    let each = numbers("times").iter().zip(numbers("iters")).map(|(time, turns)| time / turns / packets).collect();
    Ok(benchmark["full_id"].as_str().map(|name| Figure::of(&format!("pipeline/{name}"), "ns/packet", each)))
}
