//! The IP headers of the result.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{DONT_FRAGMENT_ABOVE, Pair, Untranslatable};
use crate::bytes::{set_address, set_address6, set16, set32, window_mut};
use crate::ipv4::{self, DONT_FRAGMENT, MAX_LEN, MIN_HEADER_LEN, MORE_FRAGMENTS};
use crate::ipv6::{self, FRAGMENT_HEADER_LEN, HEADER_LEN};
use crate::{Ipv4, Ipv6, checksum};

/// Writes the IPv4 form of `ip` so that it ends at `end`, where `payload_len` bytes follow. Returns where it begins.
#[inline]
pub(super) fn write_four(
    frame: &mut [u8],
    ip: &Ipv6,
    to: Pair<Ipv4Addr>,
    id: u16,
    end: usize,
    payload_len: usize,
) -> Result<usize, Untranslatable> {
    let number = if ip.protocol == ipv6::protocol::ICMP { ipv4::protocol::ICMP } else { ip.protocol };
    let total_len = MIN_HEADER_LEN + payload_len;
    let offset = ip.fragment.map_or(0, |fragment| fragment.offset_bytes);
    if offset + total_len > MAX_LEN {
        return Err(Untranslatable::TooLong);
    }
    let (id, fragment) = fragment_word(ip, id, total_len);
    let begin = end.checked_sub(MIN_HEADER_LEN).ok_or(Untranslatable::NoRoom)?;
    let header: &mut [u8; MIN_HEADER_LEN] = window_mut(frame, begin).ok_or(Untranslatable::NoRoom)?;
    header[0] = 0x45;
    header[1] = ip.traffic_class;
    set16(header, ipv4::field::TOTAL_LEN, total_len as u16);
    set16(header, ipv4::field::ID, id);
    set16(header, ipv4::field::FRAGMENT, fragment);
    header[ipv4::field::TTL] = ip.hop_limit;
    header[ipv4::field::PROTOCOL] = number;
    set16(header, ipv4::field::CHECKSUM, 0);
    set_address(header, ipv4::field::SRC, to.src);
    set_address(header, ipv4::field::DST, to.dst);
    let checksum = checksum::internet(header);
    set16(header, ipv4::field::CHECKSUM, checksum);
    Ok(begin)
}

/// Identification, and the word of flags and fragment offset (RFC 7915 5.1 and 5.1.1).
#[inline]
fn fragment_word(ip: &Ipv6, id: u16, total_len: usize) -> (u16, u16) {
    match ip.fragment {
        Some(fragment) => {
            let more = if fragment.more { MORE_FRAGMENTS } else { 0 };
            (fragment.id as u16, more | (fragment.offset_bytes / 8) as u16)
        }
        None if total_len > DONT_FRAGMENT_ABOVE => (id, DONT_FRAGMENT),
        None => (id, 0),
    }
}

/// Writes the IPv6 form of `ip`, with a fragment header if it is a fragment, so that it ends at `end`, where
/// `payload_len` bytes of the protocol `number` follow. Returns where it begins.
#[inline]
pub(super) fn write_six(
    frame: &mut [u8],
    ip: &Ipv4,
    to: Pair<Ipv6Addr>,
    number: u8,
    end: usize,
    payload_len: usize,
) -> Result<usize, Untranslatable> {
    let (next_header, end, payload_len) = if ip.is_fragment() {
        let begin = write_fragment(frame, ip, number, end)?;
        (ipv6::protocol::FRAGMENT, begin, payload_len + FRAGMENT_HEADER_LEN)
    } else {
        (number, end, payload_len)
    };
    let payload_len = u16::try_from(payload_len).map_err(|_| Untranslatable::TooLong)?;
    let begin = end.checked_sub(HEADER_LEN).ok_or(Untranslatable::NoRoom)?;
    let header: &mut [u8; HEADER_LEN] = window_mut(frame, begin).ok_or(Untranslatable::NoRoom)?;
    set32(header, 0, 0x6000_0000 | u32::from(ip.tos()) << 20);
    set16(header, ipv6::field::PAYLOAD_LEN, payload_len);
    header[ipv6::field::NEXT_HEADER] = next_header;
    header[ipv6::field::HOP_LIMIT] = ip.ttl();
    set_address6(header, ipv6::field::SRC, to.src);
    set_address6(header, ipv6::field::DST, to.dst);
    Ok(begin)
}

/// The fragment header in front of the payload at `end`.
#[cold]
fn write_fragment(frame: &mut [u8], ip: &Ipv4, number: u8, end: usize) -> Result<usize, Untranslatable> {
    let begin = end.checked_sub(FRAGMENT_HEADER_LEN).ok_or(Untranslatable::NoRoom)?;
    let header: &mut [u8; FRAGMENT_HEADER_LEN] = window_mut(frame, begin).ok_or(Untranslatable::NoRoom)?;
    let more = if ip.more_fragments() { ipv6::MORE_FRAGMENTS } else { 0 };
    header[0] = number;
    header[1] = 0;
    set16(header, 2, ip.fragment_offset_bytes() as u16 & ipv6::FRAGMENT_OFFSET | more);
    set32(header, 4, u32::from(ip.id()));
    Ok(begin)
}

/// IPv4 option: end of the list.
const END: u8 = 0;
/// IPv4 option: no operation.
const NOP: u8 = 1;
/// IPv4 option: loose source route.
const LOOSE_ROUTE: u8 = 131;
/// IPv4 option: strict source route.
const STRICT_ROUTE: u8 = 137;

/// Whether the packet's options hold a source route with stops left. A broken list holds none that anybody follows.
#[cold]
pub(super) fn is_source_routed(frame: &[u8], ip: &Ipv4) -> bool {
    let options = frame.get(ip.offset() + MIN_HEADER_LEN..ip.payload());
    let mut rest = options.unwrap_or_default();
    while let [kind, behind @ ..] = rest {
        let len = match *kind {
            END => return false,
            NOP => 1,
            _ => behind.first().map_or(0, |&len| usize::from(len)),
        };
        let pointer = behind.get(1).map_or(0, |&pointer| usize::from(pointer));
        if matches!(*kind, LOOSE_ROUTE | STRICT_ROUTE) && pointer <= len {
            return true;
        }
        if *kind != NOP && len < 2 {
            return false;
        }
        rest = rest.get(len..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routed(options: &[u8]) -> bool {
        let mut frame = vec![0; MIN_HEADER_LEN];
        frame.extend_from_slice(options);
        frame.resize(frame.len().next_multiple_of(4), 0);
        frame[0] = 0x40 | (frame.len() / 4) as u8;
        let ip = Ipv4::parse_quoted(&frame, 0).unwrap();
        is_source_routed(&frame, &ip)
    }

    #[test]
    fn source_routes() {
        assert!(routed(&[1, 131, 7, 4, 192, 0, 2, 1]), "loose, one stop left");
        assert!(routed(&[0x94, 4, 0, 0, 137, 7, 4, 192, 0, 2, 1, 0]), "strict, behind another option");
        assert!(!routed(&[131, 7, 8, 192, 0, 2, 1, 0]), "all stops visited");
        assert!(!routed(&[7, 7, 4, 192, 0, 2, 1, 0]), "record route");
        assert!(!routed(&[0, 131, 7, 4, 192, 0, 2, 1]), "behind the end");
        assert!(!routed(&[7, 0, 131, 7, 4, 192, 0, 2]), "a broken list");
        assert!(!routed(&[7, 200, 131, 7]) && !routed(&[]) && !routed(&[7]));
    }
}
