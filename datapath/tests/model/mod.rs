//! A small TCP, enough of RFC 9293, 2018, 2883 and 7323 to be the two ends of a connection: it sends, repeats, puts
//! together, and panics when it is told something that no TCP in its place could be told.
#![allow(dead_code, reason = "every test file uses another part")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, missing_docs, reason = "test code")]

use std::collections::BTreeMap;
use std::time::Duration;

use etherparse::TcpOptionElement;

pub const MSS: usize = 100;
const FIRST_RTO: Duration = Duration::from_millis(300);
const LONGEST_RTO: Duration = Duration::from_millis(2400);
/// Segments under way at a time.
const FLIGHT: u32 = 6;

/// What one end says, without addresses.
#[derive(Clone, Debug, Default)]
pub struct Said {
    pub flags: &'static str,
    pub seq: u32,
    pub ack: u32,
    pub window: u16,
    pub options: Vec<TcpOptionElement>,
    pub payload: Vec<u8>,
}

/// How an end behaves.
#[derive(Clone, Debug)]
pub struct Manners {
    pub isn: u32,
    /// It opens the connection.
    pub opens: bool,
    /// Window scale that it offers.
    pub scale: u8,
    /// Bytes that it takes at a time.
    pub room: u32,
    pub timestamps: bool,
    /// The SYN carries the first data.
    pub fast_open: bool,
    /// What it has to say.
    pub speech: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Closed,
    SynSent,
    SynReceived,
    Open,
}

/// One end. Its own numbers are offsets from its initial sequence number (0 is the SYN, 1 the first byte), those of the
/// other end likewise.
pub struct End {
    manners: Manners,
    phase: Phase,
    /// Offsets: not acknowledged, next to send, highest ever sent.
    unacked: u32,
    next: u32,
    most: u32,
    other_isn: u32,
    expected: u32,
    /// The right edge that was offered.
    edge: u32,
    pub heard: Vec<u8>,
    pieces: BTreeMap<u32, Vec<u8>>,
    fin_at: Option<u32>,
    other_scale: u8,
    other_window: u32,
    both_stamp: bool,
    last_stamp: u32,
    due: Option<Duration>,
    wait: Duration,
    repeats: u32,
    must_ack: bool,
    duplicate: Option<(u32, u32)>,
}

impl End {
    pub fn new(manners: Manners) -> Self {
        let edge = manners.room;
        Self {
            manners,
            phase: Phase::Closed,
            unacked: 0,
            next: 0,
            most: 0,
            other_isn: 0,
            expected: 0,
            edge,
            heard: Vec::new(),
            pieces: BTreeMap::new(),
            fin_at: None,
            other_scale: 0,
            other_window: 0,
            both_stamp: false,
            last_stamp: 0,
            due: None,
            wait: FIRST_RTO,
            repeats: 0,
            must_ack: false,
            duplicate: None,
        }
    }

    /// Has said all, and that was heard; has heard all.
    pub fn is_done(&self) -> bool {
        self.unacked == self.end_of_speech() + 1 && self.fin_at.is_some_and(|fin| self.expected > fin)
    }

    /// The offset of its FIN.
    fn end_of_speech(&self) -> u32 {
        self.manners.speech.len() as u32 + 1
    }

    /// What it has to say now.
    pub fn speak(&mut self, now: Duration) -> Vec<Said> {
        let mut said = Vec::new();
        if self.phase == Phase::Closed && self.manners.opens {
            self.phase = Phase::SynSent;
            self.restart(now);
            said.push(self.syn(now));
            return said;
        }
        if self.due.is_some_and(|due| due <= now) {
            self.wait = (self.wait * 2).min(LONGEST_RTO);
            self.restart(now);
            self.say_again(now, &mut said);
        } else if self.repeats >= 3 {
            self.repeats = 0;
            self.say_again(now, &mut said);
        }
        if self.phase == Phase::Open {
            self.go_on(now, &mut said);
        }
        if self.must_ack && self.phase == Phase::Open {
            said.push(self.segment("A", self.next, &[], now));
        }
        self.must_ack = false;
        said
    }

    fn restart(&mut self, now: Duration) {
        self.due = Some(now + self.wait);
    }

    fn say_again(&mut self, now: Duration, said: &mut Vec<Said>) {
        match self.phase {
            Phase::Closed => {}
            Phase::SynSent | Phase::SynReceived => said.push(self.syn(now)),
            // If nothing is under way: a probe of a closed window.
            Phase::Open if self.unacked <= self.end_of_speech() => {
                let from = self.unacked;
                let probe = self.piece(from, now);
                self.next = self.next.max(from + probe.payload.len() as u32 + u32::from(probe.flags.contains('F')));
                self.most = self.most.max(self.next);
                said.push(probe);
            }
            Phase::Open => self.due = None,
        }
    }

    fn go_on(&mut self, now: Duration, said: &mut Vec<Said>) {
        let flight = self.other_window.min(FLIGHT * MSS as u32);
        while self.next <= self.end_of_speech() {
            let room = (self.unacked + flight).saturating_sub(self.next);
            let left = self.end_of_speech() - self.next;
            if room < left.clamp(1, MSS as u32) && (room == 0 || self.next > self.unacked) {
                break;
            }
            let len = left.min(room).min(MSS as u32);
            let piece = self.piece_of(self.next, len as usize, now);
            self.next += len + u32::from(piece.flags.contains('F'));
            self.most = self.most.max(self.next);
            if self.due.is_none() {
                self.restart(now);
            }
            said.push(piece);
        }
        if self.due.is_none() && self.unacked <= self.end_of_speech() {
            self.restart(now);
        }
    }

    fn piece(&mut self, from: u32, now: Duration) -> Said {
        let allowed = (self.other_window as usize).clamp(1, MSS);
        self.piece_of(from, allowed, now)
    }

    fn piece_of(&mut self, from: u32, most: usize, now: Duration) -> Said {
        let rest = &self.manners.speech[(from as usize - 1).min(self.manners.speech.len())..];
        let payload = rest[..rest.len().min(most)].to_vec();
        let is_last =
            from + payload.len() as u32 == self.end_of_speech() && (payload.is_empty() || most > payload.len());
        self.segment(if is_last { "FA" } else { "PA" }, from, &payload, now)
    }

    fn syn(&mut self, now: Duration) -> Said {
        let answers = self.phase == Phase::SynReceived;
        let mut said = self.segment(if answers { "SA" } else { "S" }, 0, &[], now);
        said.window = self.manners.room.min(65_535) as u16;
        said.options =
            vec![TcpOptionElement::MaximumSegmentSize(1460), TcpOptionElement::SelectiveAcknowledgementPermitted];
        said.options.push(TcpOptionElement::WindowScale(self.manners.scale));
        if self.manners.timestamps && (!answers || self.both_stamp) {
            said.options.push(TcpOptionElement::Timestamp(stamp(now), self.last_stamp));
        }
        if self.manners.fast_open && !answers {
            // Up to whole words: there the option will stand, which etherparse does not write.
            let len = if self.manners.timestamps { 5 } else { 3 };
            said.options.extend(vec![TcpOptionElement::Noop; len]);
            said.payload = self.manners.speech[..self.manners.speech.len().min(MSS)].to_vec();
            self.most = self.most.max(1 + said.payload.len() as u32);
        }
        (self.next, self.most) = (1, self.most.max(1));
        said
    }

    fn segment(&mut self, flags: &'static str, from: u32, payload: &[u8], now: Duration) -> Said {
        self.must_ack = false;
        self.edge = self.edge.max(self.expected + self.manners.room);
        let mut options = Vec::new();
        if self.both_stamp {
            options.extend([TcpOptionElement::Noop, TcpOptionElement::Noop]);
            options.push(TcpOptionElement::Timestamp(stamp(now), self.last_stamp));
        }
        options.extend(self.sack());
        Said {
            flags,
            seq: self.manners.isn.wrapping_add(from),
            ack: self.other_isn.wrapping_add(self.expected),
            window: (self.manners.room >> self.manners.scale) as u16,
            options,
            payload: payload.to_vec(),
        }
    }

    /// What came twice first (RFC 2883), then what lies beyond the hole.
    fn sack(&mut self) -> Option<TcpOptionElement> {
        let beyond = self.pieces.iter().map(|(from, piece)| (*from, *from + piece.len() as u32));
        let number =
            |(left, right): (u32, u32)| (self.other_isn.wrapping_add(left), self.other_isn.wrapping_add(right));
        let blocks: Vec<_> = self.duplicate.into_iter().chain(beyond).map(number).take(2).collect();
        self.duplicate = None;
        let (first, rest) = blocks.split_first()?;
        Some(TcpOptionElement::SelectiveAcknowledgement(*first, [rest.first().copied(), None, None]))
    }

    /// Hears a segment.
    pub fn hear(&mut self, said: &Said, now: Duration) {
        let stamps = said.options.iter().find_map(|option| match option {
            TcpOptionElement::Timestamp(value, echo) => Some((*value, *echo)),
            _ => None,
        });
        if said.flags.contains('S') {
            return self.hear_syn(said, stamps, now);
        }
        assert!(!said.flags.contains('R'), "nobody resets here");
        if matches!(self.phase, Phase::Closed | Phase::SynSent) {
            // Overtook the SYN-ACK.
            return;
        }
        let ack = said.ack.wrapping_sub(self.manners.isn);
        assert!((1..=self.most).contains(&ack), "{ack} of {} bytes acknowledged", self.most);
        if let (true, Some((value, echo))) = (self.both_stamp, stamps) {
            assert!(echo.wrapping_sub(1_000) <= stamp(now).wrapping_sub(1_000), "an echo of the future");
            if value.wrapping_sub(self.last_stamp).cast_signed() > 0 {
                self.last_stamp = value;
            }
        } else {
            assert!(!self.both_stamp, "a segment without the timestamps that were agreed on");
        }
        if self.phase == Phase::SynReceived {
            self.phase = Phase::Open;
            self.due = None;
        }
        self.hear_ack(said, ack, now);
        self.hear_data(said);
    }

    fn hear_syn(&mut self, said: &Said, stamps: Option<(u32, u32)>, now: Duration) {
        if matches!(self.phase, Phase::Open | Phase::SynReceived) {
            self.must_ack = self.phase == Phase::Open;
            return;
        }
        let answers = said.flags.contains('A');
        assert_eq!(answers, self.manners.opens, "a SYN of the wrong kind");
        if answers {
            let ack = said.ack.wrapping_sub(self.manners.isn);
            assert_eq!(ack, 1, "the SYN-ACK acknowledges the SYN and no more");
            // What the SYN brought along was not taken: it is still to be said.
            (self.unacked, self.next, self.most) = (1, 1, 1);
        } else {
            assert!(said.payload.is_empty(), "data came before the header");
        }
        let offered = said.options.iter().find_map(|option| match option {
            TcpOptionElement::WindowScale(scale) => Some(*scale),
            _ => None,
        });
        self.other_scale = offered.expect("both offer it");
        (self.other_isn, self.expected, self.other_window) = (said.seq, 1, said.window.into());
        self.both_stamp = self.manners.timestamps && stamps.is_some();
        self.last_stamp = stamps.map_or(0, |(value, _)| value);
        self.edge = self.edge.max(1 + self.manners.room.min(65_535));
        (self.wait, self.due) = (FIRST_RTO, None);
        if answers {
            self.phase = Phase::Open;
            self.must_ack = true;
        } else {
            self.phase = Phase::SynReceived;
            self.restart(now);
            self.repeats = 3;
        }
    }

    fn hear_ack(&mut self, said: &Said, ack: u32, now: Duration) {
        for option in &said.options {
            if let TcpOptionElement::SelectiveAcknowledgement(first, rest) = option {
                for (left, right) in std::iter::once(first).chain(rest.iter().flatten()) {
                    let (left, right) = (left.wrapping_sub(self.manners.isn), right.wrapping_sub(self.manners.isn));
                    assert!(1 <= left && left < right && right <= self.most, "SACK {left}..{right} of {}", self.most);
                }
            }
        }
        let window = u32::from(said.window) << self.other_scale;
        if ack > self.unacked {
            self.unacked = ack;
            self.next = self.next.max(ack);
            (self.repeats, self.wait, self.due) = (0, FIRST_RTO, None);
            if self.unacked <= self.end_of_speech() {
                self.restart(now);
            }
        } else if ack == self.unacked && said.payload.is_empty() && self.most > ack && window == self.other_window {
            self.repeats += 1;
        }
        if ack == self.unacked {
            self.other_window = window;
        }
    }

    fn hear_data(&mut self, said: &Said) {
        let from = said.seq.wrapping_sub(self.other_isn);
        let to = from.wrapping_add(said.payload.len() as u32);
        if said.flags.contains('F') {
            assert!(self.fin_at.is_none_or(|fin| fin == to), "two ends of one stream");
            self.fin_at = Some(to);
            self.must_ack = true;
        }
        if !said.payload.is_empty() {
            assert!(from >= 1 && from <= to && to <= self.edge, "{from}..{to}: beyond the offered {}", self.edge);
            self.must_ack = true;
            if to <= self.expected {
                self.duplicate = Some((from, to));
            } else {
                let longer = |old: &Vec<u8>| old.len() >= said.payload.len();
                if !self.pieces.get(&from).is_some_and(longer) {
                    self.pieces.insert(from, said.payload.clone());
                }
            }
        }
        self.put_together();
    }

    fn put_together(&mut self) {
        while let Some((from, piece)) = self.pieces.first_key_value().map(|(from, piece)| (*from, piece.clone()))
            && from <= self.expected
        {
            self.pieces.remove(&from);
            let fresh = piece.get((self.expected - from) as usize..).unwrap_or_default();
            self.heard.extend(fresh);
            self.expected += fresh.len() as u32;
        }
        if self.fin_at == Some(self.expected) {
            self.expected += 1;
        }
    }
}

/// Its clock: milliseconds, and never 0.
fn stamp(now: Duration) -> u32 {
    now.as_millis() as u32 + 1_000
}
