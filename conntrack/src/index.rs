//! From a hash to the entries that may have it: buckets of one cache line, twelve slots each.
//!
//! A key lives in its home bucket or, if that is full, in the next one that is not. Each bucket counts the keys that
//! went past it, so that a search stops where no key ever went further, and a removal just takes the slot back: no
//! tombstones, whatever the history.

use core::ops::Range;

use crate::table::bytes_of;

/// Slots in a bucket: what fits in 64 bytes with a tag each.
const SLOTS: usize = 12;
/// Slots in use of every hundred when the table is full.
const LOAD_PERCENT: usize = 75;
/// Tag of a slot that is not in use.
const EMPTY: u8 = 0;
/// Never an entry number.
pub(crate) const NONE: u32 = u32::MAX;

#[derive(Clone)]
#[repr(align(64))]
struct Bucket {
    tags: [u8; SLOTS],
    /// How many keys were refused here because the bucket was full, and live further on.
    passed: u32,
    entries: [u32; SLOTS],
}

/// The index of one table.
pub(crate) struct Index {
    buckets: Vec<Bucket>,
}

impl Index {
    /// An index for `keys` keys.
    pub(crate) fn new(keys: usize) -> Self {
        let slots = (keys * 100).div_ceil(LOAD_PERCENT);
        let empty = Bucket { tags: [EMPTY; SLOTS], passed: 0, entries: [NONE; SLOTS] };
        Self { buckets: vec![empty; slots.div_ceil(SLOTS).max(1)] }
    }

    /// The bucket where a key with this hash belongs.
    #[inline]
    pub(crate) fn home(&self, hash: u64) -> usize {
        // The upper half of a 64x64 bit product spreads the hash over any number of buckets.
        ((u128::from(hash) * self.buckets.len() as u128) >> 64) as usize
    }

    /// The bucket where a key goes for which there is no place in this one.
    #[inline]
    pub(crate) fn after(&self, bucket: usize) -> usize {
        if bucket + 1 == self.buckets.len() { 0 } else { bucket + 1 }
    }

    /// Reads from a bucket, so that it is in the cache: how many keys went past it.
    #[inline]
    pub(crate) fn passed(&self, bucket: usize) -> u32 {
        self.buckets[bucket].passed
    }

    /// The first entry in a bucket whose tag fits, or [`NONE`]. One cache line, no branch that depends on it.
    #[inline]
    pub(crate) fn guess(&self, bucket: usize, hash: u64) -> u32 {
        let bucket = &self.buckets[bucket];
        let matches = bucket.matches(tag(hash));
        // No match: slot 16 does not exist.
        bucket.entries.get(matches.trailing_zeros() as usize).copied().unwrap_or(NONE)
    }

    /// The entry with this hash that `is_it` accepts.
    #[inline]
    pub(crate) fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let tag = tag(hash);
        let mut at = self.home(hash);
        for _ in 0..self.buckets.len() {
            let bucket = &self.buckets[at];
            let mut matches = bucket.matches(tag);
            while matches != 0 {
                let entry = bucket.entries[matches.trailing_zeros() as usize % SLOTS];
                if is_it(entry) {
                    return Some(entry);
                }
                matches &= matches - 1;
            }
            if bucket.passed == 0 {
                return None;
            }
            at = self.after(at);
        }
        None
    }

    /// Adds a key. False when every slot is taken, which the load factor rules out for as many keys as were asked for.
    pub(crate) fn insert(&mut self, hash: u64, entry: u32) -> bool {
        let mut at = self.home(hash);
        for _ in 0..self.buckets.len() {
            if self.buckets[at].put(tag(hash), entry) {
                return true;
            }
            self.buckets[at].passed += 1;
            at = self.after(at);
        }
        self.unpass(hash, self.buckets.len());
        false
    }

    /// Takes a key out. False when it is not there.
    pub(crate) fn remove(&mut self, hash: u64, entry: u32) -> bool {
        let mut at = self.home(hash);
        for passed in 0..self.buckets.len() {
            if self.buckets[at].take(tag(hash), entry) {
                self.unpass(hash, passed);
                return true;
            }
            if self.buckets[at].passed == 0 {
                return false;
            }
            at = self.after(at);
        }
        false
    }

    /// One key less went past the first `count` buckets from its home.
    fn unpass(&mut self, hash: u64, count: usize) {
        let mut at = self.home(hash);
        for _ in 0..count {
            self.buckets[at].passed = self.buckets[at].passed.saturating_sub(1);
            at = self.after(at);
        }
    }

    pub(crate) fn region(&self) -> Range<*const u8> {
        bytes_of(&self.buckets)
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.buckets.capacity() * size_of::<Bucket>()
    }
}

impl Bucket {
    /// One bit a slot: set where the tag fits.
    #[inline]
    fn matches(&self, tag: u8) -> u16 {
        let mut bits = 0;
        for (slot, &have) in self.tags.iter().enumerate() {
            bits |= u16::from(have == tag) << slot;
        }
        bits
    }

    fn put(&mut self, tag: u8, entry: u32) -> bool {
        let slot = self.matches(EMPTY).trailing_zeros() as usize;
        let Some(place) = self.entries.get_mut(slot) else { return false };
        *place = entry;
        self.tags[slot] = tag;
        true
    }

    fn take(&mut self, tag: u8, entry: u32) -> bool {
        let found = (0..SLOTS).find(|&slot| self.tags[slot] == tag && self.entries[slot] == entry);
        let Some(slot) = found else { return false };
        self.tags[slot] = EMPTY;
        self.entries[slot] = NONE;
        true
    }
}

/// The low byte of the hash (the bucket comes from the high bits), never [`EMPTY`].
fn tag(hash: u64) -> u8 {
    (hash as u8).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_a_cache_line() {
        assert_eq!(size_of::<Bucket>(), 64);
    }

    /// All keys want one bucket: the worst that can happen.
    #[test]
    fn one_home_for_all() {
        let mut index = Index::new(60);
        let hash = 7;
        for entry in 0..60 {
            assert!(index.insert(hash, entry));
        }
        for entry in (0..60).rev() {
            assert_eq!(index.find(hash, |found| found == entry), Some(entry));
            assert!(index.remove(hash, entry));
            assert!(!index.remove(hash, entry));
            assert_eq!(index.find(hash, |found| found == entry), None);
        }
        assert!(index.buckets.iter().all(|bucket| bucket.passed == 0 && bucket.tags == [EMPTY; SLOTS]));
    }

    #[test]
    fn more_keys_than_slots_are_refused_and_leave_nothing() {
        let mut index = Index::new(1);
        let slots = u32::try_from(index.buckets.len() * SLOTS).unwrap();
        for entry in 0..slots {
            assert!(index.insert(u64::MAX, entry));
        }
        assert!(!index.insert(u64::MAX, slots));
        assert_eq!(index.find(u64::MAX, |found| found == slots), None);
        for entry in 0..slots {
            assert!(index.remove(u64::MAX, entry));
        }
        assert_eq!(index.buckets[0].passed, 0);
    }

    #[test]
    fn a_guess_is_in_the_home_bucket() {
        let mut index = Index::new(100);
        let home = index.home(3);
        assert_eq!(index.guess(home, 3), NONE);
        index.insert(3, 9);
        assert_eq!((index.guess(home, 3), index.guess(home, 4), index.passed(home)), (9, NONE, 0));
    }

    #[test]
    fn a_key_that_found_no_place_is_in_the_bucket_after() {
        let mut index = Index::new(100);
        let home = index.home(3);
        for entry in 0..=SLOTS as u32 {
            index.insert(3 + (u64::from(entry) << 8), entry);
        }
        assert_eq!((index.guess(home, 3), index.passed(home)), (0, 1));
        assert_eq!(index.guess(index.after(home), 3), SLOTS as u32);
    }
}
