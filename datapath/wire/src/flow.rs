//! The key of a flow.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// The L4 protocols that are balanced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Protocol {
    /// TCP.
    Tcp = 6,
    /// UDP.
    Udp = 17,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `pad` honours a width, for tables.
        f.pad(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// A text or an IP protocol number that is neither TCP nor UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownProtocol;

impl fmt::Display for UnknownProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the protocol is neither tcp nor udp")
    }
}

impl std::error::Error for UnknownProtocol {}

impl FromStr for Protocol {
    type Err = UnknownProtocol;

    fn from_str(text: &str) -> Result<Self, UnknownProtocol> {
        match text {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            _ => Err(UnknownProtocol),
        }
    }
}

impl TryFrom<u8> for Protocol {
    type Error = UnknownProtocol;

    fn try_from(number: u8) -> Result<Self, UnknownProtocol> {
        match number {
            6 => Ok(Self::Tcp),
            17 => Ok(Self::Udp),
            _ => Err(UnknownProtocol),
        }
    }
}

/// What tells one flow from another, in the direction of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FiveTuple {
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
}

impl FiveTuple {
    /// The same flow as the other side sends it.
    #[must_use]
    #[inline]
    pub const fn reversed(self) -> Self {
        Self { src: self.dst, dst: self.src, src_port: self.dst_port, dst_port: self.src_port, protocol: self.protocol }
    }
}

impl fmt::Display for FiveTuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { src, dst, src_port, dst_port, protocol } = self;
        write!(f, "{protocol} {src}:{src_port} > {dst}:{dst_port}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_reverse() {
        let tuple = FiveTuple {
            src: Ipv4Addr::new(1, 2, 3, 4),
            dst: Ipv4Addr::new(6, 7, 8, 9),
            src_port: 5,
            dst_port: 10,
            protocol: Protocol::Tcp,
        };
        assert_eq!(tuple.to_string(), "tcp 1.2.3.4:5 > 6.7.8.9:10");
        assert_eq!(tuple.reversed().to_string(), "tcp 6.7.8.9:10 > 1.2.3.4:5");
        assert_eq!(tuple.reversed().reversed(), tuple);
    }

    #[test]
    fn protocols() {
        assert_eq!("udp".parse(), Ok(Protocol::Udp));
        assert_eq!("sctp".parse::<Protocol>(), Err(UnknownProtocol));
        assert_eq!(Protocol::try_from(Protocol::Tcp as u8), Ok(Protocol::Tcp));
        assert_eq!(Protocol::try_from(1), Err(UnknownProtocol));
    }
}
