//! One run of a profile: one thread that sends, plays the tasks, and listens.

use std::time::Duration;

use ::tests::Outcome;
use sys::{BURST, Frame, clock};

use super::check;
use super::connections::Connections;
use super::datagrams::Datagrams;
use super::flood::{self, Flood};
use super::network::VIP;
use super::port::Port;
use super::profile::{Profile, Stream};
use super::progress::Progress;
use super::report::{Machine, Report, StreamReport};
use super::responder;
use super::seats::{End, task};
use super::segment::{Segment, turn_around};
use super::stamp::Stamp;
use super::view::{UDP, View};

/// How long the last packets may take (RFC 2544 §23), if any are missing.
pub const DRAIN: Duration = Duration::from_secs(2);
/// How long to wait for the rest of a flood, of which some never comes.
const GRACE_OF_FLOODS: Duration = Duration::from_millis(300);
/// Bursts that a port gives in one look.
const LOOKS: usize = 4;
/// When a trial resigns: the part that is missing, and how long nothing has come.
pub const HOPELESS: f64 = 0.05;
/// See [`HOPELESS`].
pub const SILENCE: Duration = Duration::from_millis(300);
/// How long connections that stand may take to end.
const GRACE_OF_CONNECTIONS: Duration = Duration::from_secs(2);

/// What all streams of a run have in common.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Number of the run in this process.
    pub run: u16,
    /// When it begins.
    pub start: Duration,
    /// When sending ends.
    pub end: Duration,
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
    /// How long the last packets may take.
    pub drain: Duration,
    /// Waits no longer once nothing has come for [`SILENCE`] and [`HOPELESS`] or more is missing.
    pub resigns: bool,
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

    fn close(&mut self, end: Duration) {
        match self {
            Source::Udp(datagrams) => datagrams.close(end),
            Source::Tcp(connections) => connections.close(end),
            Source::Syn(flood) => flood.close(end),
        }
    }

    /// What has to be sent when sending is over: what was lost of what stands open.
    fn settle(&mut self, now: Duration, ports: &mut [Port]) {
        if let Source::Tcp(connections) = self {
            connections.look_for_silence(now, ports);
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

    /// Whether connections to this port are its own.
    fn serves(&self, port: u16) -> bool {
        match self {
            Source::Udp(_) => false,
            Source::Tcp(connections) => connections.serves(port),
            Source::Syn(flood) => flood.serves(port),
        }
    }

    /// How long to go on listening for it.
    fn grace(&self, drain: Duration) -> Duration {
        match self {
            Source::Udp(datagrams) if datagrams.progress().0 == datagrams.progress().1 => Duration::ZERO,
            Source::Tcp(connections) if connections.open() > 0 => GRACE_OF_CONNECTIONS,
            Source::Tcp(_) => Duration::ZERO,
            Source::Udp(_) => drain,
            Source::Syn(_) => GRACE_OF_FLOODS,
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
    let end = start + options.duration;
    let setting = Setting { run: options.run, start, end, line_bits: profile.line_bits(), scale: options.scale };
    let sources: Outcome<Vec<_>> =
        profile.stream.iter().enumerate().map(|(index, stream)| Source::new(index, stream, &setting)).collect();
    let before = totals(ends);
    let names = profile.stream.iter().map(|stream| stream.name().to_owned()).collect();
    let progress = Progress::new(start, options.show, names);
    let mut runner = Runner { run: options.run, sources: sources?, progress, strays: 0, heard: start };
    runner.go(ends, end, options);
    let after = totals(ends);
    Ok(Report {
        profile: profile.clone(),
        target: target.to_owned(),
        machine,
        seconds: options.duration.as_secs_f64(),
        refused: after[0] - before[0],
        overrun: after[1].saturating_sub(before[1]),
        overflowed: after[2] - before[2],
        strays: runner.strays,
        command: String::new(),
        commit: String::new(),
        streams: runner.sources.iter().map(Source::report).collect(),
        ticks: runner.progress.into_ticks(),
        counters: Vec::new(),
        search: None,
    })
}

/// Refused, overrun and overflowed frames of all ports.
fn totals(ends: &Ends) -> [u64; 3] {
    let sum = |of: fn(&Port) -> u64| ends.clients.iter().chain(&ends.tasks).map(of).sum();
    [sum(Port::refused), sum(Port::overrun), sum(Port::overflowed)]
}

struct Runner {
    run: u16,
    sources: Vec<Source>,
    progress: Progress,
    strays: u64,
    /// When something came last.
    heard: Duration,
}

impl Runner {
    fn go(&mut self, ends: &mut Ends, end: Duration, options: &Options) {
        let mut open = true;
        loop {
            let now = clock::now();
            if now < end {
                self.sources.iter_mut().for_each(|source| source.send(now, &mut ends.clients));
            } else if open {
                self.sources.iter_mut().for_each(|source| source.close(end));
                open = false;
            } else if self.sources.iter().all(|source| now >= end + source.grace(options.drain))
                || options.resigns && self.is_hopeless(now.saturating_sub(end.max(self.heard)))
            {
                break;
            } else {
                self.sources.iter_mut().for_each(|source| source.settle(now, &mut ends.clients));
            }
            ends.clients.iter_mut().for_each(Port::flush);
            let heard = self.listen(ends);
            self.progress.show(now, || counts(&self.sources));
            if heard > 0 {
                self.heard = now;
            } else {
                // On two cores, what is tested may want this one.
                std::thread::yield_now();
            }
        }
        self.progress.finish(clock::now(), || counts(&self.sources));
    }

    /// Whether waiting on will not change much, after so long a silence.
    fn is_hopeless(&self, silence: Duration) -> bool {
        let (sent, received) =
            counts(&self.sources).into_iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        silence >= SILENCE && received as f64 <= sent as f64 * (1.0 - HOPELESS)
    }

    fn listen(&mut self, ends: &mut Ends) -> usize {
        let mut total = 0;
        for port in &mut ends.tasks {
            total += looks(|| self.hear_at_task(port));
            port.flush();
        }
        for index in 0..ends.clients.len() {
            total += looks(|| self.hear_at_client(index, &mut ends.clients));
        }
        ends.clients.iter_mut().for_each(Port::flush);
        total
    }

    fn hear_at_task(&mut self, port: &mut Port) -> usize {
        let mut frames = port.receive();
        let (count, now) = (frames.len(), clock::now());
        for frame in frames.drain(..) {
            if let Some(frame) = self.at_task(frame, now, port) {
                port.put(frame);
            }
        }
        port.recycle(frames);
        count
    }

    fn hear_at_client(&mut self, index: usize, ports: &mut [Port]) -> usize {
        let frames = ports[index].receive();
        let (count, now) = (frames.len(), clock::now());
        for frame in &frames {
            self.at_client(frame, now, ports);
        }
        ports[index].recycle(frames);
        count
    }

    /// A frame has come to the tasks' side. Gives it back unless it was sent on.
    fn at_task(&mut self, mut frame: Frame, now: Duration, port: &mut Port) -> Option<Frame> {
        let Some(view) = View::of(frame.bytes()) else { return Some(frame) };
        if view.protocol == UDP {
            if let Some((datagrams, stamp)) = self.datagram(&frame, &view, End::Task) {
                if datagrams.is_one_way() {
                    datagrams.accept(&stamp, frame.len(), now);
                } else {
                    turn_around(&mut frame, &view);
                    port.queue(frame);
                    return None;
                }
            }
            return Some(frame);
        }
        let Some((segment, _)) = Segment::read(frame.bytes(), &view) else { return Some(frame) };
        let whole = check::is_whole(frame.bytes(), &view);
        let address = segment.target.0;
        let here = if view.tunnelled { task(frame.bytes(), address).is_some() } else { address == VIP };
        let right = here && self.sources.iter().any(|source| source.serves(segment.target.1));
        if let Some(Source::Syn(flood)) =
            flood::stream_of(&segment).and_then(|stream| self.sources.get_mut(usize::from(stream)))
        {
            flood.accept(whole, right);
        } else if whole && right {
            responder::answer(&frame, &view, port);
        } else {
            self.note(segment.target.1, whole);
        }
        Some(frame)
    }

    /// A frame has come back to the clients.
    fn at_client(&mut self, frame: &Frame, now: Duration, ports: &mut [Port]) {
        let Some(view) = View::of(frame.bytes()) else { return };
        if view.protocol == UDP {
            if let Some((datagrams, stamp)) = self.datagram(frame, &view, End::Client)
                && !datagrams.is_one_way()
            {
                datagrams.accept(&stamp, frame.len(), now);
            }
            return;
        }
        let Some((segment, payload)) = Segment::read(frame.bytes(), &view) else { return };
        if !check::is_whole(frame.bytes(), &view) || segment.source.0 != VIP {
            return self.note(segment.source.1, segment.source.0 != VIP);
        }
        for source in &mut self.sources {
            if let Source::Tcp(connections) = source
                && connections.hear(&segment, payload, now, ports)
            {
                return;
            }
        }
    }

    /// A segment to or from this port of the service was damaged, or (`whole`) at the wrong place.
    fn note(&mut self, port: u16, whole: bool) {
        for source in &mut self.sources {
            if let Source::Tcp(connections) = source
                && connections.serves(port)
            {
                return if whole { connections.misdeliver() } else { connections.damage() };
            }
        }
        self.strays += 1;
    }

    /// The stamp of a datagram of this run that is whole and where it belongs, and the stream that it is of.
    fn datagram(&mut self, frame: &Frame, view: &View, end: End) -> Option<(&mut Datagrams, Stamp)> {
        let stamp = Stamp::read(view.datagram(frame.bytes())?)?;
        match self.sources.get_mut(usize::from(stamp.stream)) {
            Some(Source::Udp(datagrams)) if stamp.run == self.run => {
                datagrams.examine(&stamp, frame.bytes(), view, end).then_some((datagrams, stamp))
            }
            _ => {
                // Whole ones come late from an earlier run.
                self.strays += u64::from(!check::is_whole(frame.bytes(), view));
                None
            }
        }
    }
}

/// Looks at a port until it has nothing more, but not for ever.
fn looks(mut look: impl FnMut() -> usize) -> usize {
    let mut total = 0;
    for _ in 0..LOOKS {
        let heard = look();
        total += heard;
        if heard < BURST {
            break;
        }
    }
    total
}

fn counts(sources: &[Source]) -> Vec<(u64, u64)> {
    sources.iter().map(Source::progress).collect()
}
