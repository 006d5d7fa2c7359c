//! Lookup of a whole burst. One lookup is two dependent loads from memory; of a burst, the loads of each phase do not
//! depend on each other, so the processor waits for all of them together.

use core::hint::black_box;

use wire::FiveTuple;

use crate::index::NONE;
use crate::{Conntrack, Flow, FlowId, Hit};

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
        let count = keys.len().min(hits.len());
        // Hash all.
        let mut hashes = [0; BATCH];
        for (hash, key) in hashes.iter_mut().zip(&keys[..count]) {
            *hash = self.key.hash(key);
        }
        let hashes = &hashes[..count];
        // Read all buckets. The pass that only reads is short enough for the processor to run far ahead.
        black_box(hashes.iter().fold(0, |seen, &hash| seen ^ self.index.touch(hash)));
        let mut guesses = [NONE; BATCH];
        for (guess, &hash) in guesses.iter_mut().zip(hashes) {
            *guess = self.index.guess(hash);
        }
        // Read all entries.
        let touch = |&guess: &u32| self.flows.get(guess as usize).map_or(0, Flow::touch);
        black_box(guesses[..count].iter().map(touch).fold(0, |seen, read| seen ^ read));
        // Compare all.
        for (at, hit) in hits.iter_mut().enumerate().take(count) {
            let (key, guess) = (&keys[at], guesses[at]);
            *hit = match self.matches(guess, key) {
                Some(direction) => Some(Hit { id: FlowId(guess), direction }),
                // A tag that fitted by chance, or a key beyond its home bucket: about one in twenty.
                None => self.lookup_hashed(key, hashes[at]),
            };
        }
    }
}
