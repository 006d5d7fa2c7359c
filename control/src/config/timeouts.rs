//! `[timeouts]`: how long a flow lives without a packet, by its state.

use std::time::Duration;

use conntrack::Timeouts;

use super::report::{Complaint, Report};
use super::section::Section;
use super::settings;

/// A key and the timeout that it sets.
type Key = (&'static str, fn(&mut Timeouts) -> &mut Duration);

const KEYS: &[Key] = &[
    ("tcp_syn_sent", |timeouts| &mut timeouts.tcp_syn_sent),
    ("tcp_syn_received", |timeouts| &mut timeouts.tcp_syn_received),
    ("tcp_established", |timeouts| &mut timeouts.tcp_established),
    ("tcp_fin_wait", |timeouts| &mut timeouts.tcp_fin_wait),
    ("tcp_close_wait", |timeouts| &mut timeouts.tcp_close_wait),
    ("tcp_last_ack", |timeouts| &mut timeouts.tcp_last_ack),
    ("tcp_time_wait", |timeouts| &mut timeouts.tcp_time_wait),
    ("tcp_close", |timeouts| &mut timeouts.tcp_close),
    ("tcp_syn_sent2", |timeouts| &mut timeouts.tcp_syn_sent2),
    ("tcp_reset", |timeouts| &mut timeouts.tcp_reset),
    ("udp", |timeouts| &mut timeouts.udp),
    ("udp_stream", |timeouts| &mut timeouts.udp_stream),
    ("icmp", |timeouts| &mut timeouts.icmp),
];

/// Taken, so that files which have it go on to work.
const WITHOUT_FLOWS: &str = "icmp";

/// Reads the table.
pub fn read(mut section: Section<'_>, report: &mut Report) -> Timeouts {
    let mut timeouts = Timeouts::default();
    for (key, field) in KEYS {
        let Some(found) = section.find(key) else { continue };
        let at = found.at.clone();
        let Some(duration) = settings::read_timeout(found, report) else { continue };
        *field(&mut timeouts) = duration;
        if *key == WITHOUT_FLOWS {
            let hint = "leave it out: ICMP queries make no flow";
            report.warn(&at, Complaint::hinted(format!("`{key}` has no effect"), hint));
        }
    }
    section.close(report);
    timeouts
}
