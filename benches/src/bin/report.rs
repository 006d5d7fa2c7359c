//! Joins what the benches have written into `target/bench/results.json`, and prints it as Markdown.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::Command;

use benches::results::{Figure, dir, target};
use serde::Serialize;
use serde_json::Value;

/// Benches that write their own file, in the order of the report.
const BENCHES: [&str; 3] = ["instructions", "flow_table", "tables"];

#[derive(Serialize)]
struct Report {
    date: String,
    commit: String,
    machine: String,
    figures: Vec<Figure>,
}

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
    let report = Report {
        date: said_by("date", &["-u", "+%F %R"]),
        commit: said_by("git", &["describe", "--always", "--dirty"]),
        machine: machine(),
        figures,
    };
    fs::create_dir_all(dir())?;
    fs::write(dir().join("results.json"), serde_json::to_string_pretty(&report)?)?;
    print(&report);
    Ok(())
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

fn print(report: &Report) {
    println!("{}, commit {}, {}\n", report.date, report.commit, report.machine);
    println!("| case | unit | median | lowest | highest |\n|---|---|---:|---:|---:|");
    for Figure { name, unit, median, low, high } in &report.figures {
        println!("| {name} | {unit} | {median:.1} | {low:.1} | {high:.1} |");
    }
}

fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let of = |key: &str| {
        let line = info.lines().find(|line| line.starts_with(key));
        line.and_then(|line| line.split_once(": ")).map_or("?", |(_, value)| value).to_owned()
    };
    let cores = info.lines().filter(|line| line.starts_with("processor")).count();
    format!("{} (family {}, model {}), {cores} CPUs", of("model name"), of("cpu family"), of("model\t"))
}

fn said_by(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}
