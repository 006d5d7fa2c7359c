//! Laws of ICMP errors: reading what they quote and translating it.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use common::{Plan, addresses, assert_checksums, parse, plans, tuples};
use proptest::prelude::*;
use wire::{
    FiveTuple, Headers, Icmp, IcmpError, Ipv4, L4, Malformed, Protocol, Rewrite, deserves_icmp_error, l4_checksum_ok,
    rewrite, translate_icmp_error, write_icmp_error,
};

fn icmp_errors() -> impl Strategy<Value = IcmpError> {
    prop_oneof![
        Just(IcmpError::TimeExceeded),
        any::<u16>().prop_map(|mtu| IcmpError::FragmentationNeeded { mtu }),
        Just(IcmpError::PortUnreachable),
        Just(IcmpError::HostUnreachable),
        Just(IcmpError::AdminProhibited),
    ]
}

/// An error from `outer.0` to `outer.1` about a packet, of which it quotes no more than `quote_len` bytes of L4.
fn error_about(
    plan: &Plan,
    error: IcmpError,
    outer: (std::net::Ipv4Addr, std::net::Ipv4Addr),
    quote_len: usize,
) -> Vec<u8> {
    let original = plan.build();
    let quote = &original[..original.len().min(20 + plan.ip_options.len() + quote_len.max(8))];
    let mut buf = vec![0; 576];
    let len = write_icmp_error(&mut buf, error, outer.0, outer.1, quote);
    buf.truncate(len);
    buf
}

fn icmp(packet: &[u8]) -> (Ipv4, Icmp) {
    let Headers { ip, l4: L4::Icmp(icmp) } = parse(packet) else { panic!("not ICMP") };
    (ip, icmp)
}

proptest! {
    #[test]
    fn errors_are_well_formed(plan in plans(), error in icmp_errors(), src in addresses(), dst in addresses()) {
        let packet = error_about(&plan, error, (src, dst), 1000);
        assert_checksums(&packet);
        let (ip, icmp) = icmp(&packet);
        prop_assert!(l4_checksum_ok(&packet, &parse(&packet)));
        prop_assert_eq!((ip.src(), ip.dst(), ip.ttl()), (src, dst, 64));
        prop_assert!(icmp.is_error());
        prop_assert!(!deserves_icmp_error(&parse(&packet)));
        prop_assert_eq!(icmp.inner(&packet).map(|inner| inner.tuple), Ok(plan.tuple));
    }

    /// The translated error is, byte for byte, the error about the translated packet; however much it quotes.
    #[test]
    fn translation_equals_rebuild(
        plan in plans(),
        error in icmp_errors(),
        outer in (addresses(), addresses()),
        new_outer in (addresses(), addresses()),
        mut inner in tuples(),
        // At 17 the quote ends amid the TCP checksum, whose first half then stays as it was.
        quote_len in prop_oneof![8..17usize, 18..80usize],
    ) {
        inner.protocol = plan.tuple.protocol;
        let mut packet = error_about(&plan, error, outer, quote_len);
        let (ip, header) = icmp(&packet);
        translate_icmp_error(&mut packet, &ip, &header, new_outer.0, new_outer.1, inner);
        assert_checksums(&packet);
        let (ip, header) = icmp(&packet);
        prop_assert_eq!((ip.src(), ip.dst()), new_outer);
        prop_assert_eq!(header.inner(&packet).map(|inner| inner.tuple), Ok(inner));
        let target = Plan { tuple: inner, ..plan };
        prop_assert_eq!(packet, error_about(&target, error, new_outer, quote_len));
    }

    #[test]
    fn translation_there_and_back(plan in plans(), outer in (addresses(), addresses()), inner in tuples()) {
        let original = error_about(&plan, IcmpError::PortUnreachable, outer, 8);
        let mut packet = original.clone();
        let (ip, header) = icmp(&packet);
        translate_icmp_error(&mut packet, &ip, &header, outer.1, outer.0, inner);
        let (ip, header) = icmp(&packet);
        translate_icmp_error(&mut packet, &ip, &header, outer.0, outer.1, plan.tuple);
        prop_assert_eq!(packet, original);
    }
}

/// The error about a SYN, as the kernel sent it, to be spoiled.
fn golden() -> Vec<u8> {
    common::Golden::read("nat_icmp_tcp_8_bytes").packet("before")
}

const QUOTED_IP: usize = 28;
const QUOTED_PORTS: usize = 48;

fn inner_of(packet: &[u8]) -> Result<wire::IcmpInner, Malformed> {
    let (_, icmp) = icmp(packet);
    icmp.inner(packet)
}

#[test]
fn quotes_are_read_leniently() {
    let mut packet = golden();
    // Total length, TTL and checksum of a quote may be anything.
    packet[QUOTED_IP + 2..QUOTED_IP + 4].fill(0xff);
    packet[QUOTED_IP + 8] = 0;
    packet[QUOTED_IP + 10..QUOTED_IP + 12].fill(0x12);
    let inner = inner_of(&packet).expect("good enough");
    assert_eq!((inner.offset, inner.header_len, inner.later_fragment), (QUOTED_IP, 20, false));
    assert_eq!((inner.tuple.protocol, inner.tuple.dst_port), (Protocol::Tcp, 8000));
}

#[test]
fn quotes_without_a_flow_are_malformed() {
    let spoil = |at: usize, value: u8| {
        let mut packet = golden();
        packet[at] = value;
        inner_of(&packet)
    };
    assert_eq!(spoil(QUOTED_IP, 0x65), Err(Malformed::BadVersion));
    assert_eq!(spoil(QUOTED_IP, 0x44), Err(Malformed::BadHeaderLen));
    assert_eq!(spoil(QUOTED_IP, 0x4f), Err(Malformed::Truncated));
    // Eight bytes less than a header of 28 bytes needs.
    assert_eq!(spoil(QUOTED_IP, 0x47), Err(Malformed::BadIcmp));
    assert_eq!(spoil(QUOTED_IP + 9, 1), Err(Malformed::BadIcmp));
}

#[test]
fn padding_is_not_part_of_the_quote() {
    let mut packet = golden();
    packet.truncate(QUOTED_PORTS);
    packet[3] = QUOTED_PORTS as u8;
    packet[10..12].fill(0);
    let checksum = wire::checksum::internet(&packet[..20]);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet.extend([0x55; 20]);
    assert_eq!(inner_of(&packet), Err(Malformed::BadIcmp));
}

#[test]
fn a_quoted_later_fragment_has_addresses_only() {
    let mut packet = golden();
    packet[QUOTED_IP + 7] = 185;
    let ports = packet[QUOTED_PORTS..].to_vec();
    let inner = inner_of(&packet).expect("addresses");
    assert!(inner.later_fragment);
    assert_eq!((inner.tuple.src_port, inner.tuple.dst_port), (0, 0));
    let (ip, header) = icmp(&packet);
    let target = FiveTuple { src_port: 7, dst_port: 7, ..inner.tuple.reversed() };
    translate_icmp_error(&mut packet, &ip, &header, ip.dst(), ip.src(), target);
    assert_eq!(packet[QUOTED_PORTS..], ports);
    assert_eq!(inner_of(&packet).map(|inner| inner.tuple.src), Ok(target.src));
}

#[test]
fn no_error_about_what_has_no_sender() {
    let deserves = |src: [u8; 4], dst: [u8; 4]| {
        let mut packet = common::Golden::read("nat_udp").packet("before");
        let to = Rewrite { src: src.into(), dst: dst.into(), src_port: 1, dst_port: 2 };
        let headers = parse(&packet);
        rewrite(&mut packet, &headers, &to);
        deserves_icmp_error(&parse(&packet))
    };
    assert!(deserves([198, 18, 0, 2], [10, 0, 0, 11]));
    assert!(deserves([10, 0, 0, 1], [223, 0, 0, 0]));
    for bad in [[0, 0, 0, 0], [0, 1, 2, 3], [127, 0, 0, 1], [224, 0, 0, 1], [255, 255, 255, 255]] {
        assert!(!deserves(bad, [10, 0, 0, 11]), "{bad:?}");
    }
    assert!(deserves([248, 0, 0, 1], [240, 0, 0, 1]), "IPv6 hosts");
    assert!(!deserves([198, 18, 0, 2], [239, 1, 1, 1]));
    let later = parse(&common::Golden::read("nat_udp_later_fragment").packet("before"));
    assert!(!deserves_icmp_error(&later));
    // An echo request is ICMP, but no error.
    assert!(deserves_icmp_error(&parse(&common::Golden::read("icmp_echo").packet("request"))));
}
