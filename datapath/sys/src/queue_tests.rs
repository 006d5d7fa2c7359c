//! A kernel in memory, well-behaved and not, around one [`Queue`].

use std::collections::VecDeque;
use std::ptr::NonNull;

use proptest::prelude::*;

use super::*;
use crate::ring::{Consumer, joined};

#[path = "arrivals_tests.rs"]
mod arrivals;

const FRAMES: usize = 32;
const SIZE: usize = 2048;

/// What an interface in copy mode does, with a wire that ends in `wire`.
struct FakeKernel {
    fill: VecDeque<u32>,
    fill_size: usize,
    received: VecDeque<Descriptor>,
    completed: VecDeque<u64>,
    producer: Producer,
    consumer: Consumer,
    sent: Vec<Descriptor>,
    budget: usize,
    fails_with: Option<i32>,
    kicks: usize,
}

impl FakeKernel {
    fn new(tx_size: u32) -> FakeKernel {
        let (producer, mut consumer) = joined(tx_size, u32::MAX - 5);
        consumer.sleep(true);
        FakeKernel {
            fill: VecDeque::new(),
            fill_size: 64,
            received: VecDeque::new(),
            completed: VecDeque::new(),
            producer,
            consumer,
            sent: Vec::new(),
            budget: 32,
            fails_with: None,
            kicks: 0,
        }
    }

    /// A packet arrives: false when there is no chunk for it.
    fn arrive(&mut self, len: u32) -> bool {
        let Some(chunk) = self.fill.pop_front() else { return false };
        let address = u64::from(chunk) * SIZE as u64 + 256;
        self.received.push_back(Descriptor { address, len, options: 0 });
        true
    }
}

impl Kernel for FakeKernel {
    fn offer(&mut self, chunks: &[u32]) -> usize {
        // All or nothing, as xsk-rs does it.
        if self.fill.len() + chunks.len() > self.fill_size {
            return 0;
        }
        self.fill.extend(chunks);
        chunks.len()
    }

    fn wake_receiver(&mut self) {}

    fn receive(&mut self, into: &mut [Descriptor]) -> usize {
        let count = into.len().min(self.received.len());
        into.iter_mut().zip(self.received.drain(..count)).for_each(|(slot, descriptor)| *slot = descriptor);
        count
    }

    fn complete(&mut self, into: &mut [u64]) -> usize {
        let count = into.len().min(self.completed.len());
        into.iter_mut().zip(self.completed.drain(..count)).for_each(|(slot, address)| *slot = address);
        count
    }

    fn transmit(&mut self) -> &mut Producer {
        &mut self.producer
    }

    fn transmitting(&self) -> &Producer {
        &self.producer
    }

    fn kick(&mut self) -> io::Result<()> {
        self.kicks += 1;
        if let Some(error) = self.fails_with {
            return Err(io::Error::from_raw_os_error(error));
        }
        for _ in 0..self.budget {
            let Some(descriptor) = self.consumer.pop() else { break };
            self.sent.push(descriptor);
            self.completed.push_back(descriptor.address);
        }
        self.consumer.release();
        let more = self.producer.pending() > 0;
        if more { Err(io::Error::from_raw_os_error(libc::EAGAIN)) } else { Ok(()) }
    }
}

fn pool(frames: usize) -> FramePool {
    let memory = Box::leak(vec![0_u8; frames * SIZE].into_boxed_slice());
    // SAFETY: leaked just now, for this pool alone.
    unsafe { FramePool::umem(NonNull::from(memory).cast(), frames, SIZE, ()) }.unwrap()
}

fn queue(tx_size: u32, fill_target: usize) -> Queue<FakeKernel> {
    Queue::new(FakeKernel::new(tx_size), Tags::new(0).unwrap(), fill_target)
}

fn packets(pool: &mut FramePool, count: usize) -> Vec<Frame> {
    let make = |value: usize| {
        let mut frame = pool.take()?;
        frame.fill(&[value as u8; 60]).then_some(frame)
    };
    (0..count).map_while(make).collect()
}

fn transmit(queue: &mut Queue<FakeKernel>, pool: &mut FramePool, count: usize) -> TxReport {
    let mut out = packets(pool, count);
    let report = queue.tx(pool, &mut out);
    assert!(out.is_empty());
    report
}

/// Every frame is in the pool, in somebody's hands, or with the kernel.
fn assert_conserved(queue: &Queue<FakeKernel>, pool: &FramePool, held: usize) {
    assert_eq!(pool.free() + held + queue.filled + queue.sending, pool.total());
}

#[test]
fn receives_in_place_and_restocks() {
    let (mut pool, mut queue) = (pool(FRAMES), queue(16, 8));
    queue.restock(&mut pool);
    assert_eq!((queue.kernel.fill.len(), pool.free()), (8, FRAMES - 8));
    assert!(queue.kernel.arrive(60) && queue.kernel.arrive(1514));
    let mut burst = Vec::new();
    assert_eq!(queue.rx(&mut pool, &mut burst, 64), 2);
    assert_eq!(burst.iter().map(|frame| (frame.headroom(), frame.len())).collect::<Vec<_>>(), [(256, 60), (256, 1514)]);
    assert_eq!(queue.kernel.fill.len(), 8);
    assert!(!queue.has_work());
    assert_conserved(&queue, &pool, 2);
    pool.put_all(burst);
}

#[test]
fn a_full_burst_means_that_there_may_be_more() {
    let (mut pool, mut queue) = (pool(FRAMES), queue(16, 8));
    queue.restock(&mut pool);
    assert!(queue.kernel.arrive(60) && queue.kernel.arrive(60));
    let mut burst = Vec::new();
    assert_eq!(queue.rx(&mut pool, &mut burst, 2), 2);
    assert!(queue.has_work());
    assert_eq!(queue.rx(&mut pool, &mut burst, 2), 0);
    assert!(!queue.has_work());
    pool.put_all(burst);
}

#[test]
fn a_starved_fill_ring_is_fed_as_soon_as_there_are_frames() {
    let (mut pool, mut queue) = (pool(8), queue(16, 8));
    let hoarded = packets(&mut pool, 8);
    queue.restock(&mut pool);
    assert_eq!((queue.filled, queue.kernel.arrive(60)), (0, false));
    pool.put_all(hoarded);
    assert_eq!(queue.rx(&mut pool, &mut Vec::new(), 64), 0);
    // One of eight is kept for the worker's own packets.
    assert_eq!((queue.filled, pool.free()), (7, 1));
}

#[test]
fn a_full_fill_ring_gives_the_frames_back() {
    let (mut pool, mut queue) = (pool(FRAMES), queue(16, 20));
    queue.kernel.fill_size = 4;
    queue.restock(&mut pool);
    assert_eq!((queue.filled, pool.free()), (0, FRAMES));
}

#[test]
fn sends_the_bytes_where_they_lie() {
    let (mut pool, mut queue) = (pool(FRAMES), queue(16, 0));
    let mut frame = packets(&mut pool, 1).pop().unwrap();
    let chunk = u64::from(frame.index());
    assert!(frame.grow_front(50));
    let report = queue.tx(&mut pool, &mut vec![frame]);
    assert_eq!(report, TxReport { sent: 1, bytes: 110, ..TxReport::default() });
    assert_eq!(queue.kernel.sent, [Descriptor { address: chunk * SIZE as u64 + 206, len: 110, options: 0 }]);
    assert_eq!((pool.free(), queue.kernel.kicks), (FRAMES, 1));
}

#[test]
fn kicks_until_the_ring_is_empty() {
    let (mut pool, mut queue) = (pool(FRAMES), queue(32, 0));
    queue.kernel.budget = 5;
    let report = transmit(&mut queue, &mut pool, 20);
    assert_eq!((report.sent, queue.kernel.kicks, pool.free()), (20, 4, FRAMES));
}

#[test]
fn more_than_the_ring_takes_goes_on_after_a_kick() {
    let (mut pool, mut queue) = (pool(FRAMES), queue(4, 0));
    let report = transmit(&mut queue, &mut pool, 20);
    assert_eq!((report.sent, report.refused, queue.kernel.sent.len()), (20, 0, 20));
    assert_conserved(&queue, &pool, 0);
}

#[test]
fn a_link_that_is_down_refuses_keeps_and_recovers() {
    let (mut pool, mut queue) = (pool(FRAMES), queue(4, 0));
    queue.kernel.fails_with = Some(libc::ENETDOWN);
    let report = transmit(&mut queue, &mut pool, 10);
    assert_eq!((report.sent, report.refused, queue.refused, report.held), (4, 6, 6, 0));
    assert_eq!(queue.trouble().and_then(io::Error::raw_os_error), Some(libc::ENETDOWN));
    assert!(!queue.has_work());
    assert_conserved(&queue, &pool, 0);

    queue.kernel.fails_with = None;
    for _ in 0..=DOWN_PATIENCE {
        queue.rx(&mut pool, &mut Vec::new(), 64);
    }
    assert!(queue.trouble().is_none());
    assert_eq!((queue.kernel.sent.len(), pool.free()), (4, FRAMES));
}

#[test]
fn passing_errors_are_tried_again() {
    for error in [libc::EAGAIN, libc::EBUSY, libc::ENOBUFS] {
        let (mut pool, mut queue) = (pool(FRAMES), queue(16, 0));
        queue.kernel.fails_with = Some(error);
        let report = transmit(&mut queue, &mut pool, 3);
        assert_eq!((report.sent, report.held), (3, 3));
        assert!(queue.trouble().is_none() && queue.has_work());
        queue.kernel.fails_with = None;
        assert_eq!(transmit(&mut queue, &mut pool, 0).held, 0);
        queue.rx(&mut pool, &mut Vec::new(), 64);
        assert_eq!((queue.kernel.sent.len(), pool.free()), (3, FRAMES));
        assert!(!queue.has_work() || queue.more);
    }
}

#[test]
fn what_the_kernel_would_not_complete_is_not_given_to_it() {
    let (mut pool, mut queue) = (pool(FRAMES), queue(16, 0));
    let mut out = packets(&mut pool, 2);
    out[0].truncate(13);
    out[1].truncate(14);
    let report = queue.tx(&mut pool, &mut out);
    assert_eq!((report.sent, report.refused, pool.free()), (1, 1, FRAMES));
}

#[test]
fn lies_about_received_packets_are_counted_and_dropped() {
    let (mut pool, mut queue) = (pool(FRAMES), queue(16, 8));
    queue.restock(&mut pool);
    let chunk = u64::from(queue.kernel.fill.pop_front().unwrap()) * SIZE as u64;
    let lie = |address, len, options| Descriptor { address, len, options };
    queue.kernel.received.extend([
        lie(u64::MAX, 60, 0),
        lie((FRAMES * SIZE) as u64, 60, 0),
        // A chunk that is in the pool.
        lie(((FRAMES - 1) * SIZE) as u64, 60, 0),
        // Beyond the chunk's end; the chunk comes back by it.
        lie(chunk + 256, 1793, 0),
        // And again.
        lie(chunk + 256, 60, 0),
    ]);
    let mut burst = Vec::new();
    assert_eq!(queue.rx(&mut pool, &mut burst, 64), 0);
    assert_eq!(queue.bad_descriptors, 5);
    assert_conserved(&queue, &pool, 0);

    let chunk = u64::from(queue.kernel.fill.pop_front().unwrap()) * SIZE as u64;
    queue.kernel.received.extend([lie(chunk + 256, 60, CONTINUED), lie(chunk + 300, u32::MAX, 0)]);
    assert_eq!(queue.rx(&mut pool, &mut burst, 64), 0);
    assert_eq!(queue.bad_descriptors, 7);
    assert_conserved(&queue, &pool, 0);
}

#[test]
fn lies_about_sent_packets_are_counted_and_dropped() {
    let (mut pool, mut queue) = (pool(FRAMES), queue(16, 8));
    queue.restock(&mut pool);
    queue.kernel.budget = 0;
    let report = transmit(&mut queue, &mut pool, 1);
    assert_eq!(report.sent, 1);
    // One that it has to receive into, one of nobody's.
    let filled = u64::from(queue.kernel.fill[0]) * SIZE as u64;
    queue.kernel.completed.extend([filled, 1 << 40]);
    queue.rx(&mut pool, &mut Vec::new(), 64);
    assert_eq!(queue.bad_descriptors, 2);
    assert_conserved(&queue, &pool, 0);
}

#[test]
fn frames_of_another_queue_are_not_taken_over() {
    let mut pool = pool(FRAMES);
    let (mut one, mut two) = (queue(16, 4), queue(16, 4));
    two.tags = Tags::new(1).unwrap();
    one.restock(&mut pool);
    two.restock(&mut pool);
    let chunk = one.kernel.fill[0];
    two.kernel.received.push_back(Descriptor { address: u64::from(chunk) * SIZE as u64 + 256, len: 60, options: 0 });
    assert_eq!(two.rx(&mut pool, &mut Vec::new(), 64), 0);
    assert_eq!((two.bad_descriptors, one.filled, two.filled), (1, 4, 4));
}

#[test]
fn there_are_tags_for_127_queues() {
    assert!(Tags::new(126).is_some());
    assert!(Tags::new(127).is_none());
}

/// Tells when it is dropped.
struct Owner(std::sync::Arc<std::sync::atomic::AtomicBool>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

#[test]
fn memory_goes_with_its_pool_unless_a_frame_is_left() {
    for (keep, expected) in [(false, true), (true, false)] {
        let memory = Box::leak(vec![0_u8; 4 * SIZE].into_boxed_slice());
        let gone = std::sync::Arc::default();
        let owner = Owner(std::sync::Arc::clone(&gone));
        // SAFETY: leaked just now, for this pool alone.
        let mut pool = unsafe { FramePool::umem(NonNull::from(memory).cast(), 4, SIZE, owner) }.unwrap();
        let lent = pool.take().unwrap();
        assert!(pool.lend(lent, 1).is_ok());
        let frame = keep.then(|| pool.take().unwrap());
        drop(pool);
        assert_eq!(gone.load(std::sync::atomic::Ordering::Relaxed), expected);
        std::mem::forget(frame);
    }
}

#[derive(Debug, Clone)]
enum Step {
    Arrive(usize),
    Receive(usize),
    Send(usize),
    Forge(u64, u32),
    Fail(Option<i32>),
}

fn step() -> impl Strategy<Value = Step> {
    let errors = prop_oneof![Just(libc::ENETDOWN), Just(libc::EAGAIN), Just(libc::EBUSY), Just(libc::ENXIO)];
    prop_oneof![
        (1..20_usize).prop_map(Step::Arrive),
        (1..70_usize).prop_map(Step::Receive),
        (1..40_usize).prop_map(Step::Send),
        (0..(FRAMES * SIZE + SIZE) as u64, any::<u32>()).prop_map(|(address, len)| Step::Forge(address, len)),
        prop::option::of(errors).prop_map(Step::Fail),
    ]
}

proptest! {
    #[test]
    fn frames_are_conserved_whatever_the_kernel_does(steps in prop::collection::vec(step(), 1..80)) {
        let (mut pool, mut queue) = (pool(FRAMES), queue(8, 12));
        let mut burst: Vec<Frame> = Vec::new();
        for step in steps {
            match step {
                Step::Arrive(count) => { (0..count).for_each(|_| { queue.kernel.arrive(60); }); }
                Step::Receive(limit) => { queue.rx(&mut pool, &mut burst, limit); }
                Step::Send(count) => {
                    let mut out: Vec<Frame> = burst.drain(..count.min(burst.len())).collect();
                    out.extend(packets(&mut pool, count - out.len()));
                    let expected = out.len();
                    let report = queue.tx(&mut pool, &mut out);
                    prop_assert_eq!(report.sent + report.refused, expected);
                }
                Step::Forge(address, len) => {
                    queue.kernel.received.push_back(Descriptor { address, len, options: 0 });
                    queue.kernel.completed.push_back(address);
                }
                Step::Fail(error) => queue.kernel.fails_with = error,
            }
            assert_conserved(&queue, &pool, burst.len());
            let mut chunks: Vec<u32> = burst.iter().map(Frame::index).collect();
            chunks.sort_unstable();
            chunks.dedup();
            prop_assert_eq!(chunks.len(), burst.len(), "two frames of one chunk");
        }
        pool.put_all(burst);
    }
}
