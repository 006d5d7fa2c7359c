//! The TCP and UDP checksums, which cover the addresses.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{Pair, Untranslatable};
use crate::bytes::{get16, set16, window, window_mut};
use crate::checksum::{fold, pseudo_header, pseudo_header6, sum};
use crate::ipv4::protocol;
use crate::{Delta, Headers, Ipv6, L4, tcp, udp};

/// The change of a pseudo header whose addresses become others, of any family: length and protocol stay.
pub(super) fn delta(old: &[[u8; 16]; 2], new: &[[u8; 16]; 2]) -> Delta {
    Delta::new().replace16(fold(sum(old.as_flattened())), fold(sum(new.as_flattened())))
}

/// The addresses as bytes to sum over.
pub(super) fn four(pair: Pair<Ipv4Addr>) -> [[u8; 16]; 2] {
    let widen = |address: Ipv4Addr| u128::from(address.to_bits()).to_be_bytes();
    [widen(pair.src), widen(pair.dst)]
}

/// The addresses as bytes to sum over.
pub(super) fn six(pair: Pair<Ipv6Addr>) -> [[u8; 16]; 2] {
    [pair.src.octets(), pair.dst.octets()]
}

/// What a checksum field belongs to.
struct Field {
    at: usize,
    /// Where the L4 header begins and what it covers ends, if all of it is here.
    covers: Option<(usize, usize)>,
    number: u8,
}

impl Field {
    fn of(l4: &L4, end: usize, whole: bool) -> Option<Self> {
        let covers = |start: usize, end: usize| whole.then_some((start, end));
        match l4 {
            L4::Tcp(tcp) => Some(Self {
                at: tcp.offset() + tcp::field::CHECKSUM,
                covers: covers(tcp.offset(), end),
                number: protocol::TCP,
            }),
            L4::Udp(udp) => Some(Self {
                at: udp.offset() + udp::field::CHECKSUM,
                covers: covers(udp.offset(), udp.offset() + udp.len()),
                number: protocol::UDP,
            }),
            _ => None,
        }
    }

    fn set(&self, frame: &mut [u8], checksum: u16) {
        let checksum = if self.number == protocol::UDP { udp::never_zero(checksum) } else { checksum };
        if let Some(field) = window_mut::<2>(frame, self.at) {
            set16(field, 0, checksum);
        }
    }
}

/// Makes the checksum of an IPv6 packet that of the IPv4 packet with addresses `to`.
#[inline]
pub(super) fn six_to_four(frame: &mut [u8], ip: &Ipv6, l4: &L4, to: Pair<Ipv4Addr>) -> Result<(), Untranslatable> {
    let Some(field) = Field::of(l4, ip.end(), !ip.is_fragment()) else { return Ok(()) };
    let held = window::<2>(frame, field.at).map_or(0, |held| get16(held, 0));
    if field.number == protocol::UDP && held == 0 {
        return Err(Untranslatable::NoUdpChecksum);
    }
    if let Some((start, end)) = field.covers {
        let len = (end - start) as u16;
        let pseudo = pseudo_header6(ip.src, ip.dst, field.number, len);
        if held == fold(pseudo) && is_unfinished(frame, start, end, pseudo) {
            let unfinished = fold(pseudo_header(to.src, to.dst, field.number, len));
            field.set(frame, unfinished);
            return Ok(());
        }
    }
    let change = delta(&six(Pair { src: ip.src, dst: ip.dst }), &four(to));
    field.set(frame, change.apply(held));
    Ok(())
}

/// Whether a field that holds the sum of its pseudo header is not by chance the right checksum.
#[cold]
fn is_unfinished(frame: &[u8], start: usize, end: usize, pseudo: u32) -> bool {
    let bytes = frame.get(start..end).unwrap_or_default();
    fold(pseudo + sum(bytes)) != 0xffff
}

/// Makes the checksum of an IPv4 packet that of the IPv6 packet with addresses `to`.
#[inline]
pub(super) fn four_to_six(frame: &mut [u8], headers: &Headers, to: Pair<Ipv6Addr>) -> Result<(), Untranslatable> {
    let ip = &headers.ip;
    let Some(field) = Field::of(&headers.l4, ip.end(), !ip.is_fragment()) else { return Ok(()) };
    let held = window::<2>(frame, field.at).map_or(0, |held| get16(held, 0));
    if field.number == protocol::UDP && held == 0 {
        return fill_in(frame, &field, to);
    }
    let change = delta(&four(Pair { src: ip.src(), dst: ip.dst() }), &six(to));
    field.set(frame, change.apply(held));
    Ok(())
}

/// Gives a datagram the checksum that IPv6 asks for.
#[cold]
fn fill_in(frame: &mut [u8], field: &Field, to: Pair<Ipv6Addr>) -> Result<(), Untranslatable> {
    let (start, end) = field.covers.ok_or(Untranslatable::NoUdpChecksum)?;
    let bytes = frame.get(start..end).unwrap_or_default();
    let pseudo = pseudo_header6(to.src, to.dst, field.number, (end - start) as u16);
    let checksum = !fold(pseudo + sum(bytes));
    field.set(frame, checksum);
    Ok(())
}
