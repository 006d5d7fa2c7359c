//! New flows: a place in the table, a SNAT port, both keys into the index.

use core::fmt;
use core::net::SocketAddrV4;
use core::time::Duration;

use wire::{FiveTuple, Protocol};

use crate::tick;
use crate::{ClientLink, Conntrack, Direction, Flow, FlowId, Hit, NatBinding, SnatRange, State};

/// A new flow, as the data path wants it.
#[derive(Clone, Debug)]
pub struct Open<'a> {
    /// Client to VIP.
    pub original: FiveTuple,
    /// The chosen backend. Not used when `snat` is `None`.
    pub backend: SocketAddrV4,
    /// Where the SNAT port comes from. `None`: a direct flow ([`Flow::is_direct`]), nothing is translated.
    pub snat: Option<SnatRange<'a>>,
    /// Kept in [`Flow::service`].
    pub service: u32,
    /// Kept in [`Flow::backend_id`].
    pub backend_id: u32,
    /// Kept in [`Flow::generation`].
    pub generation: u32,
    /// Kept in [`Flow::client`].
    pub client: ClientLink,
}

/// A flow that was opened.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The new flow.
    pub id: FlowId,
    /// The closed flow that gave way to it, for the port or for the place.
    pub evicted: Option<Flow>,
}

/// Why a flow could not be opened. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// Every entry holds a flow that is not closed.
    TableFull,
    /// Every SNAT port towards this backend is held by a flow that is not closed.
    PortsExhausted,
    /// There is already a flow with this key.
    Duplicate,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OpenError::TableFull => "the flow table is full",
            OpenError::PortsExhausted => "no SNAT port is left towards the backend",
            OpenError::Duplicate => "a flow with this key exists",
        })
    }
}

impl core::error::Error for OpenError {}

/// Ports that turn out to be held by an open flow before `open` gives up; there are some only after a pool was reset.
const PORT_ATTEMPTS: usize = 64;
impl Conntrack {
    /// Opens a flow. Picks the SNAT port that has rested longest. If a closed flow still holds that port, it gives way;
    /// so does the oldest closed flow when the table is full. Flows that are not closed never give way.
    ///
    /// # Errors
    /// [`OpenError`]; nothing has changed then.
    pub fn open(&mut self, open: &Open, now: Duration) -> Result<Opened, OpenError> {
        if self.lookup(&open.original).is_some() || (open.snat.is_none() && self.meets_itself(&open.original)) {
            return Err(OpenError::Duplicate);
        }
        if self.timers.free().is_none() && self.oldest_closed().is_none() {
            return Err(OpenError::TableFull);
        }
        let (binding, mut evicted) = self.bind(open, tick::floor(now)).ok_or(OpenError::PortsExhausted)?;
        // Who gave way to the port has left its place, too: never do two give way.
        if self.timers.free().is_none() {
            evicted = self.oldest_closed().map(|oldest| self.remove(oldest));
        }
        let entry = self.timers.free().ok_or(OpenError::TableFull)?;
        self.place(entry, open, binding, now);
        Ok(Opened { id: FlowId(entry), evicted })
    }

    /// Writes the new flow into a free entry and makes it known.
    fn place(&mut self, entry: u32, open: &Open, binding: NatBinding, now: Duration) {
        let state = match open.original.protocol {
            Protocol::Tcp => State::SynSent,
            Protocol::Udp => State::UdpNew,
        };
        let mut flow = Flow::vacant();
        flow.restart(state);
        flow.original = open.original;
        flow.binding = binding;
        flow.service = open.service;
        flow.backend_id = open.backend_id;
        flow.generation = open.generation;
        flow.client = open.client;
        flow.deadline = tick::ceil(now).saturating_add(self.timeouts[state as usize]);
        if state == State::UdpNew {
            flow.begin_udp(tick::floor(now));
        }
        self.timers.wait(entry, flow.deadline);
        self.index.insert(self.key.hash(&flow.original), entry);
        self.index.insert(self.key.hash(&flow.reply_tuple()), entry);
        self.flows[entry as usize] = flow;
        self.used += 1;
    }

    /// Whether the answers to a direct flow would belong to another one: only forged addresses look so.
    fn meets_itself(&self, original: &FiveTuple) -> bool {
        let answers = original.reversed();
        answers == *original || self.lookup(&answers).is_some()
    }

    /// Finds a SNAT port whose reply key is free, or held by a closed flow, which is removed and handed out.
    fn bind(&mut self, open: &Open, tick: u32) -> Option<(NatBinding, Option<Flow>)> {
        let (backend, protocol) = (open.backend, open.original.protocol);
        let Some(range) = &open.snat else { return Some((NatBinding::to_itself(&open.original), None)) };
        for _ in 0..PORT_ATTEMPTS {
            let snat = self.ports.take(backend, protocol, range, tick)?;
            let binding = NatBinding { backend, snat };
            let key = binding.reply_tuple(protocol);
            match self.lookup(&key) {
                None if key != open.original => return Some((binding, None)),
                Some(Hit { id, direction: Direction::Reply }) if self.flow(id).state().is_closed() => {
                    return Some((binding, Some(self.remove(id.0))));
                }
                // An open flow has it (the pool was changed meanwhile): it comes back with that flow, once.
                Some(Hit { direction: Direction::Reply, .. }) => self.ports.leave(backend, protocol, snat),
                // A client's own key looks like this reply: some other time, perhaps.
                _ => self.ports.rest(backend, protocol, snat, tick),
            }
        }
        None
    }

    /// Of the closed flows the one that closed first.
    fn oldest_closed(&self) -> Option<u32> {
        let closed_at = |&(entry, ticks): &(u32, u32)| self.flows[entry as usize].deadline.saturating_sub(ticks);
        self.timers.closed_heads().min_by_key(closed_at).map(|(entry, _)| entry)
    }
}
