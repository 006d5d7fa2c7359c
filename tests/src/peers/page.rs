//! The page `docs/benchmarks/peers-DATE.md` and its figure. What stands below the last heading, "Reading it", is written
//! by hand and kept when the page is made anew.

use crate::Outcome;
use crate::peers::contestant::Contestant;
use crate::peers::measure::{Measure, PACED_CONNECTIONS, PACED_REQUESTS, Sample};
use crate::peers::plot::svg;
use crate::peers::results::{Results, cpu_per_unit};
use crate::spread::{Spread, number, told};
use std::fmt::{self, Write};
use std::fs;
use std::path::Path;

const BY_HAND: &str = "## Reading it";
const METHOD: &str = include_str!("method.md");

/// A quantity of a measure.
pub struct Column {
    /// Its title.
    pub title: &'static str,
    measure: Measure,
    of: fn(&Sample) -> f64,
    /// Whether more is better.
    more: bool,
}

const fn column(title: &'static str, measure: Measure, of: fn(&Sample) -> f64, more: bool) -> Column {
    Column { title, measure, of, more }
}

fn cpu(sample: &Sample) -> f64 {
    cpu_per_unit(Measure::Connections, sample.cpu.gateway(), sample.units)
}

fn cpu_of_a_gb(sample: &Sample) -> f64 {
    cpu_per_unit(Measure::Bulk1, sample.cpu.gateway(), sample.units)
}

fn cpu_of_nodes(sample: &Sample) -> f64 {
    cpu_per_unit(Measure::Connections, sample.cpu.nodes, sample.units)
}

const RATES: [Column; 10] = [
    column("new conn/s", Measure::Connections, |s| s.rate, true),
    column("req/s, 64 conn", Measure::Requests, |s| s.rate, true),
    column("req/s, 4 conn", Measure::FewRequests, |s| s.rate, true),
    column("UDP exch/s", Measure::Datagrams, |s| s.rate, true),
    column("Gbit/s 1, on", Measure::Bulk1, |s| s.rate, true),
    column("Gbit/s 4, on", Measure::Bulk4, |s| s.rate, true),
    column("Gbit/s 1, off", Measure::Wire1, |s| s.rate, true),
    column("Gbit/s 4, off", Measure::Wire4, |s| s.rate, true),
    column("upload Gbit/s 4, on", Measure::Upload4, |s| s.rate, true),
    column("upload Gbit/s 4, off", Measure::WireUpload4, |s| s.rate, true),
];

/// At the same rate for all. Of connections, p99.9 would be two in a sample.
const PACED: [Column; 7] = [
    column("conn p50", Measure::PacedConnections, |s| s.p50_us, false),
    column("conn p99", Measure::PacedConnections, |s| s.p99_us, false),
    column("req p50", Measure::PacedRequests, |s| s.p50_us, false),
    column("req p99", Measure::PacedRequests, |s| s.p99_us, false),
    column("req p99.9", Measure::PacedRequests, |s| s.p999_us, false),
    column("gateway CPU, µs/conn", Measure::PacedConnections, cpu, false),
    column("gateway CPU, µs/req", Measure::PacedRequests, cpu, false),
];

const LATENCIES: [Column; 12] = [
    column("conn p50", Measure::Connections, |s| s.p50_us, false),
    column("p99", Measure::Connections, |s| s.p99_us, false),
    column("p99.9", Measure::Connections, |s| s.p999_us, false),
    column("req (64) p50", Measure::Requests, |s| s.p50_us, false),
    column("p99", Measure::Requests, |s| s.p99_us, false),
    column("p99.9", Measure::Requests, |s| s.p999_us, false),
    column("req (4) p50", Measure::FewRequests, |s| s.p50_us, false),
    column("p99", Measure::FewRequests, |s| s.p99_us, false),
    column("p99.9", Measure::FewRequests, |s| s.p999_us, false),
    column("UDP p50", Measure::Datagrams, |s| s.p50_us, false),
    column("p99", Measure::Datagrams, |s| s.p99_us, false),
    column("p99.9", Measure::Datagrams, |s| s.p999_us, false),
];

const COSTS: [Column; 10] = [
    column("µs/conn", Measure::Connections, cpu, false),
    column("µs/req, 64", Measure::Requests, cpu, false),
    column("µs/req, 4", Measure::FewRequests, cpu, false),
    column("µs/UDP exch", Measure::Datagrams, cpu, false),
    column("ms/GB 1, on", Measure::Bulk1, cpu_of_a_gb, false),
    column("ms/GB 4, on", Measure::Bulk4, cpu_of_a_gb, false),
    column("ms/GB 1, off", Measure::Wire1, cpu_of_a_gb, false),
    column("ms/GB 4, off", Measure::Wire4, cpu_of_a_gb, false),
    column("ms/GB upload 4, on", Measure::Upload4, cpu_of_a_gb, false),
    column("ms/GB upload 4, off", Measure::WireUpload4, cpu_of_a_gb, false),
];

const SPLIT: [Column; 8] = [
    column("conn: user", Measure::Connections, |s| s.cpu.user as f64 / s.units / 1e3, false),
    column("system", Measure::Connections, |s| s.cpu.system as f64 / s.units / 1e3, false),
    column("softirq", Measure::Connections, |s| s.cpu.softirq as f64 / s.units / 1e3, false),
    column("nodes' softirq", Measure::Connections, cpu_of_nodes, false),
    column("req: user", Measure::Requests, |s| s.cpu.user as f64 / s.units / 1e3, false),
    column("system", Measure::Requests, |s| s.cpu.system as f64 / s.units / 1e3, false),
    column("softirq", Measure::Requests, |s| s.cpu.softirq as f64 / s.units / 1e3, false),
    column("nodes' softirq", Measure::Requests, cpu_of_nodes, false),
];

/// What the figure shows.
pub const SHOWN: [Column; 14] = [
    column("New connections a second", Measure::Connections, |s| s.rate, true),
    column("Gateway CPU, µs a connection", Measure::Connections, cpu, false),
    column("Keep-alive requests a second, 64 connections", Measure::Requests, |s| s.rate, true),
    column("Gateway CPU, µs a request", Measure::Requests, cpu, false),
    column("p99 of a connection with its request, µs", Measure::Connections, |s| s.p99_us, false),
    column("p99 of a request, 4 connections, µs", Measure::FewRequests, |s| s.p99_us, false),
    column("UDP exchanges a second", Measure::Datagrams, |s| s.rate, true),
    column("Gateway CPU, µs an exchange", Measure::Datagrams, cpu, false),
    column("Bulk, 4 streams, offloads off, Gbit/s", Measure::Wire4, |s| s.rate, true),
    column("Bulk, 4 streams, offloads on, Gbit/s", Measure::Bulk4, |s| s.rate, true),
    column("Upload, 4 streams, offloads off, Gbit/s", Measure::WireUpload4, |s| s.rate, true),
    column("Upload, 4 streams, offloads on, Gbit/s", Measure::Upload4, |s| s.rate, true),
    column("p99 of a connection, 1,000 a second, µs", Measure::PacedConnections, |s| s.p99_us, false),
    column("p99 of a request, 5,000 a second, µs", Measure::PacedRequests, |s| s.p99_us, false),
];

impl Column {
    /// Median and range for a contestant.
    #[must_use]
    pub fn spread(&self, results: &Results, contestant: Contestant) -> Option<Spread> {
        results.spread(contestant, self.measure, self.of)
    }
}

/// Writes the page and its figure into `dir`.
///
/// # Errors
/// The disk says no.
pub fn write(results: &Results, dir: &Path) -> Outcome {
    fs::create_dir_all(dir)?;
    let name = format!("peers-{}", results.date);
    let path = dir.join(format!("{name}.md"));
    let old = fs::read_to_string(&path).unwrap_or_default();
    let by_hand = old.find(BY_HAND).map_or(BY_HAND, |at| &old[at..]);
    fs::write(&path, page(results, &name)? + by_hand.trim_end() + "\n")?;
    fs::write(dir.join(format!("{name}.svg")), svg(results))?;
    println!("{}", path.display());
    Ok(())
}

fn page(results: &Results, name: &str) -> Result<String, fmt::Error> {
    let mut out = String::new();
    writeln!(out, "# Side by side with the peers, {}\n", results.date)?;
    writeln!(
        out,
        "Made by `make bench-peers` from commit {}. {}. {}. {} rounds, {} ms a sample; median [smallest–largest] over \
         the rounds. The machine was shared with other work: compare within a table, by ratios.\n",
        results.commit,
        results.machine,
        results.versions.join(", "),
        results.rounds,
        results.millis
    )?;
    let oftener = |measure: &Measure| results.rounds_of(*measure) > results.rounds;
    for measure in Measure::all().filter(oftener) {
        writeln!(out, "Measured more often, in {} rounds: {}.\n", results.rounds_of(measure), measure.title())?;
    }
    writeln!(out, "![the same figures as bars]({name}.svg)\n\n{METHOD}")?;
    let paced = format!(
        "Latency at the same load for all, µs: {PACED_CONNECTIONS} connections/s, {PACED_REQUESTS} requests/s on 64 connections"
    );
    for (title, columns) in [
        ("Rates", &RATES[..]),
        (&paced, &PACED),
        ("Latency at as much as will go, µs", &LATENCIES),
        ("Gateway CPU", &COSTS),
        ("Where, µs", &SPLIT),
    ] {
        writeln!(out, "## {title}")?;
        table(&mut out, results, columns)?;
    }
    errors(&mut out, results)?;
    writeln!(out, "## Ratios to plain routing, round by round")?;
    ratios(&mut out, results)?;
    memory(&mut out, results)?;
    targets(&mut out, results)?;
    if !results.failures.is_empty() {
        writeln!(out, "## What did not work\n\n* {}\n", results.failures.join("\n* "))?;
    }
    Ok(out)
}

fn head(out: &mut String, titles: impl Iterator<Item = String>) -> fmt::Result {
    let titles: Vec<_> = titles.collect();
    writeln!(out, "| | {} |\n|---|{}", titles.join(" | "), "---|".repeat(titles.len()))
}

fn table(out: &mut String, results: &Results, columns: &[Column]) -> fmt::Result {
    head(out, columns.iter().map(|column| column.title.to_owned()))?;
    for contestant in Contestant::ALL {
        let cells: Vec<_> = columns.iter().map(|column| told(column.spread(results, contestant))).collect();
        writeln!(out, "| {} | {} |", contestant.name(), cells.join(" | "))?;
    }
    writeln!(out)
}

/// What failed, of all rounds: a contestant that drops what it cannot do looks fast.
fn errors(out: &mut String, results: &Results) -> fmt::Result {
    writeln!(out, "## Exchanges that failed, were lost, got stuck or never began, of all that were tried\n")?;
    let measures: Vec<_> = Measure::all().filter(|measure| !measure.is_bulk()).collect();
    head(out, measures.iter().map(|measure| measure.title().to_owned()))?;
    for contestant in Contestant::ALL {
        let cells: Vec<_> = measures.iter().map(|measure| failed(results.samples(contestant, *measure))).collect();
        writeln!(out, "| {} | {} |", contestant.name(), cells.join(" | "))?;
    }
    writeln!(out)
}

fn failed(samples: &[Sample]) -> String {
    let failed: u64 = samples.iter().map(|sample| sample.failed).sum();
    let done: f64 = samples.iter().map(|sample| sample.units).sum();
    let part = failed as f64 / (failed as f64 + done) * 100.0;
    match (samples, failed) {
        ([], _) => "–".into(),
        (_, 0) => "0".into(),
        _ => format!("{failed} of {:.0} (**{part:.3} %**)", failed as f64 + done),
    }
}

fn ratios(out: &mut String, results: &Results) -> fmt::Result {
    let columns = || RATES.iter().chain(&COSTS);
    head(out, columns().map(|column| column.title.to_owned()))?;
    for contestant in Contestant::ALL.into_iter().filter(|one| *one != Contestant::Routing) {
        let cell = |column: &Column| {
            let ratio = results.ratio(contestant, Contestant::Routing, column.measure, column.of);
            ratio.map_or_else(|| "–".into(), |ratio| format!("{:.2}", ratio.median))
        };
        writeln!(out, "| {} | {} |", contestant.name(), columns().map(cell).collect::<Vec<_>>().join(" | "))?;
    }
    writeln!(out)
}

fn memory(out: &mut String, results: &Results) -> fmt::Result {
    let opened = results.memory.iter().map(|memory| memory.opened).min().unwrap_or(0);
    writeln!(out, "## Memory of 10,000 idle connections, MiB ({opened} were opened)\n")?;
    let titles = ["gateway's processes at rest", "their growth", "kernel objects", "which, for one connection"];
    head(out, titles.into_iter().map(str::to_owned))?;
    for memory in &results.memory {
        writeln!(
            out,
            "| {} | {:.1} | {:.1} | {:.1} | {} |",
            memory.contestant.name(),
            memory.at_rest_mib,
            memory.processes_mib,
            memory.kernel_mib,
            memory.objects
        )?;
    }
    writeln!(out)
}

/// What the project wants of itself, and whether this run shows it.
fn targets(out: &mut String, results: &Results) -> fmt::Result {
    writeln!(out, "## Targets\n\nRatio of the same rounds, median [range]; a target is met by the median.\n")?;
    head(out, ["target", "AF_XDP", "AF_XDP, workers only", "AF_XDP, generic", "TUN"].into_iter().map(str::to_owned))?;
    let (nft, haproxy, routing) = (Contestant::Nftables, Contestant::Haproxy, Contestant::Routing);
    let two = Contestant::HaproxyTwo;
    for (title, columns, peer, name, limit) in [
        ("CPU ≤ nftables", &COSTS[..3], nft, "nftables", 1.0),
        ("CPU ≤ ¼ of HAProxy", &COSTS[..3], haproxy, "HAProxy", 0.25),
        ("CPU ≤ plain routing (stretch)", &COSTS[..3], routing, "routing", 1.0),
        ("rate ≥ HAProxy", &RATES[..3], haproxy, "HAProxy", 1.0),
        ("rate ≥ HAProxy with 2 threads", &RATES[..3], two, "2 threads", 1.0),
        ("rate ≥ nftables", &RATES[..4], nft, "nftables", 1.0),
        ("p99 at the same load ≤ HAProxy", &PACED[1..2], haproxy, "HAProxy", 1.0),
        ("p99 at the same load ≤ HAProxy", &PACED[3..4], haproxy, "HAProxy", 1.0),
        ("p99 at the same load ≤ HAProxy with 2 threads", &PACED[1..2], two, "2 threads", 1.0),
        ("p99 at the same load ≤ HAProxy with 2 threads", &PACED[3..4], two, "2 threads", 1.0),
        ("p99 at the same load ≤ nftables", &PACED[1..2], nft, "nftables", 1.0),
        ("p99 at the same load ≤ nftables", &PACED[3..4], nft, "nftables", 1.0),
        ("CPU at the same load ≤ nftables", &PACED[5..7], nft, "nftables", 1.0),
        ("CPU at the same load ≤ ¼ of HAProxy", &PACED[5..7], haproxy, "HAProxy", 0.25),
        ("p99 ≤ HAProxy", &LATENCIES[1..2], haproxy, "HAProxy", 1.0),
        ("p99 of 64 ≤ HAProxy", &LATENCIES[4..5], haproxy, "HAProxy", 1.0),
        ("p99 of 4 ≤ HAProxy", &LATENCIES[7..8], haproxy, "HAProxy", 1.0),
        ("p99 ≤ nftables", &LATENCIES[1..2], nft, "nftables", 1.0),
        ("p99 of 64 ≤ nftables", &LATENCIES[4..5], nft, "nftables", 1.0),
        ("p99 of 4 ≤ nftables", &LATENCIES[7..8], nft, "nftables", 1.0),
        ("bulk ≥ HAProxy", &RATES[4..], haproxy, "HAProxy", 1.0),
        ("bulk ≥ HAProxy with 2 threads", &RATES[4..], two, "2 threads", 1.0),
    ] {
        for column in columns {
            let cell = |ours| verdict(results, ours, peer, column, limit);
            let what = format!("{} / {name}, limit {limit}", column.title);
            let cells = [Contestant::AfXdp, Contestant::Workers, Contestant::Generic, Contestant::Tun].map(cell);
            writeln!(out, "| {title} | {what} | {} |", cells.join(" | "))?;
        }
    }
    writeln!(out)
}

fn verdict(results: &Results, ours: Contestant, peer: Contestant, column: &Column, limit: f64) -> String {
    let Some(ratio) = results.ratio(ours, peer, column.measure, column.of) else { return "–".into() };
    let met = if column.more { ratio.median >= limit } else { ratio.median <= limit };
    let word = if met { "met" } else { "**missed**" };
    format!("{:.2} [{:.2}–{:.2}] {word}", ratio.median, ratio.low, ratio.high)
}

/// The main figures for the terminal.
///
/// # Errors
/// Never: it is written to a string.
pub fn terminal(results: &Results) -> Result<String, fmt::Error> {
    let mut out = String::new();
    for columns in [&RATES[..], &PACED[..], &LATENCIES[..9], &COSTS[..], &SPLIT[..]] {
        write!(out, "{:<20}", "")?;
        columns.iter().try_for_each(|column| write!(out, "{:>15}", column.title))?;
        writeln!(out)?;
        for contestant in Contestant::ALL {
            write!(out, "{:<20}", contestant.name())?;
            for column in columns {
                let cell = column.spread(results, contestant).map_or_else(|| "–".into(), |s| number(s.median));
                write!(out, "{cell:>15}")?;
            }
            writeln!(out)?;
        }
        writeln!(out)?;
    }
    errors(&mut out, results)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::cpu::Spent;

    fn sample(failed: u64) -> Sample {
        let (units, cpu) = (750.0, Spent { user: 750_000, ..Spent::default() });
        Sample { round: 0, rate: 750.0, units, p50_us: 1.0, p99_us: 2.0, p999_us: 3.0, failed, cpu }
    }

    #[test]
    fn what_failed_stands_on_the_page() {
        let mut results = Results::default();
        results.add(Contestant::Haproxy, Measure::Connections, sample(250));
        results.add(Contestant::AfXdp, Measure::Connections, sample(0));
        let text = page(&results, "peers").unwrap();
        let errors = text.split("## Exchanges that failed").nth(1).unwrap();
        let line = |name| errors.lines().find(|line| line.starts_with(&format!("| {name} |"))).unwrap().to_owned();
        assert!(line("HAProxy").starts_with("| HAProxy | 250 of 1000 (**25.000 %**) | – |"), "{errors}");
        assert!(line("Sluicegate AF_XDP").starts_with("| Sluicegate AF_XDP | 0 | – |"), "{errors}");
        assert!(terminal(&results).unwrap().contains("250 of 1000"));
    }

    #[test]
    fn what_was_measured_more_often_is_told() {
        let mut results = Results { rounds: 1, ..Results::default() };
        for measure in [Measure::Connections, Measure::PacedRequests, Measure::PacedRequests] {
            let round = results.next_round();
            results.add(Contestant::AfXdp, measure, Sample { round, ..sample(0) });
        }
        assert_eq!(results.next_round(), 3);
        let text = page(&results, "peers").unwrap();
        assert!(text.contains("in 2 rounds: keep-alive requests, 5,000 a second, 64 connections.\n"), "{text}");
        assert_eq!(text.matches("Measured more often").count(), 1);
    }

    #[test]
    fn every_measure_has_a_column() {
        for measure in Measure::all() {
            let columns = RATES.iter().chain(&PACED).chain(&COSTS);
            assert!(columns.clone().any(|column| column.measure == measure), "{measure:?}");
        }
    }
}
