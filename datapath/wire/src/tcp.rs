//! The TCP header (RFC 9293).

mod data;
mod edit;
mod fast_open;
mod handshake;
mod options;
mod reset;
mod segment;
mod sequence;

use std::fmt;

pub use data::{TcpData, write_tcp_data};
pub use fast_open::without_fast_open;
pub use handshake::{TcpHandshake, TcpOffer, write_tcp_handshake};
pub use options::{TcpOptions, Timestamps};
pub use reset::{TcpReset, reset_for, write_tcp_reset};
pub use segment::{leave_uncut, segment};

use crate::Malformed;
use crate::bytes::{get16, get32, window};

/// Length of a header without options.
pub const MIN_HEADER_LEN: usize = 20;

/// Offsets of fields in the header.
pub(crate) mod field {
    pub const SRC_PORT: usize = 0;
    pub const DST_PORT: usize = 2;
    pub const SEQ: usize = 4;
    pub const ACK: usize = 8;
    pub const FLAGS: usize = 13;
    pub const WINDOW: usize = 14;
    pub const CHECKSUM: usize = 16;
}

/// The flags of a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// No more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// Synchronise sequence numbers.
    pub const SYN: Self = Self(0x02);
    /// Reset the connection.
    pub const RST: Self = Self(0x04);
    /// Push.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgement number counts.
    pub const ACK: Self = Self(0x10);
    /// The urgent pointer counts.
    pub const URG: Self = Self(0x20);
    /// ECN echo.
    pub const ECE: Self = Self(0x40);
    /// Congestion window reduced.
    pub const CWR: Self = Self(0x80);

    /// Whether all of `flags` are set.
    #[must_use]
    #[inline]
    pub const fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// Whether SYN is set.
    #[must_use]
    #[inline]
    pub const fn syn(self) -> bool {
        self.contains(Self::SYN)
    }

    /// Whether FIN is set.
    #[must_use]
    #[inline]
    pub const fn fin(self) -> bool {
        self.contains(Self::FIN)
    }

    /// Whether RST is set.
    #[must_use]
    #[inline]
    pub const fn rst(self) -> bool {
        self.contains(Self::RST)
    }

    /// Whether ACK is set.
    #[must_use]
    #[inline]
    pub const fn ack(self) -> bool {
        self.contains(Self::ACK)
    }
}

impl std::ops::BitOr for TcpFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for TcpFlags {
    /// As tcpdump writes them: "S." is a SYN with ACK.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("none");
        }
        for (bit, letter) in b"FSRP.UEW".iter().enumerate() {
            if self.0 & (1 << bit) != 0 {
                write!(f, "{}", char::from(*letter))?;
            }
        }
        Ok(())
    }
}

/// One TCP header, by value, without its options. It stays as it came: most fields are never asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Tcp {
    offset: u16,
    header_len: u16,
    payload_len: u16,
    header: [u8; MIN_HEADER_LEN],
}

impl Tcp {
    /// The header at `offset`; `available` bytes of the packet are left from there, `whole` unless it is a fragment.
    #[inline]
    pub(crate) fn parse(frame: &[u8], offset: usize, available: usize, whole: bool) -> Result<Self, Malformed> {
        if available < MIN_HEADER_LEN {
            return Err(Malformed::BadTcpHeader);
        }
        let header: &[u8; MIN_HEADER_LEN] = window(frame, offset).ok_or(Malformed::BadTcpHeader)?;
        let header_len = usize::from(header[12] >> 4) * 4;
        if header_len < MIN_HEADER_LEN || (whole && header_len > available) {
            return Err(Malformed::BadTcpHeader);
        }
        let header_len = header_len.min(available);
        Ok(Self {
            offset: offset as u16,
            header_len: header_len as u16,
            payload_len: (available - header_len) as u16,
            header: *header,
        })
    }

    /// Source port.
    #[must_use]
    #[inline]
    pub fn src_port(&self) -> u16 {
        get16(&self.header, field::SRC_PORT)
    }

    /// Destination port.
    #[must_use]
    #[inline]
    pub fn dst_port(&self) -> u16 {
        get16(&self.header, field::DST_PORT)
    }

    /// Sequence number.
    #[must_use]
    #[inline]
    pub fn seq(&self) -> u32 {
        get32(&self.header, field::SEQ)
    }

    /// Acknowledgement number; counts if the ACK flag is set.
    #[must_use]
    #[inline]
    pub fn ack(&self) -> u32 {
        get32(&self.header, field::ACK)
    }

    /// Flags.
    #[must_use]
    #[inline]
    pub const fn flags(&self) -> TcpFlags {
        TcpFlags(self.header[field::FLAGS])
    }

    /// Receive window, not scaled.
    #[must_use]
    #[inline]
    pub fn window(&self) -> u16 {
        get16(&self.header, field::WINDOW)
    }

    /// Where in the frame the header begins.
    #[must_use]
    #[inline]
    pub const fn offset(&self) -> usize {
        self.offset as usize
    }

    /// Length of the header with its options; in a first fragment, of what is there of it.
    #[must_use]
    #[inline]
    pub const fn header_len(&self) -> usize {
        self.header_len as usize
    }

    /// Bytes of payload in this packet.
    #[must_use]
    #[inline]
    pub const fn payload_len(&self) -> usize {
        self.payload_len as usize
    }

    /// The whole segment that this first fragment begins, when it has turned out to be so long, header included.
    #[must_use]
    pub fn completed(&self, len: usize) -> Self {
        let header_len = usize::from(self.header[12] >> 4) * 4;
        let payload_len = len.saturating_sub(header_len).min(usize::from(u16::MAX));
        Self { header_len: header_len as u16, payload_len: payload_len as u16, ..*self }
    }

    /// How much of the sequence space the segment takes: payload, and one each for SYN and FIN.
    #[must_use]
    #[inline]
    pub const fn sequence_len(&self) -> u32 {
        self.payload_len as u32 + self.flags().syn() as u32 + self.flags().fin() as u32
    }
}

impl fmt::Debug for Tcp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tcp")
            .field("offset", &self.offset())
            .field("header_len", &self.header_len())
            .field("payload_len", &self.payload_len())
            .field("src_port", &self.src_port())
            .field("dst_port", &self.dst_port())
            .field("seq", &self.seq())
            .field("ack", &self.ack())
            .field("flags", &self.flags())
            .field("window", &self.window())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::TcpFlags;

    #[test]
    fn flags_as_tcpdump_writes_them() {
        let flags = [
            (TcpFlags::FIN, 0x01, "F"),
            (TcpFlags::SYN, 0x02, "S"),
            (TcpFlags::RST, 0x04, "R"),
            (TcpFlags::PSH, 0x08, "P"),
            (TcpFlags::ACK, 0x10, "."),
            (TcpFlags::URG, 0x20, "U"),
            (TcpFlags::ECE, 0x40, "E"),
            (TcpFlags::CWR, 0x80, "W"),
            (TcpFlags::SYN | TcpFlags::ACK, 0x12, "S."),
            (TcpFlags::default(), 0, "none"),
        ];
        for (flag, bits, text) in flags {
            assert_eq!((flag.0, flag.to_string().as_str()), (bits, text));
        }
        let syn_ack = TcpFlags(0x12);
        assert_eq!((syn_ack.syn(), syn_ack.ack(), syn_ack.fin(), syn_ack.rst()), (true, true, false, false));
        assert!(!TcpFlags::SYN.contains(syn_ack), "all of them or not");
    }
}
