//! A report for the terminal.

use super::report::{Latency, Report, StreamReport};
use super::units::{short, short_time};

/// Prints it.
pub fn report(report: &Report) {
    println!("{}: {} ({} s)", report.profile.name, report.target, report.seconds);
    for stream in &report.streams {
        print_stream(stream, report.seconds);
    }
    if report.refused + report.overrun > 0 {
        println!(
            "  of what was lost, the generator's own rings refused {} frames and dropped {}",
            report.refused, report.overrun
        );
    }
    if report.overflowed + report.strays > 0 {
        println!(
            "  {} found the queue of what is tested full, {} came damaged or astray beyond recognition",
            report.overflowed, report.strays
        );
    }
    for found in report.search.iter().flat_map(|search| &search.found) {
        println!("  {found}");
    }
    let drops: Vec<_> = report.counters.iter().map(|(name, n)| format!("{name} {n}")).collect();
    if !drops.is_empty() {
        println!("  gateway: {}", drops.join(", "));
    }
}

fn print_stream(stream: &StreamReport, seconds: f64) {
    let StreamReport { name, kind, sent, received, lost, reordered, duplicates, missed, .. } = stream;
    let rate = short(*sent as f64 / seconds);
    println!(
        "  {name} ({kind}): sent {sent} ({rate}/s), received {received}, lost {lost} ({:.4} %), reordered {reordered}, \
         duplicates {duplicates}, missed {missed}",
        stream.loss() * 100.0
    );
    if stream.damaged + stream.misdelivered > 0 {
        println!("    DAMAGED {}, MISDELIVERED {}: neither counts as received", stream.damaged, stream.misdelivered);
    }
    if kind == "tcp" {
        let StreamReport { reset, timed_out, unfinished, blocked, retransmitted, resent, .. } = stream;
        println!(
            "    not ended well: {reset} reset, {timed_out} timed out, {unfinished} unfinished; {blocked} not begun, \
             {retransmitted} segments sent again, {resent} connections ended well all the same"
        );
    }
    print_latency(if kind == "tcp" { "SYN to SYN-ACK" } else { "latency" }, stream.latency.as_ref());
    print_latency("request", stream.request.as_ref());
}

fn print_latency(name: &str, latency: Option<&Latency>) {
    let Some(Latency { min, p50, p90, p99, p999, max, .. }) = latency else { return };
    let [min, p50, p90, p99, p999, max] = [min, p50, p90, p99, p999, max].map(|nanos| short_time(*nanos));
    println!("    {name}: least {min}, p50 {p50}, p90 {p90}, p99 {p99}, p99.9 {p999}, most {max}");
}
