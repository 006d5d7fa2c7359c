//! Two devices in memory, joined back to back: for tests and benches, without root.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{Device, DeviceState, Frame, FramePool, LinkType, TxReport};

/// One direction of the cable. Buffers are kept and used again, so that a running pair allocates nothing.
#[derive(Default)]
struct Lane {
    queue: VecDeque<Vec<u8>>,
    spare: Vec<Vec<u8>>,
    /// The receiver sleeps and wants a byte on its wake-up socket.
    sleeping: bool,
}

/// One end of a [`memory_pair`]. Frames are copied across, since each end has a pool of its own.
pub struct MemoryDevice {
    depth: usize,
    link_type: LinkType,
    inbound: Arc<Mutex<Lane>>,
    outbound: Arc<Mutex<Lane>>,
    wake: Option<UnixStream>,
    refused: u64,
    too_long: u64,
}

/// Two Ethernet devices: what one sends, the other receives. `depth` packets fit into each direction.
#[must_use]
pub fn memory_pair(depth: usize) -> (MemoryDevice, MemoryDevice) {
    memory_pair_of(depth, LinkType::Ethernet)
}

/// As [`memory_pair`], of devices of the given link type.
#[must_use]
pub fn memory_pair_of(depth: usize, link_type: LinkType) -> (MemoryDevice, MemoryDevice) {
    let lane = || Arc::new(Mutex::new(Lane { queue: VecDeque::with_capacity(depth), ..Lane::default() }));
    let (there, back) = (lane(), lane());
    let (one, two) = wake_sockets().unzip();
    let end = |inbound: &Arc<Mutex<Lane>>, outbound: &Arc<Mutex<Lane>>, wake| MemoryDevice {
        depth,
        link_type,
        inbound: Arc::clone(inbound),
        outbound: Arc::clone(outbound),
        wake,
        refused: 0,
        too_long: 0,
    };
    (end(&back, &there, one), end(&there, &back, two))
}

/// Without file descriptors to spare there is no waking, and the devices say so by `fd() == None`.
fn wake_sockets() -> Option<(UnixStream, UnixStream)> {
    let (one, two) = UnixStream::pair().ok()?;
    one.set_nonblocking(true).ok()?;
    two.set_nonblocking(true).ok()?;
    Some((one, two))
}

fn lock(lane: &Mutex<Lane>) -> MutexGuard<'_, Lane> {
    lane.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MemoryDevice {
    /// Puts a packet on the wire as if this end had sent it. False when the queue is full.
    pub fn inject(&mut self, packet: &[u8]) -> bool {
        let mut lane = lock(&self.outbound);
        let taken = push(&mut lane, self.depth, packet);
        wake(&mut lane, self.wake.as_ref());
        taken
    }

    /// Takes the next packet that the other end has sent.
    pub fn collect(&mut self) -> Option<Vec<u8>> {
        lock(&self.inbound).queue.pop_front()
    }
}

fn push(lane: &mut Lane, depth: usize, packet: &[u8]) -> bool {
    if lane.queue.len() >= depth {
        return false;
    }
    let mut buffer = lane.spare.pop().unwrap_or_else(|| Vec::with_capacity(2048));
    buffer.clear();
    buffer.extend_from_slice(packet);
    lane.queue.push_back(buffer);
    true
}

/// Called with the lane locked, after pushing: whoever says that he sleeps does so under the same lock.
fn wake(lane: &mut Lane, socket: Option<&UnixStream>) {
    if std::mem::take(&mut lane.sleeping)
        && let Some(mut socket) = socket
    {
        // A full socket buffer means that the wake-up is already there; a closed one that nobody listens.
        let _ = socket.write(&[1]);
    }
}

impl Device for MemoryDevice {
    fn link_type(&self) -> LinkType {
        self.link_type
    }

    fn rx(&mut self, pool: &mut FramePool, burst: &mut Vec<Frame>, limit: usize) -> usize {
        let mut lane = lock(&self.inbound);
        let mut received = 0;
        while received < limit && !lane.queue.is_empty() {
            let Some(mut frame) = pool.take() else { break };
            let Some(packet) = lane.queue.pop_front() else { break };
            if frame.fill(&packet) {
                burst.push(frame);
                received += 1;
            } else {
                self.too_long += 1;
                pool.put(frame);
            }
            lane.spare.push(packet);
        }
        received
    }

    fn tx(&mut self, pool: &mut FramePool, out: &mut Vec<Frame>) -> TxReport {
        let mut report = TxReport::default();
        let mut lane = lock(&self.outbound);
        for frame in out.drain(..) {
            if push(&mut lane, self.depth, frame.bytes()) {
                report.sent += 1;
                report.bytes += frame.len() as u64;
            } else {
                report.refused += 1;
            }
            pool.put(frame);
        }
        wake(&mut lane, self.wake.as_ref());
        self.refused += report.refused as u64;
        report
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.wake.as_ref().map(AsFd::as_fd)
    }

    fn has_work(&self) -> bool {
        let mut lane = lock(&self.inbound);
        lane.sleeping = lane.queue.is_empty();
        if let (true, Some(mut socket)) = (lane.sleeping, self.wake.as_ref()) {
            // Old wake-ups: the queue is empty, so they are about nothing.
            let _ = socket.read(&mut [0; 64]);
        }
        !lane.sleeping
    }

    fn state(&self) -> DeviceState {
        DeviceState {
            name: "memory".into(),
            driver: "memory",
            mode: "-",
            rx_dropped: self.too_long,
            tx_refused: self.refused,
            up: true,
            ..DeviceState::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send(device: &mut MemoryDevice, pool: &mut FramePool, packets: &[&[u8]]) -> TxReport {
        let mut out = Vec::new();
        for packet in packets {
            let mut frame = pool.take().unwrap();
            assert!(frame.fill(packet));
            out.push(frame);
        }
        let report = device.tx(pool, &mut out);
        assert!(out.is_empty());
        report
    }

    #[test]
    fn what_one_sends_the_other_receives() {
        let (mut left, mut right) = memory_pair(3);
        let (mut left_pool, mut right_pool) = (FramePool::heap(8, 2048), FramePool::heap(8, 2048));
        let report = send(&mut left, &mut left_pool, &[b"one", b"two", b"three", b"four"]);
        assert_eq!(report, TxReport { sent: 3, bytes: 11, refused: 1, held: 0 });
        assert_eq!((left.state().tx_refused, left_pool.free()), (1, 8));

        let mut burst = Vec::new();
        assert_eq!(right.rx(&mut right_pool, &mut burst, 2), 2);
        assert!(right.has_work());
        assert_eq!(right.rx(&mut right_pool, &mut burst, 64), 1);
        assert!(!right.has_work());
        assert_eq!(burst.iter().map(Frame::bytes).collect::<Vec<_>>(), [&b"one"[..], b"two", b"three"]);
        assert!(burst.iter().all(|frame| right_pool.owns(frame)));
        right_pool.put_all(burst);
        assert_eq!(right_pool.free(), 8);
        assert_eq!(left.rx(&mut left_pool, &mut Vec::new(), 64), 0);
    }

    #[test]
    fn an_empty_pool_loses_nothing() {
        let (mut left, mut right) = memory_pair(4);
        assert!(left.inject(b"a"));
        let mut empty = FramePool::heap(0, 2048);
        assert_eq!(right.rx(&mut empty, &mut Vec::new(), 64), 0);
        assert!(right.has_work());
        assert_eq!(right.collect().as_deref(), Some(&b"a"[..]));
    }

    #[test]
    fn a_sleeper_is_woken() {
        let (mut left, right) = memory_pair(4);
        assert!(!right.has_work());
        assert!(left.inject(b"wake up"));
        let mut byte = [0; 8];
        assert_eq!(right.wake.as_ref().unwrap().read(&mut byte).unwrap(), 1);
        assert!(right.has_work());
        assert!(left.inject(b"awake already"));
        assert!(right.wake.as_ref().unwrap().read(&mut byte).is_err());
    }
}
