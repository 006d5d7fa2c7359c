//! `docs/operating.md` is complete: every drop reason, counter and metric is in it, nothing that does not exist is, and the
//! commands that it shows are ones.

use std::collections::BTreeSet;

use clap::Parser as _;
use datapath::counters::WorkerCounters;
use datapath::verdict::DropReason;

use super::args::Arguments;
use crate::api::Fake;
use crate::operations::SwarmStatus;

const GUIDE: &str = include_str!("../../../docs/operating.md");

/// The text between this heading and the next one.
fn section(heading: &str) -> &'static str {
    let (_, behind) = GUIDE.split_once(&format!("\n{heading}\n")).unwrap();
    behind.split_once("\n#").map_or(behind, |(section, _)| section)
}

/// What stands in backticks in the first column of a section's tables.
fn first_column(heading: &str) -> BTreeSet<&'static str> {
    let cells = section(heading).lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect()
}

#[test]
fn every_drop_reason_is_explained() {
    let reasons: BTreeSet<&str> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
    assert_eq!(first_column("### Drop reasons"), reasons);
}

#[test]
fn every_counter_is_explained() {
    let mut explained = first_column("### Counters");
    assert!(explained.remove("xdp_…"));
    let names = WorkerCounters::default().named();
    assert_eq!(explained, names.iter().map(|(name, _)| *name).collect());
}

#[test]
fn every_metric_is_listed() {
    let mut fake = Fake::new();
    fake.swarm = Some(SwarmStatus::default());
    let page = crate::metrics::page(&fake).text().unwrap();
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let with_suffix = types.map(|(name, kind)| format!("{name}{}", if kind == "counter" { "_total" } else { "" }));
    let mut metrics: BTreeSet<String> = with_suffix.collect();
    // The page was made of a fake gateway's counters; these are the real ones.
    let fake = |name: &String| !["sluicegate_rx_", "sluicegate_tx_"].iter().any(|prefix| name.starts_with(prefix));
    metrics.retain(fake);
    metrics.extend(WorkerCounters::default().named().iter().map(|(name, _)| format!("sluicegate_{name}_total")));
    let listed: BTreeSet<String> = first_column("### Metrics").into_iter().map(str::to_owned).collect();
    assert_eq!(listed, metrics);
}

#[test]
fn the_commands_are_commands() {
    let lines = GUIDE.lines().map(|line| line.rsplit("/usr/local/bin/").next().unwrap_or(line).trim_end_matches('"'));
    let commands: Vec<&str> = lines.filter(|line| line.starts_with("sluicegate ")).collect();
    assert!(commands.len() > 18);
    for command in commands {
        let parsed = Arguments::try_parse_from(command.split(' '));
        assert!(parsed.is_ok(), "{command}: {}", parsed.unwrap_err());
    }
}
