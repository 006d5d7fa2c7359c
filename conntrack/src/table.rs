//! The flow table: entries, index, timers and ports, kept in step.

use core::net::SocketAddrV4;
use core::ops::Range;
use core::time::Duration;

use wire::{FiveTuple, Protocol};

use crate::expiry::Round;
use crate::hash::HashKey;
use crate::index::Index;
use crate::ports::Ports;
use crate::syns::Syns;
use crate::tick;
use crate::timers::Timers;
use crate::{Direction, Flow, FlowId, Hit, SnatRange, State, Timeouts};

/// More entries than anybody has memory for; keeps entry numbers well below the markers.
const MAX_CAPACITY: usize = 1 << 30;
/// The flow table of one worker.
pub struct Conntrack {
    pub(crate) flows: Vec<Flow>,
    pub(crate) index: Index,
    pub(crate) timers: Timers,
    pub(crate) ports: Ports,
    pub(crate) syns: Syns,
    pub(crate) key: HashKey,
    pub(crate) round: Round,
    pub(crate) timeouts: [u32; State::ALL.len()],
    pub(crate) used: usize,
}

/// The memory of an array.
pub(crate) fn bytes_of<T>(array: &[T]) -> Range<*const u8> {
    let Range { start, end } = array.as_ptr_range();
    start.cast()..end.cast()
}

impl Conntrack {
    /// A table for `capacity` flows (at least one). `seed` must be secret and new for each process: it keys the hash and
    /// says where the walks over the SNAT ports begin.
    #[must_use]
    pub fn new(capacity: usize, timeouts: Timeouts, seed: u64) -> Conntrack {
        let capacity = capacity.clamp(1, MAX_CAPACITY);
        let key = HashKey::new(seed);
        let timeouts = timeouts.in_ticks();
        let closed = State::ALL.into_iter().filter(|state| state.is_closed()).map(|state| timeouts[state as usize]);
        Conntrack {
            flows: vec![Flow::vacant(); capacity],
            index: Index::new(capacity * 2),
            timers: Timers::new(capacity as u32, closed),
            ports: Ports::new(key),
            syns: Syns::new(),
            key,
            round: Round::default(),
            timeouts,
            used: 0,
        }
    }

    /// The flow with this key, original or reply.
    #[must_use]
    pub fn lookup(&self, key: &FiveTuple) -> Option<Hit> {
        self.lookup_hashed(key, self.key.hash(key))
    }

    pub(crate) fn lookup_hashed(&self, key: &FiveTuple, hash: u64) -> Option<Hit> {
        let mut direction = None;
        let is_it = |entry| {
            direction = self.matches(entry, key);
            direction.is_some()
        };
        let entry = self.index.find(hash, is_it)?;
        Some(Hit { id: FlowId(entry), direction: direction? })
    }

    /// Which key of the entry this is, if any.
    #[inline]
    pub(crate) fn matches(&self, entry: u32, key: &FiveTuple) -> Option<Direction> {
        let flow = self.flows.get(entry as usize)?;
        if flow.original == *key {
            Some(Direction::Original)
        } else if flow.reply_tuple() == *key {
            Some(Direction::Reply)
        } else {
            None
        }
    }

    /// Takes an entry out of index and timers. The port is the caller's care.
    pub(crate) fn remove(&mut self, entry: u32) -> Flow {
        let flow = self.flows[entry as usize].clone();
        self.index.remove(self.key.hash(&flow.original), entry);
        self.index.remove(self.key.hash(&flow.reply_tuple()), entry);
        self.timers.set_free(entry);
        self.flows[entry as usize].vacate();
        self.used -= 1;
        flow
    }

    /// Takes an entry out; the port of a flow that was not closed goes to the end of its queue.
    pub(crate) fn finish(&mut self, entry: u32, tick: u32) -> Flow {
        let flow = self.remove(entry);
        if !flow.state().is_closed() {
            self.ports.rest(flow.binding.backend, flow.original.protocol, flow.binding.snat, tick);
        }
        flow
    }

    /// The flow. With the id of a flow that was removed: whatever is in its place now.
    ///
    /// # Panics
    /// With an id of another, larger table.
    #[must_use]
    pub fn flow(&self, id: FlowId) -> &Flow {
        &self.flows[id.slot()]
    }

    /// The flow, to write to. With the id of a flow that was removed: whatever is in its place now.
    ///
    /// # Panics
    /// With an id of another, larger table.
    #[must_use]
    pub fn flow_mut(&mut self, id: FlowId) -> &mut Flow {
        &mut self.flows[id.slot()]
    }

    /// The flow, if the id's place holds one.
    #[must_use]
    pub fn get(&self, id: FlowId) -> Option<&Flow> {
        self.flows.get(id.slot()).filter(|flow| !flow.is_vacant())
    }

    /// Removes a flow now. Its port goes to the end of its queue, if it is not there already.
    pub fn close(&mut self, id: FlowId) -> Flow {
        match self.flows.get(id.slot()) {
            Some(flow) if !flow.is_vacant() => self.finish(id.0, self.round.tick()),
            _ => Flow::vacant(),
        }
    }

    /// The flows in `budget` slots from `cursor` on, in slot order: for listing and sweeping in slices.
    pub fn scan(&self, cursor: usize, budget: usize) -> impl Iterator<Item = (FlowId, &Flow)> {
        let slots = self.flows.get(cursor..).unwrap_or_default().iter().take(budget);
        (cursor as u32..).map(FlowId).zip(slots).filter(|(_, flow)| !flow.is_vacant())
    }

    /// Slots to scan: as many as the table has entries.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.flows.len()
    }

    /// Flows in the table, closed ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.used
    }

    /// No flows at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Flows that the table can hold.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.flows.len()
    }

    /// SNAT ports that could be given out towards a backend now.
    #[must_use]
    pub fn free_ports(&self, backend: SocketAddrV4, protocol: Protocol, range: &SnatRange) -> usize {
        self.ports.free(backend, protocol, range)
    }

    /// Looks at the next backend's SNAT ports, one after another with each call, and forgets them if none is in use and none was
    /// for four minutes, or twice the `TIME_WAIT` timeout if that is longer: the backend's own `TIME_WAIT` must be over, whatever ours is.
    pub fn forget_unused_ports(&mut self, now: Duration) {
        const TWO_MSL_TWICE: u32 = 240 * tick::PER_SECOND;
        let rest = self.timeouts[State::TimeWait as usize].saturating_mul(2).max(TWO_MSL_TWICE);
        if let Some(idle_since) = tick::floor(now).checked_sub(rest) {
            self.ports.forget_unused(idle_since);
        }
    }

    /// Where the large arrays lie, of which every packet reads random places: for advice to the system about that memory.
    pub fn regions(&self) -> impl Iterator<Item = Range<*const u8>> {
        [bytes_of(&self.flows), self.index.region(), self.timers.region()].into_iter()
    }

    /// Bytes of memory that the table holds.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let flows = self.flows.capacity() * size_of::<Flow>();
        flows + self.index.memory_bytes() + self.timers.memory_bytes() + self.ports.memory_bytes()
    }
}
