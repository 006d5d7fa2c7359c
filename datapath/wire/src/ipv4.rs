//! The IPv4 header (RFC 791).

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

/// The facts of one IPv4 header, by value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4 {
    offset: u16,
    header_len: u16,
    total_len: u16,
    fragment_offset: u16,
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// Number of the protocol in the payload.
    pub protocol: u8,
    /// Time to live.
    pub ttl: u8,
    /// DSCP (upper six bits) and ECN (lower two).
    pub tos: u8,
    /// Identification, which joins fragments.
    pub id: u16,
    /// Flag DF.
    pub dont_fragment: bool,
    /// Flag MF.
    pub more_fragments: bool,
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
        let fragment = get16(header, field::FRAGMENT);
        Ok(Self {
            offset: offset as u16,
            header_len: header_len as u16,
            total_len: get16(header, field::TOTAL_LEN),
            fragment_offset: fragment & FRAGMENT_OFFSET,
            src: get_address(header, field::SRC),
            dst: get_address(header, field::DST),
            protocol: header[field::PROTOCOL],
            ttl: header[field::TTL],
            tos: header[1],
            id: get16(header, field::ID),
            dont_fragment: fragment & DONT_FRAGMENT != 0,
            more_fragments: fragment & MORE_FRAGMENTS != 0,
        })
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
        self.header_len as usize
    }

    /// Length of header and payload.
    #[must_use]
    #[inline]
    pub const fn total_len(&self) -> usize {
        self.total_len as usize
    }

    /// Where in the whole datagram's payload this fragment belongs, in bytes.
    #[must_use]
    #[inline]
    pub const fn fragment_offset_bytes(&self) -> usize {
        self.fragment_offset as usize * 8
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
    pub const fn end(&self) -> usize {
        self.offset() + self.total_len()
    }

    /// Length of what follows the header.
    #[must_use]
    #[inline]
    pub const fn payload_len(&self) -> usize {
        self.total_len().saturating_sub(self.header_len())
    }

    /// Whether this is a piece of a larger datagram.
    #[must_use]
    #[inline]
    pub const fn is_fragment(&self) -> bool {
        self.more_fragments || self.is_later_fragment()
    }

    /// Whether this is a piece without the L4 header.
    #[must_use]
    #[inline]
    pub const fn is_later_fragment(&self) -> bool {
        self.fragment_offset > 0
    }
}
