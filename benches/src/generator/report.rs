//! What a run has found, as it stands in the JSON file.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::answer::SearchReport;
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
    /// Frames that rings of the generator's own did not take. They count as lost, but not against what is tested.
    pub refused: u64,
    /// Packets dropped in the generator's own receive rings, for want of its attention. They count as lost, but not against what
    /// is tested.
    pub overrun: u64,
    /// Frames that did not fit into the receive queue of what is tested, as far as the generator sees that queue.
    #[serde(default)]
    pub overflowed: u64,
    /// Packets that arrived so damaged, or so far from where they belong, that nobody can tell which stream they were of.
    #[serde(default)]
    pub strays: u64,
    /// The command line.
    #[serde(default)]
    pub command: String,
    /// The commit that the program was run in the tree of.
    #[serde(default)]
    pub commit: String,
    /// Every stream.
    pub streams: Vec<StreamReport>,
    /// The run as time went on.
    pub ticks: Vec<Tick>,
    /// Counters of what was tested, if it tells: those that moved during this run, and by how much.
    pub counters: Vec<(String, u64)>,
    /// A search for the highest rate, if it was one; all else is then of its last good trial.
    pub search: Option<SearchReport>,
}

/// Where and when.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Machine {
    /// Name of the processor.
    pub cpu: String,
    /// Its CPUs.
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
            // Not those of this thread, which is pinned.
            cpus: info.lines().filter(|line| line.starts_with("processor")).count(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            began: sys::clock::wall().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs(),
        }
    }
}

/// The commit of the tree that we are in, if we are in one.
#[must_use]
pub fn commit() -> String {
    let git = std::process::Command::new("git").args(["describe", "--always", "--dirty"]).output();
    git.ok()
        .filter(|output| output.status.success())
        .map_or_else(String::new, |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// One stream.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
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
    /// Arrived with a wrong checksum, length, payload or number; they count as lost, too.
    pub damaged: u64,
    /// Arrived whole, but with a wrong sender or receiver; they count as lost, too.
    pub misdelivered: u64,
    /// Bytes of the frames that were sent, check sequences counted.
    pub sent_bytes: u64,
    /// Bytes that arrived.
    pub bytes: u64,
    /// How long datagrams took, one way or (echo) both; for connections from SYN to SYN-ACK.
    pub latency: Option<Latency>,
    /// For connections: from a request to the end of its response.
    pub request: Option<Latency>,
    /// For connections: segments sent once more.
    pub retransmitted: u64,
    /// Connections that ended well, but needed a segment twice.
    pub resent: u64,
    /// Connections ended by an RST.
    pub reset: u64,
    /// Connections given up, for nobody answered.
    pub timed_out: u64,
    /// Connections that were neither done nor given up when the run was over.
    pub unfinished: u64,
    /// Connections that were due and not begun, since as many as the profile allows were open.
    pub blocked: u64,
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
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Tick {
    /// Seconds since the start.
    pub at: f64,
    /// What each stream has done, in its own unit: packets or connections.
    pub streams: Vec<Step>,
}

/// What one stream has done since the tick before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Step {
    /// Sent (begun) a second.
    pub sent: f64,
    /// Received (done) a second.
    pub received: f64,
}
