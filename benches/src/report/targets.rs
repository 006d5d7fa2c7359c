//! What the project wants of itself, and whether this run shows it. A target is met by the median; what the range says stands
//! beside it. What shall never be is met by the worst round.

use super::book::{Lookup, told};
use super::sheet::table;
use super::tables::table_flows;

/// Whether a number is good enough, and what it was.
struct Verdict {
    target: &'static str,
    measured: Option<String>,
    met: bool,
}

/// The table.
#[must_use]
pub fn targets(all: &Lookup<'_>) -> String {
    let rows = verdicts(all).into_iter().map(|verdict| {
        let Verdict { target, measured, met } = verdict;
        let word = match &measured {
            None => "not measured",
            Some(_) if met => "met",
            Some(_) => "**missed**",
        };
        vec![target.to_owned(), measured.unwrap_or_default(), word.to_owned()]
    });
    table(&["target", "measured", ""], rows)
}

fn verdicts(all: &Lookup<'_>) -> Vec<Verdict> {
    // Frames come from memory here: what their copying takes is no stage's, and nothing is taken off where it was not measured.
    let copy = all.median("pipeline/floor/copy/64B").unwrap_or_default();
    let mut verdicts = vec![
        packet(all, "≤ 80 ns at 1,000 flows, both directions", 1_000, 80.0, 0.0),
        packet(all, "… the stages alone, less the bare copy of the bench's device", 1_000, 80.0, copy),
        packet(all, "≤ 50 ns at 1,000 flows (stretch)", 1_000, 50.0, 0.0),
        packet(all, "≤ 120 ns at 1,000,000 random flows", 1_000_000, 120.0, 0.0),
        packet(all, "… the stages alone", 1_000_000, 120.0, copy),
        packet(all, "≤ 90 ns at 1,000,000 flows (stretch)", 1_000_000, 90.0, 0.0),
        growth(all),
    ];
    let flows = table_flows(all).into_iter().max().unwrap_or_default();
    let table = |what: &str| format!("flow_table/{what}/flows{flows}/conntrack");
    verdicts.extend([
        most(all, "≤ 128 bytes a flow, resident", &table("resident"), 128.0, "bytes"),
        least(all, "≥ 1 M inserts/s", &table("insert"), 1.0, "M/s"),
        never(
            all,
            "a turn is ≤ 100 µs while a million open connections expire",
            ("expiry/expiring/turn_max", None),
            100.0,
            "µs at most",
        ),
        hashbrown(all, flows),
        most(
            all,
            "10,000 services × 10 backends published in < 50 ms, control's work but for loading the XDP filter",
            "control/publish",
            50.0,
            "ms",
        ),
        most(all, "… of which tables and hand-over alone", "tables/control/both", 50.0, "ms"),
    ]);
    verdicts.extend(publishing(all));
    verdicts
}

/// What nobody shall notice of new tables.
fn publishing(all: &Lookup<'_>) -> [Verdict; 4] {
    [
        never(
            all,
            "publishing: no packet dropped by the pipeline at full load",
            ("tables/publishing/lost", Some("tables/quiet/lost")),
            0.0,
            "packets",
        ),
        never(
            all,
            "publishing: no packet lost of an open loop",
            ("tables/open_loop/lost", Some("tables/open_loop/quiet_lost")),
            0.0,
            "packets",
        ),
        never(
            all,
            "publishing: no burst > 200 µs (backends stay)",
            ("tables/publishing/burst_max", Some("tables/quiet/burst_max")),
            200.0,
            "µs at most",
        ),
        never(
            all,
            "publishing: no burst > 200 µs (backends replaced)",
            ("tables/replacing/burst_max", Some("tables/quiet/burst_max")),
            200.0,
            "µs at most",
        ),
    ]
}

/// Both directions at most so many nanoseconds, `less` what is not theirs.
fn packet(all: &Lookup<'_>, target: &'static str, flows: u64, limit: f64, less: f64) -> Verdict {
    let of = |way: &str| Some(all.median(&format!("pipeline/{way}/64B/burst64/flows{flows}"))? - less);
    let both = of("to_task").zip(of("to_client"));
    Verdict {
        target,
        measured: both.map(|(there, back)| format!("{there:.0} and {back:.0} ns")),
        met: both.is_some_and(|(there, back)| there.max(back) <= limit),
    }
}

/// What four million flows cost beside a thousand.
fn growth(all: &Lookup<'_>) -> Verdict {
    let of = |way: &str| {
        let at = |flows: u64| all.median(&format!("pipeline/{way}/64B/burst64/flows{flows}"));
        Some(at(4_000_000)? / at(1_000)?)
    };
    let both = of("to_task").zip(of("to_client"));
    Verdict {
        target: "4,000,000 flows cost ≤ 2 × 1,000",
        measured: both.map(|(there, back)| format!("{there:.1} × and {back:.1} ×")),
        met: both.is_some_and(|(there, back)| there.max(back) <= 2.0),
    }
}

fn hashbrown(all: &Lookup<'_>, flows: u64) -> Verdict {
    let of = |what: &str| {
        let at = |who: &str| all.median(&format!("flow_table/{what}/flows{flows}/{who}"));
        Some(at("hashbrown_foldhash")? / at("conntrack")?)
    };
    let both = of("lookup_original").zip(of("lookup_reply"));
    Verdict {
        target: "lookups 2 × faster than hashbrown with its fast hash",
        measured: both.map(|(client, task)| format!("{client:.1} × and {task:.1} ×")),
        met: both.is_some_and(|(client, task)| client.min(task) >= 2.0),
    }
}

fn most(all: &Lookup<'_>, target: &'static str, name: &str, limit: f64, unit: &str) -> Verdict {
    compare(all, target, name, unit, |value| value <= limit)
}

/// In no round more than so much. `names`: of the figure, and of the same without publishing, which says what the machine does.
fn never(all: &Lookup<'_>, target: &'static str, names: (&str, Option<&str>), limit: f64, unit: &str) -> Verdict {
    let figure = all.get(names.0);
    let quiet = names.1.map(|name| format!("; without publishing {}", all.cell(name))).unwrap_or_default();
    Verdict {
        target,
        measured: figure.map(|figure| format!("{} {unit}{quiet}", told(figure))),
        met: figure.is_some_and(|figure| figure.high <= limit),
    }
}

fn least(all: &Lookup<'_>, target: &'static str, name: &str, limit: f64, unit: &str) -> Verdict {
    compare(all, target, name, unit, |value| value >= limit)
}

fn compare(all: &Lookup<'_>, target: &'static str, name: &str, unit: &str, met: impl Fn(f64) -> bool) -> Verdict {
    let measured = all.get(name).map(|_| format!("{} {unit}", all.cell(name)));
    Verdict { target, measured, met: all.median(name).is_some_and(met) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::book::Book;
    use crate::results::Figure;

    fn figure(name: &str, high: f64) -> Figure {
        Figure { name: name.into(), unit: "packets".into(), median: 0.0, low: 0.0, high }
    }

    #[test]
    fn what_shall_never_be_is_judged_by_the_worst_round() {
        let word = |high| {
            let figures = vec![figure("tables/open_loop/lost", high), figure("tables/open_loop/quiet_lost", 0.0)];
            let book = Book { figures, ..Book::default() };
            let page = targets(&book.lookup());
            page.lines().find(|line| line.contains("open loop")).unwrap().to_owned()
        };
        let told = "| publishing: no packet lost of an open loop | 0.00 [0.00–544] packets; without publishing 0.00 | **missed** |";
        assert_eq!(word(544.0), told);
        assert!(word(0.0).ends_with("| met |"), "{}", word(0.0));
        let book = Book { figures: vec![figure("expiry/expiring/turn_max", 132.0)], ..Book::default() };
        let page = targets(&book.lookup());
        assert!(page.contains("connections expire | 0.00 [0.00–132] µs at most | **missed** |"), "{page}");
    }
}
