//! What to send: a TOML file.

use std::fs;
use std::path::Path;
use std::time::Duration;

use ::tests::{Failure, Outcome, ensure};
use serde::{Deserialize, Serialize};

use super::flows::{Order, Space};
use super::pace::Timetable;
use super::range::{Addresses, Ports};
use super::run::Setting;
use super::sizes::Sizes;
use super::units::{self, Rate};

/// A whole profile.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Its name in reports.
    pub name: String,
    /// How long to send.
    #[serde(default = "ten_seconds")]
    pub duration: Time,
    /// How long to send beforehand, uncounted, so that flows are open and caches warm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmup: Option<Time>,
    /// What percents are of.
    #[serde(default = "ten_gigabits")]
    pub line: Rate,
    /// `memory`: the gateway answers SYNs by cookies from so many half-open flows of a service on. Left out: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub half_open: Option<u32>,
    /// What to send at the same time.
    pub stream: Vec<Stream>,
}

/// A length of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Time(pub Duration);

impl TryFrom<String> for Time {
    type Error = String;

    fn try_from(text: String) -> Result<Time, String> {
        units::duration(&text).map(Time)
    }
}

impl From<Time> for String {
    fn from(time: Time) -> String {
        format!("{}s", time.0.as_secs_f64())
    }
}

fn ten_seconds() -> Time {
    Time(Duration::from_secs(10))
}

fn ten_gigabits() -> Rate {
    Rate::Bits(1e10)
}

/// One kind of traffic.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Stream {
    /// Numbered UDP datagrams.
    Udp(UdpStream),
    /// TCP connections that ask and get answers.
    Tcp(TcpStream),
    /// SYNs that nobody means.
    Syn(SynStream),
}

/// Numbered UDP datagrams from clients to the VIP.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct UdpStream {
    /// Its name in reports.
    pub name: String,
    /// How many datagrams.
    pub rate: Rate,
    /// Lengths of the frames.
    #[serde(default)]
    pub sizes: Sizes,
    /// How many flows take turns.
    #[serde(default = "one")]
    pub flows: u64,
    /// In which order.
    #[serde(default)]
    pub order: Order,
    /// So many are sent back to back.
    #[serde(default = "one")]
    pub burst: u64,
    /// Silence after each burst, whose packets then go at `rate` instead of back to back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst_gap: Option<Time>,
    /// When it begins, counted from the beginning of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Time>,
    /// When it ends, before all else does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<Time>,
    /// The task sends every datagram back, and latency is that of both ways.
    #[serde(default)]
    pub echo: bool,
    /// Client addresses.
    #[serde(default = "some_clients")]
    pub clients: Addresses,
    /// Client ports.
    #[serde(default = "all_ports")]
    pub client_ports: Ports,
    /// Ports of the service.
    pub ports: Ports,
}

/// TCP connections from clients to the VIP.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TcpStream {
    /// Its name in reports.
    pub name: String,
    /// Connections a second.
    pub rate: Rate,
    /// When it begins, counted from the beginning of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Time>,
    /// When it ends, before all else does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<Time>,
    /// Connections that may be open at once.
    #[serde(default = "thousand")]
    pub at_once: u64,
    /// Questions on one connection.
    #[serde(default = "one")]
    pub requests: u64,
    /// Bytes of a question.
    #[serde(default = "hundred")]
    pub request_bytes: u16,
    /// Bytes of an answer.
    #[serde(default = "hundred_long")]
    pub response_bytes: u32,
    /// How it ends.
    #[serde(default)]
    pub end: End,
    /// Client addresses.
    #[serde(default = "some_clients")]
    pub clients: Addresses,
    /// Client ports.
    #[serde(default = "all_ports")]
    pub client_ports: Ports,
    /// Ports of the service.
    pub ports: Ports,
}

/// How a client ends a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// FIN, FIN and ACK, ACK.
    #[default]
    Fin,
    /// RST.
    Reset,
}

/// SYNs from many addresses that are never followed by anything.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SynStream {
    /// Its name in reports.
    pub name: String,
    /// SYNs a second.
    pub rate: Rate,
    /// So many are sent back to back.
    #[serde(default = "one")]
    pub burst: u64,
    /// Silence after each burst, whose packets then go at `rate` instead of back to back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst_gap: Option<Time>,
    /// When it begins, counted from the beginning of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Time>,
    /// When it ends, before all else does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<Time>,
    /// Addresses that the SYNs claim to come from.
    #[serde(default = "some_clients")]
    pub clients: Addresses,
    /// Client ports.
    #[serde(default = "all_ports")]
    pub client_ports: Ports,
    /// Ports of the service.
    pub ports: Ports,
}

fn timetable(
    rate: f64,
    burst: (u64, Option<Time>),
    (start, stop): (Option<Time>, Option<Time>),
    run: &Setting,
) -> Timetable {
    Timetable {
        per_second: rate,
        burst: burst.0.max(1),
        gap: burst.1.map_or(Duration::ZERO, |gap| gap.0),
        start: run.start + start.map_or(Duration::ZERO, |start| start.0),
        stop: stop.map_or(run.end, |stop| run.end.min(run.start + stop.0)),
    }
}

impl UdpStream {
    /// When its datagrams are due at this rate.
    #[must_use]
    pub fn timetable(&self, rate: f64, run: &Setting) -> Timetable {
        timetable(rate, (self.burst, self.burst_gap), (self.start, self.stop), run)
    }
}

impl TcpStream {
    /// When its connections are due at this rate.
    #[must_use]
    pub fn timetable(&self, rate: f64, run: &Setting) -> Timetable {
        timetable(rate, (1, None), (self.start, self.stop), run)
    }
}

impl SynStream {
    /// When its SYNs are due at this rate.
    #[must_use]
    pub fn timetable(&self, rate: f64, run: &Setting) -> Timetable {
        timetable(rate, (self.burst, self.burst_gap), (self.start, self.stop), run)
    }
}

fn one() -> u64 {
    1
}

fn thousand() -> u64 {
    1000
}

fn hundred() -> u16 {
    100
}

fn hundred_long() -> u32 {
    100
}

/// 198.19.0.0/16, half of the network for benchmarks (RFC 2544 appendix C).
fn some_clients() -> Addresses {
    Addresses::try_from("198.19.0.1-198.19.255.254".to_owned()).unwrap_or_else(|_| unreachable!("a valid range"))
}

fn all_ports() -> Ports {
    Ports { first: 1024, last: 65_535 }
}

impl Stream {
    /// Its name in reports.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Stream::Udp(stream) => &stream.name,
            Stream::Tcp(stream) => &stream.name,
            Stream::Syn(stream) => &stream.name,
        }
    }

    /// Its flows.
    #[must_use]
    pub fn space(&self) -> Space {
        let (clients, client_ports, ports) = match self {
            Stream::Udp(stream) => (stream.clients, stream.client_ports, stream.ports),
            Stream::Tcp(stream) => (stream.clients, stream.client_ports, stream.ports),
            Stream::Syn(stream) => (stream.clients, stream.client_ports, stream.ports),
        };
        Space { clients, client_ports, ports }
    }

    /// Whether it is UDP.
    #[must_use]
    pub fn is_udp(&self) -> bool {
        matches!(self, Stream::Udp(_))
    }

    /// When it begins and ends, if not with the run.
    fn times(&self) -> (Option<Time>, Option<Time>) {
        match self {
            Stream::Udp(stream) => (stream.start, stream.stop),
            Stream::Tcp(stream) => (stream.start, stream.stop),
            Stream::Syn(stream) => (stream.start, stream.stop),
        }
    }

    /// Whether anything comes back to its clients that is counted.
    #[must_use]
    pub fn wants_replies(&self) -> bool {
        match self {
            Stream::Udp(stream) => stream.echo,
            Stream::Tcp(_) => true,
            Stream::Syn(_) => false,
        }
    }

    /// How many pairs of a client and its port it uses, at most.
    #[must_use]
    pub fn places(&self) -> u64 {
        match self {
            Stream::Udp(stream) => stream.flows,
            Stream::Tcp(_) | Stream::Syn(_) => self.space().size(),
        }
    }

    /// Whether it sends all the time, as a search needs it.
    #[must_use]
    pub fn is_steady(&self) -> bool {
        let gap = match self {
            Stream::Udp(stream) => stream.burst_gap,
            Stream::Syn(stream) => stream.burst_gap,
            Stream::Tcp(_) => None,
        };
        self.times() == (None, None) && gap.is_none()
    }

    fn rate(&self) -> Rate {
        match self {
            Stream::Udp(stream) => stream.rate,
            Stream::Tcp(stream) => stream.rate,
            Stream::Syn(stream) => stream.rate,
        }
    }

    /// A run in which it sends nothing is refused, too: that would look as if nothing was lost.
    fn check(&self, duration: Duration) -> Result<(), String> {
        let size = self.space().size();
        if !self.rate().is_positive() {
            return Err("its `rate` must be more than 0, and finite".into());
        }
        if self.times().0.is_some_and(|start| start.0 >= duration) {
            return Err("it begins (`start`) when the run is over (`duration`)".into());
        }
        if let (start, Some(stop)) = self.times()
            && stop.0 <= start.map_or(Duration::ZERO, |start| start.0)
        {
            return Err("it ends (`stop`) before it begins (`start`)".into());
        }
        if let Stream::Udp(UdpStream { burst: 0, .. }) | Stream::Syn(SynStream { burst: 0, .. }) = self {
            return Err("a `burst` has at least one packet".into());
        }
        match self {
            Stream::Udp(stream) => {
                stream.sizes.round()?;
                if stream.flows == 0 || stream.flows > size || stream.flows > u64::from(u32::MAX) {
                    return Err(format!("{} flows: the addresses and ports give {size}", stream.flows));
                }
            }
            Stream::Tcp(stream) => {
                if stream.at_once == 0 || stream.at_once > size {
                    return Err(format!("{} connections at once: the addresses and ports give {size}", stream.at_once));
                }
                if stream.requests == 0 {
                    return Err("a connection has at least one request (`requests`)".into());
                }
                if !(4..=1400).contains(&stream.request_bytes) || !(1..=60_000).contains(&stream.response_bytes) {
                    return Err("requests have 4 to 1400 bytes, responses 1 to 60000".into());
                }
            }
            Stream::Syn(_) => {}
        }
        Ok(())
    }
}

impl Profile {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// It cannot be read or makes no sense.
    pub fn load(path: &Path) -> Outcome<Profile> {
        let during = |failure: Failure| failure.during(&path.display().to_string());
        let text = fs::read_to_string(path).map_err(|error| during(error.into()))?;
        Profile::parse(&text).map_err(during)
    }

    /// Reads and checks a text.
    ///
    /// # Errors
    /// It makes no sense.
    pub fn parse(text: &str) -> Outcome<Profile> {
        let profile: Profile = toml::from_str(text)?;
        profile.check(profile.duration.0)?;
        Ok(profile)
    }

    /// Whether it makes sense when it is sent for so long.
    ///
    /// # Errors
    /// Why it does not.
    pub fn check(&self, duration: Duration) -> Outcome {
        ensure!(!duration.is_zero(), "a `duration` of 0 sends nothing");
        ensure!(!self.stream.is_empty(), "there is no [[stream]]");
        ensure!(self.stream.len() <= 255, "more than 255 streams");
        ensure!(matches!(self.line, Rate::Bits(_)), "the line has a rate in bits, 10Gbps for example");
        ensure!(self.line.is_positive(), "the `line` must be more than 0, and finite");
        for (index, stream) in self.stream.iter().enumerate() {
            stream.check(duration).map_err(|reason| Failure::new(format!("stream `{}`: {reason}", stream.name())))?;
            for other in &self.stream[..index] {
                let apart = stream.is_udp() != other.is_udp() || !stream.space().ports.overlaps(&other.space().ports);
                // Answers to a flood go nowhere, so that it may share the port of good traffic: that is its point.
                let flood = matches!(stream, Stream::Syn(_)) || matches!(other, Stream::Syn(_));
                ensure!(apart || flood, "streams `{}` and `{}` share service ports", other.name(), stream.name());
            }
        }
        Ok(())
    }

    /// Bits a second of the line.
    #[must_use]
    pub fn line_bits(&self) -> f64 {
        match self.line {
            Rate::Bits(bits) => bits,
            Rate::PerSecond(_) | Rate::Percent(_) => 1e10,
        }
    }

    /// Flows that may be in the table at once, roughly: what to make room for.
    #[must_use]
    pub fn flows(&self) -> u64 {
        let of = |stream: &Stream| match stream {
            Stream::Udp(stream) => stream.flows,
            // Closed ones stay for two minutes.
            Stream::Tcp(stream) => {
                stream.at_once + (stream.rate.packets(64.0, 1e10) * self.duration.0.as_secs_f64().min(120.0)) as u64
            }
            Stream::Syn(stream) => (stream.rate.packets(64.0, 1e10) * self.duration.0.as_secs_f64().min(120.0)) as u64,
        };
        self.stream.iter().map(of).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: &str = "name = 'x'\n[[stream]]\nkind = 'udp'\nname = 'a'\nrate = '1kpps'\nports = '9000'\n";

    #[test]
    fn every_shipped_profile_is_valid() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles");
        let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        assert!(names.len() >= 5, "{names:?}");
        for path in names {
            let profile = Profile::load(&path).unwrap();
            // What is written is read back the same.
            assert_eq!(Profile::parse(&toml::to_string(&profile).unwrap()).unwrap(), profile);
        }
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        let profile = Profile::parse(SHORT).unwrap();
        let Stream::Udp(stream) = &profile.stream[0] else { panic!("not UDP") };
        assert_eq!((stream.flows, stream.burst, stream.echo), (1, 1, false));
        assert_eq!((profile.line_bits(), profile.duration.0), (1e10, Duration::from_secs(10)));
    }

    #[test]
    fn nonsense_is_refused_with_a_reason() {
        for (from, to, reason) in [
            ("rate", "rote", "rote"),
            ("udp", "sctp", "sctp"),
            ("1kpps", "fast", "`fast`"),
            ("'9000'\n", "'9000'\nsizes = 9000\n", "9000 bytes"),
            ("'9000'\n", "'9000'\nflows = 99\nclients = '10.0.0.1'\nclient_ports = '1-9'\n", "give 9"),
            ("name = 'x'", "name = 'x'\nline = '5%'", "in bits"),
            ("'9000'\n", "'9000'\nstart = '2s'\nstop = '1s'\n", "before it begins"),
            ("1kpps", "0pps", "`rate`"),
            ("1kpps", "0%", "`rate`"),
            ("1kpps", &format!("{}pps", "9".repeat(400)), "`rate`"),
            ("name = 'x'", "name = 'x'\nline = '0bps'", "`line`"),
            ("name = 'x'", "name = 'x'\nduration = '0s'", "`duration`"),
            ("'9000'\n", "'9000'\nstart = '10s'\n", "`start`"),
            ("'9000'\n", "'9000'\nstart = '11s'\nstop = '12s'\n", "`start`"),
            ("'9000'\n", "'9000'\nburst = 0\n", "`burst`"),
            ("'udp'", "'syn'\nburst = 0", "`burst`"),
            ("'udp'", "'tcp'\nrequests = 0", "`requests`"),
        ] {
            let error = Profile::parse(&SHORT.replacen(from, to, 1)).unwrap_err();
            assert!(error.reason().contains(reason), "{to}: {error:?}");
        }
        // The command line may shorten the run.
        let late = Profile::parse(&format!("{SHORT}start = '2s'\n")).unwrap();
        assert!(late.check(Duration::from_secs(1)).unwrap_err().reason().contains("`start`"));
        let twice = format!("{SHORT}{}", SHORT.replace("name = 'x'\n", ""));
        assert!(Profile::parse(&twice).unwrap_err().reason().contains("share"));
    }
}
