//! The Internet checksum's sum (RFC 1071), taken piece by piece.

/// The sum of the big-endian 16-bit words of everything that was added, as if it had stood in one row.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sum {
    total: u64,
    /// An odd number of bytes was added so far: the next one is the lower half of a word.
    odd: bool,
}

impl Sum {
    /// Adds bytes that follow those before.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        let rest = match bytes {
            [first, rest @ ..] if self.odd => {
                self.total += u64::from(*first);
                self.odd = false;
                rest
            }
            _ => bytes,
        };
        let (words, last) = rest.as_chunks::<2>();
        self.total += words.iter().map(|word| u64::from(u16::from_be_bytes(*word))).sum::<u64>();
        if let [last] = last {
            self.total += u64::from(*last) << 8;
            self.odd = true;
        }
    }

    /// The same sum with all that lies beside it.
    pub(crate) fn with(mut self, bytes: &[u8]) -> Sum {
        self.add(bytes);
        self
    }

    /// The sum with its carries added in, not complemented.
    pub(crate) fn folded(self) -> u16 {
        let mut total = self.total;
        while total > 0xffff {
            total = (total & 0xffff) + (total >> 16);
        }
        total as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn of_the_standards_example() {
        // RFC 1071, 3: 0001 f203 f4f5 f6f7 gives ddf2.
        assert_eq!(Sum::default().with(&[0, 1, 0xf2, 3, 0xf4, 0xf5, 0xf6, 0xf7]).folded(), 0xddf2);
        assert_eq!(Sum::default().with(&[0x12, 0x34, 0x56]).folded(), 0x6834, "padded with zero");
    }

    proptest! {
        #[test]
        fn is_the_same_wherever_the_bytes_are_parted(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            mut cuts in prop::collection::vec(0..200_usize, 0..5),
        ) {
            cuts.retain(|cut| *cut < bytes.len());
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let mut sum = Sum::default();
            cuts.windows(2).for_each(|pair| sum.add(&bytes[pair[0]..pair[1]]));
            prop_assert_eq!(sum.folded(), Sum::default().with(&bytes).folded());
        }
    }
}
