//! A device that plays recorded traffic from memory and swallows what it is given: the cheapest `Device` there can be, so
//! that what a bench measures is the pipeline.
//!
//! Receiving copies the packet into a frame, as `AF_XDP` in copy mode does for us and a card does in zero-copy mode; the
//! bare loop of [`crate::floor`] pays the same and is reported beside every figure.

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam::queue::ArrayQueue;
use sys::{Device, DeviceState, Frame, FramePool, LinkType, TxReport};

use crate::traffic::Traffic;

/// The bench's hold on a device that a worker owns.
#[derive(Debug)]
pub struct Remote {
    /// Packets that a receive gives; 0: silence.
    burst: AtomicUsize,
    /// Traffic to play from now on.
    next: ArrayQueue<Traffic>,
    changed: AtomicBool,
    /// What is sent is kept for [`Remote::recorded`].
    recording: AtomicBool,
    record: Mutex<Vec<Vec<u8>>>,
    sent: AtomicU64,
}

impl Remote {
    /// Plays `traffic`, over and over, `burst` packets at a time.
    pub fn play(&self, traffic: Traffic, burst: usize) {
        drop(self.next.force_push(traffic));
        self.changed.store(true, Ordering::Relaxed);
        self.set_burst(burst);
    }

    /// Plays what another device was told to play and has not begun with yet.
    pub fn take_over(&self, other: &Remote) {
        if let Some(traffic) = other.next.pop() {
            self.play(traffic, other.burst.load(Ordering::Relaxed));
        }
    }

    /// Goes on with another burst size; 0 is silence.
    pub fn set_burst(&self, burst: usize) {
        self.burst.store(burst, Ordering::Relaxed);
    }

    /// Keeps what is sent from now on, or no longer.
    pub fn set_recording(&self, on: bool) {
        self.recording.store(on, Ordering::Relaxed);
    }

    /// What was sent while recording.
    #[must_use]
    pub fn recorded(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut *self.record.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Packets sent so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

/// The device.
#[derive(Debug)]
pub struct Replay {
    remote: Arc<Remote>,
    traffic: Traffic,
}

/// A silent device and its remote control.
#[must_use]
pub fn replay() -> (Replay, Arc<Remote>) {
    let remote = Arc::new(Remote {
        burst: AtomicUsize::new(0),
        next: ArrayQueue::new(1),
        changed: AtomicBool::new(false),
        recording: AtomicBool::new(false),
        record: Mutex::default(),
        sent: AtomicU64::new(0),
    });
    (Replay { remote: Arc::clone(&remote), traffic: Traffic::default() }, remote)
}

impl Device for Replay {
    fn link_type(&self) -> LinkType {
        LinkType::Ethernet
    }

    fn rx(&mut self, pool: &mut FramePool, burst: &mut Vec<Frame>, limit: usize) -> usize {
        let wanted = self.remote.burst.load(Ordering::Relaxed).min(limit);
        if wanted == 0 {
            return 0;
        }
        if self.remote.changed.load(Ordering::Relaxed) {
            self.remote.changed.store(false, Ordering::Relaxed);
            self.traffic = self.remote.next.pop().unwrap_or_default();
        }
        let before = burst.len();
        for _ in 0..wanted {
            let Some(mut frame) = pool.take() else { break };
            if !self.traffic.write_next(&mut frame) {
                pool.put(frame);
                break;
            }
            burst.push(frame);
        }
        burst.len() - before
    }

    fn tx(&mut self, pool: &mut FramePool, out: &mut Vec<Frame>) -> TxReport {
        if out.is_empty() {
            return TxReport::default();
        }
        if self.remote.recording.load(Ordering::Relaxed) {
            let mut record = self.remote.record.lock().unwrap_or_else(PoisonError::into_inner);
            record.extend(out.iter().map(|frame| frame.bytes().to_vec()));
        }
        let bytes = out.iter().map(|frame| frame.len() as u64).sum();
        let sent = out.len();
        pool.put_all(out.drain(..));
        self.remote.sent.store(self.remote.sent() + sent as u64, Ordering::Relaxed);
        TxReport { sent, bytes, ..TxReport::default() }
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn has_work(&self) -> bool {
        self.remote.burst.load(Ordering::Relaxed) > 0
    }

    fn state(&self) -> DeviceState {
        DeviceState { name: "replay".into(), driver: "memory", mode: "-", up: true, ..DeviceState::default() }
    }
}
