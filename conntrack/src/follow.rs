//! Packets of known flows: state, deadline, and the way of a flow that closes.

use core::time::Duration;

use wire::{Protocol, Tcp, TcpOptions};

use crate::tcp::{Invalid, Scene, Track, carries_on, complete, end_of, is_of_client, track};
use crate::tick;
use crate::{Conntrack, Direction, Flow, FlowId, Idle, State};

/// How long a half-closed flow must have been quiet before a SYN may replace it.
const QUIET_TICKS: u32 = tick::PER_SECOND;
/// UDP is a stream when it goes on for longer than this.
const STREAM_TICKS: u32 = 2 * tick::PER_SECOND;

impl Conntrack {
    /// A TCP segment of the flow: moves its state and its deadline and says what to do with the segment.
    /// `options` are those of a SYN, `idle` is the service's.
    pub fn segment(
        &mut self,
        id: FlowId,
        direction: Direction,
        tcp: &Tcp,
        options: Option<&TcpOptions>,
        idle: &Idle,
        now: Duration,
    ) -> Track {
        self.heard(id, direction, tcp, true, options, idle, now)
    }

    /// As [`Conntrack::segment`], of one that comes in fragments: the first of them. [`Conntrack::complete`] follows.
    pub fn first_fragment(
        &mut self,
        id: FlowId,
        direction: Direction,
        tcp: &Tcp,
        options: Option<&TcpOptions>,
        idle: &Idle,
        now: Duration,
    ) -> Track {
        self.heard(id, direction, tcp, false, options, idle, now)
    }

    #[expect(clippy::too_many_arguments, reason = "the whole context of one segment")]
    #[inline]
    fn heard(
        &mut self,
        id: FlowId,
        direction: Direction,
        tcp: &Tcp,
        whole: bool,
        options: Option<&TcpOptions>,
        idle: &Idle,
        now: Duration,
    ) -> Track {
        let Some(flow) = self.flows.get_mut(id.slot()) else { return Track::Drop(Invalid::UnknownFlow) };
        if flow.is_vacant() || flow.original.protocol != Protocol::Tcp {
            return Track::Drop(Invalid::UnknownFlow);
        }
        let before = flow.state();
        let quiet = tick::floor(now) >= last_heard(flow, idle, &self.timeouts).saturating_add(QUIET_TICKS);
        let answers_syn = tcp.flags().syn() && self.syns.is_answered(id.0, tcp.ack());
        let step = track(flow, direction, tcp, options, Scene { whole, quiet, answers_syn });
        let after = flow.state();
        let passed = tcp.flags().syn() && step.track == Track::Forward && after != State::SynSent;
        if passed && direction == Direction::Original {
            self.syns.note(id.0, end_of(tcp));
        }
        if after != before || (step.refresh && !after.is_closed()) {
            self.moved(id.0, before, idle, now);
        }
        step.track
    }

    /// Whether a TCP segment of the client's direction, which [`Conntrack::segment`] has let pass, fits the connection: data and
    /// acknowledgments pass also when they do not. Believed ones do; so do repetitions of the SYN that nobody has answered.
    #[must_use]
    pub fn is_of_client(&self, id: FlowId, tcp: &Tcp) -> bool {
        is_of_client(self.flow(id), tcp)
    }

    /// When the flow was last heard by what is believed: its deadline counts from there. `idle` is the service's.
    #[must_use]
    pub fn last_heard(&self, id: FlowId, idle: &Idle) -> Duration {
        tick::start(last_heard(self.flow(id), idle, &self.timeouts))
    }

    /// The last fragment of a TCP segment has come, and shows how long the segment is: `tcp` is all of it. The first fragment went
    /// to [`Conntrack::first_fragment`]. `idle` is the service's.
    pub fn complete(&mut self, id: FlowId, direction: Direction, tcp: &Tcp, idle: &Idle, now: Duration) {
        let Some(flow) = self.flows.get_mut(id.slot()) else { return };
        if flow.is_vacant() || flow.original.protocol != Protocol::Tcp {
            return;
        }
        let before = flow.state();
        if complete(flow, direction, tcp) {
            self.moved(id.0, before, idle, now);
        }
    }

    /// A UDP datagram of the flow: moves its state and its deadline. `idle` is the service's.
    pub fn datagram(&mut self, id: FlowId, direction: Direction, idle: &Idle, now: Duration) {
        let Some(flow) = self.flows.get_mut(id.slot()) else { return };
        if flow.is_vacant() || flow.original.protocol != Protocol::Udp {
            return;
        }
        let before = flow.state();
        if direction == Direction::Reply {
            flow.set_acked(Direction::Reply, true);
        }
        if flow.has_acked(Direction::Reply) && goes_on_for_long(flow, now) {
            flow.set_state(State::UdpStream);
        }
        self.moved(id.0, before, idle, now);
    }

    /// A packet of a flow that goes on: moves its deadline, and of TCP (`tcp` is there) its windows, and gives the flow. `None`:
    /// the packet may move the flow's state, or is not to be believed at once; nothing was changed then, and
    /// [`Conntrack::segment`] or [`Conntrack::datagram`] decide. Otherwise they would have done the same and said
    /// [`Track::Forward`].
    #[inline]
    pub fn goes_on(
        &mut self,
        id: FlowId,
        direction: Direction,
        tcp: Option<&Tcp>,
        idle: &Idle,
        now: Duration,
    ) -> Option<&mut Flow> {
        let flow = self.flows.get_mut(id.slot())?;
        let (stays, state) = match tcp {
            Some(tcp) => (carries_on(flow, direction, tcp), State::Established),
            None if flow.is_in(State::UdpStream) => (true, State::UdpStream),
            None => (flow.is_in(State::UdpNew) && stays_new(flow, direction, now), State::UdpNew),
        };
        if !stays {
            return None;
        }
        let deadline = tick::ceil(now).saturating_add(idle.or(state, &self.timeouts));
        self.timers.wait_until(id.0, &mut flow.deadline, deadline);
        Some(flow)
    }

    /// Deadline, queue and port of a flow that has been heard, after its state was `before`.
    pub(crate) fn moved(&mut self, entry: u32, before: State, idle: &Idle, now: Duration) {
        let flow = &mut self.flows[entry as usize];
        let after = flow.state();
        let mut ticks = idle.or(after, &self.timeouts);
        if after.is_closed() && after != before {
            ticks = self.timers.wait_closed(entry, ticks, self.timeouts[after as usize]);
        }
        let deadline = tick::ceil(now).saturating_add(ticks);
        if !after.is_closed() {
            self.timers.wait_until(entry, &mut flow.deadline, deadline);
            return;
        }
        flow.deadline = deadline;
        if !before.is_closed() {
            let (binding, protocol) = (flow.binding, flow.original.protocol);
            self.ports.rest(binding.backend, protocol, binding.snat, tick::floor(now));
        }
    }
}

/// The tick from which the deadline counts.
fn last_heard(flow: &Flow, idle: &Idle, timeouts: &[u32; State::ALL.len()]) -> u32 {
    flow.deadline.saturating_sub(idle.or(flow.state(), timeouts))
}

/// A datagram that is not the first answer, of an exchange that is no stream (yet).
#[inline]
fn stays_new(flow: &Flow, direction: Direction, now: Duration) -> bool {
    if flow.has_acked(Direction::Reply) { !goes_on_for_long(flow, now) } else { direction == Direction::Original }
}

fn goes_on_for_long(flow: &Flow, now: Duration) -> bool {
    tick::floor(now).saturating_sub(flow.udp_began()) > STREAM_TICKS
}
