//! What no pipeline can be faster than: the same devices and frames, a header written in front of each packet, and
//! nothing else; or with one read from memory for each packet, as a table of that many flows must cost.

use std::hint::black_box;
use std::sync::Arc;

use sys::{BURST, Device, Frame, FramePool};

use crate::replay::{Remote, Replay, replay};
use crate::traffic::shuffled;

/// Two cache lines, as a flow entry has.
#[derive(Clone)]
#[repr(align(128))]
struct Entry([u64; 16]);

/// The bare forwarder.
pub struct Floor {
    device: Replay,
    /// What it plays.
    pub remote: Arc<Remote>,
    pool: FramePool,
    burst: Vec<Frame>,
    entries: Vec<Entry>,
    order: Vec<u32>,
    next: usize,
}

impl Floor {
    /// One that reads an entry among `entries` for each packet, in random order; 0: none.
    #[must_use]
    pub fn new(entries: usize) -> Self {
        let (device, remote) = replay();
        Self {
            device,
            remote,
            pool: FramePool::heap(512, 2048),
            burst: Vec::with_capacity(BURST),
            entries: (0..entries as u64).map(|n| Entry([n; 16])).collect(),
            order: shuffled(entries),
            next: 0,
        }
    }

    /// So many bursts, in and out. Returns the packets.
    pub fn run(&mut self, turns: u64) -> u64 {
        (0..turns).map(|_| self.turn() as u64).sum()
    }

    fn turn(&mut self) -> usize {
        let count = self.device.rx(&mut self.pool, &mut self.burst, BURST);
        black_box(self.read_entries(count));
        for frame in &mut self.burst {
            if frame.grow_front(64) {
                frame.bytes_mut()[..64].fill(0x5a);
            }
        }
        self.device.tx(&mut self.pool, &mut self.burst);
        count
    }

    /// The reads do not depend on each other: the processor waits for all of them together.
    fn read_entries(&mut self, count: usize) -> u64 {
        if self.order.len() < count {
            return 0;
        }
        if self.next + count > self.order.len() {
            self.next = 0;
        }
        let wanted = &self.order[self.next..self.next + count];
        self.next += count;
        wanted.iter().map(|n| self.entries.get(*n as usize).map_or(0, |entry| entry.0[0])).fold(0, |sum, n| sum ^ n)
    }
}
