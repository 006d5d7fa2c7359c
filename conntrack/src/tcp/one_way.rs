//! Direct flows: only the client is heard, the backend answers it around us.
//!
//! What the backend accepts is not known, so nothing of a connection that stands is refused here: the backend judges it.
//! What is believed is only what lies near what the client has sent and acknowledged before, so that a stranger who knows
//! the addresses must guess both numbers to move ours.

use wire::{Tcp, TcpOptions};

use super::flags::Class;
use super::window::{self, before};
use super::{BELIEVED, PASSED, Step, Track};
use crate::{Direction, Flow, State};

const CLIENT: Direction = Direction::Original;
/// Two segments of one client in a row are never further apart than the windows of today's hosts.
const NEAR_BYTES: u32 = 16 << 20;

pub(super) fn track(
    flow: &mut Flow,
    from: Direction,
    class: Class,
    tcp: &Tcp,
    options: Option<&TcpOptions>,
    quiet: bool,
) -> Step {
    match class {
        // Answers do not come this way.
        _ if from == Direction::Reply => PASSED,
        Class::Syn => syn(flow, tcp, options, quiet),
        // A client's SYN-ACK answers a SYN of the backend, which does not open connections from its VIP.
        Class::SynAck => PASSED,
        Class::Rst => rst(flow, tcp),
        Class::Fin | Class::Ack => segment(flow, tcp, quiet),
    }
}

fn syn(flow: &mut Flow, tcp: &Tcp, options: Option<&TcpOptions>, quiet: bool) -> Step {
    let first = flow.windows[CLIENT.index()] == 0;
    match flow.state() {
        State::SynSent => {
            window::start(flow, CLIENT, tcp, options);
            if first { BELIEVED } else { PASSED }
        }
        State::Close => Step { track: Track::Reopen, refresh: false },
        State::FinWait if quiet && !repeats(flow, tcp) => Step { track: Track::Reopen, refresh: false },
        // If the backend knows the connection it answers with a challenge; if not, it opens a new one, which is adopted.
        _ => PASSED,
    }
}

/// The end of a connection is believed only of who knows the next byte exactly. A client that has let its connection go
/// refuses what comes with older numbers: that flow may end sooner, and lives on if the client does.
fn rst(flow: &mut Flow, tcp: &Tcp) -> Step {
    let next = flow.ends[CLIENT.index()];
    if tcp.seq() == next && flow.windows[CLIENT.index()] != 0 {
        flow.set_state(State::Close);
        return BELIEVED;
    }
    if flow.state() == State::Established && repeats(flow, tcp) {
        flow.set_state(State::FinWait);
        return BELIEVED;
    }
    PASSED
}

fn segment(flow: &mut Flow, tcp: &Tcp, quiet: bool) -> Step {
    if flow.state().is_closed() {
        return PASSED;
    }
    let side = CLIENT.index();
    let follows = follows(flow, tcp);
    // A silence forgives much, but nobody opens a connection by guessing roughly.
    if !follows && (!quiet || flow.state() == State::SynSent) {
        return PASSED;
    }
    if follows && flow.has_acked(CLIENT) {
        window::advance(flow, CLIENT, tcp);
    } else {
        // The first acknowledgment; or, after a silence, another connection of this client, which the backend has taken.
        flow.ends[side] = window::end_of(tcp);
        flow.acks[side] = tcp.ack();
        flow.set_acked(CLIENT, true);
    }
    let ends = tcp.flags().fin() || (flow.state() == State::FinWait && follows);
    flow.set_state(if ends { State::FinWait } else { State::Established });
    BELIEVED
}

/// Near what the client has sent and acknowledged before.
pub(super) fn follows(flow: &Flow, tcp: &Tcp) -> bool {
    let side = CLIENT.index();
    near(tcp.seq(), flow.ends[side]) && (!flow.has_acked(CLIENT) || near(tcp.ack(), flow.acks[side]))
}

/// What the client has sent before.
fn repeats(flow: &Flow, tcp: &Tcp) -> bool {
    let next = flow.ends[CLIENT.index()];
    before(tcp.seq(), next) && near(tcp.seq(), next)
}

fn near(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).wrapping_add(NEAR_BYTES) <= 2 * NEAR_BYTES
}
