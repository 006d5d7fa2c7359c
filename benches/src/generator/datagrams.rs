//! A stream of numbered datagrams.

use std::time::Duration;

use ::tests::{Failure, Outcome};

use super::check;
use super::flows::{Rotation, Space};
use super::meter::Meter;
use super::pace::Pace;
use super::port::Port;
use super::profile::UdpStream;
use super::report::StreamReport;
use super::run::Setting;
use super::seats::{End, Seats};
use super::sizes::FCS;
use super::stamp::{STAMP_LEN, Stamp};
use super::template::{HEADERS, Template};
use super::view::View;

/// A flow that rests no longer than this is still known to what is tested.
const REMEMBERED: f64 = 10.0;

/// Sends and judges the datagrams of one stream.
pub struct Datagrams {
    name: String,
    stream: u8,
    run: u16,
    echo: bool,
    rate: f64,
    space: Space,
    rotation: Rotation,
    templates: Vec<Template>,
    /// Which template each packet of a round of sizes takes.
    round: Vec<usize>,
    pace: Pace,
    issued: u64,
    bytes: u64,
    meter: Meter,
    seats: Seats,
}

impl Datagrams {
    /// The `index`-th stream of a run.
    ///
    /// # Errors
    /// Impossible sizes.
    pub fn new(index: usize, stream: &UdpStream, space: Space, setting: &Setting) -> Outcome<Datagrams> {
        let sizes = stream.sizes.round().map_err(Failure::new)?;
        let mut kinds = sizes.clone();
        kinds.sort_unstable();
        kinds.dedup();
        let templates: Result<Vec<_>, _> = kinds.iter().map(|size| Template::new(*size)).collect();
        let round = sizes.iter().map(|size| kinds.iter().position(|kind| kind == size).unwrap_or(0)).collect();
        let mean = sizes.iter().map(|size| f64::from(*size)).sum::<f64>() / sizes.len() as f64;
        let rate = stream.rate.packets(mean, setting.line_bits) * setting.scale;
        let rotation = Rotation::new(stream.flows, stream.order);
        Ok(Datagrams {
            name: stream.name.clone(),
            stream: index as u8,
            run: setting.run,
            echo: stream.echo,
            rate,
            space,
            rotation,
            templates: templates.map_err(Failure::new)?,
            round,
            pace: Pace::new(stream.timetable(rate, setting)),
            issued: 0,
            bytes: 0,
            meter: Meter::new(rotation),
            seats: Seats::new(stream.flows, stream.flows as f64 <= rate * REMEMBERED),
        })
    }

    /// Sends what is due.
    pub fn send(&mut self, now: Duration, ports: &mut [Port]) {
        let due = self.pace.due(now);
        for done in 0..due {
            if !self.send_one(now, ports) {
                self.pace.fail(due - done);
                break;
            }
        }
    }

    fn send_one(&mut self, now: Duration, ports: &mut [Port]) -> bool {
        let flow = self.rotation.flow(self.issued);
        let port = (flow % ports.len().max(1) as u64) as usize;
        let Some(port) = ports.get_mut(port) else { return false };
        let Some(mut frame) = port.take() else { return false };
        let template = &self.templates[self.round[(self.issued % self.round.len() as u64) as usize]];
        let stamp = Stamp { run: self.run, stream: self.stream, number: self.issued, nanos: now.as_nanos() as u64 };
        if !template.write(&mut frame, &self.space.endpoint(flow), &stamp) {
            port.put(frame);
            return false;
        }
        port.queue(frame);
        self.issued += 1;
        self.bytes += template.len() as u64 + u64::from(FCS);
        true
    }

    /// Sending is over.
    pub fn close(&mut self, end: Duration) {
        self.pace.close(end);
    }

    /// Whether a packet is at the end of its way when a task has it.
    #[must_use]
    pub fn is_one_way(&self) -> bool {
        !self.echo
    }

    /// A packet of ours has come to one end. False when it is not what was sent, or not where it belongs; that is noted.
    pub fn examine(&mut self, stamp: &Stamp, frame: &[u8], view: &View, end: End) -> bool {
        if !check::is_whole(frame, view) || !self.is_complete(stamp, frame, view) {
            self.meter.damage();
            return false;
        }
        let flow = self.space.endpoint(self.rotation.flow(stamp.number));
        let (_, slot) = self.rotation.place(stamp.number);
        let right = self.seats.are_right(frame, view, &flow, slot, end);
        if !right {
            self.meter.misdeliver();
        }
        right
    }

    /// Whether the payload is as long as it was, and nothing but zeros follow the stamp.
    fn is_complete(&self, stamp: &Stamp, frame: &[u8], view: &View) -> bool {
        let template = &self.templates[self.round[(stamp.number % self.round.len() as u64) as usize]];
        let payload = view.datagram(frame).unwrap_or_default();
        payload.len() + HEADERS == template.len() && payload[STAMP_LEN..].iter().all(|byte| *byte == 0)
    }

    /// A packet of ours is at the end of its way.
    pub fn accept(&mut self, stamp: &Stamp, bytes: usize, now: Duration) {
        self.meter.accept(stamp, self.issued, bytes, now);
    }

    /// Packets sent, and packets that arrived.
    #[must_use]
    pub fn progress(&self) -> (u64, u64) {
        (self.issued, self.meter.tracker().unique())
    }

    /// What was found.
    #[must_use]
    pub fn report(&self) -> StreamReport {
        let tracker = self.meter.tracker();
        StreamReport {
            name: self.name.clone(),
            kind: "udp".into(),
            rate_asked: self.rate,
            sent: self.issued,
            missed: self.pace.missed(),
            received: tracker.unique(),
            lost: self.issued - tracker.unique(),
            reordered: tracker.reordered(),
            duplicates: tracker.duplicates(),
            damaged: self.meter.damaged(),
            misdelivered: self.meter.misdelivered(),
            sent_bytes: self.bytes,
            bytes: self.meter.bytes(),
            latency: self.meter.latency(),
            ..StreamReport::default()
        }
    }
}
