//! Lookup of a whole burst. One lookup is two dependent loads from memory; of a burst, the loads of each phase do not
//! depend on each other, so the processor waits for all of them together.

use core::array;

use wire::FiveTuple;

use crate::{Conntrack, FlowId, Hit};

/// Keys looked up together; longer bursts are cut.
const BATCH: usize = 64;

impl Conntrack {
    /// Looks up all `keys` and writes what was found to the same place in `hits`.
    pub fn lookup_burst(&mut self, keys: &[FiveTuple], hits: &mut [Option<Hit>]) {
        for (keys, hits) in keys.chunks(BATCH).zip(hits.chunks_mut(BATCH)) {
            self.lookup_batch(keys, hits);
        }
    }

    fn lookup_batch(&self, keys: &[FiveTuple], hits: &mut [Option<Hit>]) {
        // Hash all.
        let hashes: [u64; BATCH] = array::from_fn(|at| keys.get(at).map_or(0, |key| self.key.hash(key)));
        let count = keys.len().min(hits.len());
        // Read all buckets.
        let mut guesses = [0; BATCH];
        for (guess, &hash) in guesses.iter_mut().zip(&hashes[..count]) {
            *guess = self.index.guess(hash);
        }
        // Read all entries and compare.
        for (at, hit) in hits.iter_mut().enumerate().take(count) {
            let guess = guesses[at];
            let direction = self.matches(guess, &keys[at]);
            *hit = direction.map(|direction| Hit { id: FlowId(guess), direction });
        }
        // A tag that fitted by chance, or a key beyond its home bucket: about one in thirty.
        for (at, hit) in hits.iter_mut().enumerate().take(count).filter(|(_, hit)| hit.is_none()) {
            *hit = self.lookup_hashed(&keys[at], hashes[at]);
        }
    }
}
