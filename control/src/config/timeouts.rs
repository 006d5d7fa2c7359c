//! `[timeouts]`: how long a flow lives without a packet, by its state.

use std::time::Duration;

use conntrack::Timeouts;

use super::node::Value;
use super::report::{Complaint, Located, Report};
use super::section::{Found, Section, wrong_type};
use super::value;

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

/// A flow that ends at once can't carry anything.
const SHORTEST: Duration = Duration::from_secs(1);
/// Thirty days: more is a slip of the finger.
const LONGEST: Duration = Duration::from_hours(30 * 24);

/// Reads the table.
pub fn read(mut section: Section<'_>, report: &mut Report) -> Timeouts {
    let mut timeouts = Timeouts::default();
    for (key, field) in KEYS {
        if let Some(duration) = section.find(key).and_then(|found| read_one(found, report)) {
            *field(&mut timeouts) = duration;
        }
    }
    section.close(report);
    timeouts
}

/// Text with a unit, or seconds.
fn read_one(found: Found<'_>, report: &mut Report) -> Option<Duration> {
    let Located { value, at } = found;
    let duration = match value {
        Value::Text(text) => value::duration(text),
        Value::Integer(seconds) => Ok(Duration::from_secs(u64::try_from(*seconds).unwrap_or(0))),
        other => Err(wrong_type(&at, "a duration", other)),
    };
    let in_range = duration.and_then(|duration| {
        if (SHORTEST..=LONGEST).contains(&duration) {
            return Ok(duration);
        }
        Err(Complaint::hinted("the timeout is out of range", "from \"1s\" to \"30d\""))
    });
    report.check(&at, in_range)
}
