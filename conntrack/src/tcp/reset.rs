//! RST: who may end a connection at once.

use wire::Tcp;

use super::window::{self, before};
use super::{BELIEVED, Invalid, PASSED, Step, refused};
use crate::{Direction, Flow, State};

pub(super) fn rst(flow: &mut Flow, from: Direction, tcp: &Tcp) -> Step {
    let ends = match (flow.state(), from) {
        (State::SynSent, Direction::Reply) => answers_syn(flow, from, tcp),
        (State::SynSent, Direction::Original) => gives_up(flow, tcp),
        // The receiver may still be in SYN-SENT: its peer's SYN or SYN-ACK may be lost behind us.
        (State::SynSent2, _) | (State::SynReceived, Direction::Reply) => {
            answers_syn(flow, from, tcp) || is_exact(flow, from, tcp)
        }
        _ => is_exact(flow, from, tcp),
    };
    if ends {
        flow.set_state(State::Close);
        BELIEVED
    } else if flow.state() != State::SynSent && (in_window(flow, from, tcp) || refuses_passed_syn(from, tcp)) {
        PASSED
    } else {
        refused(Invalid::ResetOutOfWindow)
    }
}

/// RFC 9293, 3.10.7.3: in SYN-SENT a RST counts if it acknowledges the SYN.
fn answers_syn(flow: &Flow, from: Direction, tcp: &Tcp) -> bool {
    let first_unacked = flow.acks[from.index()];
    let sent = flow.ends[from.reversed().index()];
    let unanswered = flow.state() != State::SynReceived || !flow.has_acked(from.reversed());
    let acknowledges = if flow.state() == State::SynReceived {
        // The SYN-ACK has acknowledged it already.
        tcp.ack() == first_unacked
    } else {
        before(first_unacked, tcp.ack()) && !before(sent, tcp.ack())
    };
    tcp.flags().ack() && unanswered && acknowledges
}

/// The client takes back its SYN, or refuses the backend's challenge.
fn gives_up(flow: &Flow, tcp: &Tcp) -> bool {
    let challenged = flow.has_acked(Direction::Reply) && tcp.seq() == flow.ends[Direction::Reply.index()];
    let next = flow.windows[Direction::Original.index()] != 0 && tcp.seq() == flow.ends[Direction::Original.index()];
    challenged || next
}

/// The receiver accepts a RST only at exactly the next byte that it expects (RFC 5961, 3.2). That is what it has
/// acknowledged last or, if it has not come to acknowledge it, the end of what it was sent.
fn is_exact(flow: &Flow, from: Direction, tcp: &Tcp) -> bool {
    let to = from.reversed();
    let acknowledged = flow.has_acked(to) && tcp.seq() == flow.acks[to.index()];
    acknowledged || tcp.seq() == flow.ends[from.index()]
}

fn in_window(flow: &Flow, from: Direction, tcp: &Tcp) -> bool {
    let to = from.reversed();
    tcp.seq().wrapping_sub(flow.acks[to.index()]) <= window::window_bytes(flow, to)
}

/// A closed port's answer to a SYN that we let pass on an open flow: always sequence number 0. To a client in SYN-SENT
/// it says "refused"; one that has the connection open ignores it. It ends nothing here either way.
fn refuses_passed_syn(from: Direction, tcp: &Tcp) -> bool {
    from == Direction::Reply && tcp.seq() == 0 && tcp.flags().ack()
}
