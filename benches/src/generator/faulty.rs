//! A device that does known harm: the generator's own accuracy is measured against it.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use sys::{Device, DeviceState, Frame, FramePool, LinkType, TxReport};

/// What a faulty device does to what it sends. Zero means never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Every so many-th frame vanishes.
    pub lose: u64,
    /// Every so many-th frame is sent twice.
    pub duplicate: u64,
    /// Every so many-th frame is sent after the one that follows it.
    pub swap: u64,
    /// Every frame is held back for so long.
    pub delay: Duration,
}

/// Another device, with faults on the way out.
pub struct FaultyDevice<D> {
    inner: D,
    faults: Faults,
    count: u64,
    late: Option<Frame>,
    held: VecDeque<(Duration, Frame)>,
    out: Vec<Frame>,
}

impl<D: Device> FaultyDevice<D> {
    /// Puts faults in front of a device.
    #[must_use]
    pub fn new(inner: D, faults: Faults) -> FaultyDevice<D> {
        FaultyDevice { inner, faults, count: 0, late: None, held: VecDeque::new(), out: Vec::new() }
    }

    /// One frame on its way out.
    fn pass(&mut self, pool: &mut FramePool, frame: Frame, now: Duration) {
        self.count += 1;
        let every = |n: u64| n > 0 && self.count.is_multiple_of(n);
        if every(self.faults.lose) {
            return pool.put(frame);
        }
        let copy = if every(self.faults.duplicate) { pool.take() } else { None };
        let due = now + self.faults.delay;
        if let Some(mut copy) = copy {
            copy.fill(frame.bytes());
            self.held.push_back((due, copy));
        }
        if every(self.faults.swap) && self.late.is_none() {
            self.late = Some(frame);
            return;
        }
        self.held.push_back((due, frame));
        self.held.extend(self.late.take().map(|late| (due, late)));
    }

    /// Sends what was held back long enough.
    fn release(&mut self, pool: &mut FramePool) -> TxReport {
        let now = sys::clock::now();
        while self.held.front().is_some_and(|(due, _)| *due <= now) {
            self.out.extend(self.held.pop_front().map(|(_, frame)| frame));
        }
        self.inner.tx(pool, &mut self.out)
    }
}

impl<D: Device> Device for FaultyDevice<D> {
    fn link_type(&self) -> LinkType {
        self.inner.link_type()
    }

    fn rx(&mut self, pool: &mut FramePool, burst: &mut Vec<Frame>, limit: usize) -> usize {
        self.release(pool);
        self.inner.rx(pool, burst, limit)
    }

    fn tx(&mut self, pool: &mut FramePool, out: &mut Vec<Frame>) -> TxReport {
        let report = TxReport { sent: out.len(), bytes: out.iter().map(|frame| frame.len() as u64).sum(), refused: 0 };
        let now = sys::clock::now();
        for frame in out.drain(..) {
            self.pass(pool, frame, now);
        }
        let refused = self.release(pool).refused;
        TxReport { refused, ..report }
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.inner.fd()
    }

    fn has_work(&self) -> bool {
        !self.held.is_empty() || self.inner.has_work()
    }

    fn state(&self) -> DeviceState {
        self.inner.state()
    }
}
