//! Who expires next.
//!
//! Open flows wait in a wheel of 2048 slots, one for each tick (256 s in all). A packet only writes the flow's
//! deadline; when the flow's slot comes up and the deadline has moved on, it is put into a later slot. A flow whose
//! deadline is further away than the wheel goes round just waits in the furthest slot. Only a deadline that moves
//! *before* the slot, when a state with a shorter timeout begins, makes the flow change its slot at once.
//!
//! Closed flows have one queue per state. Packets do not prolong these states, so each queue is in order of its
//! deadlines: its head is both the next to expire and the first to give way.

use crate::State;
use crate::lists::{ListId, Lists};

const SLOTS: u32 = 2048;
const CLOSED: [State; 3] = [State::TimeWait, State::Close, State::Reset];
const FREE: ListId = ListId(SLOTS + 3);
const LISTS: u32 = SLOTS + 4;

/// The places of all entries: waiting in the wheel, closed, or free.
pub(crate) struct Timers {
    lists: Lists,
    /// The tick whose slot is being emptied. All before it are done.
    turned: u32,
}

impl Timers {
    pub(crate) fn new(entries: u32) -> Self {
        Self { lists: Lists::new(entries, LISTS, FREE), turned: 0 }
    }

    /// An entry that holds no flow.
    pub(crate) fn free(&self) -> Option<u32> {
        self.lists.front(FREE)
    }

    pub(crate) fn set_free(&mut self, entry: u32) {
        // The entry freed last is used first: it is still in the cache.
        self.lists.move_to_front(entry, FREE);
    }

    /// Puts an open flow into the slot of its deadline.
    pub(crate) fn wait(&mut self, entry: u32, deadline: u32) {
        let due = deadline.clamp(self.turned, self.turned.saturating_add(SLOTS - 1));
        self.lists.move_to_back(entry, ListId(due % SLOTS));
    }

    /// The deadline of a waiting flow has moved to an earlier time.
    pub(crate) fn wait_less(&mut self, entry: u32, deadline: u32) {
        let slot = self.lists.list_of(entry).0;
        let comes_up = self.turned.saturating_add(slot.wrapping_sub(self.turned) % SLOTS);
        if comes_up > deadline {
            self.wait(entry, deadline);
        }
    }

    /// Puts a flow at the end of the queue of its closed state.
    pub(crate) fn wait_closed(&mut self, entry: u32, state: State) {
        self.lists.move_to_back(entry, closed_list(state));
    }

    /// The heads of the queues of closed flows.
    pub(crate) fn closed_heads(&self) -> impl Iterator<Item = u32> {
        CLOSED.into_iter().filter_map(|state| self.lists.front(closed_list(state)))
    }

    /// The next waiting flow to look at: those of the slots up to `now`. The caller takes it out or makes it wait anew.
    pub(crate) fn turn(&mut self, now: u32) -> Option<u32> {
        // After a long sleep one round over all slots sees everybody.
        self.turned = self.turned.max(now.saturating_sub(SLOTS - 1));
        loop {
            let entry = self.lists.front(ListId(self.turned % SLOTS));
            if entry.is_some() || self.turned >= now {
                // A slot of the future is only reached by `now` itself.
                return entry.filter(|_| self.turned <= now);
            }
            self.turned += 1;
        }
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.lists.memory_bytes()
    }
}

fn closed_list(state: State) -> ListId {
    let place = match state {
        State::TimeWait => 0,
        State::Close => 1,
        _ => 2,
    };
    ListId(SLOTS + place)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everybody who comes up until `now`, each freed.
    fn due(timers: &mut Timers, now: u32) -> Vec<u32> {
        core::iter::from_fn(|| {
            let entry = timers.turn(now)?;
            timers.set_free(entry);
            Some(entry)
        })
        .collect()
    }

    #[test]
    fn comes_up_at_its_tick_and_not_before() {
        let mut timers = Timers::new(3);
        timers.wait(0, 5);
        timers.wait(1, 5 + SLOTS);
        timers.wait(2, 100_000);
        assert_eq!(due(&mut timers, 4), []);
        assert_eq!(due(&mut timers, 5), [0]);
        assert_eq!(due(&mut timers, SLOTS - 2), []);
        // Further away than the wheel is long: looked at once a round.
        assert_eq!(due(&mut timers, SLOTS - 1), [1, 2]);
    }

    #[test]
    fn an_earlier_deadline_changes_the_slot() {
        let mut timers = Timers::new(2);
        timers.wait(0, 1000);
        timers.wait_less(0, 1500);
        assert_eq!(timers.lists.list_of(0), ListId(1000));
        timers.wait_less(0, 20);
        assert_eq!(due(&mut timers, 19), []);
        assert_eq!(due(&mut timers, 20), [0]);
    }

    #[test]
    fn a_long_sleep_misses_nobody() {
        let mut timers = Timers::new(3);
        timers.wait(0, 1);
        timers.wait(1, 2000);
        timers.wait(2, SLOTS + 700);
        let mut late = due(&mut timers, 1_000_000);
        late.sort_unstable();
        assert_eq!(late, [0, 1, 2]);
    }

    #[test]
    fn closed_queues_are_in_order() {
        let mut timers = Timers::new(3);
        timers.wait_closed(2, State::Close);
        timers.wait_closed(1, State::Close);
        timers.wait_closed(0, State::Reset);
        assert_eq!(timers.closed_heads().collect::<Vec<_>>(), [2, 0]);
        assert_eq!(timers.free(), None);
    }
}
