//! The states of a flow, by their Linux names.

use core::fmt;

/// Where a flow stands. The TCP names are those of Linux' `nf_conntrack`, seen from between the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum State {
    /// The client's SYN was seen (or is about to be: a fresh flow starts here).
    SynSent = 0,
    /// SYNs of both sides were seen and one of them was acknowledged.
    SynReceived = 1,
    /// Both SYNs were acknowledged.
    Established = 2,
    /// One side has sent its FIN; it is not acknowledged yet.
    FinWait = 3,
    /// One side has sent its FIN and it was acknowledged; the other side may go on sending (half-close).
    CloseWait = 4,
    /// Both sides have sent their FIN; not both are acknowledged.
    LastAck = 5,
    /// Both FINs were acknowledged. The entry only serves late segments.
    TimeWait = 6,
    /// A RST that the receiver believes has passed.
    Close = 7,
    /// SYNs of both sides have crossed (simultaneous open), none is acknowledged.
    SynSent2 = 8,
    /// We have reset both sides: what they still send is answered with a RST.
    Reset = 9,
    /// UDP: not (yet) a longer exchange.
    UdpNew = 10,
    /// UDP: answered, and still going on two seconds after its first datagram.
    UdpStream = 11,
}

impl State {
    /// Every state, in the order of their numbers.
    pub const ALL: [State; 12] = [
        State::SynSent,
        State::SynReceived,
        State::Established,
        State::FinWait,
        State::CloseWait,
        State::LastAck,
        State::TimeWait,
        State::Close,
        State::SynSent2,
        State::Reset,
        State::UdpNew,
        State::UdpStream,
    ];

    /// The name as Linux' conntrack prints it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            State::SynSent => "SYN_SENT",
            State::SynReceived => "SYN_RECV",
            State::Established => "ESTABLISHED",
            State::FinWait => "FIN_WAIT",
            State::CloseWait => "CLOSE_WAIT",
            State::LastAck => "LAST_ACK",
            State::TimeWait => "TIME_WAIT",
            State::Close => "CLOSE",
            State::SynSent2 => "SYN_SENT2",
            State::Reset => "RESET",
            State::UdpNew => "UDP_NEW",
            State::UdpStream => "UDP_STREAM",
        }
    }

    /// Over and done: the flow never leaves these states, its port already rests, and it may give way to a new flow.
    #[must_use]
    pub const fn is_closed(self) -> bool {
        matches!(self, State::TimeWait | State::Close | State::Reset)
    }

    /// Data goes both ways, for all that is known: what one idle time for a whole service means.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, State::Established | State::UdpNew | State::UdpStream)
    }

    /// The state with this number; [`State::Close`] for a number that none has (a vacant entry).
    pub(crate) const fn from_code(code: u8) -> State {
        let index = code as usize;
        if index < Self::ALL.len() { Self::ALL[index] } else { State::Close }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_the_list_agree() {
        for (code, state) in (0u8..).zip(State::ALL) {
            assert_eq!(state as u8, code);
            assert_eq!(State::from_code(code), state);
        }
        assert_eq!(State::from_code(15), State::Close);
    }
}
