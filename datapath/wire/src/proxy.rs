//! The header of the PROXY protocol, version 2 (HAProxy's `proxy-protocol.txt`, section 2.2): who the client is, said in
//! front of its first byte.

use std::net::{IpAddr, SocketAddr};

use crate::Protocol;

/// The twelve bytes that no other protocol begins with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, command PROXY.
const PROXY: u8 = 0x21;
/// Version 2, command LOCAL.
const LOCAL: u8 = 0x20;
const FIXED_LEN: usize = 16;
const IPV4_LEN: usize = FIXED_LEN + 12;
const IPV6_LEN: usize = FIXED_LEN + 36;

/// The longest header that is written here: IPv6, no TLVs.
pub const MAX_PROXY_HEADER_LEN: usize = IPV6_LEN;

/// What opens a connection that is nobody's but the sender's own, such as a health check: command LOCAL, no addresses.
pub const LOCAL_PROXY_HEADER: [u8; FIXED_LEN] =
    [b'\r', b'\n', b'\r', b'\n', 0, b'\r', b'\n', b'Q', b'U', b'I', b'T', b'\n', LOCAL, 0, 0, 0];

/// A header, written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyHeader {
    bytes: [u8; MAX_PROXY_HEADER_LEN],
    len: usize,
}

impl ProxyHeader {
    /// Command PROXY: `client` has connected to `destination`. If only one of them is IPv4, it is written as a mapped
    /// IPv6 address (RFC 4291, 2.5.5.2): a header has one family.
    #[must_use]
    pub fn new(client: SocketAddr, destination: SocketAddr, protocol: Protocol) -> Self {
        let mut bytes = [0; MAX_PROXY_HEADER_LEN];
        bytes[..SIGNATURE.len()].copy_from_slice(&SIGNATURE);
        bytes[12] = PROXY;
        let transport = match protocol {
            Protocol::Tcp => 1,
            Protocol::Udp => 2,
        };
        let (family, len) = match (client.ip(), destination.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                bytes[16..20].copy_from_slice(&from.octets());
                bytes[20..24].copy_from_slice(&to.octets());
                (0x10, IPV4_LEN)
            }
            (from, to) => {
                bytes[16..32].copy_from_slice(&in_v6(from));
                bytes[32..48].copy_from_slice(&in_v6(to));
                (0x20, IPV6_LEN)
            }
        };
        bytes[13] = family | transport;
        bytes[14..16].copy_from_slice(&((len - FIXED_LEN) as u16).to_be_bytes());
        bytes[len - 4..len - 2].copy_from_slice(&client.port().to_be_bytes());
        bytes[len - 2..len].copy_from_slice(&destination.port().to_be_bytes());
        Self { bytes, len }
    }

    /// The bytes: an even number of them.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

fn in_v6(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn header(client: &str, destination: &str, protocol: Protocol) -> Vec<u8> {
        ProxyHeader::new(client.parse().unwrap(), destination.parse().unwrap(), protocol).bytes().to_vec()
    }

    /// By hand from section 2.2 of the specification.
    #[test]
    fn ipv4() {
        let expected = [
            &[0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a][..],
            &[0x21, 0x11, 0x00, 0x0c],
            &[198, 19, 0, 2, 198, 18, 0, 1],
            &[0x9c, 0x40, 0x1f, 0x90],
        ];
        assert_eq!(header("198.19.0.2:40000", "198.18.0.1:8080", Protocol::Tcp), expected.concat());
        assert_eq!(header("198.19.0.2:40000", "198.18.0.1:8080", Protocol::Udp)[13], 0x12);
    }

    #[test]
    fn ipv6() {
        let bytes = header("[2001:db8::7]:40000", "[2001:db8::1]:443", Protocol::Tcp);
        assert_eq!((bytes.len(), &bytes[12..16]), (52, &[0x21, 0x21, 0x00, 0x24][..]));
        assert_eq!(bytes[16..32], [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
        assert_eq!(bytes[32..48], [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(bytes[48..], [0x9c, 0x40, 0x01, 0xbb]);
        let mixed = header("[2001:db8::7]:40000", "198.18.0.1:443", Protocol::Udp);
        assert_eq!((mixed[13], mixed.len()), (0x22, 52));
        assert_eq!(mixed[32..48], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 198, 18, 0, 1]);
    }

    #[test]
    fn local() {
        assert_eq!(LOCAL_PROXY_HEADER[..12], header("1.1.1.1:1", "1.1.1.1:1", Protocol::Tcp)[..12]);
        assert_eq!(LOCAL_PROXY_HEADER[12..], [0x20, 0, 0, 0]);
    }
}
