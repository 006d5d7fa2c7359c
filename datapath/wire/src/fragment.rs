//! Fragmentation of IPv4 packets (RFC 791).

use std::net::Ipv4Addr;

use crate::bytes::{get16, set16, window_mut};
use crate::ipv4::{self, DONT_FRAGMENT, FRAGMENT_OFFSET, MIN_HEADER_LEN, MORE_FRAGMENTS};
use crate::{Ipv4, checksum};

/// What joins the fragments of one datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FragmentKey {
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// Number of the protocol.
    pub protocol: u8,
    /// Identification.
    pub id: u16,
}

impl From<&Ipv4> for FragmentKey {
    #[inline]
    fn from(ip: &Ipv4) -> Self {
        Self { src: ip.src(), dst: ip.dst(), protocol: ip.protocol(), id: ip.id() }
    }
}

/// Option type: end of the list.
const END: u8 = 0;
/// Option type: no operation.
const NOP: u8 = 1;
/// The flag in an option's type that sends it along with every fragment.
const COPIED: u8 = 0x80;

/// Writes the `piece`-th fragment (from 0) of an IPv4 packet for a link with `mtu`, and returns its length. `None` when
/// there is no such piece, the packet is malformed, or `buf` or `mtu` is too small.
///
/// The packet may be a fragment itself. If it fits, piece 0 is the packet as it is. DF is not asked about and is clear
/// in the pieces. As in Linux, all headers have the same length, and options without the copy flag are NOPs after
/// piece 0.
pub fn split(packet: &[u8], mtu: usize, piece: usize, buf: &mut [u8]) -> Option<usize> {
    let ip = Ipv4::parse(packet, 0).ok()?;
    if ip.total_len() > mtu {
        return write_piece(packet, &ip, &Slice::of(&ip, mtu, piece)?, buf);
    }
    if piece > 0 {
        return None;
    }
    buf.get_mut(..ip.total_len())?.copy_from_slice(packet.get(..ip.total_len())?);
    Some(ip.total_len())
}

/// The part of the payload that one piece carries.
struct Slice {
    start: usize,
    len: usize,
    last: bool,
}

impl Slice {
    fn of(ip: &Ipv4, mtu: usize, piece: usize) -> Option<Self> {
        let room = mtu.checked_sub(ip.header_len())?;
        // All pieces but the last are multiples of eight; the last one may fill what rounding leaves free.
        let step = room & !7;
        if step == 0 {
            return None;
        }
        let start = step.checked_mul(piece)?;
        let left = ip.payload_len().checked_sub(start)?;
        let ended_before = piece > 0 && left + step <= room;
        if ended_before {
            return None;
        }
        let last = left <= room;
        Some(Self { start, len: if last { left } else { step }, last })
    }
}

fn write_piece(packet: &[u8], ip: &Ipv4, slice: &Slice, buf: &mut [u8]) -> Option<usize> {
    let total_len = ip.header_len() + slice.len;
    let out = buf.get_mut(..total_len)?;
    let (head, body) = out.split_at_mut_checked(ip.header_len())?;
    head.copy_from_slice(packet.get(..ip.header_len())?);
    body.copy_from_slice(packet.get(ip.header_len()..)?.get(slice.start..)?.get(..slice.len)?);
    if slice.start > 0 {
        blank_options(&mut head[MIN_HEADER_LEN..]);
    }
    let header: &mut [u8; MIN_HEADER_LEN] = window_mut(head, 0)?;
    set16(header, ipv4::field::TOTAL_LEN, total_len as u16);
    let offset = (ip.fragment_offset_bytes() + slice.start) / 8;
    let reserved = get16(header, ipv4::field::FRAGMENT) & !(DONT_FRAGMENT | MORE_FRAGMENTS | FRAGMENT_OFFSET);
    let more = if slice.last && !ip.more_fragments() { 0 } else { MORE_FRAGMENTS };
    set16(header, ipv4::field::FRAGMENT, reserved | more | offset as u16);
    set16(header, ipv4::field::CHECKSUM, 0);
    let checksum = checksum::internet(head);
    set16(window_mut::<2>(head, ipv4::field::CHECKSUM)?, 0, checksum);
    Some(total_len)
}

/// Turns the options without the copy flag into NOPs. A broken tail stays as it is.
fn blank_options(options: &mut [u8]) {
    let mut rest = options;
    while let Some(&kind) = rest.first() {
        let len = match kind {
            END => return,
            NOP => 1,
            _ => rest.get(1).map_or(0, |&len| usize::from(len)),
        };
        if (kind != NOP && len < 2) || len > rest.len() {
            return;
        }
        let (option, behind) = rest.split_at_mut(len);
        if kind & COPIED == 0 {
            option.fill(NOP);
        }
        rest = behind;
    }
}

#[cfg(test)]
mod tests {
    use super::blank_options;

    fn blanked(options: &[u8]) -> Vec<u8> {
        let mut options = options.to_vec();
        blank_options(&mut options);
        options
    }

    #[test]
    fn options_without_the_copy_flag_become_nops() {
        assert_eq!(blanked(&[7, 3, 4, 0x83, 3, 4, 0x44, 2]), [1, 1, 1, 0x83, 3, 4, 1, 1]);
        assert_eq!(blanked(&[1, 7, 2, 1]), [1, 1, 1, 1]);
        assert_eq!(blanked(&[]), []);
    }

    #[test]
    fn what_is_no_option_stays() {
        assert_eq!(blanked(&[0, 7, 3, 4]), [0, 7, 3, 4], "behind the end");
        assert_eq!(blanked(&[7, 2, 7, 1]), [1, 1, 7, 1], "too short");
        assert_eq!(blanked(&[7, 2, 7, 3]), [1, 1, 7, 3], "too long");
        assert_eq!(blanked(&[7, 2, 1, 7]), [1, 1, 1, 7], "no length");
    }
}
