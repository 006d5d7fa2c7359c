//! A ring as `AF_XDP` shares it with the kernel: one producer and one consumer, each with a running 32-bit index that it alone
//! writes. The slots between the two indices belong to the consumer, the others to the producer.
//!
//! It works over any memory: over the kernel's, as the transmit ring of a socket, and over our own, where the producer of one
//! device is the consumer of another.

use std::cell::UnsafeCell;
use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering, fence};

use crate::os::{self, Mapping};

/// `struct xdp_desc`: where a packet lies in the UMEM.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Descriptor {
    pub(crate) address: u64,
    pub(crate) len: u32,
    pub(crate) options: u32,
}

/// A ring's parts. `size` is a power of two.
struct Parts {
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: NonNull<AtomicU32>,
    slots: NonNull<UnsafeCell<Descriptor>>,
    size: u32,
    /// What the pointers lead into; never looked at, only kept.
    _memory: Arc<dyn Send + Sync>,
}

// SAFETY: the indices are atomics, and the protocol gives each slot to one side at a time; the memory is kept by `_memory`.
unsafe impl Send for Parts {}

impl Parts {
    /// The slot for a running index.
    fn slot(&self, index: u32) -> *mut Descriptor {
        let position = (index & (self.size - 1)) as usize;
        // SAFETY: there are `size` slots, and the mask keeps the position below.
        UnsafeCell::raw_get(unsafe { self.slots.as_ptr().add(position) })
    }

    fn producer(&self) -> &AtomicU32 {
        // SAFETY: points into `_memory`, which lives as long as `self`.
        unsafe { self.producer.as_ref() }
    }

    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: points into `_memory`, which lives as long as `self`.
        unsafe { self.consumer.as_ref() }
    }

    fn flags(&self) -> &AtomicU32 {
        // SAFETY: points into `_memory`, which lives as long as `self`.
        unsafe { self.flags.as_ref() }
    }
}

/// The side that writes descriptors.
pub(crate) struct Producer {
    ring: Parts,
    /// Where the next descriptor goes; ahead of the shared index until `publish`.
    next: u32,
    /// The consumer's index when last looked at.
    seen: u32,
}

impl Producer {
    /// The transmit ring of the `AF_XDP` socket `fd`, which was set up with `size` slots and never written to. It is mapped a
    /// second time; whoever mapped it first must leave it alone.
    pub(crate) fn of_socket(fd: BorrowedFd<'_>, size: u32) -> io::Result<Producer> {
        let offsets: libc::xdp_mmap_offsets = os::get_option(fd, libc::SOL_XDP, libc::XDP_MMAP_OFFSETS)?;
        let len = offsets.tx.desc as usize + size as usize * size_of::<Descriptor>();
        let mapping = Arc::new(Mapping::shared(fd, len, libc::XDP_PGOFF_TX_RING)?);
        let at = |offset: u64| {
            let offset = offset as usize;
            debug_assert!(offset < mapping.len());
            // SAFETY: the kernel names offsets inside the mapping whose length it has just determined.
            unsafe { mapping.base().add(offset) }
        };
        let ring = Parts {
            producer: at(offsets.tx.producer).cast(),
            consumer: at(offsets.tx.consumer).cast(),
            flags: at(offsets.tx.flags).cast(),
            slots: at(offsets.tx.desc).cast(),
            size,
            _memory: mapping.clone(),
        };
        Ok(Producer::over(ring))
    }

    fn over(ring: Parts) -> Producer {
        let next = ring.producer().load(Ordering::Relaxed);
        let seen = ring.consumer().load(Ordering::Acquire);
        Producer { ring, next, seen }
    }

    /// Free slots.
    #[inline]
    pub(crate) fn free(&mut self) -> u32 {
        let known = self.ring.size - self.next.wrapping_sub(self.seen);
        if known > 0 {
            return known;
        }
        // Acquire: what the consumer read from its slots was read before we write them anew.
        self.seen = self.ring.consumer().load(Ordering::Acquire);
        self.ring.size - self.next.wrapping_sub(self.seen)
    }

    /// Writes one descriptor, not yet to be seen by the consumer. False when the ring is full.
    #[inline]
    pub(crate) fn push(&mut self, descriptor: Descriptor) -> bool {
        if self.free() == 0 {
            return false;
        }
        // SAFETY: the slot is between our index and the consumer's, so it is ours to write.
        unsafe { self.ring.slot(self.next).write(descriptor) };
        self.next = self.next.wrapping_add(1);
        true
    }

    /// Shows the consumer what was pushed.
    #[inline]
    pub(crate) fn publish(&mut self) {
        // Release: the descriptors are written before the index that covers them.
        self.ring.producer().store(self.next, Ordering::Release);
    }

    /// Published descriptors that the consumer has not taken.
    #[inline]
    pub(crate) fn pending(&self) -> u32 {
        self.ring.producer().load(Ordering::Relaxed).wrapping_sub(self.ring.consumer().load(Ordering::Acquire))
    }

    /// The consumer sleeps and wants to be told.
    #[inline]
    pub(crate) fn needs_wakeup(&self) -> bool {
        // The index must be out before the flag is looked at: the consumer raises the flag, then looks at the index.
        fence(Ordering::SeqCst);
        self.ring.flags().load(Ordering::Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }
}

#[cfg(test)]
pub(crate) use joined::{Consumer, joined};

/// Rings in our own memory, whose consumer is not the kernel.
#[cfg(test)]
mod joined {
    use super::*;

    /// What the kernel's side does, in our hands.
    pub(crate) struct Consumer {
        ring: Parts,
        next: u32,
    }

    impl Consumer {
        pub(crate) fn pop(&mut self) -> Option<Descriptor> {
            if self.ring.producer().load(Ordering::Acquire) == self.next {
                return None;
            }
            // SAFETY: the slot is between our index and the producer's, so it is ours to read.
            let descriptor = unsafe { self.ring.slot(self.next).read() };
            self.next = self.next.wrapping_add(1);
            Some(descriptor)
        }

        /// Gives the popped slots back.
        pub(crate) fn release(&mut self) {
            self.ring.consumer().store(self.next, Ordering::Release);
        }

        pub(crate) fn sleep(&mut self, asleep: bool) {
            self.ring.flags().store(u32::from(asleep), Ordering::SeqCst);
        }
    }

    struct Memory {
        indices: [AtomicU32; 3],
        slots: Box<[UnsafeCell<Descriptor>]>,
    }

    // SAFETY: the atomics are shared by nature; the slots are handed to and fro by the ring protocol.
    unsafe impl Sync for Memory {}

    /// A ring of `size` slots whose running indices begin at `start`.
    pub(crate) fn joined(size: u32, start: u32) -> (Producer, Consumer) {
        assert!(size.is_power_of_two());
        let memory = Arc::new(Memory {
            indices: [AtomicU32::new(start), AtomicU32::new(start), AtomicU32::new(0)],
            slots: (0..size).map(|_| UnsafeCell::default()).collect(),
        });
        let parts = || Parts {
            producer: NonNull::from(&memory.indices[0]),
            consumer: NonNull::from(&memory.indices[1]),
            flags: NonNull::from(&memory.indices[2]),
            slots: NonNull::from(&*memory.slots).cast(),
            size,
            _memory: memory.clone(),
        };
        (Producer::over(parts()), Consumer { ring: parts(), next: start })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    fn descriptor(value: u64) -> Descriptor {
        Descriptor { address: value, len: value as u32 ^ 7, options: 0 }
    }

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Push,
        Publish,
        Pop,
        Release,
    }

    /// The ring as two queues: what the consumer may see, and what it has popped but not released.
    #[derive(Default)]
    struct Model {
        pushed: VecDeque<Descriptor>,
        published: VecDeque<Descriptor>,
        popped: u32,
    }

    proptest! {
        #[test]
        fn behaves_as_a_queue_with_two_commits(
            bits in 0..5_u32,
            start in prop_oneof![Just(0), Just(u32::MAX - 3), any::<u32>()],
            steps in prop::collection::vec(
                prop_oneof![3 => Just(Step::Push), 2 => Just(Step::Publish), 3 => Just(Step::Pop), 2 => Just(Step::Release)], 1..200),
        ) {
            let size = 1 << bits;
            let (mut producer, mut consumer) = joined(size, start);
            let mut model = Model::default();
            for (value, step) in (0_u64..).zip(steps) {
                match step {
                    Step::Push => {
                        let held = model.pushed.len() + model.published.len() + model.popped as usize;
                        let fits = held < size as usize;
                        prop_assert_eq!(producer.push(descriptor(value)), fits);
                        if fits { model.pushed.push_back(descriptor(value)); }
                    }
                    Step::Publish => {
                        producer.publish();
                        model.published.append(&mut model.pushed);
                    }
                    Step::Pop => {
                        let expected = model.published.pop_front();
                        prop_assert_eq!(consumer.pop(), expected);
                        model.popped += u32::from(expected.is_some());
                    }
                    Step::Release => {
                        consumer.release();
                        model.popped = 0;
                    }
                }
                prop_assert_eq!(producer.pending(), model.published.len() as u32 + model.popped);
            }
        }
    }

    #[test]
    fn two_threads_see_every_descriptor_once_and_in_order() {
        const COUNT: u64 = 200_000;
        let (mut producer, mut consumer) = joined(64, u32::MAX - 1000);
        let writer = std::thread::spawn(move || {
            let mut next = 0;
            while next < COUNT {
                while next < COUNT && producer.push(descriptor(next)) {
                    next += 1;
                }
                producer.publish();
                std::thread::yield_now();
            }
        });
        let mut expected = 0;
        while expected < COUNT {
            while let Some(got) = consumer.pop() {
                assert_eq!(got, descriptor(expected));
                expected += 1;
            }
            consumer.release();
            std::thread::yield_now();
        }
        writer.join().unwrap();
    }

    #[test]
    fn a_sleeping_consumer_wants_a_wakeup() {
        let (producer, mut consumer) = joined(2, 0);
        assert!(!producer.needs_wakeup());
        consumer.sleep(true);
        assert!(producer.needs_wakeup());
    }
}
