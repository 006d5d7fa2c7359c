//! One run of a profile: one thread that sends, plays the tasks, and listens.

use std::time::Duration;

use ::tests::Outcome;
use sys::clock;

use super::connections::Connections;
use super::datagrams::Datagrams;
use super::flood::{self, Flood};
use super::port::Port;
use super::profile::{Profile, Stream};
use super::progress::Progress;
use super::report::{Machine, Report, StreamReport};
use super::responder;
use super::segment::{Segment, turn_around};
use super::stamp::Stamp;
use super::view::{UDP, View};

/// How long the last packets may take.
const GRACE: Duration = Duration::from_millis(300);
/// How long connections that stand may take to end.
const GRACE_OF_CONNECTIONS: Duration = Duration::from_secs(2);

/// What all streams of a run have in common.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Number of the run in this process.
    pub run: u16,
    /// When it begins.
    pub start: Duration,
    /// Bits a second of the line.
    pub line_bits: f64,
    /// All rates are multiplied by this.
    pub scale: f64,
}

/// What is tested, from outside: where clients are, and where tasks are. Port n of both sides belongs to worker n.
pub struct Ends {
    /// Towards clients.
    pub clients: Vec<Port>,
    /// Towards tasks.
    pub tasks: Vec<Port>,
}

/// How to run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Number of the run in this process, so that what comes late from another is not counted.
    pub run: u16,
    /// All rates are multiplied by this.
    pub scale: f64,
    /// How long to send.
    pub duration: Duration,
    /// Show a progress line.
    pub show: bool,
}

/// The state of one stream.
enum Source {
    Udp(Box<Datagrams>),
    Tcp(Box<Connections>),
    Syn(Box<Flood>),
}

impl Source {
    fn new(index: usize, stream: &Stream, setting: &Setting) -> Outcome<Source> {
        let space = stream.space();
        Ok(match stream {
            Stream::Udp(stream) => Source::Udp(Box::new(Datagrams::new(index, stream, space, setting)?)),
            Stream::Tcp(stream) => Source::Tcp(Box::new(Connections::new(stream, space, setting))),
            Stream::Syn(stream) => Source::Syn(Box::new(Flood::new(index, stream, space, setting))),
        })
    }

    fn send(&mut self, now: Duration, ports: &mut [Port]) {
        match self {
            Source::Udp(datagrams) => datagrams.send(now, ports),
            Source::Tcp(connections) => connections.send(now, ports),
            Source::Syn(flood) => flood.send(now, ports),
        }
    }

    fn progress(&self) -> (u64, u64) {
        match self {
            Source::Udp(datagrams) => datagrams.progress(),
            Source::Tcp(connections) => connections.progress(),
            Source::Syn(flood) => flood.progress(),
        }
    }

    fn report(&self) -> StreamReport {
        match self {
            Source::Udp(datagrams) => datagrams.report(),
            Source::Tcp(connections) => connections.report(),
            Source::Syn(flood) => flood.report(),
        }
    }

    /// How long to go on listening for it.
    fn grace(&self) -> Duration {
        match self {
            Source::Udp(datagrams) if datagrams.progress().0 == datagrams.progress().1 => Duration::ZERO,
            Source::Tcp(connections) if connections.open() > 0 => GRACE_OF_CONNECTIONS,
            Source::Tcp(_) => Duration::ZERO,
            Source::Udp(_) | Source::Syn(_) => GRACE,
        }
    }
}

/// Sends a profile through what is tested, and judges what arrives.
///
/// # Errors
/// The profile cannot be sent.
pub fn run(profile: &Profile, target: &str, ends: &mut Ends, options: &Options) -> Outcome<Report> {
    let machine = Machine::here();
    let start = clock::now();
    let setting = Setting { run: options.run, start, line_bits: profile.line_bits(), scale: options.scale };
    let sources: Outcome<Vec<_>> =
        profile.stream.iter().enumerate().map(|(index, stream)| Source::new(index, stream, &setting)).collect();
    let before = totals(ends);
    let mut runner = Runner { run: options.run, sources: sources?, progress: Progress::new(start, options.show) };
    runner.go(ends, start, options.duration);
    let after = totals(ends);
    Ok(Report {
        profile: profile.clone(),
        target: target.to_owned(),
        machine,
        seconds: options.duration.as_secs_f64(),
        refused: after.0 - before.0,
        overrun: after.1.saturating_sub(before.1),
        streams: runner.sources.iter().map(Source::report).collect(),
        ticks: runner.progress.into_ticks(),
        counters: Vec::new(),
        search: None,
    })
}

/// Refused and overrun frames of all ports.
fn totals(ends: &Ends) -> (u64, u64) {
    let ports = || ends.clients.iter().chain(&ends.tasks);
    (ports().map(Port::refused).sum(), ports().map(Port::overrun).sum())
}

struct Runner {
    run: u16,
    sources: Vec<Source>,
    progress: Progress,
}

impl Runner {
    fn go(&mut self, ends: &mut Ends, start: Duration, duration: Duration) {
        let end = start + duration;
        loop {
            let now = clock::now();
            if now < end {
                self.sources.iter_mut().for_each(|source| source.send(now, &mut ends.clients));
            } else if self.sources.iter().all(|source| now >= end + source.grace()) {
                break;
            }
            ends.clients.iter_mut().for_each(Port::flush);
            let heard = self.listen(ends);
            self.progress.show(now, || sum(&self.sources));
            if heard == 0 {
                // On two cores, what is tested may want this one.
                std::thread::yield_now();
            }
        }
        self.progress.finish(clock::now(), || sum(&self.sources));
    }

    fn listen(&mut self, ends: &mut Ends) -> usize {
        let mut total = 0;
        for port in &mut ends.tasks {
            let mut frames = port.receive();
            total += frames.len();
            let now = clock::now();
            for frame in frames.drain(..) {
                if let Some(frame) = self.at_task(frame, now, port) {
                    port.put(frame);
                }
            }
            port.recycle(frames);
            port.flush();
        }
        for index in 0..ends.clients.len() {
            let mut frames = ends.clients[index].receive();
            total += frames.len();
            let now = clock::now();
            for frame in &frames {
                self.at_client(frame, now, &mut ends.clients);
            }
            ends.clients[index].recycle(std::mem::take(&mut frames));
        }
        ends.clients.iter_mut().for_each(Port::flush);
        total
    }

    /// A frame has come to the tasks' side. Gives it back unless it was sent on.
    fn at_task(&mut self, mut frame: sys::Frame, now: Duration, port: &mut Port) -> Option<sys::Frame> {
        let Some(view) = View::of(frame.bytes()) else { return Some(frame) };
        if view.protocol == UDP {
            let stamp = self.stamp(&frame, &view);
            if let Some((datagrams, stamp)) = stamp {
                if datagrams.is_one_way() {
                    datagrams.accept(&stamp, &frame, now);
                } else {
                    turn_around(&mut frame, &view);
                    port.queue(frame);
                    return None;
                }
            }
            return Some(frame);
        }
        let flood = Segment::read(frame.bytes(), &view).and_then(|(segment, _)| flood::stream_of(&segment));
        match flood.and_then(|stream| self.sources.get_mut(usize::from(stream))) {
            Some(Source::Syn(flood)) => flood.accept(),
            _ => responder::answer(&frame, &view, port),
        }
        Some(frame)
    }

    /// A frame has come back to the clients.
    fn at_client(&mut self, frame: &sys::Frame, now: Duration, ports: &mut [Port]) {
        let Some(view) = View::of(frame.bytes()) else { return };
        if view.protocol == UDP {
            if let Some((datagrams, stamp)) = self.stamp(frame, &view)
                && !datagrams.is_one_way()
            {
                datagrams.accept(&stamp, frame, now);
            }
            return;
        }
        let Some((segment, payload)) = Segment::read(frame.bytes(), &view) else { return };
        for source in &mut self.sources {
            if let Source::Tcp(connections) = source
                && connections.hear(&segment, payload, now, ports)
            {
                return;
            }
        }
    }

    /// The stamp of a datagram of this run, and the stream that it is of.
    fn stamp(&mut self, frame: &sys::Frame, view: &View) -> Option<(&mut Datagrams, Stamp)> {
        let stamp = Stamp::read(view.datagram(frame.bytes())?)?;
        match self.sources.get_mut(usize::from(stamp.stream)) {
            Some(Source::Udp(datagrams)) if stamp.run == self.run => Some((datagrams, stamp)),
            _ => None,
        }
    }
}

fn sum(sources: &[Source]) -> (u64, u64) {
    sources.iter().map(Source::progress).fold((0, 0), |(sent, got), one| (sent + one.0, got + one.1))
}
