//! The UDP header (RFC 768).

use crate::bytes::{get16, set16, window, window_mut};
use crate::{Delta, Headers, L4, Malformed, checksum, ipv4};

/// Length of the header.
pub const HEADER_LEN: usize = 8;

/// Offsets of fields in the header.
pub(crate) mod field {
    pub const SRC_PORT: usize = 0;
    pub const DST_PORT: usize = 2;
    pub const LEN: usize = 4;
    pub const CHECKSUM: usize = 6;
}

/// The facts of one UDP header, by value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Udp {
    offset: u16,
    len: u16,
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Checksum; 0 means none.
    pub checksum: u16,
}

impl Udp {
    /// The header at `offset`; `available` bytes of the packet are left from there, `whole` unless it is a fragment.
    #[inline]
    pub(crate) fn parse(frame: &[u8], offset: usize, available: usize, whole: bool) -> Result<Self, Malformed> {
        if available < HEADER_LEN {
            return Err(Malformed::BadUdpLen);
        }
        let header: &[u8; HEADER_LEN] = window(frame, offset).ok_or(Malformed::BadUdpLen)?;
        let len = get16(header, field::LEN);
        if usize::from(len) < HEADER_LEN || (whole && usize::from(len) > available) {
            return Err(Malformed::BadUdpLen);
        }
        Ok(Self {
            offset: offset as u16,
            src_port: get16(header, field::SRC_PORT),
            dst_port: get16(header, field::DST_PORT),
            len,
            checksum: get16(header, field::CHECKSUM),
        })
    }

    /// Where in the frame the header begins.
    #[must_use]
    #[inline]
    pub const fn offset(&self) -> usize {
        self.offset as usize
    }

    /// Length of header and payload, as the header says. In a first fragment it is that of the whole datagram.
    #[must_use]
    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "never less than the header")]
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Where in the frame the payload begins.
    #[must_use]
    #[inline]
    pub const fn payload(&self) -> usize {
        self.offset() + HEADER_LEN
    }
}

/// A computed checksum of 0 is sent as its other representation, since 0 says "none" (RFC 768).
#[inline]
pub(crate) const fn never_zero(checksum: u16) -> u16 {
    if checksum == 0 { 0xffff } else { checksum }
}

/// Gives a datagram that has no checksum one, while it is whole: its pieces could get none (RFC 7915 4.5).
pub fn give_udp_checksum(frame: &mut [u8], headers: &Headers) {
    let (L4::Udp(udp), ip) = (&headers.l4, &headers.ip) else { return };
    if ip.is_fragment() || udp.checksum != 0 {
        return;
    }
    let Some(datagram) = frame.get_mut(udp.offset()..udp.offset() + udp.len()) else { return };
    let pseudo = checksum::pseudo_header(ip.src(), ip.dst(), ipv4::protocol::UDP, udp.len() as u16);
    let sum = !checksum::fold(pseudo + checksum::sum(datagram));
    if let Some(header) = window_mut::<HEADER_LEN>(datagram, 0) {
        set16(header, field::CHECKSUM, never_zero(sum));
    }
}

/// Puts `extra` in front of the payload of a datagram. The frame has that much room in front of the packet: `headers` are
/// those of the packet, which begins at `extra.len()`, and which begins at 0 afterwards. Lengths and checksums follow; DF
/// goes, since how long the packet is has nothing to do any more with what its sender knows of the way. With DF the sender
/// needed no identification that tells its packets apart (RFC 6864 4.1), and may have put any in: `id` is there instead.
///
/// False, and nothing is done, if the packet is no whole UDP datagram, or gets too long for one, or `extra` is of odd
/// length, by which the checksum could not be corrected.
pub fn prepend_to_datagram(frame: &mut [u8], headers: &Headers, extra: &[u8], id: u16) -> bool {
    let (L4::Udp(udp), ip) = (&headers.l4, &headers.ip) else { return false };
    let (total_len, len) = (ip.total_len() + extra.len(), udp.len() + extra.len());
    let fits = total_len <= ipv4::MAX_LEN && ip.offset() == extra.len() && extra.len().is_multiple_of(2);
    if ip.is_fragment() || !fits || frame.len() < total_len {
        return false;
    }
    frame.copy_within(ip.offset()..udp.payload(), 0);
    let (udp_at, payload) = (udp.offset() - ip.offset(), udp.payload() - ip.offset());
    frame[payload..payload + extra.len()].copy_from_slice(extra);
    lengthen_ip(frame, total_len as u16, if ip.dont_fragment() { id } else { ip.id() });
    let Some(header) = window_mut::<HEADER_LEN>(frame, udp_at) else { return false };
    set16(header, field::LEN, len as u16);
    if udp.checksum != 0 {
        // The length counts twice: in the header, and in the pseudo header.
        let (old, new) = (udp.len() as u16, len as u16);
        let zeros = [0; 64];
        let delta = Delta::new().replace16(old, new).replace16(old, new);
        let delta = extra.chunks(64).fold(delta, |delta, part| delta.replace_bytes_at(0, &zeros[..part.len()], part));
        set16(header, field::CHECKSUM, never_zero(delta.apply(udp.checksum)));
    }
    true
}

fn lengthen_ip(frame: &mut [u8], total_len: u16, id: u16) {
    let Some(header) = window_mut::<{ ipv4::MIN_HEADER_LEN }>(frame, 0) else { return };
    let flags = get16(header, ipv4::field::FRAGMENT) & !ipv4::DONT_FRAGMENT;
    let words = [(ipv4::field::TOTAL_LEN, total_len), (ipv4::field::ID, id), (ipv4::field::FRAGMENT, flags)];
    let mut delta = Delta::new();
    for (at, new) in words {
        delta = delta.replace16(get16(header, at), new);
        set16(header, at, new);
    }
    let sum = delta.apply(get16(header, ipv4::field::CHECKSUM));
    set16(header, ipv4::field::CHECKSUM, sum);
}
