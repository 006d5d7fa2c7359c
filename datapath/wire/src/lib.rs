//! Bytes ⇄ headers for the packets that the gateway carries: parsing, checksums, flow keys, edits in place.
//!
//! Everything here is pure: no I/O, no clock, no allocation. Views ([`Ipv4`], [`Tcp`], [`Udp`], [`Icmp`]) are facts by
//! value with offsets into the frame that they were read from; edits take the frame and such a view. Every function
//! survives any bytes: what cannot be parsed is a [`Malformed`], and an edit whose view does not belong to the frame
//! leaves the frame as it is.
#![forbid(unsafe_code)]

pub mod arp;
mod bytes;
pub mod checksum;
mod datagram;
pub mod ethernet;
mod flow;
pub mod fragment;
pub mod icmp;
pub mod ipv4;
pub mod ipv6;
mod mac;
mod malformed;
pub mod parse;
pub mod proxy;
pub mod rewrite;
pub mod tcp;
pub mod translate;
pub mod udp;

pub use arp::Arp;
pub use checksum::Delta;
pub use datagram::Datagram;
pub use ethernet::{ETHERNET_LEN, Ethernet, ethernet, ethertype, write_ethernet};
pub use flow::{FiveTuple, Protocol, UnknownProtocol};
pub use fragment::{FragmentKey, split};
pub use icmp::{
    Icmp, IcmpError, IcmpInner, deserves_icmp_error, echo_reply_in_place, map_quoted_seq, shorten_icmp_error,
    translate_icmp_error, write_icmp_error,
};
pub use ipv4::Ipv4;
pub use ipv6::Ipv6;
pub use mac::{BadMacAddr, MacAddr};
pub use malformed::Malformed;
pub use parse::{Headers, L4};
pub use proxy::{LOCAL_PROXY_HEADER, MAX_PROXY_HEADER_LEN, ProxyHeader};
pub use rewrite::{
    Rewrite, decrement_ttl, finish_partial_checksum, is_checksum_unfinished, l4_checksum_ok, rewrite, route, set_tos,
};
pub use tcp::{
    Tcp, TcpData, TcpFlags, TcpHandshake, TcpOffer, TcpOptions, TcpReset, Timestamps, leave_uncut, reset_for, segment,
    without_fast_open, write_tcp_data, write_tcp_handshake, write_tcp_reset,
};
pub use translate::{Pair, Untranslatable, four_to_six, six_to_four};
pub use udp::{Udp, give_udp_checksum, prepend_to_datagram};
