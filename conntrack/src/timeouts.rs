//! How long a flow may be idle, state by state.

use core::time::Duration;

use crate::State;
use crate::tick;

/// A service's own idle time, in place of the table's: for open TCP connections ([`State::Established`]) and for UDP.
/// The default leaves the table's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Idle {
    /// 0: the table's.
    ticks: u32,
}

impl Idle {
    /// So long. Resolution as in [`Timeouts`].
    #[must_use]
    pub fn new(time: Duration) -> Idle {
        Idle { ticks: tick::ceil(time).max(1) }
    }

    /// In ticks, where the table has `otherwise`.
    #[inline]
    pub(crate) const fn or(self, state: State, otherwise: u32) -> u32 {
        match state {
            State::Established | State::UdpNew | State::UdpStream if self.ticks != 0 => self.ticks,
            _ => otherwise,
        }
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
