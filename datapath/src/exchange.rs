//! Frames that pass from one worker to another: bounded, lock-free, counted by the sender when full.
//!
//! A frame belongs to the packet memory of the worker that received it. The taker copies the bytes into a frame of its
//! own and gives the original back, so that every frame stays at home and no pool runs dry because traffic is lopsided.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use crossbeam::queue::ArrayQueue;
use mio::Waker;
use sys::Frame;

use crate::packet::Origin;
use crate::verdict::Purpose;

/// Packets on their way to one worker at most.
const INBOX_PACKETS: usize = 2048;

/// A packet under way between two workers.
#[derive(Debug)]
pub struct Message {
    /// The bytes: an IP packet, or a finished frame for [`Purpose::Transmit`].
    pub frame: Frame,
    /// The worker that the frame belongs to.
    pub home: usize,
    /// What to do with it.
    pub purpose: Purpose,
    /// Where the packet came from.
    pub origin: Origin,
}

/// What others leave for one worker.
#[derive(Debug)]
pub struct Mailbox {
    inbox: ArrayQueue<Message>,
    returned: ArrayQueue<Frame>,
    asleep: AtomicBool,
    waker: Option<Waker>,
}

impl Mailbox {
    /// `frames`: as many as the worker's pool has, so that giving back never fails. Without a waker the worker must not
    /// sleep (tests).
    #[must_use]
    pub fn new(frames: usize, waker: Option<Waker>) -> Self {
        Self {
            inbox: ArrayQueue::new(INBOX_PACKETS),
            returned: ArrayQueue::new(frames.max(1)),
            asleep: AtomicBool::new(false),
            waker,
        }
    }

    /// Wakes the worker if it sleeps.
    pub fn wake(&self) {
        // Pairs with the fence in `may_sleep`: either we see the flag, or the worker sees what we left.
        fence(Ordering::SeqCst);
        if self.asleep.swap(false, Ordering::Relaxed)
            && let Some(waker) = &self.waker
        {
            // A failed wake-up costs at most the worker's longest sleep.
            let _ = waker.wake();
        }
    }
}

/// One worker's view of all mailboxes.
#[derive(Clone, Debug)]
pub struct Exchange {
    me: usize,
    boxes: Arc<[Mailbox]>,
}

impl Exchange {
    /// `boxes[me]` is our own.
    #[must_use]
    pub fn new(me: usize, boxes: Arc<[Mailbox]>) -> Self {
        Self { me, boxes }
    }

    /// How many workers there are.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.boxes.len()
    }

    /// Leaves a packet for another worker.
    ///
    /// # Errors
    /// The message comes back when the inbox is full or there is no such worker.
    pub fn send(&self, worker: usize, message: Message) -> Result<(), Message> {
        match self.boxes.get(worker) {
            Some(mailbox) => mailbox.inbox.push(message).map(|()| mailbox.wake()),
            None => Err(message),
        }
    }

    /// Takes the next packet that was left for us.
    #[must_use]
    pub fn receive(&self) -> Option<Message> {
        self.boxes.get(self.me)?.inbox.pop()
    }

    /// Gives a frame back to its home.
    ///
    /// # Errors
    /// The frame comes back if that worker does not exist.
    pub fn give_back(&self, home: usize, frame: Frame) -> Result<(), Frame> {
        match self.boxes.get(home) {
            Some(mailbox) => mailbox.returned.push(frame),
            None => Err(frame),
        }
    }

    /// Takes a frame of ours that came back.
    #[must_use]
    pub fn take_back(&self) -> Option<Frame> {
        self.boxes.get(self.me)?.returned.pop()
    }

    /// Announces that we are about to sleep; false if something waits already.
    #[must_use]
    pub fn may_sleep(&self) -> bool {
        let Some(mine) = self.boxes.get(self.me) else { return true };
        mine.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let quiet = mine.inbox.is_empty();
        if !quiet {
            self.awake();
        }
        quiet
    }

    /// We are awake again.
    pub fn awake(&self) {
        if let Some(mine) = self.boxes.get(self.me) {
            mine.asleep.store(false, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::time::Duration;

    use conntrack::ClientLink;
    use mio::{Events, Poll, Token};

    use super::*;

    /// Two workers, the second of which can be woken; and where it sleeps.
    fn exchanges() -> (Exchange, Exchange, Poll) {
        let poll = Poll::new().unwrap();
        let waker = Waker::new(poll.registry(), Token(0)).unwrap();
        let boxes: Arc<[Mailbox]> = [Mailbox::new(1, None), Mailbox::new(1, Some(waker))].into();
        (Exchange::new(0, Arc::clone(&boxes)), Exchange::new(1, boxes), poll)
    }

    fn woken(bed: &mut Poll) -> bool {
        let mut events = Events::with_capacity(1);
        bed.poll(&mut events, Some(Duration::ZERO)).unwrap();
        !events.is_empty()
    }

    fn message(pool: &mut sys::FramePool) -> Message {
        let origin = Origin::Link(ClientLink::default());
        Message { frame: pool.take().unwrap(), home: 0, purpose: Purpose::Track, origin }
    }

    #[test]
    fn only_a_sleeper_is_woken_and_only_once() {
        let (other, sleeper, mut bed) = exchanges();
        let mut pool = sys::FramePool::heap(8, 2048);
        other.send(1, message(&mut pool)).unwrap();
        assert!(!woken(&mut bed), "it is awake");
        assert!(!sleeper.may_sleep(), "something waits");
        assert!(sleeper.receive().is_some());
        other.send(1, message(&mut pool)).unwrap();
        assert!(!woken(&mut bed), "it did not fall asleep");
        assert!(sleeper.receive().is_some());

        assert!(sleeper.may_sleep());
        other.send(1, message(&mut pool)).unwrap();
        assert!(woken(&mut bed));
        other.send(1, message(&mut pool)).unwrap();
        assert!(!woken(&mut bed), "once is enough");

        while sleeper.receive().is_some() {}
        assert!(sleeper.may_sleep());
        sleeper.awake();
        other.send(1, message(&mut pool)).unwrap();
        assert!(!woken(&mut bed), "it woke up by itself");
    }

    #[test]
    fn nobody_is_there_beyond_the_last_worker() {
        let (other, _, _) = exchanges();
        let mut pool = sys::FramePool::heap(2, 2048);
        assert!(other.send(2, message(&mut pool)).is_err());
        assert!(other.give_back(2, pool.take().unwrap()).is_err());
    }
}
