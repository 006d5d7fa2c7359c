//! A stream of numbered datagrams.

use std::time::Duration;

use ::tests::{Failure, Outcome};
use sys::Frame;

use super::flows::{Rotation, Space};
use super::meter::Meter;
use super::pace::Pace;
use super::port::Port;
use super::profile::UdpStream;
use super::report::StreamReport;
use super::run::Setting;
use super::stamp::Stamp;
use super::template::Template;

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
    meter: Meter,
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
            pace: Pace::new(rate, stream.burst, setting.start),
            issued: 0,
            meter: Meter::new(rotation),
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
        true
    }

    /// Whether a packet is at the end of its way when a task has it.
    #[must_use]
    pub fn is_one_way(&self) -> bool {
        !self.echo
    }

    /// A packet of ours is at the end of its way.
    pub fn accept(&mut self, stamp: &Stamp, frame: &Frame, now: Duration) {
        self.meter.accept(stamp, self.issued, frame.len(), now);
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
            strange: tracker.strange(),
            bytes: self.meter.bytes(),
            latency: self.meter.latency(),
            ..StreamReport::default()
        }
    }
}
