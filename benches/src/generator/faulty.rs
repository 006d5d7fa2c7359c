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
    /// Every so many-th frame has a bit of its payload flipped.
    pub corrupt: u64,
    /// Every so many-th frame has its ports exchanged, with checksums that fit.
    pub misdeliver: u64,
    /// So many frames a second pass, and what is more is lost: a bucket that holds those of [`BUCKET`].
    pub capacity: u64,
    /// Every frame is held back for so long.
    pub delay: Duration,
}

/// The longest burst at full speed that a limited device bears, as a time.
pub const BUCKET: Duration = Duration::from_millis(50);

/// Another device, with faults on the way out.
pub struct FaultyDevice<D> {
    inner: D,
    faults: Faults,
    count: u64,
    bucket: f64,
    filled: Duration,
    late: Option<Frame>,
    held: VecDeque<(Duration, Frame)>,
    out: Vec<Frame>,
}

impl<D: Device> FaultyDevice<D> {
    /// Puts faults in front of a device.
    #[must_use]
    pub fn new(inner: D, faults: Faults) -> FaultyDevice<D> {
        FaultyDevice {
            inner,
            faults,
            count: 0,
            bucket: 0.0,
            filled: Duration::ZERO,
            late: None,
            held: VecDeque::new(),
            out: Vec::new(),
        }
    }

    /// One frame on its way out.
    fn pass(&mut self, pool: &mut FramePool, mut frame: Frame, now: Duration) {
        self.count += 1;
        let count = self.count;
        let every = |n: u64| n > 0 && count.is_multiple_of(n);
        if every(self.faults.lose) || !self.has_room(now) {
            return pool.put(frame);
        }
        if every(self.faults.corrupt) {
            frame.bytes_mut().iter_mut().next_back().into_iter().for_each(|byte| *byte ^= 1);
        }
        if every(self.faults.misdeliver) {
            // The sums stay: they are the same in any order.
            (34..36).for_each(|at| frame.bytes_mut().swap(at, at + 2));
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

    /// A token for a frame, if the device is limited.
    fn has_room(&mut self, now: Duration) -> bool {
        if self.faults.capacity == 0 {
            return true;
        }
        let capacity = self.faults.capacity as f64;
        let grown = self.bucket + now.saturating_sub(self.filled).as_secs_f64() * capacity;
        (self.bucket, self.filled) = (grown.min(capacity * BUCKET.as_secs_f64()), now);
        let room = self.bucket >= 1.0;
        self.bucket -= f64::from(u8::from(room));
        room
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
        let bytes = out.iter().map(|frame| frame.len() as u64).sum();
        let report = TxReport { sent: out.len(), bytes, ..TxReport::default() };
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
