//! Keeps the gateway known in the overlay: worker 0 teaches every task by ARP, new ones at once, all of them again and
//! again, a few a turn.

use std::time::Duration;

use crate::core::Core;
use crate::service::{Pupil, Snapshot};
use crate::stage::TEACH_EVERY;

/// Tasks taught per turn of the worker in each walk.
const PER_TURN: usize = 16;
/// Tasks looked at per turn in each walk: a few new ones are found soon among many.
const SEEN_PER_TURN: usize = 1024;
/// In every so-many-th round, the question goes to everybody on the task's node.
const ASK_ALL_EVERY: u32 = 6;
/// The same while a task is so new: its first round with all others is among these.
const NEW_FOR: Duration = Duration::from_secs(12);
/// New tasks are taught a second time soon: the first may have been lost while the underlay was still being resolved.
const SECOND_TIME: Duration = Duration::from_secs(1);

/// Who is to be taught, and when.
pub(super) struct Teacher {
    active: bool,
    /// Since when; nobody is taught before.
    began: Option<Duration>,
    round: u32,
    next_round: Duration,
    everybody: Walk,
    newcomers: Walk,
    /// When the newcomers since that news are taught again.
    again: Option<(Duration, u64)>,
}

/// A walk through the tables' overlay backends.
#[derive(Default)]
struct Walk {
    /// Where it goes on, if it is not over.
    next: Option<usize>,
    /// Those are taught that came with this news, or later.
    first: u64,
}

impl Walk {
    /// Begins; one that is under way takes its own along.
    fn begin(&mut self, first: u64) {
        self.first = if self.next.is_some() { first.min(self.first) } else { first };
        self.next = Some(0);
    }

    fn go_on(&mut self, core: &mut Core, tables: &Snapshot, asks_all: impl Fn(&Pupil) -> bool) {
        let Some(next) = self.next else { return };
        let (mut seen, mut taught) = (0, 0);
        for pupil in tables.pupils().iter().skip(next).take(SEEN_PER_TURN) {
            seen += 1;
            if pupil.news < self.first {
                continue;
            }
            if let Some(target) = tables.backend(pupil.backend) {
                core.teach(tables, &target, asks_all(pupil));
            }
            taught += 1;
            if taught == PER_TURN {
                break;
            }
        }
        self.next = Some(next + seen).filter(|next| *next < tables.pupils().len());
    }
}

impl Teacher {
    pub(super) fn new(worker: usize) -> Self {
        Self {
            active: worker == 0,
            began: None,
            round: 0,
            next_round: Duration::ZERO,
            everybody: Walk::default(),
            newcomers: Walk::default(),
            again: None,
        }
    }

    /// New tables, after those that had brought `met` news. Who has been taught stays so: a round that is under way goes on, or it would
    /// begin over and over where tables change often, and every task would be asked with each change of any.
    pub(super) fn meet(&mut self, tables: &Snapshot, met: u64, now: Duration) {
        if tables.news() != met && self.began.is_some() {
            self.welcome(met + 1, now);
        }
    }

    fn welcome(&mut self, first: u64, now: Duration) {
        self.newcomers.begin(first);
        // If others wait for their second time already, these come along.
        self.again.get_or_insert((now + SECOND_TIME, first));
    }

    /// Goes on with the walks, or begins the next.
    pub(super) fn teach(&mut self, core: &mut Core, tables: &Snapshot, now: Duration) {
        if !self.active || tables.overlays().is_empty() {
            return;
        }
        let began = *self.began.get_or_insert_with(|| {
            self.next_round = now + TEACH_EVERY;
            self.newcomers.begin(0);
            self.again = Some((now + SECOND_TIME, 0));
            now
        });
        if let Some((_, first)) = self.again.take_if(|(due, _)| *due <= now) {
            self.newcomers.begin(first);
        }
        if self.everybody.next.is_none() && now >= self.next_round {
            self.everybody.begin(0);
            self.round += 1;
            self.next_round = now + TEACH_EVERY;
        }
        self.newcomers.go_on(core, tables, |_| true);
        let asks_all = self.round.is_multiple_of(ASK_ALL_EVERY);
        self.everybody.go_on(core, tables, |pupil| asks_all || now < pupil.since.max(began) + NEW_FOR);
    }
}
