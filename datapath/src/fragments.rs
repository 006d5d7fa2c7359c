//! Which flow later fragments belong to (they carry no ports), and fragments that came before their first one.
//!
//! Bounded in entries, in held frames and in time. When no frame can be held any more, the newcomer is dropped, so that a
//! flood of orphans can not push out datagrams that are nearly complete; when there are too many datagrams, the oldest one
//! whose way is known makes room, since its fragments have most likely passed.

use std::collections::VecDeque;
use std::time::Duration;

use hashbrown::HashMap;
use wire::{FiveTuple, FragmentKey, Ipv4, Tcp};

use crate::packet::Packet;

/// Datagrams at once.
const ENTRIES: usize = 4096;
/// Fragments held at once, all datagrams together.
const HELD: usize = 256;
/// As Linux's `net.ipv4.ipfrag_time`.
const LIFETIME: Duration = Duration::from_secs(30);

/// What is known of a datagram in fragments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Its first fragment carried these ports; of TCP this header, with the tracker's numbers.
    Flow(FiveTuple, Option<Tcp>),
    /// Its first fragment was handed to this worker.
    Worker(usize),
}

#[derive(Debug)]
struct Entry {
    known: Option<Known>,
    waiting: Vec<Packet>,
    /// Later than its place among the known says, if the identification was used again.
    end: Duration,
}

/// Datagrams in fragments, of one worker.
#[derive(Debug, Default)]
pub struct FragmentTable {
    entries: HashMap<FragmentKey, Entry>,
    /// Those whose way is known, in the order of their end: the lifetime is the same for all.
    known: VecDeque<(Duration, FragmentKey)>,
    /// Those that wait for their first fragment, in the same order. A few: each of them holds a fragment.
    waiting: VecDeque<(Duration, FragmentKey)>,
    held: usize,
    /// The header of the first fragment that is being handled, if it was tracked.
    pub(crate) tracked: Option<Tcp>,
    /// Fragments that can go on now.
    ready: Vec<Packet>,
}

/// The key of the datagram that a fragment belongs to (RFC 791).
#[must_use]
pub fn key(ip: &Ipv4) -> FragmentKey {
    FragmentKey { src: ip.src(), dst: ip.dst(), protocol: ip.protocol(), id: ip.id() }
}

impl FragmentTable {
    /// Empty.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What is known of a datagram.
    #[must_use]
    pub fn lookup(&self, key: &FragmentKey) -> Option<Known> {
        self.entries.get(key)?.known
    }

    /// Whether one more fragment may wait.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.held < HELD
    }

    /// The first fragment came: remembers where it went; what waited for it is ready now.
    pub fn learn(&mut self, key: FragmentKey, known: Known, now: Duration) {
        let (end, is_new) = (now + LIFETIME, !self.entries.contains_key(&key));
        let entry = self.entry(key, end);
        let was_known = entry.known.replace(known).is_some();
        entry.end = end;
        let mut waiting = std::mem::take(&mut entry.waiting);
        self.held -= waiting.len();
        self.ready.append(&mut waiting);
        if !was_known {
            if !is_new {
                self.waiting.retain(|(_, other)| *other != key);
            }
            self.known.push_back((end, key));
        }
    }

    /// Makes an entry for a fragment that will be held.
    pub fn expect(&mut self, key: FragmentKey, now: Duration) {
        let end = now + LIFETIME;
        if !self.entries.contains_key(&key) {
            self.waiting.push_back((end, key));
        }
        self.entry(key, end);
    }

    /// Holds a fragment; [`FragmentTable::has_room`] and [`FragmentTable::expect`] came before.
    pub fn hold(&mut self, packet: Packet) {
        match self.entries.get_mut(&key(&packet.headers.ip)) {
            Some(entry) => {
                entry.waiting.push(packet);
                self.held += 1;
            }
            None => self.ready.push(packet),
        }
    }

    /// The next fragment that can go on.
    pub fn take_ready(&mut self) -> Option<Packet> {
        self.ready.pop()
    }

    /// A datagram that ran out of time; its held fragments are given back for dropping.
    pub fn expire(&mut self, now: Duration) -> Option<Vec<Packet>> {
        if let Some((_, key)) = self.waiting.pop_front_if(|(end, _)| *end <= now) {
            return Some(self.forget(&key));
        }
        let (_, key) = self.known.pop_front_if(|(place, _)| *place <= now)?;
        let end = self.entries.get(&key).map_or(now, |entry| entry.end);
        if end > now {
            self.known.push_back((end, key));
            return Some(Vec::new());
        }
        Some(self.forget(&key))
    }

    fn forget(&mut self, key: &FragmentKey) -> Vec<Packet> {
        let waiting = self.entries.remove(key).map(|entry| entry.waiting).unwrap_or_default();
        self.held -= waiting.len();
        waiting
    }

    /// Fragments held now.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held + self.ready.len()
    }

    /// The entry of a datagram, new ones with this end. The oldest datagram whose way is known makes room.
    fn entry(&mut self, key: FragmentKey, end: Duration) -> &mut Entry {
        if self.entries.len() >= ENTRIES
            && !self.entries.contains_key(&key)
            && let Some((_, oldest)) = self.known.pop_front()
        {
            self.entries.remove(&oldest);
        }
        self.entries.entry(key).or_insert_with(|| Entry { known: None, waiting: Vec::new(), end })
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use wire::Protocol;

    use super::*;

    const fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    /// The n-th datagram.
    fn datagram(n: usize) -> FragmentKey {
        let [_, _, high, low] = (n as u32).to_be_bytes();
        let (src, dst) = (Ipv4Addr::new(198, 19, high, low), Ipv4Addr::new(198, 18, 0, 1));
        FragmentKey { src, dst, protocol: 17, id: 1 }
    }

    fn flow() -> Known {
        let any = Ipv4Addr::UNSPECIFIED;
        Known::Flow(FiveTuple { src: any, dst: any, src_port: 1, dst_port: 2, protocol: Protocol::Udp }, None)
    }

    /// Lets time pass; nothing is held in these tests.
    fn pass(table: &mut FragmentTable, now: Duration) {
        while let Some(held) = table.expire(now) {
            assert!(held.is_empty());
        }
    }

    fn known(table: &FragmentTable, datagrams: impl IntoIterator<Item = usize>) -> Vec<usize> {
        datagrams.into_iter().filter(|n| table.lookup(&datagram(*n)).is_some()).collect()
    }

    #[test]
    fn the_oldest_known_datagram_makes_room() {
        let mut table = FragmentTable::new();
        table.expect(datagram(0), seconds(1));
        for n in 1..ENTRIES {
            table.learn(datagram(n), flow(), seconds(1));
        }
        // The first fragment once more: the datagram has its place already.
        table.learn(datagram(5), flow(), seconds(1));
        assert_eq!(known(&table, 0..ENTRIES).len(), ENTRIES - 1, "all fit");
        table.learn(datagram(ENTRIES), flow(), seconds(1));
        assert_eq!(known(&table, [0, 1, 2, 3, ENTRIES]), [2, 3, ENTRIES]);
        assert!(table.entries.contains_key(&datagram(0)), "one that waits for its first fragment stays");
        assert_eq!(table.entries.len(), ENTRIES);
    }

    /// However many wait: the next to make room is found at once. No datagram is in two places, whichever way it came.
    #[test]
    fn those_that_wait_stand_in_nobodys_way() {
        let mut table = FragmentTable::new();
        (0..HELD).for_each(|n| table.expect(datagram(n), seconds(1)));
        (HELD..2 * ENTRIES).for_each(|n| table.learn(datagram(n), flow(), seconds(1)));
        let places = |table: &FragmentTable| (table.entries.len(), table.waiting.len(), table.known.len());
        assert_eq!(places(&table), (ENTRIES, HELD, ENTRIES - HELD));
        assert_eq!(table.known.front().map(|(_, key)| *key), Some(datagram(ENTRIES + HELD)));
        // Their first fragments come, once more, and later ones behind them.
        for _ in 0..2 {
            (0..HELD).for_each(|n| table.learn(datagram(n), flow(), seconds(2)));
            (0..HELD).for_each(|n| table.expect(datagram(n), seconds(2)));
        }
        assert_eq!(places(&table), (ENTRIES, 0, ENTRIES));
        pass(&mut table, seconds(32));
        assert_eq!(places(&table), (0, 0, 0));
    }

    #[test]
    fn each_datagram_lives_for_its_time() {
        let mut table = FragmentTable::new();
        table.learn(datagram(1), flow(), seconds(0));
        table.learn(datagram(2), flow(), seconds(5));
        table.learn(datagram(3), flow(), seconds(6));
        table.learn(datagram(1), flow(), seconds(20));
        pass(&mut table, Duration::from_millis(34_999));
        assert_eq!(known(&table, 1..=3), [1, 2, 3]);
        pass(&mut table, seconds(35));
        assert_eq!(known(&table, 1..=3), [1, 3]);
        pass(&mut table, seconds(36));
        assert_eq!(known(&table, 1..=3), [1]);
        pass(&mut table, seconds(50));
        assert_eq!((table.entries.len(), table.known.len() + table.waiting.len()), (0, 0));
    }
}
