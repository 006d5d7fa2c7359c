//! Our NAT against the Linux kernel's: packets before and after, captured from nftables (see `golden/capture.py`).
//!
//! What the addresses and ports became is read from the kernel's packet; that everything else became right with them
//! is what is tested, byte for byte.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use common::{Golden, assert_checksums, parse};
use wire::{FiveTuple, Headers, L4, Rewrite, decrement_ttl, rewrite, translate_icmp_error};

/// The clamp of the kernel's rule.
const MSS: u16 = 1360;

fn target(after: &Headers) -> Rewrite {
    let tuple = after.five_tuple();
    let (src_port, dst_port) = tuple.map_or((0, 0), |tuple| (tuple.src_port, tuple.dst_port));
    Rewrite { src: after.ip.src(), dst: after.ip.dst(), src_port, dst_port }
}

/// Edits `before` as the pipeline does and compares it with what the kernel made of it.
fn assert_as_the_kernel(name: &str) {
    let golden = Golden::read(name);
    let (mut packet, after) = (golden.packet("before"), golden.packet("after"));
    let headers = parse(&packet);
    let to = target(&parse(&after));
    assert_ne!(Some((to.src, to.dst)), Some((headers.ip.src(), headers.ip.dst())), "{name}: nothing to do");
    rewrite(&mut packet, &headers, &to);
    decrement_ttl(&mut packet, &headers.ip);
    if let L4::Tcp(tcp) = headers.l4 {
        tcp.clamp_mss(&mut packet, MSS);
    }
    assert_eq!(packet, after, "{name}");
}

#[test]
fn tcp() {
    for name in ["nat_tcp_syn", "nat_tcp_syn_ack", "nat_tcp_data"] {
        assert_as_the_kernel(name);
    }
}

#[test]
fn udp() {
    for name in ["nat_udp", "nat_udp_reply", "nat_udp_no_checksum"] {
        assert_as_the_kernel(name);
    }
}

#[test]
fn fragments() {
    for name in ["nat_udp_first_fragment", "nat_udp_later_fragment"] {
        assert_as_the_kernel(name);
    }
}

/// The flow inside an ICMP error.
fn quoted(packet: &[u8]) -> FiveTuple {
    let headers = parse(packet);
    let L4::Icmp(icmp) = headers.l4 else { panic!("not ICMP") };
    assert!(icmp.is_error());
    icmp.inner(packet).expect("a quote").tuple
}

fn assert_error_as_the_kernel(name: &str) {
    let golden = Golden::read(name);
    let (mut packet, after) = (golden.packet("before"), golden.packet("after"));
    let headers = parse(&packet);
    let L4::Icmp(icmp) = headers.l4 else { panic!("not ICMP") };
    let to = parse(&after).ip;
    assert_ne!(quoted(&packet), quoted(&after), "{name}: nothing to do");
    translate_icmp_error(&mut packet, &headers.ip, &icmp, to.src(), to.dst(), quoted(&after));
    decrement_ttl(&mut packet, &headers.ip);
    assert_checksums(&packet);
    assert_eq!(packet, after, "{name}");
}

#[test]
fn icmp_errors_that_quote_udp() {
    for name in ["nat_icmp_udp_8_bytes", "nat_icmp_udp_whole", "nat_icmp_udp_no_checksum", "nat_icmp_from_client"] {
        assert_error_as_the_kernel(name);
    }
}

#[test]
fn icmp_errors_that_quote_tcp() {
    for name in ["nat_icmp_tcp_8_bytes", "nat_icmp_tcp_whole"] {
        assert_error_as_the_kernel(name);
    }
}
