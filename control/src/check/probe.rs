//! One check under way.

use std::net::SocketAddrV4;
use std::time::Duration;

use super::dialogue::Dialogue;
use super::stack::{Ends, Stack};
use super::{Outcome, Target, icmp};
use crate::config::CheckKind;
use crate::config::value::show_duration;
use wire::{L4, Protocol};

/// A conversation with a backend, and how long it may take.
pub struct Probe {
    ends: Ends,
    protocol: Protocol,
    stack: Stack,
    dialogue: Dialogue,
    begun: Duration,
    timeout: Duration,
    /// The backend's kernel has said that there is nobody, or nothing can be sent to it.
    refusal: Option<String>,
}

/// What comes of a step.
pub struct Step {
    /// Packets to send.
    pub packets: Vec<Vec<u8>>,
    /// It is over.
    pub outcome: Option<Outcome>,
}

/// IPv4 and UDP, in front of a payload.
const UDP_HEADERS_BYTES: usize = 28;

/// The stack would drop it without a word, and the backend would be blamed for its silence.
fn too_long(payload: &[u8], mtu: usize) -> Option<String> {
    let room = mtu.saturating_sub(UDP_HEADERS_BYTES);
    (payload.len() > room).then(|| {
        let len = payload.len();
        format!("the payload of {len} bytes does not fit: a packet on the way has room for {room}")
    })
}

impl Probe {
    /// Begins one from this port. `seed` decides the sequence numbers.
    pub fn begin(target: &Target, port: u16, seed: u64, now: Duration) -> Probe {
        let ends = Ends { local: SocketAddrV4::new(target.source, port), remote: target.address };
        let mut unsendable = None;
        let stack = match &target.check.kind {
            CheckKind::Udp(udp) => {
                let payload = [target.greeting(), &udp.send].concat();
                unsendable = too_long(&payload, target.mtu);
                Stack::datagram(ends, &payload, target.mtu, seed, now)
            }
            CheckKind::Tcp | CheckKind::Http(_) => Stack::connect(ends, target.mtu, seed, now),
        };
        Probe {
            ends,
            protocol: target.check.kind.protocol(),
            stack,
            dialogue: Dialogue::new(target),
            begun: now,
            timeout: target.check.timeout,
            refusal: unsendable,
        }
    }

    /// Takes a packet that came to its port.
    pub fn hear(&mut self, packet: Vec<u8>, now: Duration) {
        match wire::Headers::parse(&packet, 0).map(|headers| headers.l4) {
            Ok(L4::Icmp(_)) => self.refusal = self.refusal.take().or_else(|| self.refused_by(&packet)),
            Ok(_) => self.stack.hear(packet, now),
            Err(_) => {}
        }
    }

    fn refused_by(&self, packet: &[u8]) -> Option<String> {
        icmp::refusal(packet, self.ends, self.protocol)
    }

    /// Goes as far as it can.
    pub fn step(&mut self, now: Duration) -> Step {
        let verdict = match self.refusal.take() {
            Some(why) => Some((false, why)),
            None => self.dialogue.advance(&mut self.stack),
        };
        let took = now.saturating_sub(self.begun);
        let verdict = verdict.or_else(|| {
            let text = || format!("{} within {}", self.dialogue.missing(), show_duration(self.timeout));
            (took >= self.timeout).then(|| (false, text()))
        });
        if verdict.is_some() {
            self.hang_up();
        }
        let packets = self.stack.say(now);
        Step { packets, outcome: verdict.map(|(passed, what)| Outcome { passed, what, took }) }
    }

    /// Ends it without a verdict; gives what is still to be sent.
    pub fn abandon(&mut self, now: Duration) -> Vec<Vec<u8>> {
        self.hang_up();
        self.stack.say(now)
    }

    /// A RST, so that nothing of the connection stays, at the backend or here. HAProxy ends its checks so, too.
    fn hang_up(&mut self) {
        if matches!(self.dialogue, Dialogue::Stream { .. }) {
            self.stack.tcp().abort();
        }
    }

    /// When the next step is due, if nothing comes before.
    pub fn due(&mut self, now: Duration) -> Duration {
        let end = self.begun + self.timeout;
        self.stack.due(now).map_or(end, |due| due.min(end))
    }
}
