//! The hand-over of tables under every interleaving that loom finds.
#![allow(clippy::unwrap_used, reason = "test code")]

use loom::sync::Mutex;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;
use std::sync::Arc;

use datapath::handover::{Desk, Place, Publisher, Stamp};

/// One place, as loom can follow it.
struct LoomPlace<T>(Mutex<Option<T>>);

impl<T> Place<T> for LoomPlace<T> {
    fn put(&self, value: T) -> Option<T> {
        self.0.lock().unwrap().replace(value)
    }

    fn take(&self) -> Option<T> {
        self.0.lock().unwrap().take()
    }
}

struct LoomStamp(AtomicU64);

impl Stamp for LoomStamp {
    fn set(&self, value: u64) {
        self.0.store(value, Ordering::Release);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// Tables that know who may free them.
struct Tables {
    generation: u64,
    control: thread::ThreadId,
}

impl Drop for Tables {
    fn drop(&mut self) {
        assert_eq!(thread::current().id(), self.control, "generation {} was freed by a worker", self.generation);
    }
}

fn explore(publications: u64, refreshes: usize) {
    loom::model(move || {
        let control = thread::current().id();
        let tables = move |generation| Arc::new(Tables { generation, control });
        let desk = Arc::new(Desk::new(LoomPlace(Mutex::new(None)), LoomStamp(AtomicU64::new(1))));
        let first = tables(1);
        let mut current = Arc::clone(&first);
        let mut publisher = Publisher::new(vec![Arc::clone(&desk)], 1, first);
        let of_worker = Arc::clone(&desk);
        let worker = thread::spawn(move || {
            for _ in 0..refreshes {
                let before = current.generation;
                let taken = of_worker.refresh(&mut current, |_, new| new.generation);
                assert_eq!(taken, current.generation > before, "generations only grow");
                thread::yield_now();
            }
            current
        });
        for generation in 2..2 + publications {
            publisher.publish(generation, tables(generation));
        }
        // The worker's last reference comes back to control, as it does when an engine stops.
        let last = worker.join().unwrap();
        assert_eq!(last.generation, desk.applied());
        publisher.reclaim();
        assert!(publisher.kept() as u64 <= publications + 1);
    });
}

#[test]
fn one_publication() {
    explore(1, 2);
}

#[test]
fn a_publication_overtakes_another() {
    explore(2, 2);
}
