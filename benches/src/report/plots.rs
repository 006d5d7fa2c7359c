//! The figures of the page.

use tests::bars::{Bar, Panel as Bars};
use tests::spread::Spread;

use super::book::Lookup;
use super::lines::{Line, Panel, Point};
use super::tables::{TABLES, WAYS, WORK, flow_counts, table_flows};
use crate::results::Figure;

/// Time by number of flows: by way, and for each way by burst and size.
#[must_use]
pub fn times(all: &Lookup<'_>) -> Vec<Panel> {
    let floor = line(all, "floor", "pipeline/floor/copy_and_read/64B/flows");
    let mut lines: Vec<Line> =
        WAYS.map(|(way, title)| line(all, title, &format!("pipeline/{way}/64B/burst64/flows"))).into();
    lines.push(floor.clone());
    let mut panels = vec![panel("64 B, bursts of 64, ns a packet".into(), lines)];
    for (way, title) in WAYS {
        let cases = ["64B/burst1", "64B/burst32", "64B/burst64", "imix/burst64", "1450B/burst64", "udp/burst64"];
        let lines = cases.map(|case| line(all, &case.replace('/', ", "), &format!("pipeline/{way}/{case}/flows")));
        panels.push(panel(format!("{title}, ns a packet"), lines.into()));
    }
    panels
}

fn panel(title: String, lines: Vec<Line>) -> Panel {
    Panel { title, across: "flows", lines: lines.into_iter().filter(|line| !line.points.is_empty()).collect() }
}

fn line(all: &Lookup<'_>, name: &str, prefix: &str) -> Line {
    let point = |flows: u64| {
        let Figure { median, low, high, .. } = all.get(&format!("{prefix}{flows}"))?;
        Some(Point { x: flows as f64, y: *median, range: (*low, *high) })
    };
    Line { name: name.to_owned(), points: flow_counts(all).into_iter().filter_map(point).collect() }
}

/// Instructions by case, new flows and refused packets, the flow table beside hashbrown.
#[must_use]
pub fn bars(all: &Lookup<'_>) -> Vec<Bars> {
    let below = |title: &str, prefix: &str| Bars {
        title: title.to_owned(),
        bars: all.below(prefix).map(|(name, figure)| bar(name, figure, "#c0532f")).collect(),
    };
    let mut panels = vec![
        below("Instructions a packet", "instructions/"),
        Bars {
            title: "New flows and refused packets, ns".into(),
            bars: ["pipeline/new_tcp/64B/burst64/", "pipeline/new_udp/64B/burst64/", "pipeline/drop/"]
                .into_iter()
                .flat_map(|prefix| {
                    let kind = prefix.split('/').nth(1).unwrap_or_default();
                    all.below(prefix).map(move |(name, figure)| bar(&format!("{kind} {name}"), figure, "#c0532f"))
                })
                .collect(),
        },
    ];
    let flows = table_flows(all).into_iter().max().unwrap_or_default();
    panels.extend(WORK.into_iter().take(6).map(|(what, title)| {
        Bars {
            title: title.to_owned(),
            bars: TABLES
                .into_iter()
                .filter_map(|(who, name)| {
                    let figure = all.get(&format!("flow_table/{what}/flows{flows}/{who}"))?;
                    Some(bar(name, figure, if who == "conntrack" { "#c0532f" } else { "#4a78a8" }))
                })
                .collect(),
        }
    }));
    panels.into_iter().filter(|panel| !panel.bars.is_empty()).collect()
}

fn bar(label: &str, figure: &Figure, color: &'static str) -> Bar {
    let Figure { median, low, high, .. } = *figure;
    Bar { label: label.to_owned(), spread: Spread { median, low, high }, color }
}
