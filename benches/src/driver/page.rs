//! The page `docs/benchmarks/driver-DATE.md`, its plot and its figures. What stands below the last heading, "Reading it", is written
//! by hand and kept when the page is made anew.

use std::fmt::{self, Write as _};
use std::fs;
use std::path::Path;

use ::tests::Outcome;
use ::tests::bars::{Bar, Layout, Panel, svg};
use ::tests::spread::{Spread, told};

use super::results::{Contest, ContestRow, Results, Run, Sweep, SweepRow};
use crate::generator::driver::{Measured, Requests};

const BY_HAND: &str = "## Reading it";
/// The cases that both take part in. A case with a second one is compared with that too.
pub const PAIRS: [(&str, Option<&str>); 4] = [
    ("64 B, to tasks", Some("64+50 B, to tasks")),
    ("1450 B, to tasks", Some("1450+50 B, to tasks")),
    ("64 B, both ways", None),
    ("1450 B, both ways", Some("1450+50 B, both ways")),
];
/// From this part of a CPU on, a contestant had no time left.
const FULLY_BUSY: f64 = 0.97;
/// Who lets less than this part through loses packets; a sample's edges are worth less.
const ALL_THROUGH: f64 = 0.99;
const IDLE_HANDS: &str = "the generator was the limit, and what counts is the CPU";
const CONTEST: &str = "Sluicegate (`shortcuts = \"never\"`) and a bare forwarder (same AF_XDP sockets, filter, rings, bursts, sleep; swaps MACs) in turn on the \
    same two veths, one worker on CPU 1, the generator on CPU 0. CPU time is the contestant's, kernel work in its context included; \
    packets are counted at the generator's interfaces. \"To tasks\": clients send, tasks take. \"Both ways\": tasks send each datagram \
    back, and a packet of either direction counts as one. \"+50 B\": the bare forwarder with frames as long as Sluicegate's are in \
    the tunnel (both ways: longer than them half of the time), which tells how much of the difference is length alone. Frames of 1472 and \
    1473 bytes: up to 1472 the copy that a veth makes for its XDP program fits half a page, and from there on it takes a whole one. \
    1450 B is the IP packet: 1464 bytes, 1514 in the tunnel. The generator shares the machine: a \
    contestant whose CPU is less than fully busy was held up by it, and then its rate says nothing, its CPU time all the same.";
const SWEEP: &str = "One setting at a time away from what the program ships with. The worker is the program's own (`driver gateway` runs \
    it with other settings), on CPU 1; all points take turns, and every round begins with another one. Rate: 64-byte frames to \
    tasks, more than anybody can take. Requests: four connections of 100 requests each, one after the other; latency, and CPU time \
    for each request. Ratios are to the shipped settings in the same round. Bursts above 64 are not \
    tried: 64 is how much a worker's lists hold. CPU time is taken from the generator's start to its end, so that a worker that never \
    sleeps is charged for waiting, too.";

/// Writes the day's page, plot and JSON into `dir`.
///
/// # Errors
/// The disk says no.
pub fn write(dir: &Path, date: &str, results: &Results) -> Outcome {
    let path = Results::path(dir, date, "md");
    fs::create_dir_all(dir)?;
    let old = fs::read_to_string(&path).unwrap_or_default();
    let by_hand = old.find(BY_HAND).map_or(BY_HAND, |at| &old[at..]);
    fs::write(Results::path(dir, date, "json"), serde_json::to_string_pretty(results)? + "\n")?;
    fs::write(Results::path(dir, date, "svg"), svg(&panels(results), &Layout::COLUMN))?;
    fs::write(&path, page(date, results)? + by_hand.trim_end() + "\n")?;
    println!("{}", path.display());
    Ok(())
}

fn page(date: &str, results: &Results) -> Result<String, fmt::Error> {
    let mut out = format!(
        "# The driver: efficiency and settings, {date}\n\nMade by the commands below; median [lowest–highest] over the rounds. "
    );
    writeln!(out, "All figures: [JSON](driver-{date}.json).\n\n![the main figures as bars](driver-{date}.svg)\n")?;
    if let Some(contest) = &results.contest {
        self::contest(&mut out, contest)?;
    }
    if let Some(sweep) = &results.sweep {
        self::sweep(&mut out, sweep)?;
    }
    Ok(out)
}

fn told_run(out: &mut String, run: &Run) -> fmt::Result {
    let Run { date, commit, command, machine, rounds, seconds } = run;
    writeln!(
        out,
        "`{command}`, {date}, commit {commit}; {} with {} CPUs, Linux {}; {rounds} rounds of {seconds} s a sample.\n",
        machine.cpu, machine.cpus, machine.kernel
    )
}

fn contest(out: &mut String, contest: &Contest) -> fmt::Result {
    writeln!(out, "## Against a bare forwarder\n\n{CONTEST}\n")?;
    told_run(out, &contest.run)?;
    writeln!(out, "| | frames | CPU ns a packet | packets/s | busy | p50, µs |\n|---|---|---|---|---|---|")?;
    for ContestRow { ours, case, samples } in &contest.rows {
        let of = |value: fn(&Measured) -> f64| told(Spread::of(samples.iter().map(value)));
        writeln!(
            out,
            "| {} | {case} | {} | {} | {} | {} |",
            if *ours { "Sluicegate" } else { "bare" },
            of(|measured| measured.cpu_nanos),
            of(|measured| measured.rate),
            of(|measured| measured.busy),
            of(|measured| measured.p50 as f64 / 1000.0)
        )?;
    }
    writeln!(
        out,
        "\n| Sluicegate with | bare with | packets per CPU second, of bare's | rate, of bare's |\n|---|---|---|---|"
    )?;
    for (case, longer) in PAIRS {
        for other in std::iter::once(case).chain(longer) {
            let (cpu, rate) = ratios(contest, case, other);
            writeln!(out, "| {case} | {other} | {} | {} |", told(cpu), told(rate))?;
        }
    }
    verdict(out, contest)
}

fn ratios(contest: &Contest, case: &str, other: &str) -> (Option<Spread>, Option<Spread>) {
    let (ours, bare) = (contest.samples(true, case), contest.samples(false, other));
    let of = |value: fn(&Measured) -> f64| Spread::of_ratios(ours, bare, value);
    (of(|measured| 1.0 / measured.cpu_nanos), of(|measured| measured.rate))
}

/// Whether a contestant was given more than it could take: its CPU was busy, or it lost packets.
fn was_full(samples: &[Measured], case: &str) -> bool {
    // Both ways, each datagram comes twice.
    let ways = if case.ends_with("both ways") { 2.0 } else { 1.0 };
    let median = |value: &dyn Fn(&Measured) -> f64| Spread::of(samples.iter().map(value)).map(|spread| spread.median);
    let busy = median(&|one| one.busy).is_some_and(|busy| busy >= FULLY_BUSY);
    busy || median(&|one| one.rate / (one.offered * ways)).is_some_and(|through| through < ALL_THROUGH)
}

fn verdict(out: &mut String, contest: &Contest) -> fmt::Result {
    let word = |met| if met { "met" } else { "**not met**" };
    writeln!(out)?;
    for (case, _) in PAIRS {
        if let (Some(cpu), Some(rate)) = ratios(contest, case, case) {
            let full = [true, false].iter().all(|ours| was_full(contest.samples(*ours, case), case));
            let percent = |ratio: Spread| format!("{:.0} %", ratio.median * 100.0);
            let told = |ratio: Spread| format!("{}, {}", percent(ratio), word(ratio.median >= 0.9));
            let rate = if full { told(rate) } else { format!("{}, not judged: {IDLE_HANDS}", percent(rate)) };
            writeln!(out, "* {case}, target 90 % of bare: packets/s {rate}; packets per CPU second {}", told(cpu))?;
        }
    }
    if let Some(idle) = Spread::of(contest.idle.iter().map(|part| part * 100.0)) {
        writeln!(out, "* idle: {} % of a CPU; target under 1 %: {}", told(Some(idle)), word(idle.high < 1.0))?;
    }
    writeln!(out)
}

/// A quantity of the sweep.
struct Column {
    title: &'static str,
    of: fn(&SweepRow) -> Vec<f64>,
}

fn rates(row: &SweepRow, value: fn(&Measured) -> f64) -> Vec<f64> {
    row.rates.iter().map(value).collect()
}

fn requests(row: &SweepRow, value: fn(&Requests) -> f64) -> Vec<f64> {
    row.requests.iter().map(value).collect()
}

const COLUMNS: [Column; 6] = [
    Column { title: "packets/s", of: |row| rates(row, |one| one.rate) },
    Column { title: "CPU ns a packet", of: |row| rates(row, |one| one.cpu_nanos) },
    Column { title: "requests/s", of: |row| requests(row, |one| one.rate) },
    Column { title: "request p50, µs", of: |row| requests(row, |one| one.p50 as f64 / 1000.0) },
    Column { title: "request p99, µs", of: |row| requests(row, |one| one.p99 as f64 / 1000.0) },
    Column { title: "CPU µs a request", of: |row| requests(row, |one| one.cpu_nanos / 1000.0) },
];

fn sweep(out: &mut String, sweep: &Sweep) -> fmt::Result {
    writeln!(out, "## Settings\n\n{SWEEP}\n")?;
    told_run(out, &sweep.run)?;
    table(out, sweep, |_, values| Spread::of(values))?;
    writeln!(out, "Ratios to the shipped settings, round by round:\n")?;
    table(out, sweep, |base, values| Spread::of_ratios(&values, &base, |value| *value))?;
    let trouble: u64 = sweep.rows.iter().flat_map(|row| &row.requests).map(|requests| requests.trouble).sum();
    writeln!(out, "Segments sent once more and connections that failed, over all points and rounds: {trouble}.\n")?;
    match sweep.busy_polled {
        Some(false) => writeln!(
            out,
            "Busy-polling was asked for, and the kernel did not do it: no NAPI is known for the sockets' queues \
             ([why](../decisions/020-no-busy-polling-on-veth.md)). Its rows show what asking costs.\n"
        ),
        Some(true) => writeln!(out, "Busy-polling was asked for, and the kernel knew which NAPI to poll.\n"),
        None => Ok(()),
    }
}

fn table(out: &mut String, sweep: &Sweep, cell: impl Fn(Vec<f64>, Vec<f64>) -> Option<Spread>) -> fmt::Result {
    let titles: Vec<_> = COLUMNS.iter().map(|column| column.title).collect();
    writeln!(out, "| setting | value | {} |\n|---|---|{}", titles.join(" | "), "---|".repeat(titles.len()))?;
    let Some(base) = sweep.rows.first() else { return writeln!(out) };
    for row in &sweep.rows {
        let cells: Vec<_> = COLUMNS.iter().map(|column| told(cell((column.of)(base), (column.of)(row)))).collect();
        writeln!(out, "| {} | {} | {} |", row.setting, row.value, cells.join(" | "))?;
    }
    writeln!(out)
}

fn panels(results: &Results) -> Vec<Panel> {
    let mut panels = Vec::new();
    if let Some(contest) = &results.contest {
        let name = |row: &ContestRow| format!("{}, {}", if row.ours { "Sluicegate" } else { "bare" }, row.case);
        let of = |row: &ContestRow| Spread::of(row.samples.iter().map(|one| one.cpu_nanos));
        let mut rows: Vec<_> = contest.rows.iter().collect();
        rows.sort_by(|a, b| a.case.cmp(&b.case).then(a.ours.cmp(&b.ours)));
        let bars = rows.into_iter().filter_map(|row| Some(bar(name(row), of(row)?))).collect();
        panels.push(Panel { title: "CPU time a packet, ns (less is better)".into(), bars });
    }
    if let Some(sweep) = &results.sweep {
        for column in [&COLUMNS[0], &COLUMNS[1], &COLUMNS[3], &COLUMNS[5]] {
            let of =
                |row: &SweepRow| Some(bar(format!("{}: {}", row.setting, row.value), Spread::of((column.of)(row))?));
            panels.push(Panel {
                title: format!("Settings: {}", column.title),
                bars: sweep.rows.iter().filter_map(of).collect(),
            });
        }
    }
    panels
}

/// Grey for those that others are compared with.
fn bar(label: String, spread: Spread) -> Bar {
    let compared_with = label.starts_with("bare") || label.starts_with("as shipped");
    Bar { label, spread, color: if compared_with { "#9aa5ad" } else { "#c0532f" } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(cpu_nanos: f64) -> Measured {
        Measured { rate: 1e9 / cpu_nanos, offered: 1e6, cpu_nanos, busy: 1.0, p50: 9000 }
    }

    fn results() -> Results {
        let mut contest = Contest { idle: vec![0.002], ..Contest::default() };
        for (ours, cpu) in [(true, 1000.0), (false, 950.0), (true, 1010.0), (false, 900.0)] {
            contest.add(ours, "64 B, to tasks", measured(cpu));
        }
        let ask = |p50| Requests { rate: 5000.0, p50, p99: 3 * p50, cpu_nanos: 4000.0, busy: 0.1, trouble: 1 };
        let row = |setting: &str, p50| SweepRow {
            setting: setting.into(),
            value: "1 < 2".into(),
            rates: vec![measured(1000.0)],
            requests: vec![ask(p50)],
        };
        let rows = vec![row("as shipped", 100_000), row("burst", 50_000)];
        Results { contest: Some(contest), sweep: Some(Sweep { busy_polled: Some(false), rows, ..Sweep::default() }) }
    }

    #[test]
    fn a_page_tells_targets_ratios_and_trouble() {
        let text = page("2000-01-01", &results()).unwrap();
        for line in [
            "* 64 B, to tasks, target 90 % of bare: packets/s 92 %, met; packets per CPU second 92 %, met",
            "* idle: 0.20 [0.20–0.20] % of a CPU; target under 1 %: met",
            "| burst | 1 < 2 | 1.00 [1.00–1.00] | 1.00 [1.00–1.00] | 1.00 [1.00–1.00] | 0.50 [0.50–0.50] |",
            "over all points and rounds: 2.",
            "the kernel did not do it",
        ] {
            assert!(text.contains(line), "{line}\nis not in\n{text}");
        }
        let plot = svg(&panels(&results()), &Layout::COLUMN);
        assert!(plot.contains("burst: 1 &lt; 2") && plot.ends_with("</svg>\n"), "{plot}");
    }

    /// Two contestants that take all that the generator sends are as fast as the generator, and no faster than one another.
    #[test]
    fn rates_are_judged_only_of_contestants_that_could_do_no_more() {
        let line = |ways: &str, busy: f64, rate: f64| {
            let (case, mut contest) = (format!("64 B, {ways}"), Contest::default());
            contest.add(true, &case, Measured { rate, busy, ..measured(1000.0) });
            contest.add(false, &case, measured(1000.0));
            let text = page("2000-01-01", &Results { contest: Some(contest), sweep: None }).unwrap();
            text.lines().find(|line| line.starts_with("* 64 B")).unwrap_or_default().to_owned()
        };
        let judged = |ways, busy, rate| !line(ways, busy, rate).contains("the generator was the limit");
        assert!(judged("to tasks", 0.98, 1e6) && judged("to tasks", 0.8, 0.9e6) && judged("both ways", 0.8, 1.8e6));
        assert!(!judged("to tasks", 0.8, 1e6) && !judged("both ways", 0.8, 1.99e6));
        // What the CPU does is told all the same.
        assert!(line("to tasks", 0.8, 1e6).ends_with("packets per CPU second 100 %, met"));
    }

    #[test]
    fn what_is_missing_is_left_out() {
        let text = page("2000-01-01", &Results::default()).unwrap();
        assert!(!text.contains("##"), "{text}");
        assert!(serde_json::from_str::<Results>(&serde_json::to_string(&results()).unwrap()).is_ok());
    }
}
