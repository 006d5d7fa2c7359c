//! The IPv4 header (RFC 791).

use std::fmt;
use std::net::Ipv4Addr;

use crate::bytes::{get_address, get16, window};
use crate::{Malformed, checksum};

/// Length of a header without options.
pub const MIN_HEADER_LEN: usize = 20;
/// The largest IPv4 packet.
pub const MAX_LEN: usize = 0xffff;
/// Offsets are kept in 16 bits, that of what follows a header of 60 bytes too. Nobody has headers so far behind.
const LAST_OFFSET: usize = 0xffff - 60;
/// TTL of the packets that are made here.
pub const DEFAULT_TTL: u8 = 64;
/// Protocol numbers as they stand in the header.
pub mod protocol {
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
}

/// Offsets of fields in the header.
pub(crate) mod field {
    pub const TOS: usize = 1;
    pub const TOTAL_LEN: usize = 2;
    pub const ID: usize = 4;
    pub const FRAGMENT: usize = 6;
    pub const TTL: usize = 8;
    pub const PROTOCOL: usize = 9;
    pub const CHECKSUM: usize = 10;
    pub const SRC: usize = 12;
    pub const DST: usize = 16;
}
/// Flag "don't fragment" in the 16 bits of flags and fragment offset.
pub(crate) const DONT_FRAGMENT: u16 = 0x4000;
/// Flag "more fragments" in the same word.
pub(crate) const MORE_FRAGMENTS: u16 = 0x2000;
/// The fragment offset in the same word, in units of eight bytes.
pub(crate) const FRAGMENT_OFFSET: u16 = 0x1fff;

/// One IPv4 header, by value, without its options. It stays as it came: most fields are never asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Ipv4 {
    offset: u16,
    header: [u8; MIN_HEADER_LEN],
}

impl Ipv4 {
    /// The header at `offset` of `frame`. Bytes after the packet (Ethernet padding) are allowed.
    ///
    /// # Errors
    /// A [`Malformed`] when lengths do not fit together or the header checksum is wrong.
    #[inline]
    pub fn parse(frame: &[u8], offset: usize) -> Result<Self, Malformed> {
        let rest = frame.get(offset..).ok_or(Malformed::Truncated)?;
        let header: &[u8; MIN_HEADER_LEN] = rest.first_chunk().ok_or(Malformed::Truncated)?;
        let ip = Self::read(header, offset)?;
        if ip.total_len() < ip.header_len() {
            return Err(Malformed::BadTotalLen);
        }
        if ip.total_len() > rest.len() {
            return Err(Malformed::Truncated);
        }
        if ip.fragment_offset_bytes() + ip.total_len() > MAX_LEN {
            return Err(Malformed::BadTotalLen);
        }
        let mut sum = checksum::sum_of(header);
        if ip.header_len() > MIN_HEADER_LEN {
            sum += checksum::sum(&rest[MIN_HEADER_LEN..ip.header_len()]);
        }
        if checksum::fold(sum) == 0xffff { Ok(ip) } else { Err(Malformed::BadIpChecksum) }
    }

    /// The header at `offset` as an ICMP error quotes it: neither its checksum nor its total length can be relied on,
    /// since it was cut short and may have been edited on its way.
    pub(crate) fn parse_quoted(frame: &[u8], offset: usize) -> Result<Self, Malformed> {
        let header: &[u8; MIN_HEADER_LEN] = window(frame, offset).ok_or(Malformed::Truncated)?;
        let ip = Self::read(header, offset)?;
        if ip.payload() > frame.len() { Err(Malformed::Truncated) } else { Ok(ip) }
    }

    #[inline]
    fn read(header: &[u8; MIN_HEADER_LEN], offset: usize) -> Result<Self, Malformed> {
        if offset > LAST_OFFSET {
            return Err(Malformed::Truncated);
        }
        if header[0] >> 4 != 4 {
            return Err(Malformed::BadVersion);
        }
        let header_len = usize::from(header[0] & 0x0f) * 4;
        if header_len < MIN_HEADER_LEN {
            return Err(Malformed::BadHeaderLen);
        }
        Ok(Self { offset: offset as u16, header: *header })
    }

    /// Source address.
    #[must_use]
    #[inline]
    pub fn src(&self) -> Ipv4Addr {
        get_address(&self.header, field::SRC)
    }

    /// Destination address.
    #[must_use]
    #[inline]
    pub fn dst(&self) -> Ipv4Addr {
        get_address(&self.header, field::DST)
    }

    /// Number of the protocol in the payload.
    #[must_use]
    #[inline]
    pub const fn protocol(&self) -> u8 {
        self.header[field::PROTOCOL]
    }

    /// Time to live.
    #[must_use]
    #[inline]
    pub const fn ttl(&self) -> u8 {
        self.header[field::TTL]
    }

    /// DSCP (upper six bits) and ECN (lower two).
    #[must_use]
    #[inline]
    pub const fn tos(&self) -> u8 {
        self.header[field::TOS]
    }

    /// The view follows the frame after an edit.
    pub(crate) fn read_again(&mut self, frame: &[u8]) {
        if let Some(header) = window(frame, self.offset()) {
            self.header = *header;
        }
    }

    /// Identification, which joins fragments.
    #[must_use]
    #[inline]
    pub fn id(&self) -> u16 {
        get16(&self.header, field::ID)
    }

    /// Flag DF.
    #[must_use]
    #[inline]
    pub fn dont_fragment(&self) -> bool {
        self.fragment() & DONT_FRAGMENT != 0
    }

    /// Flag MF.
    #[must_use]
    #[inline]
    pub fn more_fragments(&self) -> bool {
        self.fragment() & MORE_FRAGMENTS != 0
    }

    /// Flags and fragment offset.
    #[inline]
    fn fragment(&self) -> u16 {
        get16(&self.header, field::FRAGMENT)
    }

    /// Where in the frame the header begins.
    #[must_use]
    #[inline]
    pub const fn offset(&self) -> usize {
        self.offset as usize
    }

    /// Length of the header with its options.
    #[must_use]
    #[inline]
    pub const fn header_len(&self) -> usize {
        (self.header[0] & 0x0f) as usize * 4
    }

    /// Length of header and payload.
    #[must_use]
    #[inline]
    pub fn total_len(&self) -> usize {
        usize::from(get16(&self.header, field::TOTAL_LEN))
    }

    /// Where in the whole datagram's payload this fragment belongs, in bytes.
    #[must_use]
    #[inline]
    pub fn fragment_offset_bytes(&self) -> usize {
        usize::from(self.fragment() & FRAGMENT_OFFSET) * 8
    }

    /// Where in the frame the L4 header begins.
    #[must_use]
    #[inline]
    pub const fn payload(&self) -> usize {
        self.offset() + self.header_len()
    }

    /// Where in the frame the packet ends.
    #[must_use]
    #[inline]
    pub fn end(&self) -> usize {
        self.offset() + self.total_len()
    }

    /// Length of what follows the header.
    #[must_use]
    #[inline]
    pub fn payload_len(&self) -> usize {
        self.total_len().saturating_sub(self.header_len())
    }

    /// Whether this is a piece of a larger datagram.
    #[must_use]
    #[inline]
    pub fn is_fragment(&self) -> bool {
        self.fragment() & (MORE_FRAGMENTS | FRAGMENT_OFFSET) != 0
    }

    /// Whether this is a piece without the L4 header.
    #[must_use]
    #[inline]
    pub fn is_later_fragment(&self) -> bool {
        self.fragment() & FRAGMENT_OFFSET != 0
    }
}

impl fmt::Debug for Ipv4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ipv4")
            .field("offset", &self.offset())
            .field("header_len", &self.header_len())
            .field("total_len", &self.total_len())
            .field("src", &self.src())
            .field("dst", &self.dst())
            .field("protocol", &self.protocol())
            .field("ttl", &self.ttl())
            .field("tos", &self.tos())
            .field("id", &self.id())
            .field("fragment", &self.fragment())
            .finish()
    }
}
