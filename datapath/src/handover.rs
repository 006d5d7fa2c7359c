//! Publication of new tables: control offers, workers take, control frees.
//!
//! Each worker has a [`Desk`] with one place. Control puts an `Arc` of the new tables there, replacing one that was not
//! taken; the worker takes it between two bursts, lets go of the old tables, and then stamps the generation that it uses
//! now. Control keeps a reference to every generation until all workers have stamped a newer one, so the last reference
//! always dies on control: no worker ever runs a destructor of tables.
//!
//! Generic over the place and the stamp, so that the same code is explored by loom (`tests/handover_loom.rs`).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::queue::ArrayQueue;

/// A place for one value.
pub trait Place<T> {
    /// Puts a value there; gives back the one that nobody took.
    fn put(&self, value: T) -> Option<T>;
    /// Takes the value.
    fn take(&self) -> Option<T>;
}

/// A number that one thread writes and another reads.
pub trait Stamp {
    /// Writes; everything before happens before a reader sees it.
    fn set(&self, value: u64);
    /// Reads.
    fn get(&self) -> u64;
}

impl<T> Place<T> for ArrayQueue<T> {
    fn put(&self, value: T) -> Option<T> {
        self.force_push(value)
    }

    fn take(&self) -> Option<T> {
        self.pop()
    }
}

impl Stamp for AtomicU64 {
    fn set(&self, value: u64) {
        self.store(value, Ordering::Release);
    }

    fn get(&self) -> u64 {
        self.load(Ordering::Acquire)
    }
}

/// Where control and one worker meet.
#[derive(Debug)]
pub struct Desk<P, S> {
    place: P,
    applied: S,
}

impl<P, S: Stamp> Desk<P, S> {
    /// An empty desk.
    pub fn new(place: P, applied: S) -> Self {
        Self { place, applied }
    }

    /// Generation that the worker uses.
    pub fn applied(&self) -> u64 {
        self.applied.get()
    }

    /// Worker: replaces `current` by newer tables if some wait, and says so. `meet` sees the old and the new ones and
    /// returns the generation of the new ones.
    pub fn refresh<T>(&self, current: &mut Arc<T>, meet: impl FnOnce(&T, &T) -> u64) -> bool
    where
        P: Place<Arc<T>>,
    {
        let Some(newer) = self.place.take() else { return false };
        let stamp = meet(current, &newer);
        // The old reference must be gone before control learns that it may free.
        drop(std::mem::replace(current, newer));
        self.applied.set(stamp);
        true
    }
}

/// Control's side: all desks, and the generations that may still be in use.
#[derive(Debug)]
pub struct Publisher<T, P, S> {
    desks: Vec<Arc<Desk<P, S>>>,
    kept: VecDeque<(u64, Arc<T>)>,
}

impl<T, P: Place<Arc<T>>, S: Stamp> Publisher<T, P, S> {
    /// `first` is what every worker was started with.
    pub fn new(desks: Vec<Arc<Desk<P, S>>>, generation: u64, first: Arc<T>) -> Self {
        Self { desks, kept: VecDeque::from([(generation, first)]) }
    }

    /// The newest tables.
    #[must_use]
    pub fn newest(&self) -> Option<&Arc<T>> {
        self.kept.back().map(|(_, tables)| tables)
    }

    /// Offers new tables to every worker. Generations must grow.
    pub fn publish(&mut self, generation: u64, tables: Arc<T>) {
        for desk in &self.desks {
            drop(desk.place.put(Arc::clone(&tables)));
        }
        self.kept.push_back((generation, tables));
        self.reclaim();
    }

    /// Frees what every worker has left behind.
    pub fn reclaim(&mut self) {
        let oldest_in_use = self.desks.iter().map(|desk| desk.applied()).min().unwrap_or(u64::MAX);
        while self.kept.len() > 1 && self.kept.front().is_some_and(|(generation, _)| *generation < oldest_in_use) {
            self.kept.pop_front();
        }
    }

    /// How many generations are kept.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.kept.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type TestDesk = Desk<ArrayQueue<Arc<u64>>, AtomicU64>;

    fn desk() -> Arc<TestDesk> {
        Arc::new(Desk::new(ArrayQueue::new(1), AtomicU64::new(1)))
    }

    #[test]
    fn a_slow_worker_gets_the_newest_and_holds_only_its_own() {
        let (quick, slow) = (desk(), desk());
        let first = Arc::new(1);
        let (mut of_quick, mut of_slow) = (Arc::clone(&first), Arc::clone(&first));
        let mut publisher = Publisher::new(vec![Arc::clone(&quick), Arc::clone(&slow)], 1, first);
        for generation in 2..=5 {
            publisher.publish(generation, Arc::new(generation));
            assert!(quick.refresh(&mut of_quick, |_, new| *new));
        }
        publisher.reclaim();
        assert_eq!((*of_quick, *of_slow, publisher.kept()), (5, 1, 5));
        assert_eq!(publisher.newest().map(|tables| **tables), Some(5));
        assert!(slow.refresh(&mut of_slow, |_, new| *new));
        assert!(!slow.refresh(&mut of_slow, |_, new| *new));
        publisher.reclaim();
        assert_eq!((*of_slow, slow.applied(), publisher.kept()), (5, 5, 1));
    }

    #[test]
    fn publishing_frees_what_all_workers_have_left() {
        let worker = desk();
        let first = Arc::new(1);
        let mut current = Arc::clone(&first);
        let mut publisher = Publisher::new(vec![Arc::clone(&worker)], 1, first);
        for generation in 2..=9 {
            publisher.publish(generation, Arc::new(generation));
            assert!(publisher.kept() <= 2, "what the worker uses, and what it is offered");
            assert!(worker.refresh(&mut current, |_, new| *new));
        }
        publisher.reclaim();
        assert_eq!((publisher.kept(), publisher.newest().map(|tables| **tables)), (1, Some(9)));
    }

    #[test]
    fn the_newest_tables_stay_without_workers() {
        let mut publisher = Publisher::<u64, ArrayQueue<Arc<u64>>, AtomicU64>::new(Vec::new(), 1, Arc::new(1));
        publisher.reclaim();
        assert_eq!(publisher.newest().map(|tables| **tables), Some(1));
    }
}
