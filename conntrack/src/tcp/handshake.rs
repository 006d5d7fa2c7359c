//! SYN and SYN-ACK, from either side, in any state.

use wire::{Tcp, TcpOptions};

use super::window::{self, before};
use super::{BELIEVED, Invalid, PASSED, Step, Track, open_state, refused};
use crate::{Direction, Flow, State};

const CLIENT: Direction = Direction::Original;
const BACKEND: Direction = Direction::Reply;
/// How much older than what the client has sent a SYN-ACK's acknowledgment may be (data in the SYN that the backend did
/// not take).
const MAX_SYN_DATA_BYTES: u32 = 65_535;

pub(super) fn client_syn(flow: &mut Flow, tcp: &Tcp, options: Option<&TcpOptions>, quiet: bool) -> Step {
    let reopens = match flow.state() {
        State::SynSent => return first_syn(flow, tcp, options),
        State::TimeWait | State::Close | State::Reset => true,
        State::LastAck => beyond_window(flow, tcp),
        // The client still lives and listens. As long as data comes, a SYN is more likely forged than honest.
        State::FinWait | State::CloseWait => flow.has_fin(CLIENT) && quiet && beyond_window(flow, tcp),
        _ => false,
    };
    if reopens { Step { track: Track::Reopen, refresh: false } } else { PASSED }
}

/// Not a repetition of anything that the backend could still expect.
fn beyond_window(flow: &Flow, tcp: &Tcp) -> bool {
    tcp.seq().wrapping_sub(flow.acks[BACKEND.index()]) > window::window_bytes(flow, BACKEND)
}

/// The SYN that opens the flow, its repetition, or (as long as there is no answer) another attempt of the client.
fn first_syn(flow: &mut Flow, tcp: &Tcp, options: Option<&TcpOptions>) -> Step {
    let first = flow.windows[CLIENT.index()] == 0;
    if first || window::end_of(tcp) != flow.ends[CLIENT.index()] {
        window::start(flow, CLIENT, tcp, options);
    }
    // Repetitions do not keep an unanswered flow alive.
    if first { BELIEVED } else { PASSED }
}

/// Simultaneous open: the backend's SYN crosses the client's.
pub(super) fn backend_syn(flow: &mut Flow, tcp: &Tcp, options: Option<&TcpOptions>) -> Step {
    let repeated = window::end_of(tcp) == flow.ends[BACKEND.index()];
    match flow.state() {
        State::SynSent if flow.windows[CLIENT.index()] != 0 => {
            window::start(flow, BACKEND, tcp, options);
            flow.set_acked(BACKEND, false);
            window::agree_on_scale(flow);
            flow.set_state(State::SynSent2);
            BELIEVED
        }
        State::SynSent2 | State::SynReceived if repeated => PASSED,
        _ => refused(Invalid::UnexpectedSyn),
    }
}

/// The client's answer to the backend's SYN in a simultaneous open.
pub(super) fn client_syn_ack(flow: &mut Flow, tcp: &Tcp) -> Step {
    let simultaneous = matches!(flow.state(), State::SynSent2 | State::SynReceived);
    // No further than its SYN went, or a guess would move the numbers.
    let repeats_syn = !before(flow.ends[CLIENT.index()], window::end_of(tcp));
    if simultaneous && repeats_syn && window::admits(flow, CLIENT, tcp) {
        window::advance(flow, CLIENT, tcp);
        flow.set_state(open_state(flow));
        BELIEVED
    } else {
        refused(Invalid::UnexpectedSynAck)
    }
}

/// `answers_syn`: it acknowledges a SYN of the client that passed when the flow was open.
pub(super) fn backend_syn_ack(flow: &mut Flow, tcp: &Tcp, options: Option<&TcpOptions>, answers_syn: bool) -> Step {
    if flow.windows[CLIENT.index()] == 0 {
        return refused(Invalid::UnexpectedSynAck);
    }
    match flow.state() {
        State::SynSent2 | State::SynReceived if window::end_of(tcp) == flow.ends[BACKEND.index()] => {
            if flow.has_acked(BACKEND) || !window::admits(flow, BACKEND, tcp) {
                return PASSED;
            }
            window::advance(flow, BACKEND, tcp);
            flow.set_state(open_state(flow));
            BELIEVED
        }
        State::Established | State::FinWait | State::CloseWait | State::LastAck if repeats(flow, tcp) => PASSED,
        State::SynSent | State::SynSent2 | State::SynReceived => accept(flow, tcp, options),
        State::Established | State::FinWait | State::CloseWait | State::LastAck if answers_syn => {
            start_anew(flow, tcp, options)
        }
        _ => PASSED,
    }
}

/// A late copy of the SYN-ACK that opened the connection.
fn repeats(flow: &Flow, tcp: &Tcp) -> bool {
    let sent = flow.ends[BACKEND.index()].wrapping_sub(window::end_of(tcp));
    let acked = flow.ends[CLIENT.index()].wrapping_sub(tcp.ack());
    sent <= window::window_bytes(flow, CLIENT) && acked <= window::window_bytes(flow, BACKEND)
}

/// The backend takes up a connection that we took for open: it has lost the old one, and a SYN that we let pass opened
/// a new one. Of that SYN only its number was kept; the SYN-ACK tells enough of the rest.
fn start_anew(flow: &mut Flow, tcp: &Tcp, options: Option<&TcpOptions>) -> Step {
    flow.restart(State::SynSent);
    flow.ends[CLIENT.index()] = tcp.ack();
    flow.windows[CLIENT.index()] = 1;
    let scaled = options.is_some_and(|options| options.window_scale.is_some());
    window::assume_scale(flow, CLIENT, scaled);
    accept(flow, tcp, options)
}

/// The ordinary second step. What the SYN-ACK acknowledges is what the client has sent, whatever we saw last: a forged
/// SYN in between must not cut off the true one.
fn accept(flow: &mut Flow, tcp: &Tcp, options: Option<&TcpOptions>) -> Step {
    let behind = flow.ends[CLIENT.index()].wrapping_sub(tcp.ack());
    if behind > MAX_SYN_DATA_BYTES {
        flow.ends[CLIENT.index()] = tcp.ack();
    }
    window::start(flow, BACKEND, tcp, options);
    window::agree_on_scale(flow);
    flow.acks[BACKEND.index()] = tcp.ack();
    flow.set_acked(BACKEND, true);
    flow.set_state(State::SynReceived);
    BELIEVED
}

/// An ACK of the backend in answer to a SYN: it holds an older connection on this port. The client will answer with a
/// RST that carries this very number, which must reach the backend (RFC 9293, figure 9). As the backend's side has not
/// begun, its `end` is free to keep the number; `has_acked` says that it is there.
pub(super) fn challenge(flow: &mut Flow, tcp: &Tcp) -> Step {
    if flow.windows[CLIENT.index()] == 0 {
        return refused(Invalid::BeforeHandshake);
    }
    flow.ends[BACKEND.index()] = tcp.ack();
    flow.set_acked(BACKEND, true);
    PASSED
}
