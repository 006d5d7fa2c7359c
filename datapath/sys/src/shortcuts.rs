//! Shortcuts: flows that a worker lends to the XDP program, which then translates their packets and sends them on itself.
//!
//! `bpf/shortcut.h` says what the program does with them and when it gives them back. The tables are arrays of the kernel's that
//! are mapped here: lending and taking back are plain stores, no system calls. A table is shared by all workers; each has places
//! of its own in it ([`Lender`]), and the index is written by compare-and-swap.

mod layout;
mod loan;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddrV4;
use std::os::fd::BorrowedFd;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use crate::clock;
use crate::os::{self, Mapping};
pub use loan::{Arrival, Ends, LentHeaders, LentSide, LentWay, Loan};

use layout::{BUCKETS, Bucket, SHORTCUTS, Seen, Shortcut, Side, Terms, Way, raw, raw_way};

/// How long a place that was given back stays empty. The program may be at a packet that it began before, and holds on for as
/// long as its processor is kept from it.
const REST: Duration = Duration::from_millis(200);

/// The program's clock is behind by a tick of the kernel's at most, and may be ahead of what the caller calls now: a loan with more
/// than this left was not ended for its time.
pub const SETTLED: Duration = Duration::from_millis(20);
/// A few times what the program needs for a packet: about two microseconds.
const PACKET_SPINS: u32 = 64;

/// The place of a lent flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LentId(u32);

/// An array of the kernel's in our memory.
struct Array<T> {
    memory: Mapping,
    len: usize,
    element: std::marker::PhantomData<T>,
}

/// What arrays consist of.
///
/// # Safety
/// `repr(C)`, without padding between fields that matter, every bit pattern is a value, and everything that the kernel writes is
/// an atomic.
unsafe trait Shared {}
// SAFETY: atomics.
unsafe impl Shared for Terms {}
// SAFETY: atomics.
unsafe impl Shared for Bucket {}
// SAFETY: atomics, and ways of integers, which only we write.
unsafe impl Shared for Shortcut {}

impl<T: Shared> Array<T> {
    fn map(fd: BorrowedFd<'_>, len: usize) -> io::Result<Array<T>> {
        Ok(Array { memory: Mapping::shared(fd, len * size_of::<T>(), 0)?, len, element: std::marker::PhantomData })
    }

    fn get(&self, index: usize) -> Option<&T> {
        // SAFETY: inside the mapping, which is aligned to pages and lives as long as `self`; any bytes are a value of T, and what
        // others write meanwhile is atomic (contract of Shared).
        (index < self.len).then(|| unsafe { self.memory.base().cast::<T>().add(index).as_ref() })
    }
}

/// The table of lent flows, of all workers.
pub struct Shortcuts {
    terms: Array<Terms>,
    buckets: Array<Bucket>,
    flows: Array<Shortcut>,
    key: u64,
    /// Of the newest tables; what the program sees is 0 while lending is not allowed.
    generation: AtomicU32,
    allowed: AtomicBool,
    /// What the kernel's monotonic clock showed when ours began.
    start: Duration,
}

// SAFETY: `ways` of a place are written by the one lender that owns it, while nobody else of this process reads them; all else
// is atomic.
unsafe impl Send for Shortcuts {}
// SAFETY: as above.
unsafe impl Sync for Shortcuts {}

impl Shortcuts {
    /// Maps the program's tables.
    pub(crate) fn map(
        terms: BorrowedFd<'_>,
        buckets: BorrowedFd<'_>,
        flows: BorrowedFd<'_>,
        key: u64,
    ) -> io::Result<Shortcuts> {
        let start = os::monotonic()?.saturating_sub(clock::now());
        let (terms, buckets) = (Array::<Terms>::map(terms, 1)?, Array::map(buckets, BUCKETS)?);
        if let Some(terms) = terms.get(0) {
            terms.key.store(key, Ordering::Relaxed);
        }
        let (generation, allowed) = (AtomicU32::new(0), AtomicBool::new(true));
        Ok(Shortcuts { terms, buckets, flows: Array::map(flows, SHORTCUTS)?, key, generation, allowed, start })
    }

    /// By which tables flows are lent from now on; all that were lent by others are over. Generation 0: nothing is lent.
    /// `tunnel` is our end of the tunnels.
    pub fn set_terms(&self, generation: u32, tunnel: Option<SocketAddrV4>) {
        let Some(terms) = self.terms.get(0) else { return };
        terms.generation.store(0, Ordering::SeqCst);
        terms.vtep.store(tunnel.map_or(0, |tunnel| raw(*tunnel.ip())), Ordering::SeqCst);
        terms.tunnel_port.store(tunnel.map_or(0, |tunnel| tunnel.port().into()), Ordering::SeqCst);
        self.generation.store(generation, Ordering::SeqCst);
        self.allow(self.allowed.load(Ordering::SeqCst));
    }

    /// Whether the program may take packets at all. To be called by the thread that sets the terms.
    pub fn allow(&self, allowed: bool) {
        self.allowed.store(allowed, Ordering::SeqCst);
        if let Some(terms) = self.terms.get(0) {
            let generation = if allowed { self.generation.load(Ordering::SeqCst) } else { 0 };
            terms.generation.store(generation, Ordering::SeqCst);
        }
    }

    /// A share of the places for each worker.
    #[must_use]
    pub fn lenders(self: &Arc<Self>, workers: usize) -> Vec<Lender> {
        let workers = workers.max(1);
        let share = (SHORTCUTS / workers) as u32;
        let places = |worker: u32| (worker * share..(worker + 1) * share).rev().collect();
        let lender =
            |worker| Lender { table: Arc::clone(self), workers, free: places(worker), resting: VecDeque::new() };
        (0..workers as u32).map(lender).collect()
    }

    /// Where a key belongs: its bucket, and the upper half of what stands there.
    fn hash(&self, way: &Way) -> (usize, u64) {
        let mut hash = (u64::from(way.source) << 32 | u64::from(way.destination)) ^ self.key;
        hash = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash ^= hash >> 32;
        hash ^= u64::from(way.ports) << 8 | u64::from(way.protocol);
        hash = hash.wrapping_mul(0xd6e8_feb8_6659_fd93);
        hash ^= hash >> 32;
        (hash as usize & (BUCKETS - 1), hash & !0xffff_ffff)
    }

    /// Makes a way known to the program. False: there is no room near its key.
    fn enter(&self, way: &Way, number: u32) -> bool {
        let (bucket, tag) = self.hash(way);
        let entry = tag | u64::from(number);
        self.buckets.get(bucket).is_some_and(|bucket| {
            bucket
                .places
                .iter()
                .any(|place| place.compare_exchange(0, entry, Ordering::SeqCst, Ordering::Relaxed).is_ok())
        })
    }

    fn remove(&self, way: &Way, number: u32) {
        let (bucket, tag) = self.hash(way);
        let entry = tag | u64::from(number);
        for place in self.buckets.get(bucket).into_iter().flat_map(|bucket| &bucket.places) {
            if place.compare_exchange(entry, 0, Ordering::SeqCst, Ordering::Relaxed).is_ok() {
                return;
            }
        }
    }

    fn kernel_time(&self, time: Duration) -> u64 {
        (self.start + time).as_nanos() as u64
    }

    fn our_time(&self, nanos: u64) -> Option<Duration> {
        (nanos != 0).then(|| Duration::from_nanos(nanos).saturating_sub(self.start))
    }
}

/// One worker's part of the table.
pub struct Lender {
    table: Arc<Shortcuts>,
    /// That share the table.
    workers: usize,
    /// Places without a flow. The one freed last is used first: it is still in the cache.
    free: Vec<u32>,
    /// Those that were given back, and from when on they may be used.
    resting: VecDeque<(Duration, u32)>,
}

impl Lender {
    /// The table that this is a part of.
    #[must_use]
    pub fn table(&self) -> Arc<Shortcuts> {
        Arc::clone(&self.table)
    }

    /// How many flows it can lend at a time.
    #[must_use]
    pub fn places(&self) -> usize {
        SHORTCUTS / self.workers
    }

    /// Whether the program takes packets of flows that are lent by these tables: it goes by the newest, and by none while it is not
    /// allowed to take any.
    #[must_use]
    pub fn serves(&self, generation: u32) -> bool {
        self.table.terms.get(0).is_some_and(|terms| terms.generation.load(Ordering::SeqCst) == generation)
    }

    /// Whether a place is free.
    pub fn has_room(&mut self, now: Duration) -> bool {
        while let Some((_, rested)) = self.resting.pop_front_if(|(until, _)| *until <= now) {
            self.free.push(rested);
        }
        !self.free.is_empty()
    }

    /// Lends a flow. Its sides may join when [`Lender::sent`] says so, UDP at once. `None`: no place is free, or others have filled the
    /// index where its keys belong.
    pub fn lend(&mut self, loan: &Loan, now: Duration) -> Option<LentId> {
        if !self.has_room(now) {
            return None;
        }
        let place = *self.free.last()?;
        let table = &self.table;
        let shortcut = table.flows.get(place as usize)?;
        let ways = loan.ways.each_ref().map(|way| raw_way(way, loan.protocol));
        // SAFETY: the place is ours and not live, and has rested: nobody reads its ways.
        unsafe { ptr::write_volatile(shortcut.ways.get(), ways) };
        for ((side, queued), shown) in shortcut.sides.iter().zip(&shortcut.queued).zip(&loan.sides) {
            side.begin(shown);
            queued.seen.show(shown);
            queued.sent.store(nowhere_near(shown.end), Ordering::Relaxed);
        }
        shortcut.generation.store(loan.generation, Ordering::Relaxed);
        shortcut.stamp_delta.store(loan.stamp_delta, Ordering::Relaxed);
        shortcut.until.store(table.kernel_time(loan.until), Ordering::Relaxed);
        shortcut.live.store(1, Ordering::SeqCst);
        let numbers = numbers(place);
        if !table.enter(&ways[0], numbers[0]) {
            shortcut.live.store(0, Ordering::SeqCst);
            return None;
        }
        self.free.pop();
        if !table.enter(&ways[1], numbers[1]) {
            // The program may have begun with a packet of the first way: the place rests like any other.
            self.take_back(LentId(place), now);
            return None;
        }
        Some(LentId(place))
    }

    /// Takes a flow back, and tells what its sides have shown meanwhile. To be called once.
    pub fn take_back(&mut self, id: LentId, now: Duration) -> [LentSide; 2] {
        let Some(shortcut) = self.table.flows.get(id.0 as usize) else { return [LentSide::default(); 2] };
        if shortcut.live.swap(0, Ordering::SeqCst) != 0 {
            // The program may be at a packet that it began before: what that shows shall not be lost.
            (0..PACKET_SPINS).for_each(|_| std::hint::spin_loop());
        }
        // SAFETY: the place is ours: nobody writes its ways.
        let ways = unsafe { ptr::read_volatile(shortcut.ways.get()) };
        for (way, number) in ways.iter().zip(numbers(id.0)) {
            self.table.remove(way, number);
        }
        self.resting.push_back((now + REST, id.0));
        self.shown(id)
    }

    /// Leaves a flow lent until then.
    pub fn prolong(&self, id: LentId, until: Duration) {
        if let Some(shortcut) = self.shortcut(id) {
            shortcut.until.store(self.table.kernel_time(until), Ordering::Relaxed);
        }
    }

    /// What the sides of a lent flow have shown to the program so far.
    #[must_use]
    pub fn shown(&self, id: LentId) -> [LentSide; 2] {
        self.shortcut(id)
            .map(|shortcut| shortcut.sides.each_ref().map(|side| side.shown(&self.table)))
            .unwrap_or_default()
    }

    /// Whether the program sends on what this side of a lent TCP flow says: 0 is the client's. Until then it comes to the worker.
    #[must_use]
    pub fn has_joined(&self, id: LentId, side: usize) -> bool {
        self.shortcut(id).is_some_and(|shortcut| shortcut.sides[side].seen.joined.load(Ordering::Relaxed) != 0)
    }

    /// A segment of a side that has not joined is about to leave; the side has shown this by now. To be called before it leaves: the
    /// other side's answer may be quick.
    pub fn show(&self, id: LentId, side: usize, shown: &LentSide) {
        if let Some(shortcut) = self.shortcut(id) {
            shortcut.queued[side].seen.show(shown);
        }
    }

    /// What this side has said before this sequence number is about to leave: it may not join until that has left, not even with
    /// something that it says again.
    pub fn leaves(&self, id: LentId, side: usize, end: u32) {
        self.sent(id, side, nowhere_near(end));
    }

    /// All that this side had to say before this sequence number has left: it may join with the next.
    pub fn sent(&self, id: LentId, side: usize, end: u32) {
        if let Some(shortcut) = self.shortcut(id) {
            shortcut.queued[side].sent.store(end, Ordering::Release);
        }
    }

    /// Whether [`Lender::sent`] has said that last.
    #[must_use]
    pub fn has_sent(&self, id: LentId, side: usize, end: u32) -> bool {
        self.shortcut(id).is_some_and(|shortcut| shortcut.queued[side].sent.load(Ordering::Relaxed) == end)
    }

    fn shortcut(&self, id: LentId) -> Option<&Shortcut> {
        self.table.flows.get(id.0 as usize)
    }

    /// Whether the program still sends the flow's packets on: it ends loans by itself.
    #[must_use]
    pub fn is_live(&self, id: LentId) -> bool {
        self.shortcut(id).is_some_and(|shortcut| shortcut.live.load(Ordering::SeqCst) != 0)
    }
}

/// Half of the sequence space away: nothing that a side may say begins there.
fn nowhere_near(end: u32) -> u32 {
    end ^ 1 << 31
}

/// What stands in the index for the two ways of a place.
fn numbers(place: u32) -> [u32; 2] {
    [2 * place + 1, 2 * place + 2]
}

impl Seen {
    fn show(&self, shown: &LentSide) {
        self.end.store(shown.end, Ordering::Relaxed);
        self.ack.store(shown.ack, Ordering::Relaxed);
        self.window.store(shown.window, Ordering::Relaxed);
        self.scale.store(shown.scale, Ordering::Relaxed);
    }
}

impl Side {
    fn begin(&self, shown: &LentSide) {
        self.heard.store(0, Ordering::Relaxed);
        self.bytes.store(0, Ordering::Relaxed);
        self.packets.store(0, Ordering::Relaxed);
        self.seen.show(shown);
        self.seen.joined.store(0, Ordering::Relaxed);
    }

    fn shown(&self, table: &Shortcuts) -> LentSide {
        LentSide {
            end: self.seen.end.load(Ordering::Relaxed),
            ack: self.seen.ack.load(Ordering::Relaxed),
            window: self.seen.window.load(Ordering::Relaxed),
            scale: self.seen.scale.load(Ordering::Relaxed),
            packets: self.packets.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            heard: table.our_time(self.heard.load(Ordering::Relaxed)),
        }
    }
}

#[cfg(test)]
#[path = "shortcuts_tests.rs"]
mod tests;
