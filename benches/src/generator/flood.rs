//! A SYN flood: from everywhere, followed by nothing. What arrives at tasks is counted; nobody expects all of it to.

use std::time::Duration;

use super::flows::{Order, Rotation, Space};
use super::pace::Pace;
use super::port::Port;
use super::profile::SynStream;
use super::report::StreamReport;
use super::run::Setting;
use super::segment::{Envelope, Flags, Segment, of_client};

/// Upper half of the sequence numbers by which a flood is known; connections that are meant never have it.
const MARK: u32 = 0xf10d;

/// So many runs can be made before one begins where another did.
const RUNS: u64 = 8;

/// Sends a flood.
pub struct Flood {
    name: String,
    stream: u8,
    rate: f64,
    space: Space,
    rotation: Rotation,
    /// Where in the rotation it begins.
    first: u64,
    pace: Pace,
    sent: u64,
    arrived: u64,
    damaged: u64,
    misdelivered: u64,
}

/// Which flood a SYN is of.
#[must_use]
pub fn stream_of(segment: &Segment) -> Option<u8> {
    (segment.flags == Flags::SYN && segment.seq >> 16 == MARK).then_some(segment.seq as u8)
}

impl Flood {
    /// The `index`-th stream of a run.
    #[must_use]
    pub fn new(index: usize, stream: &SynStream, space: Space, setting: &Setting) -> Flood {
        let rate = stream.rate.packets(64.0, setting.line_bits) * setting.scale;
        let rotation = Rotation::new(space.size(), Order::Random);
        Flood {
            name: stream.name.clone(),
            stream: index as u8,
            rate,
            rotation,
            // Another run begins far away, since what the last one has sent is still half open: no news to what is tested.
            first: u64::from(setting.run) * (rotation.flows() / RUNS),
            space,
            pace: Pace::new(stream.timetable(rate, setting)),
            sent: 0,
            arrived: 0,
            damaged: 0,
            misdelivered: 0,
        }
    }

    /// Sends what is due.
    pub fn send(&mut self, now: Duration, ports: &mut [Port]) {
        let due = self.pace.due(now);
        for done in 0..due {
            if !self.send_one(ports) {
                self.pace.fail(due - done);
                break;
            }
        }
    }

    fn send_one(&mut self, ports: &mut [Port]) -> bool {
        let index = self.rotation.flow(self.first + self.sent);
        let count = ports.len().max(1) as u64;
        let Some(port) = ports.get_mut((index % count) as usize) else { return false };
        let Some(mut frame) = port.take() else { return false };
        let from = self.space.endpoint(index);
        let seq = MARK << 16 | u32::from(self.stream);
        let syn = of_client((from.client, from.client_port), from.port, seq, 0, Flags::SYN);
        let written = syn.write(&Envelope::to_gateway(), &[], &mut frame);
        if written {
            port.queue(frame);
            self.sent += 1;
        } else {
            port.put(frame);
        }
        written
    }

    /// Sending is over.
    pub fn close(&mut self, end: Duration) {
        self.pace.close(end);
    }

    /// Whether it is for this port of the service.
    #[must_use]
    pub fn serves(&self, port: u16) -> bool {
        self.space.ports.position(port).is_some()
    }

    /// A task got one; whether it is whole, and where it belongs.
    pub fn accept(&mut self, whole: bool, right: bool) {
        match (whole, right) {
            (false, _) => self.damaged += 1,
            (true, false) => self.misdelivered += 1,
            (true, true) => self.arrived += 1,
        }
    }

    /// SYNs sent, and SYNs that arrived.
    #[must_use]
    pub fn progress(&self) -> (u64, u64) {
        (self.sent, self.arrived)
    }

    /// What was found.
    #[must_use]
    pub fn report(&self) -> StreamReport {
        StreamReport {
            name: self.name.clone(),
            kind: "syn".into(),
            rate_asked: self.rate,
            sent: self.sent,
            missed: self.pace.missed(),
            received: self.arrived,
            lost: self.sent.saturating_sub(self.arrived),
            damaged: self.damaged,
            misdelivered: self.misdelivered,
            ..StreamReport::default()
        }
    }
}
