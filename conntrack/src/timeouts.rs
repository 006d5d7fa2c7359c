//! How long a flow may be idle, state by state.

use core::time::Duration;
use std::sync::Arc;

use crate::State;
use crate::tick;

/// A service's own idle times by state, in place of the table's. The default leaves the table's.
///
/// Packets of a service without any look at a pointer only; those of one that has some read its times where they would
/// have read the table's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Idle {
    /// In ticks by state number; 0: the table's.
    own: Option<Arc<[u32; State::ALL.len()]>>,
}

impl Idle {
    /// The time of each state, where the service has one of its own. Resolution as in [`Timeouts`].
    #[must_use]
    pub fn by_state(time: impl Fn(State) -> Option<Duration>) -> Idle {
        let ticks = State::ALL.map(|state| time(state).map_or(0, |time| tick::ceil(time).max(1)));
        Idle { own: ticks.iter().any(|ticks| *ticks != 0).then(|| Arc::new(ticks)) }
    }

    /// One time for open TCP connections ([`State::Established`]) and for UDP.
    #[must_use]
    pub fn new(time: Duration) -> Idle {
        Idle::by_state(|state| state.is_open().then_some(time))
    }

    /// The time of this state, if the service has one of its own.
    #[must_use]
    pub fn of(&self, state: State) -> Option<Duration> {
        self.own.as_ref().map(|own| own[state as usize]).filter(|ticks| *ticks != 0).map(tick::start)
    }

    /// In ticks, where the table has `table`.
    #[inline]
    pub(crate) fn or(&self, state: State, table: &[u32; State::ALL.len()]) -> u32 {
        let own = self.own.as_ref().map_or(0, |own| own[state as usize]);
        if own == 0 { table[state as usize] } else { own }
    }
}

/// Idle time after which a flow is removed. Resolution: an eighth of a second, never early.
///
/// In the closed states ([`State::is_closed`]) the time runs from the closing: packets do not prolong it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// SYN seen, no answer. A repeated SYN does not prolong it.
    pub tcp_syn_sent: Duration,
    /// SYN-ACK seen, the handshake is not complete.
    pub tcp_syn_received: Duration,
    /// Connection open both ways.
    pub tcp_established: Duration,
    /// FIN of one side seen.
    pub tcp_fin_wait: Duration,
    /// FIN of one side seen and acknowledged.
    pub tcp_close_wait: Duration,
    /// FINs of both sides seen.
    pub tcp_last_ack: Duration,
    /// Both FINs acknowledged.
    pub tcp_time_wait: Duration,
    /// Ended by a RST of one side.
    pub tcp_close: Duration,
    /// SYNs crossed.
    pub tcp_syn_sent2: Duration,
    /// Ended by RSTs of ours.
    pub tcp_reset: Duration,
    /// UDP without an answer, or a short exchange.
    pub udp: Duration,
    /// UDP that goes on.
    pub udp_stream: Duration,
    /// ICMP queries, for whoever keeps state for them; the table itself holds TCP and UDP.
    pub icmp: Duration,
}

impl Default for Timeouts {
    /// Established: 2 hours (TCP's own keepalive time). All others as Linux' `nf_conntrack`.
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            tcp_syn_sent: seconds(120),
            tcp_syn_received: seconds(60),
            tcp_established: seconds(7200),
            tcp_fin_wait: seconds(120),
            tcp_close_wait: seconds(60),
            tcp_last_ack: seconds(30),
            tcp_time_wait: seconds(120),
            tcp_close: seconds(10),
            tcp_syn_sent2: seconds(120),
            tcp_reset: seconds(10),
            udp: seconds(30),
            udp_stream: seconds(120),
            icmp: seconds(30),
        }
    }
}

impl Timeouts {
    /// The idle time of a state.
    #[must_use]
    pub const fn of(&self, state: State) -> Duration {
        match state {
            State::SynSent => self.tcp_syn_sent,
            State::SynReceived => self.tcp_syn_received,
            State::Established => self.tcp_established,
            State::FinWait => self.tcp_fin_wait,
            State::CloseWait => self.tcp_close_wait,
            State::LastAck => self.tcp_last_ack,
            State::TimeWait => self.tcp_time_wait,
            State::Close => self.tcp_close,
            State::SynSent2 => self.tcp_syn_sent2,
            State::Reset => self.tcp_reset,
            State::UdpNew => self.udp,
            State::UdpStream => self.udp_stream,
        }
    }

    /// All of them in ticks, by state number.
    pub(crate) fn in_ticks(&self) -> [u32; State::ALL.len()] {
        State::ALL.map(|state| tick::ceil(self.of(state)))
    }
}
