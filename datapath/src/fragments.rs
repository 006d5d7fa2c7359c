//! Which flow later fragments belong to (they carry no ports), and fragments that came before their first one.
//!
//! Bounded in entries, in held frames and in time. When no frame can be held any more, the newcomer is dropped, so that a
//! flood of orphans can not push out datagrams that are nearly complete; when there are too many datagrams, the oldest one
//! whose way is known makes room, since its fragments have most likely passed.

use std::collections::VecDeque;
use std::time::Duration;

use hashbrown::HashMap;
use wire::{FiveTuple, FragmentKey, Ipv4};

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
    /// Its first fragment carried these ports.
    Flow(FiveTuple),
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
    /// Fragments that can go on now.
    ready: Vec<Packet>,
}

/// The key of the datagram that a fragment belongs to (RFC 791).
#[must_use]
pub fn key(ip: &Ipv4) -> FragmentKey {
    FragmentKey { src: ip.src, dst: ip.dst, protocol: ip.protocol, id: ip.id }
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
