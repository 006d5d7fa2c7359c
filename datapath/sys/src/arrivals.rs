//! Received packets on their way to the worker, where some of them may be joined ones: what lies in several chunks is put
//! together, and what is longer than the interface's packets is cut.
//!
//! Descriptors wait here, and their chunks stay in the kernel's custody meanwhile: whenever the queue is dropped, the pool knows
//! where they are.

use std::collections::VecDeque;
use std::mem;

use crate::joined::{ETHERNET, Joined};
use crate::ring::Descriptor;
use crate::{BURST, Frame, FramePool, JoinedLimits};

/// The option of a descriptor whose packet goes on in the next one (`XDP_PKT_CONTD`).
pub(crate) const CONTINUED: u32 = 1;
/// Descriptors of one packet at most: 64 KiB in chunks of 2 KiB are 37.
const LONGEST_CHAIN: usize = 64;
/// Descriptors that wait at most. With a full burst beside it, the longest chain is always seen whole.
const PLACES: usize = LONGEST_CHAIN + BURST;

/// What [`Arrivals::hand_out`] did, beside the packets that it gave.
#[derive(Default)]
pub(crate) struct Tally {
    /// Chunks that the kernel no longer has.
    pub(crate) returned: usize,
    pub(crate) bad_descriptors: u64,
    /// Packets that were thrown away, as a whole or from some piece on.
    pub(crate) dropped: u64,
    /// There is more to give.
    pub(crate) more: bool,
}

/// Descriptors of received packets, oldest first, and how far the first packet is done with.
pub(crate) struct Arrivals {
    limits: JoinedLimits,
    /// Under which the chunks are lent to the kernel.
    tag: u8,
    waiting: VecDeque<Descriptor>,
    /// The first packet is being cut.
    cut: Option<Joined>,
    /// Bytes of the first descriptor's that were taken.
    taken: usize,
    /// What is left of the first packet is of no use.
    skipping: bool,
    tally: Tally,
}

impl Arrivals {
    pub(crate) fn new(limits: JoinedLimits, tag: u8) -> Arrivals {
        let waiting = VecDeque::with_capacity(PLACES);
        Arrivals { limits, tag, waiting, cut: None, taken: 0, skipping: false, tally: Tally::default() }
    }

    /// How many descriptors may be [pushed](Arrivals::push).
    pub(crate) fn room(&self) -> usize {
        (PLACES - self.waiting.len()).min(BURST)
    }

    pub(crate) fn push(&mut self, descriptors: &[Descriptor]) {
        self.waiting.extend(descriptors);
    }

    /// Descriptors whose chunks are not given back.
    pub(crate) fn held(&self) -> usize {
        self.waiting.len()
    }

    /// The rest of the first packet will never come: it is dropped as far as it is here. Says whether there was one.
    pub(crate) fn abandon(&mut self) -> bool {
        let is_cut_off = !self.waiting.is_empty();
        if is_cut_off {
            self.give_up();
        }
        is_cut_off
    }

    /// Appends up to `limit` packets to `burst`. When it stops before, the rest of the first packet has not come yet, or nothing
    /// is left.
    pub(crate) fn hand_out(&mut self, pool: &mut FramePool, burst: &mut Vec<Frame>, limit: usize) -> Tally {
        let until = burst.len() + limit;
        let mut goes_on = true;
        while goes_on && burst.len() < until {
            goes_on = if self.skipping {
                self.skip(pool)
            } else if self.cut.is_some() {
                self.cut_next(pool, burst);
                true
            } else {
                self.begin(pool, burst)
            };
        }
        self.tally.more = goes_on && !self.waiting.is_empty();
        mem::take(&mut self.tally)
    }

    /// Begins with the first packet. False when it is not all here.
    fn begin(&mut self, pool: &mut FramePool, burst: &mut Vec<Frame>) -> bool {
        let mut chain = self.waiting.iter().take(LONGEST_CHAIN);
        let Some(last) = chain.position(|descriptor| descriptor.options & CONTINUED == 0) else {
            let is_endless = self.waiting.len() >= LONGEST_CHAIN;
            if is_endless {
                self.give_up();
            }
            return is_endless;
        };
        let len = self.waiting.iter().take(last + 1).map(|descriptor| descriptor.len as usize).sum();
        match (last, len <= self.limits.longest.saturating_add(ETHERNET)) {
            (0, true) => self.pass_on(pool, burst),
            (_, true) => self.put_together(pool, burst, len),
            (_, false) => self.begin_to_cut(pool, len),
        }
        true
    }

    /// A packet in one chunk, to be given as it is.
    fn pass_on(&mut self, pool: &mut FramePool, burst: &mut Vec<Frame>) {
        if let Some(frame) = self.pop(pool) {
            frame.prefetch();
            burst.push(frame);
        }
    }

    /// A packet of `len` bytes that is none too long but lies in several chunks, copied into one.
    fn put_together(&mut self, pool: &mut FramePool, burst: &mut Vec<Frame>, len: usize) {
        let Some(mut frame) = pool.take() else { return self.give_up() };
        if frame.grow_back(len) && self.copy(pool, frame.bytes_mut()) {
            burst.push(frame);
            self.finish();
        } else {
            pool.put(frame);
            self.give_up();
        }
    }

    fn begin_to_cut(&mut self, pool: &mut FramePool, len: usize) {
        let read = |first: &[u8]| Joined::read(first, len, &self.limits);
        let joined = self.look(pool, 0, read).flatten();
        match joined.filter(|joined| self.is_intact(pool, joined)) {
            Some(joined) => {
                self.taken = joined.headers_len();
                self.cut = Some(joined);
            }
            None => self.give_up(),
        }
    }

    /// Whether a finished TCP checksum is right: the pieces get new ones, under which a broken packet would pass for a good one.
    fn is_intact(&self, pool: &mut FramePool, joined: &Joined) -> bool {
        if joined.is_unfinished() {
            return true;
        }
        let (mut skip, mut left) = (joined.segment().start, joined.segment().len());
        let mut sum = joined.pseudo_header(left);
        for place in 0..self.waiting.len() {
            let add = |bytes: &[u8]| {
                let part = &bytes[skip.min(bytes.len())..];
                skip -= bytes.len() - part.len();
                let part = &part[..left.min(part.len())];
                sum.add(part);
                left -= part.len();
            };
            if self.look(pool, place, add).is_none() {
                return false;
            }
            if left == 0 {
                break;
            }
        }
        left == 0 && sum.folded() == 0xffff
    }

    /// The next piece of the packet that is being cut.
    fn cut_next(&mut self, pool: &mut FramePool, burst: &mut Vec<Frame>) {
        let Some(len) = self.cut.as_ref().and_then(Joined::next_len) else { return self.finish() };
        let Some(mut frame) = pool.take() else { return self.give_up() };
        if frame.grow_back(len) && self.fill_piece(pool, frame.bytes_mut()) {
            burst.push(frame);
        } else {
            pool.put(frame);
            self.give_up();
        }
    }

    fn fill_piece(&mut self, pool: &mut FramePool, piece: &mut [u8]) -> bool {
        let Some(joined) = &mut self.cut else { return false };
        let (headers, data) = piece.split_at_mut(joined.headers_len());
        joined.write_next(headers);
        self.copy(pool, data)
    }

    /// Copies the next bytes of the first packet. A chunk that is used up goes home at once, if it is not the packet's last: so
    /// cutting takes few frames more than it gives. False when a descriptor is bad or the packet too short.
    fn copy(&mut self, pool: &mut FramePool, mut room: &mut [u8]) -> bool {
        while !room.is_empty() {
            let Some(descriptor) = self.waiting.front().copied() else { return false };
            let taken = self.taken;
            let take = |bytes: &[u8]| {
                let left = &bytes[taken.min(bytes.len())..];
                let count = left.len().min(room.len());
                room[..count].copy_from_slice(&left[..count]);
                count
            };
            let Some(count) = self.look(pool, 0, take) else { return false };
            room = &mut room[count..];
            self.taken += count;
            if !room.is_empty() {
                if descriptor.options & CONTINUED == 0 {
                    return false;
                }
                self.drop_first(pool);
            }
        }
        true
    }

    fn drop_first(&mut self, pool: &mut FramePool) {
        if let Some(frame) = self.pop(pool) {
            pool.put(frame);
        }
        self.taken = 0;
    }

    /// Looks at the packet bytes of the descriptor at `place`, whose chunk stays where it is. None for one that names what is not
    /// its to name.
    fn look<T>(&self, pool: &mut FramePool, place: usize, at: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let descriptor = *self.waiting.get(place)?;
        let mut frame = pool.reclaim(descriptor.address, self.tag)?;
        let seen = pool.set_received(&mut frame, descriptor).then(|| at(frame.bytes()));
        let lent = pool.lend(frame, self.tag);
        debug_assert!(lent.is_ok(), "it was lent before");
        seen
    }

    /// Takes the first descriptor's chunk back from the kernel. The kernel's word is checked: what it names must be a chunk that it
    /// was given to receive into, and the packet must lie inside.
    fn pop(&mut self, pool: &mut FramePool) -> Option<Frame> {
        let descriptor = self.waiting.pop_front()?;
        let Some(mut frame) = pool.reclaim(descriptor.address, self.tag) else {
            self.tally.bad_descriptors += 1;
            return None;
        };
        self.tally.returned += 1;
        if pool.set_received(&mut frame, descriptor) {
            return Some(frame);
        }
        self.tally.bad_descriptors += 1;
        pool.put(frame);
        None
    }

    /// Gives the chunks of a packet back that is done with. False when its end has not come yet.
    fn skip(&mut self, pool: &mut FramePool) -> bool {
        let Some(descriptor) = self.waiting.front().copied() else { return false };
        self.drop_first(pool);
        self.skipping = descriptor.options & CONTINUED != 0;
        true
    }

    /// The first packet is done with, but for its chunks.
    fn finish(&mut self) {
        self.cut = None;
        self.taken = 0;
        self.skipping = true;
    }

    /// As [`Arrivals::finish`], for a packet that is lost.
    fn give_up(&mut self) {
        self.tally.dropped += 1;
        self.finish();
    }
}
