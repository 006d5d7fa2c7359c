//! Control's way to the flows of all workers. It needs the engine only to be made: whoever asks for a long list holds nobody up.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::thread;
use std::time::Duration;

use crate::exchange::Mailbox;
use crate::query::{FlowFilter, FlowRecord, Page, SLOTS_PER_PAGE};
use crate::worker::Shared;

/// Between two looks for an answer. It also keeps a worker under load from looking through its table in every turn: without pauses
/// a long list would take more of its time than packets do.
const PAUSE: Duration = Duration::from_micros(200);

/// How long is waited for answers.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// For each page: a worker that takes longer hangs.
    page: Duration,
    /// For all of them. With [`Patience::turn`] it is less than the command line waits for the gateway.
    list: Duration,
    /// For the end of another list.
    turn: Duration,
}

const PATIENCE: Patience =
    Patience { page: Duration::from_secs(1), list: Duration::from_secs(20), turn: Duration::from_secs(8) };

/// Why a list of flows is not all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// Nobody was asked.
    #[error("another list of flows is being read, and takes long; ask again when it has ended")]
    Busy,
    /// A worker did not answer in time.
    #[error("worker {worker} did not answer in time; {found} flows were found before")]
    ByWorker {
        /// Which worker.
        worker: usize,
        /// How many flows were found before.
        found: usize,
    },
}

/// Asks the workers for flows, page by page.
#[derive(Clone)]
pub struct FlowReader {
    workers: Arc<[Arc<Shared>]>,
    boxes: Arc<[Mailbox]>,
    /// A worker has room for one question.
    turn: Arc<Mutex<()>>,
    patience: Patience,
}

impl FlowReader {
    pub(crate) fn new(workers: Arc<[Arc<Shared>]>, boxes: Arc<[Mailbox]>, turn: Arc<Mutex<()>>) -> Self {
        Self { workers, boxes, turn, patience: PATIENCE }
    }

    /// Gives the flows to `visit` as they are found, after whoever else is reading: for that it waits 8 seconds. A worker may take
    /// a second over a page, all of them 20 seconds over the list.
    ///
    /// # Errors
    /// [`Unanswered`]: what was found is not all.
    pub fn read(&self, filter: &FlowFilter, mut visit: impl FnMut(&FlowRecord)) -> Result<(), Unanswered> {
        let _turn = self.turn().ok_or(Unanswered::Busy)?;
        let list_ends = sys::clock::now() + self.patience.list;
        let (mut found, mut left) = (0, filter.limit);
        for (worker, shared) in self.workers.iter().enumerate() {
            let question = shared.queries.number();
            let room = Vec::with_capacity(left.min(SLOTS_PER_PAGE));
            let mut page = Page { question, filter: *filter, next: Some(0), found: room };
            while page.next.is_some() && left > 0 {
                page.filter.limit = left;
                page = self.answer(worker, page, list_ends).ok_or(Unanswered::ByWorker { worker, found })?;
                page.found.iter().for_each(&mut visit);
                found += page.found.len();
                left -= page.found.len();
                page.found.clear();
            }
        }
        Ok(())
    }

    /// Waits until nobody else is reading.
    fn turn(&self) -> Option<MutexGuard<'_, ()>> {
        let deadline = sys::clock::now() + self.patience.turn;
        loop {
            match self.turn.try_lock() {
                Ok(turn) => return Some(turn),
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) if sys::clock::now() > deadline => return None,
                Err(TryLockError::WouldBlock) => thread::sleep(PAUSE),
            }
        }
    }

    /// The page, filled by the worker.
    fn answer(&self, worker: usize, page: Page, list_ends: Duration) -> Option<Page> {
        let (shared, mailbox) = (self.workers.get(worker)?, self.boxes.get(worker)?);
        let (question, now) = (page.question, sys::clock::now());
        let deadline = list_ends.min(now + self.patience.page);
        if now > deadline {
            return None;
        }
        shared.queries.ask(page).ok()?;
        loop {
            // Again and again: it may have gone to sleep without a look for questions.
            mailbox.wake();
            thread::sleep(PAUSE);
            if let Some(answer) = shared.queries.take_answer(question) {
                return Some(answer);
            }
            if sys::clock::now() > deadline || shared.stop.load(Ordering::Relaxed) {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::sync::atomic::{AtomicBool, AtomicU64};

    use crossbeam::queue::ArrayQueue;

    use super::*;
    use crate::handover::Desk;

    const ALL: FlowFilter = FlowFilter { service: None, limit: usize::MAX };

    /// Asks one worker, whose pages take so long and are so many.
    fn read(patience: Patience, page_takes: Duration, pages: usize) -> Result<(), Unanswered> {
        let shared = Arc::new(Shared::new(Arc::new(Desk::new(ArrayQueue::new(1), AtomicU64::new(1)))));
        let workers = Arc::new([Arc::clone(&shared)]);
        let reader =
            FlowReader { patience, ..FlowReader::new(workers, Arc::new([Mailbox::new(1, None)]), Arc::default()) };
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    shared.queries.answer_with(|page| {
                        thread::sleep(page_takes);
                        let next = page.next.unwrap() + 1;
                        page.next = (next < pages).then_some(next);
                    });
                    thread::yield_now();
                }
            });
            let outcome = reader.read(&ALL, |_| {});
            over.store(true, Ordering::Relaxed);
            outcome
        })
    }

    #[test]
    fn each_page_has_its_own_time() {
        let patience = Patience { page: Duration::from_millis(500), list: Duration::from_mins(1), ..PATIENCE };
        let started = sys::clock::now();
        assert_eq!(read(patience, Duration::from_millis(50), 12), Ok(()));
        assert!(sys::clock::now() > started + patience.page, "it was too quick to show anything");
    }

    #[test]
    fn a_list_that_takes_too_long_is_given_up() {
        let patience = Patience { page: Duration::from_mins(1), list: Duration::from_millis(100), ..PATIENCE };
        assert_eq!(read(patience, Duration::from_millis(1), 5_000), Err(Unanswered::ByWorker { worker: 0, found: 0 }));
    }

    #[test]
    fn who_reads_after_others_accuses_no_worker() {
        let turn = Arc::new(Mutex::new(()));
        let patience = Patience { turn: Duration::from_millis(20), ..PATIENCE };
        let none: Arc<[Arc<Shared>]> = Arc::new([]);
        let reader = FlowReader { patience, ..FlowReader::new(none, Arc::new([]), Arc::clone(&turn)) };
        let busy = turn.lock().unwrap();
        assert_eq!(reader.read(&ALL, |_| {}), Err(Unanswered::Busy));
        drop(busy);
        assert_eq!(reader.read(&ALL, |_| {}), Ok(()));
    }

    #[test]
    fn a_worker_that_was_stopped_is_not_waited_for() {
        let shared = Arc::new(Shared::new(Arc::new(Desk::new(ArrayQueue::new(1), AtomicU64::new(1)))));
        shared.stop.store(true, Ordering::Relaxed);
        let reader = FlowReader::new(Arc::new([shared]), Arc::new([Mailbox::new(1, None)]), Arc::default());
        let started = sys::clock::now();
        assert_eq!(reader.read(&ALL, |_| {}), Err(Unanswered::ByWorker { worker: 0, found: 0 }));
        assert!(sys::clock::now() < started + PATIENCE.page);
    }
}
