//! ICMP ⇄ `ICMPv6` (RFC 7915 4.2, 4.3, 5.2, 5.3).

mod message;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use message::{Message, kind6};

use super::{Pair, Untranslatable, header, quote};
use crate::bytes::{get16, get32, set16, set32, window, window_mut};
use crate::checksum::{fold, pseudo_header6, sum};
use crate::icmp::{CHECKSUM, HEADER_LEN, kind};
use crate::ipv6::{self, MIN_MTU};
use crate::rewrite::l4_checksum_ok;
use crate::{Delta, Headers, Icmp, Ipv4, Ipv6, Malformed};

/// The sum of the pseudo header that only `ICMPv6` has.
fn pseudo(pair: Pair<Ipv6Addr>, len: usize) -> u32 {
    pseudo_header6(pair.src, pair.dst, ipv6::protocol::ICMP, len as u16)
}

/// As [`super::six_to_four`] for `ICMPv6`.
pub(super) fn six_to_four(
    frame: &mut [u8],
    ip: &Ipv6,
    to: Pair<Ipv4Addr>,
    id: u16,
    quoted: impl Fn(Ipv6Addr) -> Option<Ipv4Addr>,
) -> Result<Range<usize>, Untranslatable> {
    if ip.is_fragment() {
        return Err(Untranslatable::IcmpFragment);
    }
    let bytes = frame.get(ip.payload()..ip.end()).unwrap_or_default();
    let message = Message::read(bytes).ok_or(Malformed::BadIcmp)?;
    let pseudo = pseudo(Pair { src: ip.src, dst: ip.dst }, bytes.len());
    if let Some(echo) = message.echo_to_four() {
        edit_echo(frame, ip.payload(), echo, Delta::new().replace16(fold(pseudo), 0));
        let begin = header::write_four(frame, ip, to, id, ip.payload(), ip.payload_len())?;
        return Ok(begin..ip.end());
    }
    if fold(pseudo + sum(bytes)) != 0xffff {
        return Err(Malformed::BadIcmp.into());
    }
    let inner = Ipv6::parse_quoted(bytes, HEADER_LEN)?.moved(ip.payload());
    let end = ip.end().min(inner.offset + message.quote_len_six());
    let error = message.error_to_four(inner.fragment.is_some()).ok_or_else(|| message.unknown())?;
    let inner_begin = quote::six_to_four(frame, &inner, end, quoted)?;
    let begin = write(frame, inner_begin, end, error, 0)?;
    let begin = header::write_four(frame, ip, to, id, begin, end - begin)?;
    Ok(begin..end)
}

/// As [`super::four_to_six`] for ICMP.
pub(super) fn four_to_six(
    frame: &mut [u8],
    headers: &Headers,
    icmp: &Icmp,
    to: Pair<Ipv6Addr>,
    quoted: impl Fn(Ipv4Addr) -> Option<Ipv6Addr>,
) -> Result<Range<usize>, Untranslatable> {
    let message = Message { kind: icmp.kind, code: icmp.code, rest: icmp.rest };
    if let Some(echo) = message.echo_to_six() {
        let pseudo = pseudo(to, icmp.end() - icmp.offset());
        edit_echo(frame, icmp.offset(), echo, Delta::new().replace16(0, fold(pseudo)));
        let (number, len) = (ipv6::protocol::ICMP, icmp.end() - icmp.offset());
        let begin = header::write_six(frame, &headers.ip, to, number, icmp.offset(), len)?;
        return Ok(begin..icmp.end());
    }
    if !icmp.is_error() {
        return Err(message.unknown());
    }
    if !l4_checksum_ok(frame, headers) {
        return Err(Malformed::BadIcmp.into());
    }
    let bytes = frame.get(..icmp.end()).unwrap_or_default();
    let inner = Ipv4::parse_quoted(bytes, icmp.offset() + HEADER_LEN)?;
    let error = message.error_to_six(inner.total_len()).ok_or_else(|| message.unknown())?;
    let end = icmp.end().min(inner.offset() + message.quote_len_four()).min(inner.payload() + MAX_QUOTED_PAYLOAD);
    let inner_begin = quote::four_to_six(frame, &inner, end, quoted)?;
    let message_len = end + HEADER_LEN - inner_begin;
    let begin = write(frame, inner_begin, end, error, pseudo(to, message_len))?;
    let begin = header::write_six(frame, &headers.ip, to, ipv6::protocol::ICMP, begin, message_len)?;
    Ok(begin..end)
}

/// What an `ICMPv6` error of 1280 bytes can quote behind the headers of a fragment.
const MAX_QUOTED_PAYLOAD: usize = MIN_MTU - 2 * ipv6::HEADER_LEN - HEADER_LEN - ipv6::FRAGMENT_HEADER_LEN;

/// Makes the echo at `offset` the other family's.
fn edit_echo(frame: &mut [u8], offset: usize, echo: Message, pseudo: Delta) {
    let Some(header) = window_mut::<4>(frame, offset) else { return };
    let old = get16(header, 0);
    (header[0], header[1]) = (echo.kind, echo.code);
    let checksum = pseudo.replace16(old, get16(header, 0)).apply(get16(header, CHECKSUM));
    set16(header, CHECKSUM, checksum);
}

/// Writes the header of an error in front of what it quotes, and returns where it begins.
fn write(
    frame: &mut [u8],
    quote_begin: usize,
    end: usize,
    error: Message,
    pseudo: u32,
) -> Result<usize, Untranslatable> {
    let begin = quote_begin.checked_sub(HEADER_LEN).ok_or(Untranslatable::NoRoom)?;
    let bytes = frame.get_mut(begin..end).ok_or(Untranslatable::NoRoom)?;
    let header: &mut [u8; HEADER_LEN] = window_mut(bytes, 0).ok_or(Untranslatable::NoRoom)?;
    (header[0], header[1]) = (error.kind, error.code);
    set16(header, CHECKSUM, 0);
    set32(header, 4, error.rest);
    let checksum = !fold(pseudo + sum(bytes));
    set16(window_mut::<2>(bytes, CHECKSUM).ok_or(Untranslatable::NoRoom)?, 0, checksum);
    Ok(begin)
}

/// Makes the echo that an error quotes, at `offset` and `len` bytes long before it was cut, the other family's.
pub(super) fn quoted_echo_to_four(
    frame: &mut [u8],
    offset: usize,
    from: Pair<Ipv6Addr>,
    len: usize,
) -> Result<(), Untranslatable> {
    let message = Message::quoted(frame, offset).ok_or(Malformed::BadIcmp)?;
    let echo = message.echo_to_four().ok_or_else(|| message.unknown())?;
    edit_echo(frame, offset, echo, Delta::new().replace16(fold(pseudo(from, len)), 0));
    Ok(())
}

/// As [`quoted_echo_to_four`], the other way.
pub(super) fn quoted_echo_to_six(
    frame: &mut [u8],
    offset: usize,
    to: Pair<Ipv6Addr>,
    len: usize,
) -> Result<(), Untranslatable> {
    let message = Message::quoted(frame, offset).ok_or(Malformed::BadIcmp)?;
    let echo = message.echo_to_six().ok_or_else(|| message.unknown())?;
    edit_echo(frame, offset, echo, Delta::new().replace16(0, fold(pseudo(to, len))));
    Ok(())
}

impl Message {
    fn read(bytes: &[u8]) -> Option<Self> {
        let header: &[u8; HEADER_LEN] = window(bytes, 0)?;
        Some(Self { kind: header[0], code: header[1], rest: get32(header, 4) })
    }

    /// Only type and code: no more need be quoted.
    fn quoted(frame: &[u8], offset: usize) -> Option<Self> {
        let header: &[u8; 4] = window(frame, offset)?;
        Some(Self { kind: header[0], code: header[1], rest: 0 })
    }

    fn unknown(self) -> Untranslatable {
        Untranslatable::IcmpMessage(self.kind, self.code)
    }

    /// How long the quote is that extensions follow (RFC 4884), in an ICMP error.
    fn quote_len_four(self) -> usize {
        match (self.kind, usize::from((self.rest >> 16) as u8)) {
            (kind::UNREACHABLE | kind::TIME_EXCEEDED | kind::PARAMETER_PROBLEM, words @ 1..) => words * 4,
            _ => usize::from(u16::MAX),
        }
    }

    /// As [`quote_len_four`](Self::quote_len_four), in an `ICMPv6` error.
    fn quote_len_six(self) -> usize {
        match (self.kind, usize::from((self.rest >> 24) as u8)) {
            (kind6::UNREACHABLE | kind6::TIME_EXCEEDED, words @ 1..) => words * 8,
            _ => usize::from(u16::MAX),
        }
    }
}
