//! Why a packet has no other form.

use std::fmt;

use crate::Malformed;

/// Why a packet cannot be translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Untranslatable {
    /// It is no good packet to begin with.
    Malformed(Malformed),
    /// Neither TCP, nor UDP, nor ICMP: the number of the protocol.
    Protocol(u8),
    /// UDP without a checksum over IPv6, or a fragment of such a datagram over IPv4.
    NoUdpChecksum,
    /// A fragment of an ICMP message.
    IcmpFragment,
    /// An ICMP message that the other family does not know: type and code.
    IcmpMessage(u8, u8),
    /// The packet that an ICMP error quotes comes from or goes to an address that has no other form.
    QuotedAddress,
    /// Longer than the other family's lengths can say.
    TooLong,
    /// Not enough room in front of the packet.
    NoRoom,
}

impl fmt::Display for Untranslatable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(malformed) => write!(f, "{malformed}"),
            Self::Protocol(number) => write!(f, "protocol {number}"),
            Self::NoUdpChecksum => f.write_str("UDP without checksum"),
            Self::IcmpFragment => f.write_str("a fragment of an ICMP message"),
            Self::IcmpMessage(kind, code) => write!(f, "ICMP type {kind} code {code}"),
            Self::QuotedAddress => f.write_str("a quoted address without another form"),
            Self::TooLong => f.write_str("too long"),
            Self::NoRoom => f.write_str("no room in front of the packet"),
        }
    }
}

impl std::error::Error for Untranslatable {}

impl From<Malformed> for Untranslatable {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}
