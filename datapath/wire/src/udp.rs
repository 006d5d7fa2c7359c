//! The UDP header (RFC 768).

use crate::Malformed;
use crate::bytes::{get16, window};

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
    /// Where in the frame the header begins.
    pub offset: usize,
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Length of header and payload, as the header says. In a first fragment it is that of the whole datagram.
    pub len: usize,
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
        let len = usize::from(get16(header, field::LEN));
        if len < HEADER_LEN || (whole && len > available) {
            return Err(Malformed::BadUdpLen);
        }
        Ok(Self {
            offset,
            src_port: get16(header, field::SRC_PORT),
            dst_port: get16(header, field::DST_PORT),
            len,
            checksum: get16(header, field::CHECKSUM),
        })
    }

    /// Where in the frame the payload begins.
    #[must_use]
    #[inline]
    pub const fn payload(&self) -> usize {
        self.offset + HEADER_LEN
    }
}

/// A computed checksum of 0 is sent as its other representation, since 0 says "none" (RFC 768).
#[inline]
pub(crate) const fn never_zero(checksum: u16) -> u16 {
    if checksum == 0 { 0xffff } else { checksum }
}
