//! Where the instructions go: self cost by function and by source file, from callgrind's own file.
//!
//! What the compiler has put into its caller counts for the caller's function, but for its own file: both views are needed.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Write};

use serde::{Deserialize, Serialize};

/// Shares below this are summed up.
const LEAST: f64 = 0.01;

/// What one case cost, told apart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// Which case.
    pub case: String,
    /// Packets that were counted.
    pub packets: f64,
    /// Instructions by function.
    pub functions: BTreeMap<String, f64>,
    /// Instructions by source file.
    pub files: BTreeMap<String, f64>,
}

impl Profile {
    /// Reads what callgrind wrote (format 1, with names compressed) about `packets` packets.
    #[must_use]
    pub fn read(case: &str, packets: f64, text: &str) -> Self {
        let mut profile = Profile { case: case.to_owned(), packets, ..Profile::default() };
        let mut names = Names::default();
        let (mut function, mut file, mut of_callee) = (String::new(), String::new(), false);
        for line in text.lines() {
            if let Some((key, value)) = line.split_once('=') {
                match key {
                    "fl" | "fi" | "fe" => file = names.files.name(value),
                    "fn" => function = names.functions.name(value),
                    "cfi" | "cfl" => drop(names.files.name(value)),
                    "cfn" => drop(names.functions.name(value)),
                    // The next line is what the callee cost.
                    "calls" => of_callee = true,
                    _ => {}
                }
                continue;
            }
            if !line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first)) {
                continue;
            }
            let cost = line.split(' ').nth(1).and_then(|word| word.parse::<f64>().ok());
            if let Some(cost) = cost.filter(|_| !of_callee) {
                *profile.functions.entry(short_function(&function)).or_default() += cost;
                *profile.files.entry(short_file(&file)).or_default() += cost;
            }
            of_callee = false;
        }
        profile
    }

    /// Everything.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.functions.values().sum()
    }

    /// As Markdown: both tables.
    ///
    /// # Errors
    /// Never: it is written to a string.
    pub fn markdown(&self) -> Result<String, fmt::Error> {
        let mut out = String::new();
        writeln!(out, "`{}`: {:.0} instructions a packet.\n", self.case, self.total() / self.packets)?;
        for (title, costs) in [("function (self)", &self.functions), ("source file (self)", &self.files)] {
            self.table(&mut out, title, costs)?;
        }
        Ok(out)
    }

    fn table(&self, out: &mut String, title: &str, costs: &BTreeMap<String, f64>) -> fmt::Result {
        writeln!(out, "| {title} | instructions | share |\n|---|---:|---:|")?;
        let total = self.total().max(1.0);
        let mut rest = 0.0;
        for (name, cost) in sorted(costs) {
            if cost / total < LEAST {
                rest += cost;
                continue;
            }
            writeln!(out, "| `{name}` | {:.0} | {:.0} % |", cost / self.packets, 100.0 * cost / total)?;
        }
        writeln!(out, "| others | {:.0} | {:.0} % |\n", rest / self.packets, 100.0 * rest / total)
    }
}

/// The dearest first.
fn sorted(costs: &BTreeMap<String, f64>) -> Vec<(&str, f64)> {
    let mut all: Vec<_> = costs.iter().map(|(name, cost)| (name.as_str(), *cost)).collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    all
}

#[derive(Default)]
struct Names {
    functions: Compressed,
    files: Compressed,
}

/// `(7) name` the first time, `(7)` from then on.
#[derive(Default)]
struct Compressed(HashMap<String, String>);

impl Compressed {
    fn name(&mut self, value: &str) -> String {
        let Some((number, name)) = value.strip_prefix('(').and_then(|rest| rest.split_once(')')) else {
            return value.to_owned();
        };
        let name = name.trim();
        if !name.is_empty() {
            self.0.insert(number.to_owned(), name.to_owned());
        }
        self.0.get(number).cloned().unwrap_or_default()
    }
}

/// Without the hash at the end and callgrind's marks of recursion.
fn short_function(name: &str) -> String {
    let name = name.split('\'').next().unwrap_or_default();
    let hash = name.rsplit_once("::h").filter(|(_, hash)| hash.len() == 16);
    hash.map_or(name, |(name, _)| name).to_owned()
}

/// From the package's or library's directory on.
fn short_file(path: &str) -> String {
    let ours = ["conntrack", "datapath", "benches", "vxlan", "core", "alloc", "std"];
    let at = |name: &str| path.rfind(&format!("/{name}/src/")).map(|at| at + 1);
    let start = ours.into_iter().filter_map(at).max();
    let start = start.or_else(|| path.match_indices('/').rev().nth(2).map(|(at, _)| at + 1));
    start.map_or(path, |at| &path[at..]).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As valgrind 3.19 writes it; the call's inclusive cost counts for nobody.
    const FILE: &str = "\
# callgrind format
version: 1
positions: line
events: Ir

ob=(1) /somewhere/target/release/instructions
fl=(1) /somewhere/datapath/src/worker.rs
fn=(1) datapath::worker::Worker::turn::h0123456789abcdef
10 300
fi=(2) /somewhere/conntrack/src/hash.rs
+2 40
fe=(1)
cfi=(3) /usr/lib/x/sysdeps/memcpy.S
cfn=(2) memcpy
calls=5 20
* 500
* 60

fl=(3)
fn=(2)
20 500

totals: 900
";

    #[test]
    fn self_cost_is_counted_by_function_and_by_file() {
        let profile = Profile::read("to_task", 2.0, FILE);
        let costs = |costs: &BTreeMap<String, f64>| {
            sorted(costs).iter().map(|(name, cost)| format!("{name} {cost}")).collect::<Vec<_>>()
        };
        assert_eq!(costs(&profile.functions), ["memcpy 500", "datapath::worker::Worker::turn 400"]);
        let files = ["lib/x/sysdeps/memcpy.S 500", "datapath/src/worker.rs 360", "conntrack/src/hash.rs 40"];
        assert_eq!(costs(&profile.files)[1..], files[1..]);
        assert!((profile.total() - 900.0).abs() < 0.1, "what callgrind's own total says");
        let table = profile.markdown().unwrap();
        assert!(table.contains("| `conntrack/src/hash.rs` | 20 | 4 % |"), "{table}");
    }
}
