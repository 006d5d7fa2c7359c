//! Flows that are lent: somebody else follows their packets for a while, and tells afterwards what they have shown.
//!
//! Whoever has borrowed a flow does with its packets what [`Conntrack::goes_on`] would have done, and keeps what each side has
//! shown. Until the flow is taken back, nothing here may move it but `goes_on` itself, with packets that came before the borrower's.

use core::time::Duration;

use wire::Protocol;

use crate::{Conntrack, Direction, Flow, FlowId, Idle, State};
use crate::{tcp, tick};

/// What a side of a TCP flow has shown. Of UDP nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// The sequence number after its last byte.
    pub end: u32,
    /// The highest sequence number that it has acknowledged.
    pub ack: u32,
    /// The largest window that it has offered, in units of `1 << scale`.
    pub window: u16,
    /// Its scale, 0 to 14.
    pub scale: u8,
    /// It may have gone on by half of the sequence space and more, so that a later number looks like an earlier one: `end` and `ack`
    /// stand, whatever was known.
    pub is_far: bool,
}

impl Conntrack {
    /// Lends a flow until then. `None`: packets of it may still move more than windows and counters, or it is lent already.
    /// If nothing is told of it, it expires as if it had been heard at the end. `idle` is the service's.
    pub fn lend(&mut self, id: FlowId, idle: &Idle, until: Duration) -> Option<[Shown; 2]> {
        let flow = self.flows.get_mut(id.slot()).filter(|flow| may_be_lent(flow))?;
        flow.set_lent(true);
        let shown = Direction::BOTH.map(|side| flow.shown(side));
        self.expire_after(id, idle, until);
        Some(shown)
    }

    /// Leaves a lent flow lent until then, and enters what its sides have shown so far, and when it was last heard, if it was.
    pub fn prolong(&mut self, id: FlowId, sides: &[Shown; 2], heard: Option<Duration>, idle: &Idle, until: Duration) {
        if self.enter(id, sides, heard, idle) {
            self.expire_after(id, idle, until);
        }
    }

    /// What a side of a lent flow has shown by now: the other one answers to that.
    pub fn catch_up(&mut self, id: FlowId, side: Direction, shown: &Shown) {
        tcp::take_over(self.flow_mut(id), side, shown.end, shown.ack, shown.window);
    }

    /// Takes a lent flow back, with what its sides have shown by then and when it was last heard, if it was.
    pub fn take_back(&mut self, id: FlowId, sides: &[Shown; 2], heard: Option<Duration>, idle: &Idle) {
        if self.enter(id, sides, heard, idle) {
            self.flows[id.slot()].set_lent(false);
        }
    }

    /// If nothing is told of it, it expires as if it had been heard then.
    fn expire_after(&mut self, id: FlowId, idle: &Idle, until: Duration) {
        let flow = &mut self.flows[id.slot()];
        let deadline = tick::ceil(until).saturating_add(idle.or(flow.state(), &self.timeouts));
        flow.deadline = flow.deadline.max(deadline);
    }

    /// False: it is not lent.
    fn enter(&mut self, id: FlowId, sides: &[Shown; 2], heard: Option<Duration>, idle: &Idle) -> bool {
        let Some(flow) = self.flows.get_mut(id.slot()).filter(|flow| !flow.is_vacant() && flow.is_lent()) else {
            return false;
        };
        if flow.original.protocol == Protocol::Tcp {
            for (side, shown) in Direction::BOTH.into_iter().zip(sides) {
                if shown.is_far {
                    (flow.ends[side.index()], flow.acks[side.index()]) = (shown.end, shown.ack);
                }
                tcp::take_over(flow, side, shown.end, shown.ack, shown.window);
            }
        }
        if let Some(heard) = heard {
            let state = flow.state();
            self.moved(id.0, state, idle, heard);
        }
        true
    }
}

/// Established, translated, and with nothing special about it.
fn may_be_lent(flow: &Flow) -> bool {
    let goes_on = match flow.original.protocol {
        Protocol::Tcp => flow.is_in(State::Established),
        Protocol::Udp => {
            flow.has_acked(Direction::Reply) && (flow.is_in(State::UdpNew) || flow.is_in(State::UdpStream))
        }
    };
    goes_on && !flow.is_lent() && !flow.is_spliced() && !flow.is_direct()
}

impl Flow {
    /// What a side has shown.
    #[must_use]
    pub fn shown(&self, side: Direction) -> Shown {
        let (index, scale) = (side.index(), tcp::shift_of(self, side));
        Shown { end: self.ends[index], ack: self.acks[index], window: self.windows[index], scale, is_far: false }
    }
}
