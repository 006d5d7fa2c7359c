//! The ends of flows: timeouts, backends that were removed. Both ends of a TCP flow are told by RST, so that nobody hangs.

use std::time::Duration;

use conntrack::{Direction, Flow, FlowId, Idle, Resets, State};
use wire::Protocol;

use crate::core::Core;
use crate::flow_log::Ending;
use crate::service::{BackendId, Phase, Snapshot};
use crate::stage::FlowFacts;
use crate::verdict::DropReason;

/// Timers looked at per turn of the worker: a burst waits for them, so few.
const TIMERS_PER_TURN: usize = 32;
/// Flow slots swept per turn of the worker after backends were removed.
const SWEEP_PER_TURN: usize = 1024;
/// Flows of removed backends that end per turn: each may send two RSTs, as an expired one does.
const ENDS_PER_TURN: usize = 32;

/// A walk through the flow table, a slice a turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sweep {
    next: usize,
}

impl Core {
    /// Ends flows whose time has come. Gives whether there may be more of them than one turn looks at.
    pub(crate) fn expire(&mut self, tables: &Snapshot, now: Duration) -> bool {
        for _ in 0..TIMERS_PER_TURN {
            let Some(mut expired) = self.conntrack.expire(now, TIMERS_PER_TURN) else { break };
            self.recall_removed(tables, expired.id, &mut expired.flow);
            self.lookups_stale = true;
            self.counters.flows_expired.add(1);
            let mut resets = expired.resets;
            if expired.flow.is_spliced() && !expired.flow.state().is_closed() {
                self.renumber_resets(expired.id, &mut resets);
            }
            self.log_end(tables, expired.id, &expired.flow, Ending::Timeout);
            self.tell(tables, &FlowFacts::of(&expired.flow), &resets);
            self.count_closed(tables, &expired.flow);
        }
        self.expire_fragments(now);
        self.conntrack.expiry_is_behind(now, TIMERS_PER_TURN)
    }

    /// The backend of a flow is gone: a TCP flow is reset unless it is over anyway, any other is closed. So is one whose client
    /// was not answered yet: its SYN, sent again, goes to another backend.
    pub(crate) fn end_flow(&mut self, tables: &Snapshot, id: FlowId, now: Duration) {
        self.recall(tables, id);
        let flow = self.conntrack.flow(id);
        let is_unanswered = flow.state() == State::SynSent && !self.was_opened_by_cookie(id);
        if flow.original.protocol != Protocol::Tcp || is_unanswered {
            self.close_flow(tables, id);
            return;
        }
        if flow.state().is_closed() {
            return;
        }
        self.log_end(tables, id, flow, Ending::ResetHere);
        let facts = FlowFacts::of(flow);
        let resets = self.reset_flow(tables, id, now);
        self.counters.flows_reset.add(1);
        self.tell(tables, &facts, &resets);
    }

    /// The client of a flow begins anew, under the same port. If its backend has not closed yet, nobody else would tell it.
    pub(crate) fn replace_flow(&mut self, tables: &Snapshot, id: FlowId, now: Duration) {
        self.recall(tables, id);
        let flow = self.conntrack.flow(id);
        if !flow.state().is_closed() {
            self.log_end(tables, id, flow, Ending::Replaced);
            let facts = FlowFacts::of(flow);
            let resets = Resets { to_client: None, ..self.reset_flow(tables, id, now) };
            self.tell(tables, &facts, &resets);
        }
        self.close_flow(tables, id);
    }

    /// Resets a TCP flow that is not over. Gives what is to be told to its ends.
    fn reset_flow(&mut self, tables: &Snapshot, id: FlowId, now: Duration) -> Resets {
        let flow = self.conntrack.flow(id);
        let (before, spliced, backend) = (Phase::of(flow.state()), flow.is_spliced(), BackendId(flow.backend_id));
        self.end_half_open(tables, flow);
        let service = tables.backend_or_retired(backend).map(|target| &target.service.idle);
        let mut resets = self.conntrack.reset(id, service.unwrap_or(&Idle::default()), now);
        if spliced {
            self.renumber_resets(id, &mut resets);
        }
        if let Some(stats) = self.stats_of(tables, backend) {
            stats.moved(before, Phase::Over);
        }
        resets
    }

    fn tell(&mut self, tables: &Snapshot, facts: &FlowFacts, resets: &Resets) {
        if let Some(reset) = &resets.to_client {
            self.send_reset(tables, reset, facts, Direction::Original);
        }
        if let Some(reset) = &resets.to_backend {
            self.send_reset(tables, reset, facts, Direction::Reply);
        }
    }

    /// Goes on with the walk that ends flows of removed backends.
    pub(crate) fn sweep(&mut self, tables: &Snapshot, now: Duration) {
        let Some(Sweep { next }) = self.sweep else { return };
        let is_gone = |(id, flow): (FlowId, &Flow)| tables.backend(BackendId(flow.backend_id)).is_none().then_some(id);
        let slots = self.conntrack.scan(next, SWEEP_PER_TURN);
        let gone: Vec<FlowId> = slots.filter_map(is_gone).take(ENDS_PER_TURN).collect();
        for &id in &gone {
            self.end_gone(tables, id, now);
        }
        let next = match gone.get(ENDS_PER_TURN - 1) {
            Some(last) => last.slot() + 1,
            None => next + SWEEP_PER_TURN,
        };
        self.sweep = (next < self.conntrack.slots()).then_some(Sweep { next });
    }

    /// A flow that was over before its backend went has nobody to tell, and would outlive what is remembered of the
    /// backend: it goes at once. One that was reset stays, to refuse what its ends may still send.
    fn end_gone(&mut self, tables: &Snapshot, id: FlowId, now: Duration) {
        let state = self.conntrack.flow(id).state();
        if state.is_closed() && state != State::Reset {
            self.close_flow(tables, id);
        } else {
            self.end_flow(tables, id, now);
        }
    }

    /// A flow has left the table.
    pub(crate) fn count_closed(&self, tables: &Snapshot, flow: &Flow) {
        self.release_client(flow.original.src);
        if let Some(stats) = self.stats_of(tables, BackendId(flow.backend_id)) {
            stats.closed(Phase::of(flow.state()));
        }
        self.end_half_open(tables, flow);
    }

    pub(crate) fn stats_of<'a>(
        &self,
        tables: &'a Snapshot,
        backend: BackendId,
    ) -> Option<&'a crate::service::WorkerStats> {
        tables.backend_or_retired(backend)?.backend.stats.worker(self.index)
    }

    /// Frames that came home from other workers.
    pub(crate) fn take_back_frames(&mut self) {
        while let Some(frame) = self.exchange.take_back() {
            self.pool.put(frame);
        }
    }

    /// Copies a packet that another worker left into a frame of ours; the original goes home.
    pub(crate) fn adopt(&mut self, frame: sys::Frame, home: usize) -> Option<sys::Frame> {
        let copy = self.pool.take().and_then(|mut copy| {
            if copy.fill(frame.bytes()) {
                return Some(copy);
            }
            self.pool.put(copy);
            None
        });
        if copy.is_none() {
            self.counters.dropped(DropReason::NoFrame);
        }
        // The queue home holds as many frames as that worker has: it can not be full.
        let _ = self.exchange.give_back(home, frame);
        copy
    }
}
