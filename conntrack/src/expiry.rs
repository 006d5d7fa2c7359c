//! The end of idle flows, and the RSTs that tell both ends.

use core::time::Duration;

use wire::{FiveTuple, Protocol, TcpReset};

use crate::tick;
use crate::{Conntrack, Direction, Flow, FlowId, Idle, State};

/// The RSTs that end a connection at both sides. `None` where there is nothing to reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resets {
    /// In the name of the VIP.
    pub to_client: Option<TcpReset>,
    /// In the name of the SNAT address.
    pub to_backend: Option<TcpReset>,
}

/// A flow that has expired and is removed.
#[derive(Clone, Debug)]
pub struct Expired {
    /// The place that it had: valid for what the data path kept beside it, until another flow is opened.
    pub id: FlowId,
    /// The flow as it was.
    pub flow: Flow,
    /// What to tell its ends: of TCP flows that were established or closing, nothing of others.
    pub resets: Resets,
}

/// What has been looked at for one `now`.
#[derive(Default)]
pub(crate) struct Round {
    now: Duration,
    looked_at: usize,
}

impl Round {
    /// The tick of the last look: good enough to date what happens without a `now`.
    pub(crate) fn tick(&self) -> u32 {
        tick::floor(self.now)
    }

    /// Counts one more timer, unless the budget is used up.
    fn look(&mut self, budget: usize) -> bool {
        let within = self.looked_at < budget;
        self.looked_at += usize::from(within);
        within
    }
}

impl Conntrack {
    /// Removes one flow whose time is over and hands it out. To be called again, with the same `now`, until it says
    /// `None`: then there is no more, or `budget` timers have been looked at for this `now`.
    pub fn expire(&mut self, now: Duration, budget: usize) -> Option<Expired> {
        if now != self.round.now {
            self.round = Round { now, looked_at: 0 };
        }
        let tick = tick::floor(now);
        let entry = match self.closed_due(tick) {
            Some(entry) => self.round.look(budget).then_some(entry)?,
            None => self.waiting_due(tick, budget)?,
        };
        let flow = self.finish(entry, tick);
        let resets = if speaks_at_expiry(&flow) { resets(&flow) } else { Resets::default() };
        Some(Expired { id: FlowId(entry), flow, resets })
    }

    /// Whether [`Conntrack::expire`] has stopped at its budget for this `now`: there may be more.
    #[must_use]
    pub fn expiry_is_behind(&self, now: Duration, budget: usize) -> bool {
        self.round.now == now && self.round.looked_at >= budget
    }

    fn closed_due(&self, tick: u32) -> Option<u32> {
        let due = |entry: &u32| self.flows[*entry as usize].deadline <= tick;
        self.timers.closed_heads().map(|(entry, _)| entry).find(due)
    }

    /// Turns the wheel up to now; flows that have been heard since they were put there go to a later slot.
    fn waiting_due(&mut self, tick: u32, budget: usize) -> Option<u32> {
        while let Some(entry) = self.timers.turn(tick) {
            if !self.round.look(budget) {
                return None;
            }
            let deadline = self.flows[entry as usize].deadline;
            if deadline <= tick {
                return Some(entry);
            }
            self.timers.wait(entry, deadline);
        }
        None
    }

    /// Ends a TCP flow from here: it goes to [`State::Reset`], and the two RSTs are handed out. If an end has not got
    /// all that the other has sent, the RST is not exact and the end answers with a challenge ACK (RFC 5961); that
    /// segment gets [`crate::Track::Refused`], and the RST which answers it is exact.
    ///
    /// UDP flows and closed flows stay as they are: there is nobody to tell. `idle` is the service's.
    pub fn reset(&mut self, id: FlowId, idle: &Idle, now: Duration) -> Resets {
        let Some(flow) = self.flows.get_mut(id.slot()) else { return Resets::default() };
        let before = flow.state();
        if flow.is_vacant() || before.is_closed() || flow.original.protocol == Protocol::Udp {
            return Resets::default();
        }
        let resets = resets(flow);
        flow.set_state(State::Reset);
        self.moved(id.0, before, idle, now);
        resets
    }
}

/// Ends of half-open flows have timers of their own, and the "client" may never have asked: no RST for a SYN flood.
/// Of a direct flow that closes, it is not known how far the other end has come: most are over.
fn speaks_at_expiry(flow: &Flow) -> bool {
    match flow.state() {
        State::Established => true,
        State::FinWait | State::CloseWait | State::LastAck => !flow.is_direct(),
        _ => false,
    }
}

fn resets(flow: &Flow) -> Resets {
    if flow.is_direct() {
        return direct_resets(flow);
    }
    Resets {
        to_client: reset_to(flow, Direction::Original, flow.original.reversed()),
        to_backend: reset_to(flow, Direction::Reply, flow.reply_tuple().reversed()),
    }
}

/// Only the client was heard: its next byte is what the backend expects, its last acknowledgment what it expects itself.
fn direct_resets(flow: &Flow) -> Resets {
    let client = Direction::Original.index();
    let (sent, expected) = (flow.ends[client], flow.has_acked(Direction::Original).then_some(flow.acks[client]));
    let to_client = TcpReset { tuple: flow.original.reversed(), seq: expected.unwrap_or(0), ack: Some(sent) };
    let to_backend = TcpReset { tuple: flow.original, seq: sent, ack: expected };
    let heard = flow.windows[client] != 0;
    Resets { to_client: heard.then_some(to_client), to_backend: heard.then_some(to_backend) }
}

/// The RST to one side, which must carry exactly the next sequence number that the side expects (RFC 5961).
fn reset_to(flow: &Flow, side: Direction, tuple: FiveTuple) -> Option<TcpReset> {
    let (receiver, sender) = (side.index(), side.reversed().index());
    let heard = |side: usize| flow.windows[side] != 0;
    if heard(sender) {
        // What the other side has sent last is what this side expects next, if all of it arrived.
        Some(TcpReset { tuple, seq: flow.ends[sender], ack: heard(receiver).then_some(flow.ends[receiver]) })
    } else {
        // Nothing came from the other side: the answer to a SYN (RFC 9293, 3.10.7.1).
        heard(receiver).then(|| TcpReset { tuple, seq: 0, ack: Some(flow.ends[receiver]) })
    }
}
