//! A device that says when it is told to that what it took has not left yet.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sys::{Device, DeviceState, Frame, FramePool, LinkType, MemoryDevice, TxReport};

pub struct Held {
    pub inner: MemoryDevice,
    /// So many of those that it took last.
    pub held: Arc<AtomicUsize>,
}

impl Device for Held {
    fn link_type(&self) -> LinkType {
        self.inner.link_type()
    }

    fn rx(&mut self, pool: &mut FramePool, burst: &mut Vec<Frame>, limit: usize) -> usize {
        self.inner.rx(pool, burst, limit)
    }

    fn tx(&mut self, pool: &mut FramePool, out: &mut Vec<Frame>) -> TxReport {
        TxReport { held: self.held.load(Ordering::Relaxed), ..self.inner.tx(pool, out) }
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.inner.fd()
    }

    fn has_work(&self) -> bool {
        self.inner.has_work()
    }

    fn state(&self) -> DeviceState {
        self.inner.state()
    }
}
