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
        Self { src: ip.src, dst: ip.dst, protocol: ip.protocol, id: ip.id }
    }
}

/// Option types of one byte, without a length: end of list and no operation.
const SINGLE_BYTE_OPTIONS: std::ops::RangeInclusive<u8> = 0..=1;
/// The flag in an option's type that sends it along with every fragment.
const COPIED: u8 = 0x80;
/// The longest options part of a header.
const MAX_OPTIONS: usize = 40;

/// Writes the `piece`-th fragment (from 0) of an IPv4 packet for a link with `mtu`, and returns its length. `None` when
/// there is no such piece, the packet is malformed, or `buf` or `mtu` is too small.
///
/// The packet may be a fragment itself. If it fits, piece 0 is the packet as it is. DF is not asked about and is clear
/// in the pieces. Options without the copy flag are only in piece 0.
pub fn split(packet: &[u8], mtu: usize, piece: usize, buf: &mut [u8]) -> Option<usize> {
    let ip = Ipv4::parse(packet, 0).ok()?;
    if ip.total_len <= mtu {
        return if piece == 0 { write_whole(&packet[..ip.total_len], buf) } else { None };
    }
    let mut options = [0; MAX_OPTIONS];
    let options = if piece == 0 {
        packet.get(MIN_HEADER_LEN..ip.header_len)?
    } else {
        let len = copied_options(packet.get(MIN_HEADER_LEN..ip.header_len)?, &mut options);
        &options[..len]
    };
    let slice = slice_of(&ip, MIN_HEADER_LEN + options.len(), mtu, piece)?;
    write_piece(packet, &ip, options, &slice, buf)
}

/// The part of the payload that one piece carries.
struct Slice {
    start: usize,
    len: usize,
    last: bool,
}

/// The piece's part, given the length of the headers of that piece (piece 0 has the original's).
fn slice_of(ip: &Ipv4, header_len: usize, mtu: usize, piece: usize) -> Option<Slice> {
    let first = mtu.checked_sub(ip.header_len)?;
    let room = mtu.checked_sub(header_len)?;
    let payload_len = ip.payload_len();
    let start = match piece {
        0 => 0,
        1 => first & !7,
        _ => (first & !7) + (room & !7).checked_mul(piece - 1)?,
    };
    // The last piece need not be a multiple of eight, so it may end what a rounded one would have left over.
    let before = match piece {
        0 => None,
        1 => Some((0, first)),
        _ => Some((start - (room & !7), room)),
    };
    if before.is_some_and(|(start, room)| payload_len <= start + room) {
        return None;
    }
    let left = payload_len.checked_sub(start)?;
    if left <= room {
        return Some(Slice { start, len: left, last: true });
    }
    let len = room & !7;
    if len == 0 { None } else { Some(Slice { start, len, last: false }) }
}

fn write_whole(packet: &[u8], buf: &mut [u8]) -> Option<usize> {
    buf.get_mut(..packet.len())?.copy_from_slice(packet);
    Some(packet.len())
}

fn write_piece(packet: &[u8], ip: &Ipv4, options: &[u8], slice: &Slice, buf: &mut [u8]) -> Option<usize> {
    let header_len = MIN_HEADER_LEN + options.len();
    let total_len = header_len + slice.len;
    let out = buf.get_mut(..total_len)?;
    let payload_start = ip.header_len + slice.start;
    out[..MIN_HEADER_LEN].copy_from_slice(packet.get(..MIN_HEADER_LEN)?);
    out[MIN_HEADER_LEN..header_len].copy_from_slice(options);
    out[header_len..].copy_from_slice(packet.get(payload_start..payload_start + slice.len)?);

    let header: &mut [u8; MIN_HEADER_LEN] = window_mut(out, 0)?;
    header[0] = 0x40 | (header_len / 4) as u8;
    set16(header, ipv4::field::TOTAL_LEN, total_len as u16);
    let offset = (ip.fragment_offset_bytes + slice.start) / 8;
    let reserved = get16(header, ipv4::field::FRAGMENT) & !(DONT_FRAGMENT | MORE_FRAGMENTS | FRAGMENT_OFFSET);
    let more = if slice.last && !ip.more_fragments { 0 } else { MORE_FRAGMENTS };
    set16(header, ipv4::field::FRAGMENT, reserved | more | offset as u16);
    set16(header, ipv4::field::CHECKSUM, 0);
    let checksum = checksum::internet(&out[..header_len]);
    set16(window_mut::<2>(out, ipv4::field::CHECKSUM)?, 0, checksum);
    Some(total_len)
}

/// Collects the options with the copy flag, padded to whole words; returns their length. A broken tail is left out.
fn copied_options(options: &[u8], out: &mut [u8; MAX_OPTIONS]) -> usize {
    let (mut rest, mut len) = (options, 0);
    while let Some(&kind) = rest.first() {
        if SINGLE_BYTE_OPTIONS.contains(&kind) {
            if kind == 0 {
                break;
            }
            rest = &rest[1..];
            continue;
        }
        let Some(&option_len) = rest.get(1) else { break };
        let option_len = usize::from(option_len);
        if option_len < 2 || option_len > rest.len() {
            break;
        }
        if kind & COPIED != 0 {
            out[len..len + option_len].copy_from_slice(&rest[..option_len]);
            len += option_len;
        }
        rest = &rest[option_len..];
    }
    // `out` is zero beyond: end of option list.
    len.next_multiple_of(4)
}
