//! The IPv6 header and its extension headers (RFC 8200).

use std::net::Ipv6Addr;

use crate::Malformed;
use crate::bytes::{get_address6, get16, get32, window};

/// Length of the fixed header.
pub const HEADER_LEN: usize = 40;
/// Length of the fragment header.
pub const FRAGMENT_HEADER_LEN: usize = 8;
/// Every link carries packets of this length.
pub const MIN_MTU: usize = 1280;
/// The longest payload, extension headers included (RFC 2675 is not spoken).
pub const MAX_PAYLOAD_LEN: usize = 0xffff;
/// How many extension headers are walked over. No host sends half as many.
pub const MAX_EXTENSIONS: usize = 8;

/// Numbers of the field "next header", beyond those that IPv4 knows too (see [`crate::ipv4::protocol`]).
pub mod protocol {
    /// Hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// Routing header.
    pub const ROUTING: u8 = 43;
    /// Fragment header.
    pub const FRAGMENT: u8 = 44;
    /// `ICMPv6`.
    pub const ICMP: u8 = 58;
    /// Destination options.
    pub const DESTINATION: u8 = 60;
}

/// Offsets of fields in the fixed header.
pub(crate) mod field {
    pub const PAYLOAD_LEN: usize = 4;
    pub const NEXT_HEADER: usize = 6;
    pub const HOP_LIMIT: usize = 7;
    pub const SRC: usize = 8;
    pub const DST: usize = 24;
}
/// Flag "more fragments" in the 16 bits of fragment offset and flags.
pub(crate) const MORE_FRAGMENTS: u16 = 0x0001;
/// The fragment offset in the same word: already in bytes, since its unit is eight of them.
pub(crate) const FRAGMENT_OFFSET: u16 = 0xfff8;

/// The facts of a fragment header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Identification, which joins fragments.
    pub id: u32,
    /// Flag M.
    pub more: bool,
    /// Where in the fragmentable part this fragment belongs.
    pub offset_bytes: usize,
}

impl Fragment {
    /// Whether the whole packet is in this one fragment (RFC 6946).
    #[must_use]
    #[inline]
    pub const fn is_atomic(&self) -> bool {
        !self.more && self.offset_bytes == 0
    }
}

/// The facts of one IPv6 header and of the extension headers behind it, by value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6 {
    /// Where in the frame the header begins.
    pub offset: usize,
    /// Length of the header with all extension headers.
    pub header_len: usize,
    /// Length of header, extension headers and payload.
    pub total_len: usize,
    /// Source address.
    pub src: Ipv6Addr,
    /// Destination address.
    pub dst: Ipv6Addr,
    /// Number of the protocol behind the last extension header.
    pub protocol: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// DSCP (upper six bits) and ECN (lower two).
    pub traffic_class: u8,
    /// What the fragment header says, if there is one.
    pub fragment: Option<Fragment>,
}

impl Ipv6 {
    /// The header at `offset` of `frame`, and the extension headers behind it. Bytes after the packet are allowed.
    ///
    /// Options are skipped: none is meant for the gateway.
    ///
    /// # Errors
    /// A [`Malformed`] when lengths do not fit together, when the extension headers cannot be walked, when a routing
    /// header has other stops to visit, or when the source is no single host.
    #[inline]
    pub fn parse(frame: &[u8], offset: usize) -> Result<Self, Malformed> {
        let rest = frame.get(offset..).ok_or(Malformed::Truncated)?;
        let mut ip = Self::read(rest, offset)?;
        if ip.total_len > rest.len() {
            return Err(Malformed::Truncated);
        }
        if ip.src.is_multicast() || ip.src.is_unspecified() || ip.src.is_loopback() {
            return Err(Malformed::BadIpv6Address);
        }
        if ip.has_extension() {
            ip.walk(&rest[..ip.total_len])?;
        }
        Ok(ip)
    }

    /// The header at `offset` as an ICMP error quotes it: cut short anywhere behind the extension headers.
    pub(crate) fn parse_quoted(frame: &[u8], offset: usize) -> Result<Self, Malformed> {
        let rest = frame.get(offset..).ok_or(Malformed::Truncated)?;
        let mut ip = Self::read(rest, offset)?;
        if ip.has_extension() {
            ip.walk(rest)?;
        }
        Ok(ip)
    }

    #[inline]
    fn read(rest: &[u8], offset: usize) -> Result<Self, Malformed> {
        let header: &[u8; HEADER_LEN] = rest.first_chunk().ok_or(Malformed::Truncated)?;
        if header[0] >> 4 != 6 {
            return Err(Malformed::BadVersion);
        }
        Ok(Self {
            offset,
            header_len: HEADER_LEN,
            total_len: HEADER_LEN + usize::from(get16(header, field::PAYLOAD_LEN)),
            src: get_address6(header, field::SRC),
            dst: get_address6(header, field::DST),
            protocol: header[field::NEXT_HEADER],
            hop_limit: header[field::HOP_LIMIT],
            traffic_class: (get16(header, 0) >> 4) as u8,
            fragment: None,
        })
    }

    #[inline]
    const fn has_extension(&self) -> bool {
        matches!(self.protocol, protocol::HOP_BY_HOP | protocol::ROUTING | protocol::FRAGMENT | protocol::DESTINATION)
    }

    /// Walks over the extension headers; `packet` begins with the fixed header.
    #[cold]
    fn walk(&mut self, packet: &[u8]) -> Result<(), Malformed> {
        for position in 0..MAX_EXTENSIONS {
            if !self.has_extension() {
                return Ok(());
            }
            self.step(packet, position)?;
        }
        if self.has_extension() { Err(Malformed::BadIpv6Extension) } else { Ok(()) }
    }

    /// Over one extension header.
    fn step(&mut self, packet: &[u8], position: usize) -> Result<(), Malformed> {
        // What is cut into pieces begins behind the fragment header: another extension there is not whole, or not here.
        let in_pieces = self.fragment.is_some_and(|fragment| !fragment.is_atomic());
        let misplaced = self.protocol == protocol::HOP_BY_HOP && position > 0;
        let twice = self.protocol == protocol::FRAGMENT && self.fragment.is_some();
        if in_pieces || misplaced || twice {
            return Err(Malformed::BadIpv6Extension);
        }
        let header: &[u8; 8] = window(packet, self.header_len).ok_or(Malformed::BadIpv6Extension)?;
        let len = match self.protocol {
            protocol::FRAGMENT => {
                self.fragment = Some(self.read_fragment(*header)?);
                FRAGMENT_HEADER_LEN
            }
            protocol::ROUTING if header[3] != 0 => return Err(Malformed::SourceRoute),
            _ => 8 + usize::from(header[1]) * 8,
        };
        self.header_len += len;
        self.protocol = header[0];
        if self.header_len > packet.len() { Err(Malformed::BadIpv6Extension) } else { Ok(()) }
    }

    fn read_fragment(&self, header: [u8; FRAGMENT_HEADER_LEN]) -> Result<Fragment, Malformed> {
        let word = get16(&header, 2);
        let fragment = Fragment {
            id: get32(&header, 4),
            more: word & MORE_FRAGMENTS != 0,
            offset_bytes: usize::from(word & FRAGMENT_OFFSET),
        };
        let Some(len) = self.total_len.checked_sub(self.header_len + FRAGMENT_HEADER_LEN) else {
            return Err(Malformed::BadIpv6Extension);
        };
        if (fragment.more && !len.is_multiple_of(8)) || fragment.offset_bytes + len > MAX_PAYLOAD_LEN {
            return Err(Malformed::BadIpv6Fragment);
        }
        Ok(fragment)
    }

    /// The same header, of a frame in which all that was looked at lies `by` bytes further back.
    pub(crate) const fn moved(self, by: usize) -> Self {
        Self { offset: self.offset + by, ..self }
    }

    /// Where in the frame the L4 header begins.
    #[must_use]
    #[inline]
    pub const fn payload(&self) -> usize {
        self.offset + self.header_len
    }

    /// Where in the frame the packet ends.
    #[must_use]
    #[inline]
    pub const fn end(&self) -> usize {
        self.offset + self.total_len
    }

    /// Length of what follows the extension headers.
    #[must_use]
    #[inline]
    pub const fn payload_len(&self) -> usize {
        self.total_len.saturating_sub(self.header_len)
    }

    /// Whether this is a piece of a larger packet.
    #[must_use]
    #[inline]
    pub fn is_fragment(&self) -> bool {
        self.fragment.is_some_and(|fragment| !fragment.is_atomic())
    }

    /// Whether this is a piece without the L4 header.
    #[must_use]
    #[inline]
    pub fn is_later_fragment(&self) -> bool {
        self.fragment.is_some_and(|fragment| fragment.offset_bytes > 0)
    }
}
