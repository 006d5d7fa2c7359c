//! What a run has found, as it stands in the JSON file.

use std::fmt;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::profile::Profile;

/// Everything about one run.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Report {
    /// What was sent.
    pub profile: Profile,
    /// What was tested.
    pub target: String,
    /// The machine, and when.
    pub machine: Machine,
    /// How long it was sent.
    pub seconds: f64,
    /// Frames that the ports did not take: their rings were full. They count as lost.
    pub refused: u64,
    /// Packets dropped in the generator's own receive rings, for want of its attention. They count as lost.
    pub overrun: u64,
    /// Every stream.
    pub streams: Vec<StreamReport>,
    /// The run as time went on.
    pub ticks: Vec<Tick>,
    /// Counters of what was tested, if it tells: those that moved.
    pub counters: Vec<(String, u64)>,
    /// A search for the highest rate, if it was one; all else is then of its last good trial.
    pub search: Option<SearchReport>,
}

/// Where and when.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Machine {
    /// Name of the processor.
    pub cpu: String,
    /// CPUs that the process may use.
    pub cpus: usize,
    /// Release of the kernel.
    pub kernel: String,
    /// Seconds since 1970.
    pub began: u64,
}

impl Machine {
    /// This one, now.
    #[must_use]
    pub fn here() -> Machine {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let info = read("/proc/cpuinfo");
        let cpu = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name));
        Machine {
            cpu: cpu.unwrap_or("unknown").to_owned(),
            cpus: sys::allowed_cpus().len(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            began: sys::clock::wall().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs(),
        }
    }
}

/// One stream.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct StreamReport {
    /// Its name.
    pub name: String,
    /// `udp`, `tcp` or `syn`.
    pub kind: String,
    /// Packets (connections) a second that were asked for.
    pub rate_asked: f64,
    /// Packets (connections) that were sent (begun).
    pub sent: u64,
    /// What the timetable had and the generator could not send.
    pub missed: u64,
    /// Packets that arrived (connections that ended well), each once.
    pub received: u64,
    /// Sent and not arrived (begun and not ended well).
    pub lost: u64,
    /// Arrived after a later one of their flow (RFC 4737).
    pub reordered: u64,
    /// Further copies.
    pub duplicates: u64,
    /// Damaged.
    pub strange: u64,
    /// Bytes that arrived.
    pub bytes: u64,
    /// How long datagrams took, one way or (echo) both; for connections from SYN to SYN-ACK.
    pub latency: Option<Latency>,
    /// For connections: from a request to the end of its response.
    pub request: Option<Latency>,
    /// For connections: segments sent once more.
    pub retransmitted: u64,
}

impl StreamReport {
    /// Lost part of what was sent, from 0 to 1.
    #[must_use]
    pub fn loss(&self) -> f64 {
        if self.sent == 0 { 0.0 } else { self.lost as f64 / self.sent as f64 }
    }
}

/// A distribution of times, in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Latency {
    /// How many were timed.
    pub count: u64,
    /// Shortest.
    pub min: u64,
    /// Mean.
    pub mean: f64,
    /// Half of them took no longer.
    pub p50: u64,
    /// 90 % took no longer.
    pub p90: u64,
    /// 99 % took no longer.
    pub p99: u64,
    /// 99.9 % took no longer.
    pub p999: u64,
    /// Longest.
    pub max: u64,
    /// Percentile and time, for a plot.
    pub curve: Vec<(f64, u64)>,
}

impl Latency {
    /// Reads off a histogram; None when it is empty.
    #[must_use]
    pub fn of(histogram: &Histogram<u64>) -> Option<Latency> {
        let at = |percentile| histogram.value_at_percentile(percentile);
        let curve =
            histogram.iter_quantiles(2).map(|step| (step.quantile() * 100.0, step.value_iterated_to())).collect();
        (!histogram.is_empty()).then(|| Latency {
            count: histogram.len(),
            min: histogram.min(),
            mean: histogram.mean(),
            p50: at(50.0),
            p90: at(90.0),
            p99: at(99.0),
            p999: at(99.9),
            max: histogram.max(),
            curve,
        })
    }
}

/// A moment of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Tick {
    /// Seconds since the start.
    pub at: f64,
    /// Packets a second since the tick before.
    pub sent: f64,
    /// Packets a second since the tick before.
    pub received: f64,
}

/// A search for the highest rate.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct SearchReport {
    /// Every trial, in order.
    pub trials: Vec<Trial>,
    /// The highest rate for each accepted loss.
    pub found: Vec<Found>,
}

/// One trial of a search.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
pub struct Trial {
    /// Packets a second that were asked for.
    pub rate: f64,
    /// Packets a second that were sent.
    pub sent: f64,
    /// Lost part, 0 to 1.
    pub loss: f64,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.accepted > 0.0 { "partial-drop rate" } else { "non-drop rate" };
        let Found { accepted, rate, limited } = self;
        write!(f, "{name} (loss up to {} %): {} packets/s", accepted * 100.0, super::units::short(*rate))?;
        if *limited { f.write_str(", or more: the generator could send no faster") } else { Ok(()) }
    }
}

/// The end of a search.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
pub struct Found {
    /// Loss that was accepted, 0 to 1; 0 makes it the non-drop rate.
    pub accepted: f64,
    /// The highest rate that passed, in packets a second; 0 when none did.
    pub rate: f64,
    /// The search ended at the generator's own limit, not at that of what is tested.
    pub limited: bool,
}
