//! Keeps the gateway known in the overlay: worker 0 teaches every task by ARP, new ones at once, all of them again and
//! again, a few a turn.

use std::time::Duration;

use crate::core::Core;
use crate::service::Snapshot;
use crate::stage::TEACH_EVERY;

/// Tasks taught per turn of the worker.
const PER_TURN: usize = 16;
/// In the first rounds, and then in every so-many-th, the question goes to everybody on the task's node.
const ASK_ALL_ROUNDS: u32 = 3;
const ASK_ALL_EVERY: u32 = 6;
/// The second round comes soon: the first may have been lost while the underlay was still being resolved.
const SECOND_ROUND: Duration = Duration::from_secs(1);

/// Who is to be taught, and when.
pub(super) struct Teacher {
    active: bool,
    round: u32,
    next_round: Duration,
    /// How many of the tables' overlay backends were taught in this round; `None`: all of them.
    taught: Option<usize>,
}

impl Teacher {
    pub(super) fn new(worker: usize) -> Self {
        Self { active: worker == 0, round: 0, next_round: Duration::ZERO, taught: None }
    }

    /// New tables: a round begins at once, since neighbours may have moved.
    pub(super) fn meet(&mut self, now: Duration) {
        self.round = 0;
        self.taught = None;
        self.next_round = now;
    }

    /// Goes on with the round, or begins the next.
    pub(super) fn teach(&mut self, core: &mut Core, tables: &Snapshot, now: Duration) {
        if !self.active || tables.overlays().is_empty() {
            return;
        }
        if self.taught.is_none() && now >= self.next_round {
            self.taught = Some(0);
            self.round += 1;
            self.next_round = now + if self.round == 1 { SECOND_ROUND } else { TEACH_EVERY };
        }
        let Some(taught) = self.taught else { return };
        let ask_all = self.round <= ASK_ALL_ROUNDS || self.round.is_multiple_of(ASK_ALL_EVERY);
        let all = tables.overlay_backends();
        for id in all.iter().skip(taught).take(PER_TURN) {
            if let Some(target) = tables.backend(*id) {
                core.teach(tables, &target, ask_all);
            }
        }
        self.taught = Some(taught + PER_TURN).filter(|taught| *taught < all.len());
    }
}
