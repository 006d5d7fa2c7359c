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
    /// Later than its place in `ends` says, if the identification was used again.
    end: Duration,
}

/// Datagrams in fragments, of one worker.
#[derive(Debug, Default)]
pub struct FragmentTable {
    entries: HashMap<FragmentKey, Entry>,
    /// In the order of their end: the lifetime is the same for all.
    ends: VecDeque<(Duration, FragmentKey)>,
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
        let entry = self.entry(key, now);
        entry.known = Some(known);
        entry.end = now + LIFETIME;
        let mut waiting = std::mem::take(&mut entry.waiting);
        self.held -= waiting.len();
        self.ready.append(&mut waiting);
    }

    /// Makes an entry for a fragment that will be held.
    pub fn expect(&mut self, key: FragmentKey, now: Duration) {
        self.entry(key, now);
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
        let (place, key) = *self.ends.front()?;
        if place > now {
            return None;
        }
        self.ends.pop_front();
        let end = self.entries.get(&key).map_or(now, |entry| entry.end);
        if end > now {
            self.ends.push_back((end, key));
            return Some(Vec::new());
        }
        let waiting = self.entries.remove(&key).map(|entry| entry.waiting).unwrap_or_default();
        self.held -= waiting.len();
        Some(waiting)
    }

    /// Fragments held now.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held + self.ready.len()
    }

    fn entry(&mut self, key: FragmentKey, now: Duration) -> &mut Entry {
        let end = now + LIFETIME;
        if !self.entries.contains_key(&key) {
            if self.entries.len() >= ENTRIES {
                self.evict();
            }
            self.ends.push_back((end, key));
        }
        self.entries.entry(key).or_insert_with(|| Entry { known: None, waiting: Vec::new(), end })
    }

    /// Forgets the oldest datagram whose way is known. There is one near the front: no more than `HELD` others are
    /// waiting.
    fn evict(&mut self) {
        let is_known = |(_, key): &(Duration, FragmentKey)| self.lookup(key).is_some();
        if let Some(position) = self.ends.iter().position(is_known)
            && let Some((_, key)) = self.ends.remove(position)
        {
            self.entries.remove(&key);
        }
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
        assert_eq!((table.entries.len(), table.ends.len()), (0, 0));
    }
}
