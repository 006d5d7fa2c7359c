//! Where packets leave and arrive: a device with its packet memory.

use sys::{BURST, Device, Frame, FramePool};

/// A port of the generator.
pub struct Port {
    pool: FramePool,
    device: Box<dyn Device>,
    out: Vec<Frame>,
    heard: Vec<Frame>,
    sent: u64,
    refused: u64,
}

impl Port {
    /// A port on this device, with its frames.
    #[must_use]
    pub fn new(device: impl Device + 'static, pool: FramePool) -> Port {
        let lists = || Vec::with_capacity(4 * BURST);
        Port { pool, device: Box::new(device), out: lists(), heard: lists(), sent: 0, refused: 0 }
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

    /// Frames that the device did not take: its ring or queue was full.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Packets that came as far as this port's own rings and were dropped there, for want of our attention.
    #[must_use]
    pub fn overrun(&self) -> u64 {
        self.device.state().rx_dropped
    }
}
