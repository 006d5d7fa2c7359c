//! TCP clients: connect, ask, read, ask again, close. Lost segments are sent again; nothing else of a TCP is here.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::flows::{Endpoint, Space};
use super::meter::histogram;
use super::pace::Pace;
use super::port::Port;
use super::profile::{End, TcpStream};
use super::report::{Latency, StreamReport};
use super::responder::{ASK_LEN, FILLER};
use super::run::Setting;
use super::segment::{Envelope, Flags, Segment, of_client};

/// A client waits so long before it sends again, twice as long the next time.
const PATIENCE: Duration = Duration::from_millis(250);
/// Sent so often in all, then given up.
const TRIES: u32 = 4;
/// Connections looked at per turn for time that has run out.
const LOOKS: usize = 64;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Free,
    Opening,
    /// The window is shut: somebody has answered for the task.
    Waiting,
    Asking,
    Closing,
}

/// One place for a connection.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    phase: Phase,
    /// Which of the stream's flows it is.
    flow: u64,
    /// The number of our next byte, and of the next one that we expect.
    seq: u32,
    ack: u32,
    /// `ack` when the present request was sent.
    asked_at: u32,
    requests_left: u64,
    since: Duration,
    deadline: Duration,
    tries: u32,
    /// Something of it had to be sent again.
    resent: bool,
}

/// The clients of one stream.
pub struct Connections {
    profile: TcpStream,
    space: Space,
    rate: f64,
    /// Flows in use: a multiple of the number of slots, so that a flow tells its slot.
    flows: u64,
    next: u64,
    slots: Vec<Slot>,
    looked: usize,
    pace: Pace,
    request: Vec<u8>,
    begun: u64,
    done: u64,
    reset: u64,
    timed_out: u64,
    blocked: u64,
    damaged: u64,
    misdelivered: u64,
    again: u64,
    resent: u64,
    bytes: u64,
    setup: Histogram<u64>,
    answers: Histogram<u64>,
}

impl Connections {
    /// The clients of this stream.
    #[must_use]
    pub fn new(stream: &TcpStream, space: Space, setting: &Setting) -> Connections {
        let rate = stream.rate.packets(64.0, setting.line_bits) * setting.scale;
        let mut request = vec![0x3c; usize::from(stream.request_bytes).max(ASK_LEN)];
        request[..ASK_LEN].copy_from_slice(&stream.response_bytes.to_be_bytes());
        Connections {
            flows: space.size() / stream.at_once * stream.at_once,
            // Another run begins elsewhere, since flows of the last one may still rest in tables.
            next: u64::from(setting.run) * 104_729 * stream.at_once,
            slots: vec![Slot::default(); stream.at_once as usize],
            pace: Pace::new(stream.timetable(rate, setting)),
            profile: stream.clone(),
            space,
            rate,
            looked: 0,
            request,
            begun: 0,
            done: 0,
            reset: 0,
            timed_out: 0,
            blocked: 0,
            damaged: 0,
            misdelivered: 0,
            again: 0,
            resent: 0,
            bytes: 0,
            setup: histogram(),
            answers: histogram(),
        }
    }

    /// Opens what is due, and sends again what got no answer.
    pub fn send(&mut self, now: Duration, ports: &mut [Port]) {
        let due = self.pace.due(now);
        for _ in 0..due {
            let index = (self.next % self.slots.len() as u64) as usize;
            if self.slots[index].phase != Phase::Free {
                // This many at once is all that the profile allows.
                self.pace.fail(1);
                self.blocked += 1;
                self.next += 1;
                continue;
            }
            let flow = self.next % self.flows;
            self.next += 1;
            self.begun += 1;
            // 31 bits: never the mark of a flood.
            let seq = (self.next as u32).wrapping_mul(0x9e37_79b1) >> 1;
            self.slots[index] = Slot { phase: Phase::Opening, flow, seq, since: now, ..Slot::default() };
            self.speak(index, now, ports);
        }
        self.look_for_silence(now, ports);
    }

    /// Sends again what got no answer in time, and gives up what never gets one.
    pub fn look_for_silence(&mut self, now: Duration, ports: &mut [Port]) {
        for _ in 0..LOOKS.min(self.slots.len()) {
            self.looked = (self.looked + 1) % self.slots.len();
            let slot = &mut self.slots[self.looked];
            if slot.phase == Phase::Free || now < slot.deadline {
                continue;
            }
            if slot.tries >= TRIES {
                slot.phase = Phase::Free;
                self.timed_out += 1;
                continue;
            }
            // The whole answer will come again.
            slot.ack = if slot.phase == Phase::Asking { slot.asked_at } else { slot.ack };
            slot.resent = true;
            self.again += 1;
            self.speak(self.looked, now, ports);
        }
    }

    /// Says what a connection has to say in its phase.
    fn speak(&mut self, index: usize, now: Duration, ports: &mut [Port]) {
        let slot = &mut self.slots[index];
        slot.deadline = now + PATIENCE * (1 << slot.tries);
        slot.tries += 1;
        let slot = self.slots[index];
        let (flags, payload): (_, &[u8]) = match slot.phase {
            Phase::Opening => (Flags::SYN, &[]),
            Phase::Waiting => (Flags::ACK, &[]),
            Phase::Asking => (Flags::ACK, &self.request),
            Phase::Closing => (Flags::FIN_ACK, &[]),
            Phase::Free => return,
        };
        transmit(self.space.endpoint(slot.flow), slot, flags, payload, ports);
    }

    /// Looks whether a segment is for one of our connections, and goes on with it. False: not ours.
    pub fn hear(&mut self, segment: &Segment, payload: &[u8], now: Duration, ports: &mut [Port]) -> bool {
        let (client, client_port) = segment.target;
        let Some(flow) = self.space.index(&Endpoint { client, client_port, port: segment.source.1 }) else {
            return false;
        };
        let index = (flow % self.slots.len() as u64) as usize;
        let slot = self.slots[index];
        if slot.flow != flow || slot.phase == Phase::Free {
            return false;
        }
        if segment.flags.rst {
            self.slots[index].phase = Phase::Free;
            self.reset += 1;
            return true;
        }
        match slot.phase {
            Phase::Opening if segment.flags == Flags::SYN_ACK && segment.ack == slot.seq.wrapping_add(1) => {
                let (seq, ack) = (slot.seq.wrapping_add(1), segment.seq.wrapping_add(1));
                self.slots[index] = Slot { seq, ack, requests_left: self.profile.requests.max(1), ..slot };
                self.begin(index, segment.window, now, ports);
            }
            Phase::Waiting if segment.window > 0 => self.begin(index, segment.window, now, ports),
            Phase::Asking if segment.seq == slot.ack => {
                if payload.iter().any(|byte| *byte != FILLER) {
                    // With valid checksums: somebody has changed it and covered that up. It comes again.
                    self.damaged += 1;
                    return true;
                }
                self.read(index, payload.len(), now, ports);
            }
            Phase::Closing if segment.flags.fin => {
                let slot = Slot { seq: slot.seq.wrapping_add(1), ack: segment.seq.wrapping_add(1), ..slot };
                transmit(self.space.endpoint(slot.flow), slot, Flags::ACK, &[], ports);
                self.finish(index);
            }
            _ => {}
        }
        true
    }

    /// The connection is open: asks, or waits for a window to ask into.
    fn begin(&mut self, index: usize, window: u16, now: Duration, ports: &mut [Port]) {
        let slot = &mut self.slots[index];
        if window == 0 {
            *slot = Slot { phase: Phase::Waiting, tries: 0, ..*slot };
            return self.speak(index, now, ports);
        }
        self.setup.saturating_record(now.saturating_sub(slot.since).as_nanos() as u64);
        self.ask(index, now, ports);
    }

    fn ask(&mut self, index: usize, now: Duration, ports: &mut [Port]) {
        let slot = &mut self.slots[index];
        *slot = Slot { phase: Phase::Asking, asked_at: slot.ack, since: now, tries: 0, ..*slot };
        self.speak(index, now, ports);
    }

    /// The next piece of an answer.
    fn read(&mut self, index: usize, len: usize, now: Duration, ports: &mut [Port]) {
        self.bytes += len as u64;
        let slot = &mut self.slots[index];
        slot.ack = slot.ack.wrapping_add(len as u32);
        if slot.ack.wrapping_sub(slot.asked_at) < self.profile.response_bytes {
            return;
        }
        self.answers.saturating_record(now.saturating_sub(slot.since).as_nanos() as u64);
        slot.seq = slot.seq.wrapping_add(self.request.len() as u32);
        slot.requests_left -= 1;
        if slot.requests_left > 0 {
            return self.ask(index, now, ports);
        }
        *slot = Slot { phase: Phase::Closing, tries: 0, ..*slot };
        match self.profile.end {
            End::Fin => self.speak(index, now, ports),
            End::Reset => {
                transmit(self.space.endpoint(slot.flow), *slot, Flags::RST_ACK, &[], ports);
                self.finish(index);
            }
        }
    }

    fn finish(&mut self, index: usize) {
        self.slots[index].phase = Phase::Free;
        self.done += 1;
        self.resent += u64::from(self.slots[index].resent);
    }

    /// Sending is over.
    pub fn close(&mut self, end: Duration) {
        self.pace.close(end);
    }

    /// Whether a segment from or to this port of the service is of this stream.
    #[must_use]
    pub fn serves(&self, port: u16) -> bool {
        self.space.ports.position(port).is_some()
    }

    /// A segment has arrived whose checksum is wrong: as good as lost.
    pub fn damage(&mut self) {
        self.damaged += 1;
    }

    /// A segment has arrived at somebody whom it was not for.
    pub fn misdeliver(&mut self) {
        self.misdelivered += 1;
    }

    /// Connections that are neither done nor given up.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.begun - self.done - self.reset - self.timed_out
    }

    /// Connections begun, and ended well.
    #[must_use]
    pub fn progress(&self) -> (u64, u64) {
        (self.begun, self.done)
    }

    /// What was found.
    #[must_use]
    pub fn report(&self) -> StreamReport {
        StreamReport {
            name: self.profile.name.clone(),
            kind: "tcp".into(),
            rate_asked: self.rate,
            sent: self.begun,
            missed: self.pace.missed() - self.blocked,
            blocked: self.blocked,
            reset: self.reset,
            timed_out: self.timed_out,
            unfinished: self.open(),
            damaged: self.damaged,
            misdelivered: self.misdelivered,
            received: self.done,
            lost: self.begun - self.done,
            bytes: self.bytes,
            latency: Latency::of(&self.setup),
            request: Latency::of(&self.answers),
            retransmitted: self.again,
            resent: self.resent,
            ..StreamReport::default()
        }
    }
}

fn transmit(from: Endpoint, slot: Slot, flags: Flags, payload: &[u8], ports: &mut [Port]) {
    let count = ports.len().max(1) as u64;
    // Nothing to send with is as if it was lost: time brings it again.
    let Some(port) = ports.get_mut((slot.flow % count) as usize) else { return };
    let Some(mut frame) = port.take() else { return };
    let segment = of_client((from.client, from.client_port), from.port, slot.seq, slot.ack, flags);
    if segment.write(&Envelope::to_gateway(), payload, &mut frame) {
        port.queue(frame);
    } else {
        port.put(frame);
    }
}
