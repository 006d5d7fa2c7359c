//! Why bytes are not the packet that they claim to be.

use std::fmt;

/// What is wrong with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Malformed {
    /// The frame ends before the header or the packet does.
    Truncated,
    /// The IP version is not what it should be.
    BadVersion,
    /// The IPv4 header claims less than 20 bytes.
    BadHeaderLen,
    /// The IPv4 total length is shorter than the header, or a fragment would end beyond 65,535 bytes.
    BadTotalLen,
    /// The IPv4 header checksum is wrong.
    BadIpChecksum,
    /// The TCP header is incomplete or claims an impossible length.
    BadTcpHeader,
    /// The UDP header is incomplete or its length does not fit the packet.
    BadUdpLen,
    /// The ICMP header is incomplete, or an error quotes nothing that belongs to a TCP or UDP flow.
    BadIcmp,
    /// The ARP packet is not one of IPv4 over Ethernet.
    BadArp,
    /// The VXLAN header is incomplete or lacks the I flag.
    BadVxlan,
    /// The IPv6 extension headers cannot be walked: cut short, too many, or in an impossible order.
    BadIpv6Extension,
    /// An IPv6 fragment whose length is no multiple of eight although more follow, or that ends beyond 65,535 bytes.
    BadIpv6Fragment,
    /// The IPv6 source is no single host.
    BadIpv6Address,
    /// The sender chose the way (IPv6 routing header, IPv4 source route), and it does not end here.
    SourceRoute,
    /// The Ethernet payload is something else than IPv4: its ethertype.
    NotIpv4(u16),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Truncated => "truncated",
            Self::BadVersion => "wrong IP version",
            Self::BadHeaderLen => "bad IPv4 header length",
            Self::BadTotalLen => "bad IPv4 total length",
            Self::BadIpChecksum => "bad IPv4 header checksum",
            Self::BadTcpHeader => "bad TCP header",
            Self::BadUdpLen => "bad UDP length",
            Self::BadIcmp => "bad ICMP message",
            Self::BadArp => "bad ARP packet",
            Self::BadVxlan => "bad VXLAN header",
            Self::BadIpv6Extension => "bad IPv6 extension headers",
            Self::BadIpv6Fragment => "bad IPv6 fragment",
            Self::BadIpv6Address => "IPv6 source is no single host",
            Self::SourceRoute => "source route",
            Self::NotIpv4(ethertype) => return write!(f, "not IPv4 but ethertype {ethertype:#06x}"),
        };
        f.write_str(text)
    }
}

impl std::error::Error for Malformed {}
