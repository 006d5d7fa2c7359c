//! Reading and writing big-endian numbers in fixed-size windows of a frame.
//!
//! A window is taken once ([`window`], [`window_mut`]) with one bounds check; the accesses inside have constant offsets,
//! so the compiler drops their checks.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The `N` bytes of `frame` at `offset`.
#[inline]
pub(crate) fn window<const N: usize>(frame: &[u8], offset: usize) -> Option<&[u8; N]> {
    frame.get(offset..)?.first_chunk()
}

/// The `N` bytes of `frame` at `offset`, for writing.
#[inline]
pub(crate) fn window_mut<const N: usize>(frame: &mut [u8], offset: usize) -> Option<&mut [u8; N]> {
    frame.get_mut(offset..)?.first_chunk_mut()
}

#[inline]
pub(crate) fn get16<const N: usize>(bytes: &[u8; N], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

#[inline]
pub(crate) fn get32<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[inline]
pub(crate) fn get_address<const N: usize>(bytes: &[u8; N], at: usize) -> Ipv4Addr {
    Ipv4Addr::new(bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3])
}

#[inline]
pub(crate) fn set16<const N: usize>(bytes: &mut [u8; N], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

#[inline]
pub(crate) fn set32<const N: usize>(bytes: &mut [u8; N], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

#[inline]
pub(crate) fn set_address<const N: usize>(bytes: &mut [u8; N], at: usize, address: Ipv4Addr) {
    bytes[at..at + 4].copy_from_slice(&address.octets());
}

#[inline]
pub(crate) fn get_address6<const N: usize>(bytes: &[u8; N], at: usize) -> Ipv6Addr {
    let mut octets = [0; 16];
    octets.copy_from_slice(&bytes[at..at + 16]);
    Ipv6Addr::from_octets(octets)
}

#[inline]
pub(crate) fn set_address6<const N: usize>(bytes: &mut [u8; N], at: usize, address: Ipv6Addr) {
    bytes[at..at + 16].copy_from_slice(&address.octets());
}
