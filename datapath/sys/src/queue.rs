//! One queue of packets shared with the kernel: which frames are whose, and how they travel. The rings and system calls are
//! behind [`Kernel`], so that all of it is tested without root.

use std::io;

use crate::arrivals::{Arrivals, CONTINUED};
use crate::ring::{Descriptor, Producer};
use crate::{BURST, Frame, FramePool, JoinedLimits, TxReport};

/// Shortest packet that the kernel takes for transmission: less than an Ethernet header is skipped and never completed.
const SHORTEST: usize = 14;
/// System calls for one burst at most. In copy mode the kernel sends some 32 packets per call.
const KICKS: usize = 8;
/// While the link is down, only every so many-th receive tries to send again what waits.
const DOWN_PATIENCE: u32 = 64;

/// The kernel's side of a queue.
pub(crate) trait Kernel: Send {
    /// Offers chunks to receive into; says how many the fill ring took, from the front.
    fn offer(&mut self, chunks: &[u32]) -> usize;
    /// The driver sleeps until it is told of new chunks: tell it.
    fn wake_receiver(&mut self);
    /// Received packets.
    fn receive(&mut self, into: &mut [Descriptor]) -> usize;
    /// Addresses of sent packets.
    fn complete(&mut self, into: &mut [u64]) -> usize;
    /// The transmit ring.
    fn transmit(&mut self) -> &mut Producer;
    /// The same, to look at.
    fn transmitting(&self) -> &Producer;
    /// Tells the kernel to send.
    fn kick(&mut self) -> io::Result<()>;
}

/// The frames of one queue that are in the kernel's hands.
pub(crate) struct Queue<K> {
    pub(crate) kernel: K,
    tags: Tags,
    /// Frames that the kernel should have to receive into.
    fill_target: usize,
    filled: usize,
    sending: usize,
    /// The last receive took all that it was asked for, or gave less than it has.
    more: bool,
    /// Where packets wait that may be joined.
    arrivals: Option<Box<Arrivals>>,
    down: Option<io::Error>,
    patience: u32,
    pub(crate) bad_descriptors: u64,
    pub(crate) refused: u64,
    /// Joined packets that could not be cut.
    pub(crate) dropped: u64,
    descriptors: Vec<Descriptor>,
    addresses: Vec<u64>,
    chunks: Vec<u32>,
}

/// Under which tags this queue's frames are lent, unlike those of any other queue of the pool.
#[derive(Clone, Copy)]
pub(crate) struct Tags {
    fill: u8,
    send: u8,
}

impl Tags {
    /// The tags of the `number`-th queue of a pool. None when there are too many.
    pub(crate) fn new(number: u8) -> Option<Tags> {
        let fill = number.checked_mul(2)?.checked_add(1)?;
        Some(Tags { fill, send: fill.checked_add(1)? })
    }
}

impl<K: Kernel> Queue<K> {
    pub(crate) fn new(kernel: K, tags: Tags, fill_target: usize) -> Queue<K> {
        Queue {
            kernel,
            tags,
            fill_target,
            filled: 0,
            sending: 0,
            more: false,
            arrivals: None,
            down: None,
            patience: 0,
            bad_descriptors: 0,
            refused: 0,
            dropped: 0,
            descriptors: vec![Descriptor::default(); BURST],
            addresses: vec![0; BURST],
            chunks: Vec::with_capacity(BURST),
        }
    }

    /// The same queue, where packets that come joined are cut.
    pub(crate) fn cutting(mut self, limits: JoinedLimits) -> Queue<K> {
        self.arrivals = Some(Box::new(Arrivals::new(limits, self.tags.fill)));
        self
    }

    /// Why nothing can be sent at present.
    pub(crate) fn trouble(&self) -> Option<&io::Error> {
        self.down.as_ref()
    }

    /// Packets may be joined ones.
    pub(crate) fn joins(&self) -> bool {
        self.arrivals.is_some()
    }

    /// Received packets may wait, or packets wait to be sent that only another call gets going.
    pub(crate) fn has_work(&self) -> bool {
        self.more || self.is_stuck()
    }

    /// What cannot be sent for now is not waited for.
    fn is_stuck(&self) -> bool {
        let ring = self.kernel.transmitting();
        self.down.is_none() && ring.pending() > 0 && ring.needs_wakeup()
    }

    pub(crate) fn rx(&mut self, pool: &mut FramePool, burst: &mut Vec<Frame>, limit: usize) -> usize {
        self.nudge();
        self.reap(pool);
        let limit = limit.min(BURST);
        if self.joins() {
            return self.rx_joined(pool, burst, limit);
        }
        let mut descriptors = std::mem::take(&mut self.descriptors);
        let count = self.kernel.receive(&mut descriptors[..limit]);
        let before = burst.len();
        for descriptor in &descriptors[..count] {
            self.accept(pool, descriptor, burst);
        }
        self.descriptors = descriptors;
        self.more = count == limit;
        self.restock(pool);
        burst.len() - before
    }

    /// As `rx`, where packets may lie in several chunks and be cut into many.
    fn rx_joined(&mut self, pool: &mut FramePool, burst: &mut Vec<Frame>, limit: usize) -> usize {
        let Some(mut arrivals) = self.arrivals.take() else { return 0 };
        let (before, room) = (burst.len(), arrivals.room());
        let count = self.kernel.receive(&mut self.descriptors[..room]);
        arrivals.push(&self.descriptors[..count]);
        let tally = arrivals.hand_out(pool, burst, limit);
        self.filled -= tally.returned;
        self.bad_descriptors += tally.bad_descriptors;
        self.dropped += tally.dropped;
        self.more = count == room || tally.more;
        self.restock(pool);
        // With no chunk to receive into, the kernel can never send the rest of a packet.
        if !self.more && self.filled <= arrivals.held() {
            self.more = arrivals.abandon();
        }
        self.arrivals = Some(arrivals);
        burst.len() - before
    }

    /// One received packet. The kernel's word is checked: what it names must be a chunk that we gave it to receive into, and the
    /// packet must lie inside.
    fn accept(&mut self, pool: &mut FramePool, descriptor: &Descriptor, burst: &mut Vec<Frame>) {
        let Some(mut frame) = pool.reclaim(descriptor.address, self.tags.fill) else {
            self.bad_descriptors += 1;
            return;
        };
        self.filled -= 1;
        if descriptor.options & CONTINUED == 0 && pool.set_received(&mut frame, *descriptor) {
            frame.prefetch();
            burst.push(frame);
        } else {
            self.bad_descriptors += 1;
            pool.put(frame);
        }
    }

    /// Gives the kernel frames to receive into, as far as the pool reaches, but for a few that the worker needs for packets of its
    /// own. What it cannot give now it gives at the next call.
    pub(crate) fn restock(&mut self, pool: &mut FramePool) {
        let reserve = (pool.total() / 8).min(BURST);
        let mut offered = false;
        loop {
            let room = self.fill_target - self.filled.min(self.fill_target);
            let count = room.min(pool.free().saturating_sub(reserve)).min(BURST);
            if count == 0 || !self.offer(pool, count) {
                break;
            }
            offered = true;
        }
        if offered {
            self.kernel.wake_receiver();
        }
    }

    /// False when the ring took none.
    fn offer(&mut self, pool: &mut FramePool, count: usize) -> bool {
        self.chunks.clear();
        for _ in 0..count {
            let Some(frame) = pool.take() else { break };
            match pool.lend(frame, self.tags.fill) {
                Ok(lent) => self.chunks.push(lent.chunk),
                Err(frame) => pool.put(frame),
            }
        }
        let taken = self.kernel.offer(&self.chunks);
        self.filled += taken;
        for chunk in &self.chunks[taken..] {
            let address = *chunk as usize * pool.frame_size();
            if let Some(frame) = pool.reclaim(address as u64, self.tags.fill) {
                pool.put(frame);
            }
        }
        taken > 0
    }

    pub(crate) fn tx(&mut self, pool: &mut FramePool, out: &mut Vec<Frame>) -> TxReport {
        let mut report = TxReport::default();
        self.reap(pool);
        let mut full = false;
        for frame in out.drain(..) {
            full = full || !self.make_room(pool);
            let len = frame.len() as u64;
            match if full { Err(frame) } else { self.send(pool, frame) } {
                Ok(()) => {
                    report.sent += 1;
                    report.bytes += len;
                }
                Err(frame) => {
                    report.refused += 1;
                    pool.put(frame);
                }
            }
        }
        self.flush();
        self.reap(pool);
        self.refused += report.refused as u64;
        report.held = if self.down.is_none() { self.sending } else { 0 };
        report
    }

    /// Room for one descriptor, if need be by sending what waits.
    fn make_room(&mut self, pool: &mut FramePool) -> bool {
        if self.kernel.transmit().free() > 0 {
            return true;
        }
        self.flush();
        self.reap(pool);
        self.kernel.transmit().free() > 0
    }

    /// Puts a frame into the transmit ring, which has room.
    fn send(&mut self, pool: &mut FramePool, frame: Frame) -> Result<(), Frame> {
        if frame.len() < SHORTEST {
            return Err(frame);
        }
        let lent = pool.lend(frame, self.tags.send)?;
        let pushed =
            self.kernel.transmit().push(Descriptor { address: lent.address as u64, len: lent.len, options: 0 });
        debug_assert!(pushed, "the caller has made room");
        self.sending += 1;
        Ok(())
    }

    /// Shows the kernel what was pushed and wakes it until it has taken everything, or takes no more.
    fn flush(&mut self) {
        self.kernel.transmit().publish();
        for _ in 0..KICKS {
            let before = self.kernel.transmitting().pending();
            if before == 0 || !self.kernel.transmitting().needs_wakeup() {
                break;
            }
            let result = self.kernel.kick();
            let moved = self.kernel.transmitting().pending() != before;
            if !self.goes_on(result) || !moved {
                break;
            }
        }
    }

    /// Judges one wake-up. What the ring still holds is tried again by later calls, so that no frame is lost on an error.
    fn goes_on(&mut self, result: io::Result<()>) -> bool {
        let Err(error) = result else {
            self.down = None;
            return true;
        };
        // The budget of one call is used up, or the driver's queue or the socket's buffer is full, or one packet was dropped.
        let passing = matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EBUSY | libc::ENOBUFS | libc::EINTR));
        self.down = (!passing).then_some(error);
        passing
    }

    /// Tries again to send what an earlier call left in the ring.
    fn nudge(&mut self) {
        if self.kernel.transmitting().pending() == 0 {
            // Nothing is held up, so nothing is known to be wrong.
            self.down = None;
            return;
        }
        self.patience = self.patience.wrapping_add(1);
        if self.down.is_none() || self.patience.is_multiple_of(DOWN_PATIENCE) {
            self.flush();
        }
    }

    /// Takes sent frames back.
    fn reap(&mut self, pool: &mut FramePool) {
        while self.sending > 0 {
            let count = self.kernel.complete(&mut self.addresses);
            for address in &self.addresses[..count] {
                if let Some(frame) = pool.reclaim(*address, self.tags.send) {
                    self.sending -= 1;
                    pool.put(frame);
                } else {
                    self.bad_descriptors += 1;
                }
            }
            if count < self.addresses.len() {
                break;
            }
        }
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
