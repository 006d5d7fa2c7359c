//! The TCP tracker: follows a connection from between its ends, after Linux' `nf_conntrack_proto_tcp.c` and RFC 9293.
//!
//! What it believes, and whom:
//! * Data passes unless it is nonsense; only what lies in the receiver's window moves the state or the deadline.
//! * A FIN or a RST must fit: who does not see the traffic cannot end a connection with it. A RST that is in the window
//!   but not exact passes (the end answers with a challenge ACK, RFC 5961) and ends nothing here.
//! * A SYN on an open connection passes and changes nothing. If the backend knows the connection, its challenge ACK
//!   makes an honest client send the exact RST; if it has lost it, its SYN-ACK starts the connection anew. It must
//!   acknowledge that very SYN: anybody can send a SYN-ACK.
//! * Unlike Linux, FINs are followed by sequence number and side: a repeated FIN does not end a half-closed connection.
//! * While a connection is not open, a SYN-ACK of the backend is believed: if it was forged, the true one follows.
//! * A segment in fragments is tracked twice: what its first fragment says, and its length and its FIN with the last one.
//! * Of direct flows only the client is heard: `one_way` follows those.

mod flags;
mod handshake;
mod one_way;
mod reset;
mod window;

use core::fmt;

use wire::{Tcp, TcpOptions};

use crate::{Direction, Flow, State};
use flags::Class;
pub use flags::opens;
pub(crate) use window::{end_of, shift_of, take_over};

/// What to do with a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Track {
    /// Send it on.
    Forward,
    /// A SYN of the client on a closing flow: close the flow and open a new one for it. (If the flow is not
    /// closed yet, [`crate::Conntrack::reset`] gives the RST that frees the old backend.)
    Reopen,
    /// Do not send it on.
    Drop(Invalid),
    /// The flow was reset by us: answer with a RST (`wire::reset_for`).
    Refused,
}

/// Why a segment is not sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Invalid {
    /// A combination of flags that no TCP sends.
    BadFlags,
    /// A RST outside the receiver's window.
    ResetOutOfWindow,
    /// A FIN outside the receiver's window.
    FinOutOfWindow,
    /// A SYN from the backend where none belongs.
    UnexpectedSyn,
    /// A SYN-ACK that answers nothing.
    UnexpectedSynAck,
    /// Data, ACK or FIN before the handshake allows any.
    BeforeHandshake,
    /// A RST on a flow that we have reset.
    AfterReset,
    /// The id is not that of a TCP flow.
    UnknownFlow,
}

impl Invalid {
    /// All reasons, in order: for counters.
    pub const ALL: [Invalid; 8] = [
        Invalid::BadFlags,
        Invalid::ResetOutOfWindow,
        Invalid::FinOutOfWindow,
        Invalid::UnexpectedSyn,
        Invalid::UnexpectedSynAck,
        Invalid::BeforeHandshake,
        Invalid::AfterReset,
        Invalid::UnknownFlow,
    ];

    /// A name for counters.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Invalid::BadFlags => "tcp_bad_flags",
            Invalid::ResetOutOfWindow => "tcp_reset_out_of_window",
            Invalid::FinOutOfWindow => "tcp_fin_out_of_window",
            Invalid::UnexpectedSyn => "tcp_unexpected_syn",
            Invalid::UnexpectedSynAck => "tcp_unexpected_syn_ack",
            Invalid::BeforeHandshake => "tcp_before_handshake",
            Invalid::AfterReset => "tcp_after_reset",
            Invalid::UnknownFlow => "tcp_unknown_flow",
        }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a segment has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) track: Track,
    /// It belongs to the connection: the flow lives on.
    pub(crate) refresh: bool,
}

const BELIEVED: Step = Step { track: Track::Forward, refresh: true };
const PASSED: Step = Step { track: Track::Forward, refresh: false };

const fn refused(why: Invalid) -> Step {
    Step { track: Track::Drop(why), refresh: false }
}

/// What the table knows beside flow and segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scene {
    /// The segment is no first fragment.
    pub(crate) whole: bool,
    /// Nothing believable came for a while.
    pub(crate) quiet: bool,
    /// The segment acknowledges a SYN of the client that passed when the flow was open.
    pub(crate) answers_syn: bool,
}

/// Follows one segment, or its first fragment.
pub(crate) fn track(flow: &mut Flow, from: Direction, tcp: &Tcp, options: Option<&TcpOptions>, scene: Scene) -> Step {
    let Some(class) = Class::of(tcp.flags()) else { return refused(Invalid::BadFlags) };
    if flow.state() == State::Reset {
        return after_our_reset(class, from);
    }
    if flow.is_direct() {
        return one_way::track(flow, from, class, tcp, options, scene.quiet);
    }
    match (class, from) {
        (Class::Rst, _) => reset::rst(flow, from, tcp),
        (Class::Syn, Direction::Original) => handshake::client_syn(flow, tcp, options, scene.quiet),
        (Class::Syn, Direction::Reply) => handshake::backend_syn(flow, tcp, options),
        (Class::SynAck, Direction::Original) => handshake::client_syn_ack(flow, tcp),
        (Class::SynAck, Direction::Reply) => handshake::backend_syn_ack(flow, tcp, options, scene.answers_syn),
        (Class::Fin | Class::Ack, _) => segment(flow, from, tcp, scene.whole),
    }
}

/// A segment of an established, translated flow that can not end it and lies where it should: its windows are taken over.
/// False, and nothing is changed, for any other; `track` would do with this one just the same.
#[inline]
pub(crate) fn carries_on(flow: &mut Flow, from: Direction, tcp: &Tcp) -> bool {
    // Both have acknowledged and nobody has sent a FIN, or the state would be another (`open_state`).
    flow.is_in(State::Established)
        && Class::of(tcp.flags()) == Some(Class::Ack)
        && !flow.is_direct()
        && window::admits_next(flow, from, tcp)
}

/// Whether a segment of the client that was let pass shows that its sender sees the connection. A RST shows nothing that is of
/// use, for it ends what it is about.
pub(crate) fn is_of_client(flow: &Flow, tcp: &Tcp) -> bool {
    match Class::of(tcp.flags()) {
        // Until the handshake is done, the last SYN is the one that is followed: the answer to those before may be lost.
        Some(Class::Syn) => is_opening(flow.state()) && end_of(tcp) == flow.ends[Direction::Original.index()],
        Some(Class::SynAck | Class::Fin | Class::Ack) if flow.is_direct() => one_way::follows(flow, tcp),
        Some(Class::SynAck | Class::Fin | Class::Ack) => window::admits(flow, Direction::Original, tcp),
        Some(Class::Rst) | None => false,
    }
}

fn is_opening(state: State) -> bool {
    matches!(state, State::SynSent | State::SynReceived | State::SynSent2)
}

fn after_our_reset(class: Class, from: Direction) -> Step {
    let track = match (class, from) {
        (Class::Rst, _) => Track::Drop(Invalid::AfterReset),
        (Class::Syn, Direction::Original) => Track::Reopen,
        _ => Track::Refused,
    };
    Step { track, refresh: false }
}

/// Data, ACK, FIN: everything but the first and the last words.
fn segment(flow: &mut Flow, from: Direction, tcp: &Tcp, whole: bool) -> Step {
    let fin = tcp.flags().fin();
    match (flow.state(), from) {
        (State::SynSent, Direction::Reply) if !fin => return handshake::challenge(flow, tcp),
        (State::SynSent2, Direction::Reply) if !fin => return PASSED,
        (State::SynSent | State::SynSent2, _) => return refused(Invalid::BeforeHandshake),
        _ => {}
    }
    if !window::admits(flow, from, tcp) {
        return if fin { refused(Invalid::FinOutOfWindow) } else { PASSED };
    }
    window::advance(flow, from, tcp);
    if flow.state().is_closed() {
        return PASSED;
    }
    // Where the FIN of a segment in fragments lies is known when the last one comes: `complete`.
    if fin && whole {
        flow.set_fin(from);
    }
    flow.set_state(open_state(flow));
    BELIEVED
}

/// The last fragment of a segment has come; the first one was tracked as what it is, a part. True: it belongs to the connection.
///
/// Who guesses a datagram's identification can forge its last fragment, without any sequence number. So the segment must end
/// within the receiver's window, and of several ends the farthest stands, that of a FIN too.
pub(crate) fn complete(flow: &mut Flow, from: Direction, tcp: &Tcp) -> bool {
    let Some(class @ (Class::Fin | Class::Ack)) = Class::of(tcp.flags()) else { return false };
    if flow.is_direct() {
        return one_way::track(flow, from, class, tcp, None, false).refresh;
    }
    let state = flow.state();
    let is_open = !state.is_closed() && !matches!(state, State::SynSent | State::SynSent2);
    if !is_open || !window::admits_completed(flow, from, tcp) {
        return false;
    }
    window::advance(flow, from, tcp);
    if tcp.flags().fin() {
        flow.set_fin(from);
    }
    flow.set_state(open_state(flow));
    true
}

/// The state that follows from who has acknowledged what and who has sent a FIN, once the handshake has come far enough.
fn open_state(flow: &Flow) -> State {
    let (client, backend) = (Direction::Original, Direction::Reply);
    let fin_acked = |side: Direction| {
        let acked = flow.acks[side.reversed().index()];
        flow.has_fin(side) && !window::before(acked, flow.ends[side.index()])
    };
    match (flow.has_fin(client), flow.has_fin(backend)) {
        (false, false) if flow.has_acked(client) && flow.has_acked(backend) => State::Established,
        (false, false) => State::SynReceived,
        (true, true) if fin_acked(client) && fin_acked(backend) => State::TimeWait,
        (true, true) => State::LastAck,
        _ if fin_acked(client) || fin_acked(backend) => State::CloseWait,
        _ => State::FinWait,
    }
}
