//! What flows were, for control's log: one event when a flow opens, one when it ends. Off unless asked for.
//!
//! Events go into a bounded queue of the worker's own. When control is not quick enough they are lost and counted; the
//! worker never waits. A flow ends once: when it is closed by its ends or by us, or else when it leaves the table.

use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use conntrack::{Direction, Flow, FlowId, State};
use crossbeam::queue::ArrayQueue;
use wire::Protocol;

use crate::core::Core;
use crate::service::{ServiceId, Snapshot};

/// Events of one worker that wait for control at most.
const WAITING: usize = 16_384;

/// How a flow ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Both sides said so.
    Closed,
    /// One side reset it.
    Reset,
    /// We did: its backend was removed, is down, or is drained for too long.
    ResetHere,
    /// Nothing was heard for too long.
    Timeout,
    /// Its backend went (UDP), or a new connection took its place.
    Replaced,
}

impl Ending {
    /// A word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Ending::Closed => "closed",
            Ending::Reset => "reset",
            Ending::ResetHere => "reset_by_gateway",
            Ending::Timeout => "timeout",
            Ending::Replaced => "replaced",
        }
    }
}

/// Something that happened to a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowEvent {
    /// When, since the process started.
    pub at: Duration,
    /// When the flow was opened.
    pub opened: Duration,
    /// How it ended; `None`: it was opened.
    pub ending: Option<Ending>,
    /// Where it stood then.
    pub state: State,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Who asked.
    pub client: SocketAddr,
    /// What was asked for.
    pub vip: SocketAddr,
    /// Where the backend saw it come from.
    pub snat: SocketAddr,
    /// Who answered.
    pub backend: SocketAddr,
    /// Its service.
    pub service: ServiceId,
    /// Packets from the client and to it.
    pub packets: [u64; 2],
    /// IP bytes likewise.
    pub bytes: [u64; 2],
}

/// Where events wait for control.
pub type FlowEvents = Arc<ArrayQueue<FlowEvent>>;

/// An empty queue.
#[must_use]
pub fn queue() -> FlowEvents {
    Arc::new(ArrayQueue::new(WAITING))
}

/// What a worker that logs keeps.
#[derive(Debug)]
pub(crate) struct FlowLog {
    events: FlowEvents,
    /// When the flow in each place of the table was opened, in milliseconds.
    opened: Box<[u64]>,
    /// This turn's time.
    now: Duration,
    /// The flow that the packet at hand has closed.
    ended: Option<FlowId>,
}

impl Core {
    /// Logs flows from now on.
    pub fn log_flows(&mut self, events: FlowEvents) {
        let opened = vec![0; self.conntrack.slots()].into();
        self.flow_log = Some(FlowLog { events, opened, now: Duration::ZERO, ended: None });
    }

    /// The time of what is logged from now on.
    #[inline]
    pub(crate) fn log_time(&mut self, now: Duration) {
        if let Some(log) = &mut self.flow_log {
            log.now = now;
        }
    }

    pub(crate) fn log_opened(&mut self, tables: &Snapshot, id: FlowId) {
        let Some(log) = &mut self.flow_log else { return };
        if let Some(opened) = log.opened.get_mut(id.slot()) {
            *opened = log.now.as_millis() as u64;
        }
        self.log(tables, id, self.conntrack.flow(id), None);
    }

    /// A packet has moved a flow's state: its end is logged when the packet is counted.
    #[inline]
    pub(crate) fn log_move(&mut self, id: FlowId, before: State, after: State) {
        if let Some(log) = &mut self.flow_log
            && after.is_closed()
            && !before.is_closed()
        {
            log.ended = Some(id);
        }
    }

    /// The packet is on its way.
    #[inline]
    pub(crate) fn log_closed(&mut self, tables: &Snapshot) {
        let Some(id) = self.flow_log.as_mut().and_then(|log| log.ended.take()) else { return };
        let flow = self.conntrack.flow(id);
        let ending = if flow.state() == State::TimeWait { Ending::Closed } else { Ending::Reset };
        self.log(tables, id, flow, Some(ending));
    }

    /// A flow ends here. Those that are closed already have been logged.
    #[inline]
    pub(crate) fn log_end(&self, tables: &Snapshot, id: FlowId, flow: &Flow, ending: Ending) {
        if self.flow_log.is_some() && !flow.state().is_closed() {
            self.log(tables, id, flow, Some(ending));
        }
    }

    fn log(&self, tables: &Snapshot, id: FlowId, flow: &Flow, ending: Option<Ending>) {
        let Some(log) = &self.flow_log else { return };
        let real = |at: SocketAddrV4| self.real_end(tables, *at.ip(), at.port());
        let both = |count: fn(&Flow, Direction) -> u64| Direction::BOTH.map(|way| count(flow, way));
        let event = FlowEvent {
            at: log.now,
            opened: Duration::from_millis(log.opened.get(id.slot()).copied().unwrap_or(0)),
            ending,
            state: flow.state(),
            protocol: flow.original.protocol,
            client: real(SocketAddrV4::new(flow.original.src, flow.original.src_port)),
            vip: real(SocketAddrV4::new(flow.original.dst, flow.original.dst_port)),
            snat: real(flow.binding.snat),
            backend: real(flow.binding.backend),
            service: ServiceId(flow.service),
            packets: both(Flow::packets),
            bytes: both(Flow::bytes),
        };
        if log.events.push(event).is_err() {
            self.counters.flow_events_lost.add(1);
        }
    }
}
