//! Edits in place: NAT, TTL, TOS, and checksums that the sender left unfinished.

use std::net::Ipv4Addr;

use crate::bytes::{get16, set_address, set16, window, window_mut};
use crate::ipv4::{self, MIN_HEADER_LEN, protocol};
use crate::{Delta, Headers, Ipv4, L4, checksum, icmp, tcp, udp};

/// What a packet's addresses and ports are to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
}

/// Sets addresses and ports, and the checksums of IPv4, TCP and UDP by delta.
///
/// Ports are left alone where there are none (later fragments, ICMP). A UDP checksum of 0 ("none") stays 0.
#[inline]
pub fn rewrite(frame: &mut [u8], headers: &Headers, to: &Rewrite) {
    edit(frame, headers, to, 0);
}

/// As [`rewrite`], and takes one from the TTL, which the caller has checked to be above 1: what a router does that
/// translates, with one look at the checksum.
#[inline]
pub fn route(frame: &mut [u8], headers: &Headers, to: &Rewrite) {
    edit(frame, headers, to, 1);
}

#[expect(clippy::inline_always, reason = "addresses and ports would go through memory: 17 instructions a packet")]
#[inline(always)]
fn edit(frame: &mut [u8], headers: &Headers, to: &Rewrite, hops: u8) {
    let ip = &headers.ip;
    let delta =
        Delta::new().replace32(ip.src().to_bits(), to.src.to_bits()).replace32(ip.dst().to_bits(), to.dst.to_bits());
    let Some(header) = window_mut::<MIN_HEADER_LEN>(frame, ip.offset()) else { return };
    set_address(header, ipv4::field::SRC, to.src);
    set_address(header, ipv4::field::DST, to.dst);
    let lives = get16(header, ipv4::field::TTL);
    let left = lives.saturating_sub(u16::from(hops) << 8);
    set16(header, ipv4::field::TTL, left);
    let checksum = delta.replace16(lives, left).apply(get16(header, ipv4::field::CHECKSUM));
    set16(header, ipv4::field::CHECKSUM, checksum);

    let ports = |src: u16, dst: u16| delta.replace16(src, to.src_port).replace16(dst, to.dst_port);
    match &headers.l4 {
        L4::Tcp(tcp) => {
            let Some(header) = window_mut::<{ tcp::MIN_HEADER_LEN }>(frame, tcp.offset()) else { return };
            set16(header, tcp::field::SRC_PORT, to.src_port);
            set16(header, tcp::field::DST_PORT, to.dst_port);
            let checksum = ports(tcp.src_port(), tcp.dst_port()).apply(get16(header, tcp::field::CHECKSUM));
            set16(header, tcp::field::CHECKSUM, checksum);
        }
        L4::Udp(udp) => {
            let Some(header) = window_mut::<{ udp::HEADER_LEN }>(frame, udp.offset()) else { return };
            set16(header, udp::field::SRC_PORT, to.src_port);
            set16(header, udp::field::DST_PORT, to.dst_port);
            let old = get16(header, udp::field::CHECKSUM);
            if old != 0 {
                let checksum = ports(udp.src_port, udp.dst_port).apply(old);
                set16(header, udp::field::CHECKSUM, udp::never_zero(checksum));
            }
        }
        L4::Icmp(_) | L4::LaterFragment | L4::Other(_) => {}
    }
}

/// Takes one from the TTL. The caller has checked that it is above 1.
#[inline]
pub fn decrement_ttl(frame: &mut [u8], ip: &Ipv4) {
    edit_word(frame, ip, ipv4::field::TTL, |word| word.saturating_sub(0x0100));
}

/// Sets DSCP and ECN, in the frame and in `ip`.
pub fn set_tos(frame: &mut [u8], ip: &mut Ipv4, tos: u8) {
    edit_word(frame, ip, 0, |word| word & 0xff00 | u16::from(tos));
    ip.read_again(frame);
}

/// Changes the 16-bit word at `at` of the IPv4 header, and the header's checksum by delta.
#[inline]
fn edit_word(frame: &mut [u8], ip: &Ipv4, at: usize, edit: impl Fn(u16) -> u16) {
    let Some(header) = window_mut::<MIN_HEADER_LEN>(frame, ip.offset()) else { return };
    let old = get16(header, at);
    let new = edit(old);
    set16(header, at, new);
    let checksum = Delta::new().replace16(old, new).apply(get16(header, ipv4::field::CHECKSUM));
    set16(header, ipv4::field::CHECKSUM, checksum);
}

/// What an L4 checksum covers and where it stands.
struct Covered {
    start: usize,
    end: usize,
    /// Offset of the checksum in the frame.
    field: usize,
    pseudo_header: u32,
}

impl Covered {
    /// `None` for fragments (not all of it is here), UDP without checksum, and protocols without one that we know.
    #[inline]
    fn of(headers: &Headers) -> Option<Self> {
        let ip = &headers.ip;
        if ip.is_fragment() {
            return None;
        }
        let pseudo = |number: u8, len: usize| checksum::pseudo_header(ip.src(), ip.dst(), number, len as u16);
        match &headers.l4 {
            L4::Tcp(tcp) => Some(Self {
                start: tcp.offset(),
                end: ip.end(),
                field: tcp.offset() + tcp::field::CHECKSUM,
                pseudo_header: pseudo(protocol::TCP, ip.payload_len()),
            }),
            L4::Udp(udp) if udp.checksum != 0 => Some(Self {
                start: udp.offset(),
                end: udp.offset() + udp.len(),
                field: udp.offset() + udp::field::CHECKSUM,
                pseudo_header: pseudo(protocol::UDP, udp.len()),
            }),
            L4::Icmp(icmp) => Some(Self {
                start: icmp.offset(),
                end: icmp.end(),
                field: icmp.offset() + icmp::CHECKSUM,
                pseudo_header: 0,
            }),
            _ => None,
        }
    }

    /// The folded sum of everything covered and of the checksum itself: `0xffff` if the checksum is right.
    #[inline]
    fn sum(&self, frame: &[u8]) -> Option<u16> {
        let bytes = frame.get(self.start..self.end)?;
        Some(checksum::fold(self.pseudo_header + checksum::sum(bytes)))
    }
}

/// Finishes a checksum that the sender left to hardware that never came: over a veth or virtio, Linux hands out frames
/// whose TCP or UDP checksum field holds only the sum of the pseudo header (`CHECKSUM_PARTIAL`).
///
/// Returns whether the frame was changed. Only unfragmented TCP and UDP come so. Must be called before any edit that
/// works by delta. A finished checksum that happens to equal the sum of its pseudo header is recognised and kept.
#[inline]
pub fn finish_partial_checksum(frame: &mut [u8], headers: &Headers) -> bool {
    if !matches!(headers.l4, L4::Tcp(_) | L4::Udp(_)) {
        return false;
    }
    let Some(covered) = Covered::of(headers) else { return false };
    let Some(held) = window::<2>(frame, covered.field) else { return false };
    if get16(held, 0) != checksum::fold(covered.pseudo_header) {
        return false;
    }
    finish(frame, headers, &covered)
}

/// The rare rest of [`finish_partial_checksum`], out of line.
#[cold]
fn finish(frame: &mut [u8], headers: &Headers, covered: &Covered) -> bool {
    if covered.sum(frame) == Some(0xffff) {
        return false;
    }
    // The field already holds the pseudo header's sum: as hardware does, sum over the segment with it and complement.
    let Some(segment) = frame.get(covered.start..covered.end) else { return false };
    let finished = checksum::internet(segment);
    let finished = if matches!(headers.l4, L4::Udp(_)) { udp::never_zero(finished) } else { finished };
    let Some(field) = window_mut::<2>(frame, covered.field) else { return false };
    set16(field, 0, finished);
    true
}

/// Whether the checksum looks like one that [`finish_partial_checksum`] would finish. A finished one may happen to.
#[must_use]
pub fn is_checksum_unfinished(frame: &[u8], headers: &Headers) -> bool {
    let covered = Covered::of(headers).filter(|_| matches!(headers.l4, L4::Tcp(_) | L4::Udp(_)));
    covered.is_some_and(|covered| {
        window::<2>(frame, covered.field).is_some_and(|held| get16(held, 0) == checksum::fold(covered.pseudo_header))
    })
}

/// Whether the TCP, UDP or ICMP checksum is right. Where that cannot be told (fragments, UDP without checksum, other
/// protocols) nothing is wrong.
#[must_use]
pub fn l4_checksum_ok(frame: &[u8], headers: &Headers) -> bool {
    let Some(covered) = Covered::of(headers) else { return true };
    covered.sum(frame) == Some(0xffff)
}
