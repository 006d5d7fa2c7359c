//! Seeds.

use std::hash::{BuildHasher, RandomState};

/// A number that nobody outside can know, for keys of hashes: from the standard library's own source of randomness.
#[must_use]
pub fn random_seed() -> u64 {
    RandomState::new().hash_one(0_u8)
}
