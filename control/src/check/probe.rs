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
    /// The backend's kernel has said that there is nobody.
    refusal: Option<String>,
}

/// What comes of a step.
pub struct Step {
    /// Packets to send.
    pub packets: Vec<Vec<u8>>,
    /// It is over.
    pub outcome: Option<Outcome>,
}

impl Probe {
    /// Begins one from this port. `seed` decides the sequence numbers.
    pub fn begin(target: &Target, port: u16, seed: u64, now: Duration) -> Probe {
        let ends = Ends { local: SocketAddrV4::new(target.source, port), remote: target.address };
        let stack = match &target.check.kind {
            CheckKind::Udp(udp) => {
                Stack::datagram(ends, &[target.greeting(), &udp.send].concat(), target.mtu, seed, now)
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
            refusal: None,
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
