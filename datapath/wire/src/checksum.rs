//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).

use std::net::{Ipv4Addr, Ipv6Addr};

/// Sum of the big-endian 16-bit words of `bytes`, an odd last byte padded with zero.
///
/// At most `0xffff`, so that tens of thousands of sums fit into one `u32` before [`fold`].
#[must_use]
#[inline]
pub fn sum(bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<4>();
    let mut total: u64 = words.iter().map(|word| u64::from(u32::from_be_bytes(*word))).sum();
    let mut tail = [0; 4];
    tail[..rest.len()].copy_from_slice(rest);
    total += u64::from(u32::from_be_bytes(tail));
    u32::from(fold64(total))
}

/// As [`sum`] for as many words as the caller knows of beforehand: headers.
#[expect(
    clippy::inline_always,
    reason = "a loop of known length that is a handful of instructions once it is unrolled"
)]
#[inline(always)]
pub(crate) fn sum_of<const N: usize>(header: &[u8; N]) -> u32 {
    const { assert!(N.is_multiple_of(4) && N <= 1 << 10, "whole words, and no carry out of 64 bits") };
    let (words, _) = header.as_chunks::<4>();
    let mut total = 0;
    // In the machine's order of bytes: the sum comes out in that order too (RFC 1071, 2).
    for word in words {
        total += u64::from(u32::from_ne_bytes(*word));
    }
    u32::from(u16::from_be(fold64(total)))
}

/// Folds the carries of a sum into 16 bits; the checksum is its complement.
#[must_use]
#[inline]
pub const fn fold(sum: u32) -> u16 {
    // Both halves are added in the upper one, together with the carry out of the lower one.
    (sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16
}

/// The checksum of `bytes`: what belongs into a checksum field that was zero while summing.
#[must_use]
#[inline]
pub fn internet(bytes: &[u8]) -> u16 {
    !fold(sum(bytes))
}

/// Sum of the TCP and UDP pseudo header; `len` is the length of L4 header and payload.
#[must_use]
#[inline]
pub fn pseudo_header(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, len: u16) -> u32 {
    let word = |address: Ipv4Addr| u64::from(u32::from_ne_bytes(address.octets()));
    let rest = (u32::from(protocol) + u32::from(len)).to_be();
    u32::from(u16::from_be(fold64(word(src) + word(dst) + u64::from(rest))))
}

/// As [`pseudo_header`] for IPv6 (RFC 8200 8.1), which `ICMPv6` sums too.
#[must_use]
#[inline]
pub fn pseudo_header6(src: Ipv6Addr, dst: Ipv6Addr, protocol: u8, len: u16) -> u32 {
    sum(&src.octets()) + sum(&dst.octets()) + u32::from(protocol) + u32::from(len)
}

#[inline]
const fn fold64(sum: u64) -> u16 {
    fold((sum.wrapping_add(sum.rotate_left(32)) >> 32) as u32)
}

/// A change to checksummed bytes, to be applied to their checksum (RFC 1624, equation 3).
///
/// One delta can be applied to several checksums that cover the same bytes, as IP header and TCP pseudo header do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    sum: u64,
}

impl Delta {
    /// No change.
    #[must_use]
    #[inline]
    pub const fn new() -> Self {
        Self { sum: 0 }
    }

    /// A 16-bit word at an even position changed.
    #[must_use]
    #[inline]
    pub const fn replace16(self, old: u16, new: u16) -> Self {
        Self { sum: self.sum + !old as u64 + new as u64 }
    }

    /// A 32-bit word at an even position changed.
    #[must_use]
    #[inline]
    pub const fn replace32(self, old: u32, new: u32) -> Self {
        // 2^32 is 1 modulo 2^16 - 1: a whole word counts the same as its two halves.
        Self { sum: self.sum + !old as u64 + new as u64 }
    }

    /// As [`replace16`](Self::replace16) for a word that begins `position` bytes after the start of the checksummed
    /// bytes: at odd positions (TCP options need not be aligned) its bytes count swapped.
    #[must_use]
    #[inline]
    pub const fn replace16_at(self, position: usize, old: u16, new: u16) -> Self {
        if position.is_multiple_of(2) {
            self.replace16(old, new)
        } else {
            self.replace16(old.swap_bytes(), new.swap_bytes())
        }
    }

    /// As [`replace16_at`](Self::replace16_at) for 32 bits.
    #[must_use]
    #[inline]
    pub const fn replace32_at(self, position: usize, old: u32, new: u32) -> Self {
        self.replace16_at(position, (old >> 16) as u16, (new >> 16) as u16)
            .replace16_at(position, old as u16, new as u16)
    }

    /// As [`replace16_at`](Self::replace16_at) for any number of bytes; both must be equally long.
    #[must_use]
    pub fn replace_bytes_at(self, position: usize, old: &[u8], new: &[u8]) -> Self {
        let word =
            |at: usize, byte: u8| if (position + at).is_multiple_of(2) { u16::from(byte) << 8 } else { byte.into() };
        old.iter()
            .zip(new)
            .enumerate()
            .fold(self, |delta, (at, (old, new))| delta.replace16(word(at, *old), word(at, *new)))
    }

    /// The checksum after the change.
    #[must_use]
    #[inline]
    pub const fn apply(self, checksum: u16) -> u16 {
        !fold64(self.sum + !checksum as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn example_of_rfc_1071() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(fold(sum(&bytes)), 0xddf2);
        assert_eq!(internet(&bytes), 0x220d);
        assert_eq!(internet(&bytes[..7]), !(0xddf2 - 0xf7), "odd length");
        assert_eq!(internet(&[]), 0xffff);
    }

    #[test]
    fn example_of_rfc_1624() {
        // Section 4: the word 0x5555 becomes 0x3285 under the checksum 0xdd2f; equation 2 would give 0xffff.
        assert_eq!(Delta::new().replace16(0x5555, 0x3285).apply(0xdd2f), 0x0000);
    }

    #[test]
    fn every_carry_counts() {
        assert_eq!(fold(sum(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1])), 1);
        assert_eq!(fold(sum(&vec![0xff; 65_536])), 0xffff);
        assert_eq!(fold(0xffff_ffff), 0xffff);
        assert_eq!(fold(0x0001_ffff), 1);
    }
}
