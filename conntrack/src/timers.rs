//! Who expires next.
//!
//! Open flows wait in a wheel of 2048 slots, one for each tick (256 s in all). A packet only writes the flow's
//! deadline; when the flow's slot comes up and the deadline has moved on, it is put into a later slot. A flow whose
//! deadline is further away than the wheel goes round just waits in the furthest slot. Only a deadline that moves
//! *before* the slot, when a state with a shorter timeout begins, makes the flow change its slot at once.
//!
//! Closed flows have one queue per idle time. Packets do not prolong the closed states, so each queue is in order of its
//! deadlines: its head is both the next to expire and the first to give way. Services may have times of their own, but
//! not as many as they like: when all queues are taken, the table's time counts.

use core::ops::Range;

use crate::lists::{ListId, Lists};

const SLOTS: u32 = 2048;
/// Queues of closed flows: the table's times, and those of services.
const QUEUES: u32 = 32;
const FREE: ListId = ListId(SLOTS + QUEUES);
const LISTS: u32 = SLOTS + QUEUES + 1;

/// The places of all entries: waiting in the wheel, closed, or free.
pub(crate) struct Timers {
    lists: Lists,
    /// The tick whose slot is being emptied. All before it are done.
    turned: u32,
    /// The idle time of each queue of closed flows, in ticks; the first are the table's.
    queues: Vec<u32>,
    /// How many of them are the table's.
    of_table: usize,
}

impl Timers {
    /// `closed`: the table's idle times of closed flows, in ticks.
    pub(crate) fn new(entries: u32, closed: impl Iterator<Item = u32>) -> Self {
        let mut queues: Vec<u32> = closed.collect();
        queues.sort_unstable();
        queues.dedup();
        Self { lists: Lists::new(entries, LISTS, FREE), turned: 0, of_table: queues.len(), queues }
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

    /// Moves the deadline of a waiting flow.
    #[inline]
    pub(crate) fn wait_until(&mut self, entry: u32, deadline: &mut u32, next: u32) {
        let is_sooner = next < *deadline;
        *deadline = next;
        if is_sooner {
            self.wait_less(entry, next);
        }
    }

    /// The deadline of a waiting flow has moved to an earlier time.
    fn wait_less(&mut self, entry: u32, deadline: u32) {
        let slot = self.lists.list_of(entry).0;
        let comes_up = self.turned.saturating_add(slot.wrapping_sub(self.turned) % SLOTS);
        if comes_up > deadline {
            self.wait(entry, deadline);
        }
    }

    /// Puts a flow that has just closed at the end of the queue for `ticks`, or for the table's time if there is no queue
    /// left. Gives the time that counts.
    pub(crate) fn wait_closed(&mut self, entry: u32, ticks: u32, of_table: u32) -> u32 {
        let (queue, ticks) = match self.queue(ticks) {
            Some(queue) => (queue, ticks),
            None => (self.queue(of_table).unwrap_or_default(), of_table),
        };
        self.lists.move_to_back(entry, closed_list(queue));
        ticks
    }

    /// The queue for an idle time: the one that has it, a new one, or one that nobody waits in.
    fn queue(&mut self, ticks: u32) -> Option<usize> {
        if let Some(queue) = self.queues.iter().position(|own| *own == ticks) {
            return Some(queue);
        }
        if self.queues.len() < QUEUES as usize {
            self.queues.push(ticks);
            return Some(self.queues.len() - 1);
        }
        let empty = (self.of_table..self.queues.len()).find(|queue| self.lists.front(closed_list(*queue)).is_none())?;
        self.queues[empty] = ticks;
        Some(empty)
    }

    /// The heads of the queues of closed flows, with the idle time of each queue.
    pub(crate) fn closed_heads(&self) -> impl Iterator<Item = (u32, u32)> {
        let queues = self.queues.iter().enumerate();
        queues.filter_map(|(queue, ticks)| Some((self.lists.front(closed_list(queue))?, *ticks)))
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

    pub(crate) fn region(&self) -> Range<*const u8> {
        self.lists.region()
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.lists.memory_bytes()
    }
}

fn closed_list(queue: usize) -> ListId {
    ListId(SLOTS + queue as u32)
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
        let mut timers = Timers::new(3, [].into_iter());
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
        let mut timers = Timers::new(2, [].into_iter());
        timers.wait(0, 1000);
        timers.wait_less(0, 1500);
        assert_eq!(timers.lists.list_of(0), ListId(1000));
        timers.wait_less(0, 20);
        assert_eq!(due(&mut timers, 19), []);
        assert_eq!(due(&mut timers, 20), [0]);
    }

    #[test]
    fn a_long_sleep_misses_nobody() {
        let mut timers = Timers::new(3, [].into_iter());
        timers.wait(0, 1);
        timers.wait(1, 2000);
        timers.wait(2, SLOTS + 700);
        let mut late = due(&mut timers, 1_000_000);
        late.sort_unstable();
        assert_eq!(late, [0, 1, 2]);
    }

    #[test]
    fn closed_queues_are_in_order() {
        let mut timers = Timers::new(3, [80, 960].into_iter());
        for (entry, ticks) in [(2, 80), (1, 80), (0, 960)] {
            assert_eq!(timers.wait_closed(entry, ticks, 960), ticks);
        }
        assert_eq!(timers.closed_heads().collect::<Vec<_>>(), [(2, 80), (0, 960)]);
        assert_eq!(timers.free(), None);
    }

    #[test]
    fn times_of_services_have_queues_until_there_is_none_left() {
        let mut timers = Timers::new(QUEUES + 1, [80, 960].into_iter());
        for entry in 0..QUEUES - 2 {
            assert_eq!(timers.wait_closed(entry, 2_000 + entry, 960), 2_000 + entry);
        }
        assert_eq!(timers.wait_closed(QUEUES - 2, 5_000, 960), 960, "the table's time");
        assert_eq!(timers.wait_closed(QUEUES - 1, 2_003, 960), 2_003, "a queue of that time is there");
        timers.set_free(7);
        assert_eq!(timers.wait_closed(QUEUES, 5_000, 960), 5_000, "nobody waits in the queue of entry 7");
        let heads: Vec<(u32, u32)> = timers.closed_heads().filter(|(_, ticks)| [960, 5_000].contains(ticks)).collect();
        assert_eq!(heads, [(QUEUES - 2, 960), (QUEUES, 5_000)]);
    }
}
