//! One measure of one contestant.

use crate::Outcome;
use crate::binaries;
use crate::clock::wait_for;
use crate::peers::contestant::Contestant;
use crate::peers::cpu::Spent;
use crate::peers::site::Site;
use crate::traffic::load::Report;
use crate::{Failure, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::net::SocketAddrV4;
use std::time::Duration;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Measure {
    /// New connections, one request on each, 32 at a time.
    Connections,
    /// Requests on 64 connections that stay.
    Requests,
    /// Requests on 4 connections that stay: little load, so the cleanest latency.
    FewRequests,
    /// Datagrams and their echoes, 32 at a time.
    Datagrams,
    /// New connections, so many a second for everyone, whoever could do more.
    PacedConnections,
    /// Requests on 64 connections that stay, so many a second for everyone.
    PacedRequests,
    /// Bytes from a task to the client on one stream, large packets allowed.
    Bulk1,
    /// Four streams.
    Bulk4,
    /// Four streams from the client to a task.
    Upload4,
    /// One stream, segments of the MTU only: what a wire carries.
    Wire1,
    /// Four of them.
    Wire4,
    /// Four of them from the client to a task.
    WireUpload4,
}

/// New connections a second of [`Measure::PacedConnections`]: less than any contestant can do.
pub const PACED_CONNECTIONS: u32 = 1000;
/// Requests a second of [`Measure::PacedRequests`].
pub const PACED_REQUESTS: u32 = 5000;

impl Measure {
    /// Those with offloads on, in their order.
    pub const WITH_OFFLOADS: [Measure; 9] = [
        Measure::Connections,
        Measure::Requests,
        Measure::FewRequests,
        Measure::Datagrams,
        Measure::PacedConnections,
        Measure::PacedRequests,
        Measure::Bulk1,
        Measure::Bulk4,
        Measure::Upload4,
    ];
    /// Those with offloads off.
    pub const WITHOUT_OFFLOADS: [Measure; 3] = [Measure::Wire1, Measure::Wire4, Measure::WireUpload4];

    /// All of them.
    pub fn all() -> impl Iterator<Item = Measure> {
        Measure::WITH_OFFLOADS.into_iter().chain(Measure::WITHOUT_OFFLOADS)
    }

    /// Its title in tables.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Measure::Connections => "new connections, 32 at a time",
            Measure::Requests => "keep-alive requests, 64 connections",
            Measure::FewRequests => "keep-alive requests, 4 connections",
            Measure::Datagrams => "UDP exchanges, 32 at a time",
            Measure::PacedConnections => "new connections, 1,000 a second",
            Measure::PacedRequests => "keep-alive requests, 5,000 a second, 64 connections",
            Measure::Bulk1 => "bulk, 1 stream, offloads on",
            Measure::Bulk4 => "bulk, 4 streams, offloads on",
            Measure::Upload4 => "upload, 4 streams, offloads on",
            Measure::Wire1 => "bulk, 1 stream, offloads off",
            Measure::Wire4 => "bulk, 4 streams, offloads off",
            Measure::WireUpload4 => "upload, 4 streams, offloads off",
        }
    }

    /// Whether it moves bulk: its rate is Gbit/s, its unit a GB.
    #[must_use]
    pub fn is_bulk(self) -> bool {
        self.streams() > 0
    }

    fn streams(self) -> usize {
        match self {
            Measure::Bulk1 | Measure::Wire1 => 1,
            Measure::Bulk4 | Measure::Wire4 | Measure::Upload4 | Measure::WireUpload4 => 4,
            _ => 0,
        }
    }

    fn is_upload(self) -> bool {
        matches!(self, Measure::Upload4 | Measure::WireUpload4)
    }

    /// Exchanges a second, if they keep to a timetable.
    #[must_use]
    pub fn pace(self) -> Option<u32> {
        match self {
            Measure::PacedConnections => Some(PACED_CONNECTIONS),
            Measure::PacedRequests => Some(PACED_REQUESTS),
            _ => None,
        }
    }

    /// Whether a contestant can take part.
    #[must_use]
    pub fn suits(self, contestant: Contestant) -> bool {
        self != Measure::Datagrams || contestant.has_udp()
    }
}

/// How long iperf3's server may be busy with the end of an earlier test.
const BUSY: Duration = Duration::from_secs(5);

/// One reading.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Sample {
    /// In which round.
    pub round: usize,
    /// Exchanges a second, or Gbit/s.
    pub rate: f64,
    /// Exchanges, or GB.
    pub units: f64,
    /// Microseconds; 0 for bulk.
    pub p50_us: f64,
    /// See above.
    pub p99_us: f64,
    /// See above.
    pub p999_us: f64,
    /// Exchanges that failed, were lost, or got stuck.
    pub failed: u64,
    /// CPU time meanwhile.
    pub cpu: Spent,
}

/// Runs it; round and CPU time are filled in by the caller.
///
/// # Errors
/// The client fails.
pub fn run(site: &Site, contestant: Contestant, measure: Measure, millis: u64) -> Outcome<Sample> {
    if measure.is_bulk() {
        return bulk(site, contestant.bulk(site), measure, millis);
    }
    let (kind, at_once, targets) = match measure {
        Measure::Connections => ("connect", 32, contestant.web(site)),
        Measure::PacedConnections => ("connect", 256, contestant.web(site)),
        Measure::FewRequests => ("keep-alive", 4, contestant.web(site)),
        Measure::Datagrams => ("udp", 32, contestant.echo(site)),
        _ => ("keep-alive", 64, contestant.web(site)),
    };
    let mut words: Vec<String> = ["load", "--kind", kind].map(str::to_owned).into();
    // There are fewer exchanges by a timetable than by the most that will go: they get twice the time.
    let millis = if measure.pace().is_some() { 2 * millis } else { millis };
    words.extend(["--at-once".into(), at_once.to_string(), "--millis".into(), millis.to_string()]);
    words.extend(measure.pace().map(|rate| format!("--rate={rate}")));
    words.extend(targets.iter().map(SocketAddrV4::to_string));
    let text = site.client.run(binaries::traffic()?, &words)?;
    let report: Report = serde_json::from_str(&text)?;
    Ok(Sample {
        round: 0,
        rate: report.rate,
        units: report.done as f64,
        p50_us: report.p50_us,
        p99_us: report.p99_us,
        p999_us: report.p999_us,
        failed: report.failed + report.stuck,
        cpu: Spent::default(),
    })
}

fn bulk(site: &Site, target: SocketAddrV4, measure: Measure, millis: u64) -> Outcome<Sample> {
    // iperf3 counts whole seconds, so `timeout` is none of its words: bytes are told for the time that it took.
    let seconds = (millis as f64 / 1000.0).round().max(1.0);
    let mut words = vec![
        "20".to_owned(),
        "iperf3".into(),
        "-c".into(),
        target.ip().to_string(),
        "-p".into(),
        target.port().to_string(),
        "-t".into(),
        format!("{seconds}"),
        "-P".into(),
        measure.streams().to_string(),
        "-J".into(),
    ];
    words.extend((!measure.is_upload()).then(|| "-R".to_owned()));
    // The server may still be ending the test before this one: then it says so, and is asked again.
    let report = wait_for("iperf3's server", BUSY, || {
        let output = site.client.command("timeout").args(&words).output()?;
        let report: Value = serde_json::from_slice(&output.stdout)?;
        let error = report["error"].as_str().unwrap_or_default();
        ensure!(error.is_empty() || error.contains("busy"), "iperf3: {error}");
        Ok(error.is_empty().then_some(report))
    })?;
    let number = |path: &str| report.pointer(path).and_then(Value::as_f64);
    let (Some(rate), Some(bytes)) = (number("/end/sum_received/bits_per_second"), number("/end/sum_received/bytes"))
    else {
        return Err(Failure::new(format!("iperf3 said {report}")));
    };
    let moved = bytes > 0.0;
    ensure!(moved, "iperf3 moved nothing");
    Ok(Sample {
        round: 0,
        rate: rate / 1e9,
        units: bytes / 1e9,
        p50_us: 0.0,
        p99_us: 0.0,
        p999_us: 0.0,
        failed: 0,
        cpu: Spent::default(),
    })
}
