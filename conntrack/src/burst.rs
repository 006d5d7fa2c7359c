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
        let mut homes = [0; BATCH];
        for ((hash, home), key) in hashes.iter_mut().zip(&mut homes).zip(&keys[..count]) {
            *hash = self.key.hash(key);
            *home = self.index.home(*hash);
        }
        let (hashes, homes) = (&hashes[..count], &homes[..count]);
        // Read all buckets. The pass that only reads is short enough for the processor to run far ahead.
        black_box(homes.iter().fold(0, |seen, &home| seen ^ self.index.passed(home)));
        let mut guesses = [NONE; BATCH];
        let mut further = [0; BATCH];
        let mut late = 0;
        for (at, (&hash, &home)) in hashes.iter().zip(homes).enumerate() {
            guesses[at] = self.index.guess(home, hash);
            further[late] = at;
            late += usize::from(guesses[at] == NONE && self.index.passed(home) > 0);
        }
        self.guess_further(hashes, homes, &further[..late], &mut guesses);
        // Read all entries.
        let touch = |&guess: &u32| self.flows.get(guess as usize).map_or(0, Flow::touch);
        black_box(guesses[..count].iter().map(touch).fold(0, |seen, read| seen ^ read));
        // Compare all.
        for (at, hit) in hits.iter_mut().enumerate().take(count) {
            let (key, guess) = (&keys[at], guesses[at]);
            *hit = match self.matches(guess, key) {
                Some(direction) => Some(Hit { id: FlowId(guess), direction }),
                // A tag that fitted by chance, or a key that is not there: of those which are, about one in fifty.
                None => self.lookup_hashed(key, hashes[at]),
            };
        }
    }

    /// Of a full table, one key in twenty-five found no place in its home bucket: those buckets after it, together too.
    fn guess_further(&self, hashes: &[u64], homes: &[usize], late: &[usize], guesses: &mut [u32; BATCH]) {
        let after = |at: usize| self.index.after(homes[at]);
        black_box(late.iter().fold(0, |seen, &at| seen ^ self.index.passed(after(at))));
        for &at in late {
            guesses[at] = self.index.guess(after(at), hashes[at]);
        }
    }
}
