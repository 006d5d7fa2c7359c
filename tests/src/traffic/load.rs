//! As much as will go, for a given time: one thread, many slots, each with one exchange under way.

use crate::clock;
use crate::{Failure, Outcome, ensure};
use clap::{Args, ValueEnum};
use mio::net::{TcpStream, UdpSocket};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use serde::{Deserialize, Serialize};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

/// An answer that takes longer is lost, if it is a datagram, and counted as stuck, if it is not.
const PATIENCE: Duration = Duration::from_millis(500);
/// Payload of a datagram.
const DATAGRAM: [u8; 64] = [0x5a; 64];
const BUFFER: usize = 65_536;
const NANOS: u64 = 1_000_000_000;
const BELL: Token = Token(usize::MAX);

/// What an exchange is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Connect, one request, until the server has closed.
    Connect,
    /// One request and its answer, on a connection that stays.
    KeepAlive,
    /// A datagram and its echo.
    Udp,
}

/// Keeps all slots busy until the time is over.
#[derive(Args)]
pub struct Load {
    /// Where to; slots take them in turn.
    #[arg(required = true)]
    targets: Vec<SocketAddrV4>,
    /// What to do there.
    #[arg(long, value_enum)]
    kind: Kind,
    /// How many exchanges at a time.
    #[arg(long, default_value_t = 1)]
    at_once: usize,
    /// How long.
    #[arg(long, default_value_t = 1000)]
    millis: u64,
    /// So many exchanges a second, by a timetable that waits for nobody: an exchange counts from when it was due. Left out: each
    /// begins when another one has ended.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
}

/// What came of it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Exchanges that were completed.
    pub done: u64,
    /// Exchanges that were cut off or, as datagrams, lost.
    pub failed: u64,
    /// Exchanges under way at the end for longer than half a second, and those that were due and had not begun.
    pub stuck: u64,
    /// A second.
    pub rate: f64,
    /// Percentiles of the time from beginning to end.
    pub p50_us: f64,
    /// See above.
    pub p99_us: f64,
    /// See above.
    pub p999_us: f64,
}

enum Wire {
    Tcp(TcpStream),
    Udp(UdpSocket),
}

struct Slot {
    wire: Option<Wire>,
    begun: Instant,
    /// An exchange is under way.
    busy: bool,
    sent: bool,
    received: usize,
    next_target: usize,
}

/// When exchanges are due.
struct Timetable {
    start: Instant,
    rate: u32,
    issued: u64,
}

impl Timetable {
    /// When the next one was due, if it was.
    fn next(&mut self, now: Instant) -> Option<Instant> {
        let at = self.start + Duration::from_nanos(self.issued * NANOS / u64::from(self.rate));
        (at <= now).then(|| {
            self.issued += 1;
            at
        })
    }

    /// How many were due after this time and have not begun; one may be due at this very moment.
    fn owed(&self, took: Duration) -> u64 {
        (took.as_nanos() as u64 * u64::from(self.rate) / NANOS).saturating_sub(self.issued)
    }
}

impl Slot {
    fn is_late(&self) -> bool {
        self.busy && self.begun.elapsed() > PATIENCE
    }
}

struct Run<'a> {
    load: &'a Load,
    timetable: Option<Timetable>,
    /// Slots that wait for the timetable.
    idle: Vec<usize>,
    poll: Poll,
    slots: Vec<Slot>,
    latencies_ns: Vec<u32>,
    report: Report,
    /// Length of a whole answer, known after the first one.
    answer_len: usize,
    buffer: Vec<u8>,
}

impl Load {
    /// Runs it.
    ///
    /// # Errors
    /// No sockets, or not a single exchange succeeds.
    pub fn run(&self) -> Outcome<Report> {
        let start = clock::now();
        let slot = |index| Slot {
            wire: None,
            begun: start,
            busy: false,
            sent: false,
            received: 0,
            next_target: index % self.targets.len(),
        };
        let mut run = Run {
            load: self,
            timetable: self.rate.map(|rate| Timetable { start, rate, issued: 0 }),
            idle: Vec::new(),
            poll: Poll::new()?,
            slots: (0..self.at_once).map(slot).collect(),
            latencies_ns: Vec::with_capacity(1 << 20),
            report: Report::default(),
            answer_len: 0,
            buffer: vec![0; BUFFER],
        };
        for index in 0..self.at_once {
            run.next(index)?;
        }
        let bell = self.rate.map(bell).transpose()?;
        if let Some(bell) = &bell {
            run.poll.registry().register(&mut SourceFd(&bell.as_fd().as_raw_fd()), BELL, Interest::READABLE)?;
        }
        let mut events = Events::with_capacity(self.at_once + 1);
        while start.elapsed() < Duration::from_millis(self.millis) {
            run.poll.poll(&mut events, Some(Duration::from_millis(10)))?;
            for event in events.iter().filter(|event| event.token() != BELL) {
                run.advance(event.token().0)?;
            }
            if let Some(bell) = &bell {
                // Sets it again; one that has not rung has nothing to tell.
                let _ = bell.wait();
                run.begin_due()?;
            }
            if self.kind == Kind::Udp {
                run.give_up_lost()?;
            }
        }
        run.finish(start.elapsed())
    }

    fn request(&self) -> &'static [u8] {
        match self.kind {
            Kind::Connect => b"GET / HTTP/1.0\r\n\r\n",
            Kind::KeepAlive => b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            Kind::Udp => &DATAGRAM,
        }
    }
}

/// Rings as often as an exchange is due: waiting for sockets alone is good to a millisecond only.
fn bell(rate: u32) -> Outcome<TimerFd> {
    let bell = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
    let period = TimeSpec::from_duration(Duration::from_secs(1) / rate);
    bell.set(Expiration::Interval(period), TimerSetTimeFlags::empty())?;
    Ok(bell)
}

impl Run<'_> {
    /// What a free slot does next: begin at once, or when the timetable says so.
    fn next(&mut self, index: usize) -> Outcome {
        if self.timetable.is_none() {
            return self.begin(index, clock::now());
        }
        self.idle.push(index);
        self.begin_due()
    }

    /// Begins what is due, as far as there are free slots.
    fn begin_due(&mut self) -> Outcome {
        while let Some(timetable) = &mut self.timetable
            && !self.idle.is_empty()
            && let Some(at) = timetable.next(clock::now())
            && let Some(index) = self.idle.pop()
        {
            self.begin(index, at)?;
        }
        Ok(())
    }

    /// A new exchange in a slot, with a new socket if it has none.
    fn begin(&mut self, index: usize, begun: Instant) -> Outcome {
        let slot = &mut self.slots[index];
        (slot.begun, slot.busy) = (begun, true);
        slot.received = 0;
        slot.sent = false;
        if slot.wire.is_some() {
            return self.send(index);
        }
        let target = SocketAddr::V4(self.load.targets[slot.next_target]);
        slot.next_target = (slot.next_target + 1) % self.load.targets.len();
        let (registry, token) = (self.poll.registry(), Token(index));
        if self.load.kind == Kind::Udp {
            let mut socket = UdpSocket::bind(SocketAddr::from(([0, 0, 0, 0], 0)))?;
            socket.connect(target)?;
            registry.register(&mut socket, token, Interest::READABLE)?;
            slot.wire = Some(Wire::Udp(socket));
            return self.send(index);
        }
        let mut stream = TcpStream::connect(target)?;
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        slot.wire = Some(Wire::Tcp(stream));
        Ok(())
    }

    fn send(&mut self, index: usize) -> Outcome {
        let slot = &mut self.slots[index];
        let request = self.load.request();
        let sent = match &mut slot.wire {
            Some(Wire::Tcp(stream)) => stream.write(request),
            Some(Wire::Udp(socket)) => socket.send(request),
            None => return Ok(()),
        };
        match sent {
            Ok(len) => {
                ensure!(len == request.len(), "a request of {len} bytes was sent");
                slot.sent = true;
                Ok(())
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => Ok(()),
            Err(_) => self.fail(index),
        }
    }

    /// Something happened to a slot's socket: take it as far as it goes.
    fn advance(&mut self, index: usize) -> Outcome {
        if !self.slots[index].busy {
            return Ok(());
        }
        if !self.slots[index].sent {
            self.send(index)?;
        }
        while self.slots[index].sent {
            let slot = &mut self.slots[index];
            let got = match &mut slot.wire {
                Some(Wire::Tcp(stream)) => stream.read(&mut self.buffer),
                Some(Wire::Udp(socket)) => socket.recv(&mut self.buffer),
                None => return Ok(()),
            };
            match got {
                Ok(0) if self.load.kind == Kind::Connect && slot.received > 0 => return self.complete(index),
                Ok(0) => return self.fail(index),
                Ok(len) => slot.received += len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(_) => return self.fail(index),
            }
            if self.load.kind != Kind::Connect && self.is_whole(index) {
                self.complete(index)?;
            }
        }
        Ok(())
    }

    /// Answers all have the same length: that of the first one, whose headers tell it.
    fn is_whole(&mut self, index: usize) -> bool {
        if self.load.kind == Kind::Udp {
            return true;
        }
        let received = self.slots[index].received;
        if self.answer_len == 0 {
            let text = String::from_utf8_lossy(&self.buffer[..received]);
            let body: usize = text
                .split_once("Content-Length: ")
                .and_then(|(_, rest)| rest.split_once("\r\n"))
                .and_then(|(digits, _)| digits.parse().ok())
                .unwrap_or(0);
            self.answer_len = text.split_once("\r\n\r\n").map_or(0, |(head, _)| head.len() + 4 + body);
        }
        received == self.answer_len
    }

    fn complete(&mut self, index: usize) -> Outcome {
        let took = self.slots[index].begun.elapsed().as_nanos();
        self.latencies_ns.push(u32::try_from(took).unwrap_or(u32::MAX));
        if self.load.kind == Kind::Connect {
            self.slots[index].wire = None;
        }
        (self.slots[index].busy, self.slots[index].sent) = (false, false);
        self.next(index)
    }

    fn fail(&mut self, index: usize) -> Outcome {
        self.report.failed += 1;
        self.slots[index].wire = None;
        (self.slots[index].busy, self.slots[index].sent) = (false, false);
        self.next(index)
    }

    fn give_up_lost(&mut self) -> Outcome {
        for index in 0..self.slots.len() {
            if self.slots[index].is_late() {
                self.fail(index)?;
            }
        }
        Ok(())
    }

    fn finish(mut self, took: Duration) -> Outcome<Report> {
        ensure!(!self.latencies_ns.is_empty(), "not one exchange was completed ({} failed)", self.report.failed);
        self.latencies_ns.sort_unstable();
        let last = self.latencies_ns.len() - 1;
        let per_mille = |p: usize| f64::from(self.latencies_ns[last * p / 1000]) / 1000.0;
        let done = u32::try_from(self.latencies_ns.len())?;
        let stuck = self.slots.iter().filter(|slot| slot.is_late()).count();
        let owed = self.timetable.as_ref().map_or(0, |timetable| timetable.owed(took));
        Ok(Report {
            done: u64::from(done),
            stuck: stuck as u64 + owed,
            rate: f64::from(done) / took.as_secs_f64(),
            p50_us: per_mille(500),
            p99_us: per_mille(990),
            p999_us: per_mille(999),
            ..self.report
        })
    }
}

/// Opens connections and keeps them, idle, until it is killed.
#[derive(Args)]
pub struct Crowd {
    /// Where to, in turn.
    #[arg(required = true)]
    targets: Vec<SocketAddrV4>,
    /// How many.
    #[arg(long)]
    count: usize,
}

impl Crowd {
    /// Runs it; prints `ready` when all are open and each has had one answer.
    ///
    /// # Errors
    /// A connection fails.
    pub fn run(&self) -> Outcome {
        let mut open = Vec::with_capacity(self.count);
        for index in 0..self.count {
            let target = self.targets[index % self.targets.len()];
            open.push(ask_once(target).map_err(|error| Failure::new(format!("connection {index}: {error}")))?);
        }
        println!("ready {}", open.len());
        loop {
            std::thread::park();
        }
    }
}

/// A connection that has had its one answer.
fn ask_once(target: SocketAddrV4) -> std::io::Result<std::net::TcpStream> {
    let limit = Duration::from_secs(5);
    let mut stream = std::net::TcpStream::connect_timeout(&target.into(), limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")?;
    let mut buffer = [0; 4096];
    match stream.read(&mut buffer)? {
        0 => Err(ErrorKind::UnexpectedEof.into()),
        _ => Ok(stream),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// Answers one connection; the first request only after `stall`.
    fn server(stall: Duration) -> SocketAddrV4 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let SocketAddr::V4(address) = listener.local_addr().unwrap() else { panic!("not IPv4") };
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut buffer, mut pause) = ([0; 1024], stall);
            while stream.read(&mut buffer).is_ok_and(|len| len > 0) {
                std::thread::sleep(std::mem::take(&mut pause));
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap_or_default();
            }
        });
        address
    }

    #[test]
    fn a_timetable_waits_for_nobody() {
        // Forty are due in time; those of the first 200 ms find the only connection stalled, and each counts from when it was due.
        let targets = vec![server(Duration::from_millis(200))];
        let load = Load { targets, kind: Kind::KeepAlive, at_once: 1, millis: 400, rate: Some(100) };
        let report = load.run().unwrap();
        assert!(report.done >= 2 && report.rate <= 105.0, "{report:?}");
        // The second slowest: without a timetable only one would have met the stall.
        assert!(report.p99_us >= 150_000.0, "{report:?}");
        assert_eq!(report.failed, 0, "{report:?}");
    }

    #[test]
    fn what_was_due_and_did_not_begin_is_told() {
        let start = clock::now();
        let mut timetable = Timetable { start, rate: 10, issued: 0 };
        let later = start + Duration::from_millis(250);
        let due: Vec<_> = std::iter::from_fn(|| timetable.next(later)).map(|at| at - start).collect();
        assert_eq!(due, [0, 100, 200].map(Duration::from_millis));
        assert_eq!((timetable.owed(Duration::from_millis(250)), timetable.owed(Duration::from_secs(1))), (0, 7));
    }
}
