//! Control's own packets to backends and the answers to them: health checks go the way that traffic goes.
//!
//! Control leaves whole IP packets for worker 0, which sends them by the backend's adjacency. They come from SNAT ports
//! that no flow gets, so an answer is known by its port, whichever worker hears it, and goes back by a queue. A port only
//! takes what comes from the address that is asked there, and only a few packets until control has looked at them: a task
//! that sends without end crowds out nobody but itself.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;

use crossbeam::queue::ArrayQueue;

use crate::core::SnatPorts;
use crate::exchange::Mailbox;
use crate::service::BackendId;
use crate::verdict::DropReason;

/// Packets on their way to worker 0 at most.
const OUTGOING_PACKETS: usize = 1024;
/// Packets on their way to control at most.
const ANSWER_PACKETS: usize = 2048;
/// Packets of one port that wait for control at most.
const WAITING_EACH: u32 = 16;
/// The longest answer that is passed on: a whole receive window, joined by the task's kernel into one segment.
const LONGEST_ANSWER: usize = 20_000;
/// SNAT ports of each kind that are taken from the flows; an eighth of a range that is small.
const PORTS: usize = 1024;

/// How a probe goes, which decides its ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProbeKind {
    /// From our overlay address.
    Overlay,
    /// From an address for plain routing.
    Plain,
}

/// A packet for a backend.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) backend: BackendId,
    pub(crate) packet: Vec<u8>,
}

/// A packet for control.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// How it came.
    pub kind: ProbeKind,
    /// To which port.
    pub port: u16,
    /// From its IPv4 header on: the answer itself, or an ICMP error about what was sent from that port.
    pub packet: Vec<u8>,
}

/// What a port waits for.
#[derive(Debug, Default)]
struct Seat {
    /// Whose packets are taken; 0: nobody's.
    expected: AtomicU32,
    /// How many wait for control.
    waiting: AtomicU32,
}

/// Where control and the workers meet.
#[derive(Debug)]
pub struct Probes {
    ports: SnatPorts,
    overlay: Box<[Seat]>,
    plain: Box<[Seat]>,
    outgoing: ArrayQueue<Outgoing>,
    answers: ArrayQueue<Answer>,
    listener: OnceLock<Thread>,
}

/// Takes the ports of probes from the ends of the ranges; gives those of flows, and those of probes.
#[must_use]
pub fn split_ports(all: &SnatPorts) -> (SnatPorts, SnatPorts) {
    let (overlay, probes_overlay) = split(&all.overlay);
    let (plain, probes_plain) = split(&all.plain);
    (SnatPorts { overlay, plain }, SnatPorts { overlay: probes_overlay, plain: probes_plain })
}

fn split(range: &RangeInclusive<u16>) -> (RangeInclusive<u16>, RangeInclusive<u16>) {
    let taken = PORTS.min(range.len() / 8) as u16;
    let first = range.end() - taken + 1;
    if taken == 0 {
        return (range.clone(), RangeInclusive::new(1, 0));
    }
    (*range.start()..=first - 1, first..=*range.end())
}

impl Probes {
    /// Without anything under way. `ports` are those of probes alone.
    #[must_use]
    pub fn new(ports: SnatPorts) -> Self {
        let seats = |range: &RangeInclusive<u16>| (0..range.len()).map(|_| Seat::default()).collect();
        Self {
            overlay: seats(&ports.overlay),
            plain: seats(&ports.plain),
            ports,
            outgoing: ArrayQueue::new(OUTGOING_PACKETS),
            answers: ArrayQueue::new(ANSWER_PACKETS),
            listener: OnceLock::new(),
        }
    }

    /// Without ports: nothing can be probed.
    #[must_use]
    pub fn none() -> Self {
        let empty = RangeInclusive::new(1, 0);
        Self::new(SnatPorts { overlay: empty.clone(), plain: empty })
    }

    fn range(&self, kind: ProbeKind) -> &RangeInclusive<u16> {
        match kind {
            ProbeKind::Overlay => &self.ports.overlay,
            ProbeKind::Plain => &self.ports.plain,
        }
    }

    fn seat(&self, kind: ProbeKind, port: u16) -> Option<&Seat> {
        let place = port.checked_sub(*self.range(kind).start())?;
        let seats = if kind == ProbeKind::Overlay { &self.overlay } else { &self.plain };
        seats.get(usize::from(place))
    }

    /// Worker: whether the port is one of probes.
    #[inline]
    pub(crate) fn has_port(&self, kind: ProbeKind, port: u16) -> bool {
        self.range(kind).contains(&port)
    }

    /// Worker: whether control has left something.
    #[inline]
    pub(crate) fn is_waiting(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Worker: the next packet to send.
    pub(crate) fn take(&self) -> Option<Outgoing> {
        self.outgoing.pop()
    }

    /// Worker: passes a packet on to control.
    ///
    /// # Errors
    /// Nobody waits for it, or too many wait already.
    pub fn answer(&self, kind: ProbeKind, port: u16, from: Ipv4Addr, packet: &[u8]) -> Result<(), DropReason> {
        let seat = self.seat(kind, port).ok_or(DropReason::ProbeUnexpected)?;
        if from.is_unspecified() || seat.expected.load(Ordering::Relaxed) != from.to_bits() {
            return Err(DropReason::ProbeUnexpected);
        }
        if packet.len() > LONGEST_ANSWER {
            return Err(DropReason::ProbeQueueFull);
        }
        if seat.waiting.fetch_add(1, Ordering::Relaxed) >= WAITING_EACH {
            seat.leave();
            return Err(DropReason::ProbeQueueFull);
        }
        let answer = Answer { kind, port, packet: packet.to_vec() };
        if self.answers.push(answer).is_err() {
            seat.leave();
            return Err(DropReason::ProbeQueueFull);
        }
        if let Some(thread) = self.listener.get() {
            thread.unpark();
        }
        Ok(())
    }
}

impl Seat {
    fn leave(&self) {
        // Never below zero: a count that is off by one costs a packet, one that wraps costs the port.
        let _ = self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| Some(n.saturating_sub(1)));
    }
}

/// Control's end.
#[derive(Clone, Debug)]
pub struct ProbeLine {
    probes: Arc<Probes>,
    boxes: Arc<[Mailbox]>,
}

impl ProbeLine {
    /// To the worker whose mailbox is the first.
    #[must_use]
    pub fn new(probes: Arc<Probes>, boxes: Arc<[Mailbox]>) -> Self {
        Self { probes, boxes }
    }

    /// The calling thread is unparked when answers come; the first caller keeps that for ever.
    pub fn listen(&self) {
        let _ = self.probes.listener.set(std::thread::current());
    }

    /// The ports to send from.
    #[must_use]
    pub fn ports(&self, kind: ProbeKind) -> RangeInclusive<u16> {
        self.probes.range(kind).clone()
    }

    /// What this address sends to the port is taken from now on.
    pub fn expect(&self, kind: ProbeKind, port: u16, from: Ipv4Addr) {
        if let Some(seat) = self.probes.seat(kind, port) {
            seat.expected.store(from.to_bits(), Ordering::Relaxed);
        }
    }

    /// Nothing is taken there any more.
    pub fn forget(&self, kind: ProbeKind, port: u16) {
        self.expect(kind, port, Ipv4Addr::UNSPECIFIED);
    }

    /// Sends an IP packet to a backend. False: the queue is full, it is lost.
    #[must_use]
    pub fn send(&self, backend: BackendId, packet: Vec<u8>) -> bool {
        let sent = self.probes.outgoing.push(Outgoing { backend, packet }).is_ok();
        if let Some(mailbox) = self.boxes.first() {
            mailbox.wake();
        }
        sent
    }

    /// The next answer.
    #[must_use]
    pub fn receive(&self) -> Option<Answer> {
        let answer = self.probes.answers.pop()?;
        if let Some(seat) = self.probes.seat(answer.kind, answer.port) {
            seat.leave();
        }
        Some(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TASK: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 11);
    const OTHER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 12);

    fn line() -> (Arc<Probes>, ProbeLine) {
        let ports = SnatPorts { overlay: 64_512..=65_535, plain: 31_744..=32_767 };
        let probes = Arc::new(Probes::new(ports));
        let line = ProbeLine::new(Arc::clone(&probes), [Mailbox::new(1, None)].into());
        (probes, line)
    }

    #[test]
    fn flows_and_probes_share_no_port() {
        let all = SnatPorts { overlay: 1024..=65_535, plain: 1024..=2047 };
        let (flows, probes) = split_ports(&all);
        assert_eq!((flows.overlay, probes.overlay), (1024..=64_511, 64_512..=65_535));
        assert_eq!((flows.plain, probes.plain), (1024..=1919, 1920..=2047));
        let tiny = SnatPorts { overlay: 5..=5, plain: 1..=7 };
        let (flows, probes) = split_ports(&tiny);
        assert_eq!((flows.overlay, probes.overlay.len(), probes.plain.len()), (5..=5, 0, 0));
        let none = Probes::new(probes);
        assert!((0..=u16::MAX).all(|port| !none.has_port(ProbeKind::Plain, port)));
    }

    #[test]
    fn only_who_is_asked_is_heard() {
        let (probes, line) = line();
        let answer = |from, port| probes.answer(ProbeKind::Overlay, port, from, b"x");
        assert_eq!(answer(TASK, 65_000), Err(DropReason::ProbeUnexpected));
        line.expect(ProbeKind::Overlay, 65_000, TASK);
        assert_eq!(answer(OTHER, 65_000), Err(DropReason::ProbeUnexpected));
        assert_eq!(answer(TASK, 65_001), Err(DropReason::ProbeUnexpected));
        assert_eq!(answer(TASK, 80), Err(DropReason::ProbeUnexpected));
        assert_eq!(probes.answer(ProbeKind::Plain, 65_000, TASK, b"x"), Err(DropReason::ProbeUnexpected));
        assert_eq!(answer(TASK, 65_000), Ok(()));
        let heard = Answer { kind: ProbeKind::Overlay, port: 65_000, packet: b"x".to_vec() };
        assert_eq!((line.receive(), line.receive()), (Some(heard), None));
        line.forget(ProbeKind::Overlay, 65_000);
        assert_eq!(answer(TASK, 65_000), Err(DropReason::ProbeUnexpected));
        assert_eq!(answer(Ipv4Addr::UNSPECIFIED, 65_000), Err(DropReason::ProbeUnexpected));
    }

    #[test]
    fn a_loud_task_crowds_out_nobody_else() {
        let (probes, line) = line();
        line.expect(ProbeKind::Overlay, 65_000, TASK);
        line.expect(ProbeKind::Overlay, 65_001, OTHER);
        let answer = |from, port| probes.answer(ProbeKind::Overlay, port, from, b"x");
        let taken = (0..100).filter(|_| answer(TASK, 65_000).is_ok()).count();
        assert_eq!(taken, WAITING_EACH as usize);
        assert_eq!(answer(TASK, 65_000), Err(DropReason::ProbeQueueFull));
        assert_eq!(answer(OTHER, 65_001), Ok(()));
        assert!(line.receive().is_some());
        assert_eq!(answer(TASK, 65_000), Ok(()), "control has looked at one");
        let long = vec![0; LONGEST_ANSWER + 1];
        assert_eq!(probes.answer(ProbeKind::Overlay, 65_001, OTHER, &long), Err(DropReason::ProbeQueueFull));
        assert_eq!(answer(OTHER, 65_001), Ok(()));
    }

    /// It was never counted, so it is not taken away either.
    #[test]
    fn what_is_too_long_makes_no_room() {
        let (probes, line) = line();
        line.expect(ProbeKind::Overlay, 65_000, TASK);
        let answer = |len| probes.answer(ProbeKind::Overlay, 65_000, TASK, &vec![0; len]);
        assert!((0..WAITING_EACH).all(|_| answer(1).is_ok()));
        for _ in 0..20 {
            assert_eq!(answer(LONGEST_ANSWER + 1), Err(DropReason::ProbeQueueFull));
            assert_eq!(answer(1), Err(DropReason::ProbeQueueFull));
        }
    }

    #[test]
    fn a_full_queue_says_so() {
        let (_, line) = line();
        let sent = (0..2 * OUTGOING_PACKETS).filter(|_| line.send(BackendId(1), vec![0])).count();
        assert_eq!(sent, OUTGOING_PACKETS);
    }
}
