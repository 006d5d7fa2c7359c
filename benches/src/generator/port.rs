//! Where packets leave and arrive: a device with its packet memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sys::{BURST, Device, Frame, FramePool};

/// A port of the generator.
pub struct Port {
    pool: FramePool,
    device: Box<dyn Device>,
    out: Vec<Frame>,
    heard: Vec<Frame>,
    sent: u64,
    refused: u64,
    /// What the port sends into is the queue of what is tested.
    queue_is_theirs: bool,
    /// What the far end could not hand over to this port: its queue was full.
    overflow: Option<Arc<AtomicU64>>,
}

impl Port {
    /// A port on this device, with its frames.
    #[must_use]
    pub fn new(device: impl Device + 'static, pool: FramePool) -> Port {
        let lists = || Vec::with_capacity(4 * BURST);
        Port {
            pool,
            device: Box::new(device),
            out: lists(),
            heard: lists(),
            sent: 0,
            refused: 0,
            queue_is_theirs: false,
            overflow: None,
        }
    }

    /// What it sends into is the queue of what is tested, which loses packets when that is full; `overflow` counts those that did
    /// not fit into the queue before this port.
    #[must_use]
    pub fn facing(mut self, overflow: Arc<AtomicU64>) -> Port {
        (self.queue_is_theirs, self.overflow) = (true, Some(overflow));
        self
    }

    /// An empty frame.
    pub fn take(&mut self) -> Option<Frame> {
        self.pool.take()
    }

    /// Gives a frame back unsent.
    pub fn put(&mut self, frame: Frame) {
        self.pool.put(frame);
    }

    /// Puts a frame among those to be sent.
    pub fn queue(&mut self, frame: Frame) {
        self.out.push(frame);
    }

    /// Sends what was queued, and takes back frames that have left.
    pub fn flush(&mut self) {
        let report = self.device.tx(&mut self.pool, &mut self.out);
        self.sent += report.sent as u64;
        self.refused += report.refused as u64;
    }

    /// Receives; the frames are the caller's, who queues them again or gives them back.
    pub fn receive(&mut self) -> Vec<Frame> {
        let mut heard = std::mem::take(&mut self.heard);
        self.device.rx(&mut self.pool, &mut heard, BURST);
        heard
    }

    /// Takes back the empty list of a [`Port::receive`], for the next one.
    pub fn recycle(&mut self, mut list: Vec<Frame>) {
        self.pool.put_all(list.drain(..));
        self.heard = list;
    }

    /// Frames that the device took.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Frames that a ring or queue of the generator's own did not take.
    #[must_use]
    pub fn refused(&self) -> u64 {
        if self.queue_is_theirs { 0 } else { self.refused }
    }

    /// Frames that the queue of what is tested did not take: lost by what is tested, not by the generator.
    #[must_use]
    pub fn overflowed(&self) -> u64 {
        if self.queue_is_theirs { self.refused } else { 0 }
    }

    /// Packets that came as far as this port's own rings and were dropped there, for want of our attention.
    #[must_use]
    pub fn overrun(&self) -> u64 {
        self.device.state().rx_dropped + self.overflow.as_ref().map_or(0, |count| count.load(Ordering::Relaxed))
    }
}
