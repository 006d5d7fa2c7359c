//! The tables of the page.

use super::book::{Lookup, told};
use super::sheet::{grouped, table};

/// Ways, as they are called in figures and on the page.
pub const WAYS: [(&str, &str); 3] = [("to_task", "client → task"), ("to_client", "task → client"), ("both", "both")];

/// Sizes and bursts besides the main one.
const OTHERS: [(&str, &str); 6] = [
    ("64B/burst1", "burst 1"),
    ("64B/burst32", "burst 32"),
    ("64B/burst64", "burst 64"),
    ("imix/burst64", "IMIX, burst 64"),
    ("1450B/burst64", "1450 B, burst 64"),
    ("udp/burst64", "UDP, burst 64"),
];

/// Tables that do the work of the flow table.
pub const TABLES: [(&str, &str); 3] = [
    ("conntrack", "conntrack"),
    ("hashbrown_foldhash", "hashbrown, foldhash"),
    ("hashbrown_siphash", "hashbrown, SipHash-1-3"),
];

/// What they were asked to do.
pub const WORK: [(&str, &str); 8] = [
    ("resident", "resident bytes a flow, all in"),
    ("insert", "inserts, M/s"),
    ("lookup_original", "lookup by the client's key, burst of 64, ns"),
    ("lookup_reply", "lookup by the task's key, ns"),
    ("expire", "expiry, M/s"),
    ("expire_wait_p999", "wait during expiry, 99.9 %, µs"),
    ("expire_wait_max", "longest wait, µs"),
    ("expire_waits_over_100us", "waits over 100 µs"),
];

/// Numbers of flows that were measured.
#[must_use]
pub fn flow_counts(all: &Lookup<'_>) -> Vec<u64> {
    all.numbers("pipeline/to_task/64B/burst64/flows")
}

/// Time by flows.
#[must_use]
pub fn by_flows(all: &Lookup<'_>) -> String {
    let mut head = vec!["flows"];
    head.extend(WAYS.map(|(_, title)| title));
    head.push("floor: copy and one random read");
    let row = |flows: u64| {
        let mut row = vec![grouped(flows)];
        row.extend(WAYS.map(|(way, _)| all.cell(&format!("pipeline/{way}/64B/burst64/flows{flows}"))));
        row.push(all.cell(&format!("pipeline/floor/copy_and_read/64B/flows{flows}")));
        row
    };
    table(&head, flow_counts(all).into_iter().map(row))
}

/// Time by bursts and sizes; medians only.
#[must_use]
pub fn by_size(all: &Lookup<'_>) -> String {
    let mut head = vec!["", "flows"];
    head.extend(OTHERS.map(|(_, title)| title));
    let median = |name: String| all.median(&name).map_or_else(|| "–".into(), |ns| format!("{ns:.0}"));
    let rows = WAYS.into_iter().flat_map(|(way, title)| {
        flow_counts(all).into_iter().map(move |flows| {
            let mut row = vec![title.to_owned(), grouped(flows)];
            row.extend(OTHERS.map(|(case, _)| median(format!("pipeline/{way}/{case}/flows{flows}"))));
            row
        })
    });
    let copies =
        ["64B", "imix", "1450B"].map(|size| format!("{size} {}", all.cell(&format!("pipeline/floor/copy/{size}"))));
    table(&head, rows) + &format!("The bare copy (no pipeline, burst 64), ns: {}.\n\n", copies.join(", "))
}

/// New flows and packets that end here.
#[must_use]
pub fn new_and_refused(all: &Lookup<'_>) -> String {
    let of = |prefix: &str| -> Vec<Vec<String>> {
        let full = format!("pipeline/{prefix}");
        all.below(&full).map(|(rest, figure)| vec![format!("{prefix}{rest}"), told(figure)]).collect()
    };
    table(&["case", "ns/packet"], ["drop/", "new_tcp/", "new_udp/"].into_iter().flat_map(of))
}

/// Instructions, with what the guard allows.
#[must_use]
pub fn instructions(all: &Lookup<'_>) -> String {
    let ceilings = crate::instructions::ceilings().unwrap_or_default();
    let rows = all.below("instructions/").map(|(case, figure)| {
        let ceiling = ceilings.get(case).map_or_else(|| "–".into(), |most| format!("{most:.0}"));
        vec![case.to_owned(), format!("{:.0}", figure.median), ceiling]
    });
    table(&["case", "instructions/packet", "ceiling"], rows)
}

/// The flow table beside hashbrown.
#[must_use]
pub fn flow_table(all: &Lookup<'_>) -> String {
    let flows = all.numbers("flow_table/insert/flows").into_iter().chain(table_flows(all)).max().unwrap_or_default();
    let mut head = vec![""];
    head.extend(TABLES.map(|(_, title)| title));
    let row = |(what, title): (&str, &str)| {
        let mut row = vec![title.to_owned()];
        row.extend(TABLES.map(|(who, _)| all.cell(&format!("flow_table/{what}/flows{flows}/{who}"))));
        row
    };
    format!("{} flows.\n\n", grouped(flows)) + &table(&head, WORK.map(row))
}

/// Numbers of flows that the flow table was filled with.
#[must_use]
pub fn table_flows(all: &Lookup<'_>) -> Vec<u64> {
    let of = |(rest, _): (&str, _)| rest.split_once('/').filter(|(_, who)| *who == "conntrack")?.0.parse().ok();
    all.below("flow_table/insert/flows").filter_map(of).collect()
}

/// Everything below a name, as it is.
#[must_use]
pub fn flat(all: &Lookup<'_>, prefix: &str) -> String {
    table(
        &["", "unit", "measured"],
        all.below(prefix).map(|(rest, figure)| vec![rest.to_owned(), figure.unit.clone(), told(figure)]),
    )
}
