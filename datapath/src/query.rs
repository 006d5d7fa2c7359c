//! Control's questions about flows: answered by the owner of the flow table, a page a turn, without locks.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use conntrack::Direction;
use crossbeam::queue::ArrayQueue;
use wire::Protocol;

use crate::core::Core;
use crate::service::{BackendId, ServiceId, Snapshot};

/// Flow slots looked at per turn.
pub(crate) const SLOTS_PER_PAGE: usize = 4096;

/// Which flows are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowFilter {
    /// Only of this service.
    pub service: Option<ServiceId>,
    /// At most so many.
    pub limit: usize,
}

/// One flow, as it was at the moment of asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowRecord {
    /// Its worker.
    pub worker: usize,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Who opened it.
    pub client: SocketAddr,
    /// What was asked for.
    pub vip: SocketAddr,
    /// What the backend sees.
    pub snat: SocketAddr,
    /// Who serves it.
    pub backend: SocketAddr,
    /// Its service.
    pub service: ServiceId,
    /// Its backend.
    pub backend_id: BackendId,
    /// Linux's name of the state.
    pub state: &'static str,
    /// When it ends if nothing comes.
    pub expires_in: Duration,
    /// From the client, to the client.
    pub packets: [u64; 2],
    /// IP bytes from the client, to the client.
    pub bytes: [u64; 2],
}

/// A question that travels to the worker and back, filled.
#[derive(Debug)]
pub struct Page {
    /// Of which question it is: [`Queries::number`].
    pub question: u64,
    /// Which flows.
    pub filter: FlowFilter,
    /// The next slot to look at; `None`: all seen, or enough found.
    pub next: Option<usize>,
    /// What was found. Control has made room for what a turn may find.
    pub found: Vec<FlowRecord>,
}

/// The way of the pages.
#[derive(Debug)]
pub struct Queries {
    asked: ArrayQueue<Page>,
    answered: ArrayQueue<Page>,
    questions: AtomicU64,
}

impl Default for Queries {
    fn default() -> Self {
        Self { asked: ArrayQueue::new(1), answered: ArrayQueue::new(1), questions: AtomicU64::new(0) }
    }
}

impl Queries {
    /// Control: a number for a new question. A worker may answer late, when nobody waits for it any more and another question is
    /// under way.
    pub fn number(&self) -> u64 {
        self.questions.fetch_add(1, Ordering::Relaxed)
    }

    /// Control: asks; the page comes back if another question is under way.
    ///
    /// # Errors
    /// The page itself.
    pub fn ask(&self, page: Page) -> Result<(), Page> {
        self.asked.push(page)
    }

    /// Control: the answer to this question, once there.
    pub fn take_answer(&self, question: u64) -> Option<Page> {
        self.answered.pop().filter(|answer| answer.question == question)
    }

    /// Worker: looks through the next slots.
    pub(crate) fn answer(&self, core: &Core, tables: &Snapshot, now: Duration) {
        self.answer_with(|page| {
            let cursor = page.next.unwrap_or(0);
            let FlowFilter { service, limit } = page.filter;
            let wanted = |flow: &conntrack::Flow| service.is_none_or(|id| id.0 == flow.service);
            let room = limit.saturating_sub(page.found.len());
            let flows = core.conntrack.scan(cursor, SLOTS_PER_PAGE).filter(|(_, flow)| wanted(flow));
            page.found.extend(flows.take(room).map(|(_, flow)| record(core, tables, flow, now)));
            let next = cursor + SLOTS_PER_PAGE;
            page.next = (next < core.conntrack.slots() && page.found.len() < limit).then_some(next);
        });
    }

    /// Worker: fills the page that waits, if one does.
    pub(crate) fn answer_with(&self, fill: impl FnOnce(&mut Page)) {
        let Some(mut page) = self.asked.pop() else { return };
        fill(&mut page);
        // What still lies there was not waited for.
        self.answered.force_push(page);
    }
}

fn record(core: &Core, tables: &Snapshot, flow: &conntrack::Flow, now: Duration) -> FlowRecord {
    let key = &flow.original;
    let real = |address, port| core.real_end(tables, address, port);
    let conntrack::NatBinding { snat, backend } = flow.binding;
    FlowRecord {
        worker: core.index,
        protocol: key.protocol,
        client: real(key.src, key.src_port),
        vip: real(key.dst, key.dst_port),
        snat: real(*snat.ip(), snat.port()),
        backend: real(*backend.ip(), backend.port()),
        service: ServiceId(flow.service),
        backend_id: BackendId(flow.backend_id),
        state: flow.state().as_str(),
        expires_in: flow.deadline().saturating_sub(now),
        packets: [flow.packets(Direction::Original), flow.packets(Direction::Reply)],
        bytes: [flow.bytes(Direction::Original), flow.bytes(Direction::Reply)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(question: u64) -> Page {
        let filter = FlowFilter { service: None, limit: 7 };
        Page { question, filter, next: None, found: Vec::new() }
    }

    #[test]
    fn a_late_answer_is_not_taken_for_the_next_questions() {
        let queries = Queries::default();
        let (late, next) = (queries.number(), queries.number());
        queries.answered.force_push(page(late));
        assert!(queries.take_answer(next).is_none());
        // It came while the next one was under way, and stands in nobody's way.
        queries.answered.force_push(page(late));
        queries.answered.force_push(page(next));
        assert_eq!(queries.take_answer(next).map(|page| page.question), Some(next));
        assert!(queries.take_answer(next).is_none());
    }
}
