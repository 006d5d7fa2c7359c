//! Lengths of frames: one, or a mix. As in RFC 2544 they count the frame check sequence, which no driver sees:
//! a "64-byte frame" is 60 bytes in memory.

use serde::{Deserialize, Serialize};

/// The frame check sequence.
pub const FCS: u16 = 4;
/// What the word `imix` means: 7 parts 64 bytes, 4 parts 594, 1 part 1518 (the "simple IMIX" of the vendors).
const IMIX: [(u16, u16); 3] = [(64, 7), (594, 4), (1518, 1)];
const SHORTEST: u16 = 64;
const LONGEST: u16 = 1518;

/// As a profile says it.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(untagged)]
pub enum Sizes {
    /// All the same.
    One(u16),
    /// The word `imix`.
    Named(String),
    /// Lengths and their shares.
    Mix(Vec<(u16, u16)>),
}

impl Default for Sizes {
    fn default() -> Sizes {
        Sizes::One(SHORTEST)
    }
}

impl Sizes {
    /// The lengths of a whole round, interleaved so that each is spread evenly.
    ///
    /// # Errors
    /// A length that Ethernet does not have, or no length.
    pub fn round(&self) -> Result<Vec<u16>, String> {
        let mix = match self {
            Sizes::One(size) => vec![(*size, 1)],
            Sizes::Named(name) if name == "imix" => IMIX.to_vec(),
            Sizes::Named(name) => {
                return Err(format!("`{name}` is no mix of sizes: say imix, 64 or [[64, 7], [1518, 1]]"));
            }
            Sizes::Mix(mix) => mix.clone(),
        };
        if let Some((size, _)) = mix.iter().find(|(size, _)| !(SHORTEST..=LONGEST).contains(size)) {
            return Err(format!("a frame of {size} bytes: from {SHORTEST} to {LONGEST} is possible"));
        }
        let total: u32 = mix.iter().map(|(_, share)| u32::from(*share)).sum();
        if total == 0 || total > 10_000 {
            return Err("the shares of the sizes must sum up to something from 1 to 10000".into());
        }
        Ok(interleave(&mix, total))
    }
}

/// At each step the length that lags most behind its share (smooth weighted round robin).
fn interleave(mix: &[(u16, u16)], total: u32) -> Vec<u16> {
    let mut credit = vec![0_i64; mix.len()];
    let mut round = Vec::with_capacity(total as usize);
    for _ in 0..total {
        for (credit, (_, share)) in credit.iter_mut().zip(mix) {
            *credit += i64::from(*share);
        }
        let most = (0..mix.len()).max_by_key(|index| (credit[*index], std::cmp::Reverse(*index))).unwrap_or(0);
        credit[most] -= i64::from(total);
        round.push(mix[most].0);
    }
    round
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imix_has_the_shares_of_the_books_and_is_spread() {
        let round = Sizes::Named("imix".into()).round().unwrap();
        let count = |size| round.iter().filter(|s| **s == size).count();
        assert_eq!((round.len(), count(64), count(594), count(1518)), (12, 7, 4, 1));
        assert!(round.windows(3).all(|three| three != [64, 64, 64]), "{round:?}");
    }

    #[test]
    fn wrong_sizes_are_refused() {
        for wrong in [Sizes::One(63), Sizes::One(1519), Sizes::Named("big".into()), Sizes::Mix(vec![])] {
            assert!(wrong.round().is_err(), "{wrong:?}");
        }
        assert_eq!(Sizes::One(1518).round(), Ok(vec![1518]));
    }
}
