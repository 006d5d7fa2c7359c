//! The real program, run by the kernel on packets made by hand (`BPF_PROG_TEST_RUN`): needs root, but touches no interface.

use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::{FilterListen, FilterOverlay, FilterPlain, FilterSnat};

const CLIENT: [u8; 4] = [192, 0, 2, 7];
const VIP: [u8; 4] = [198, 18, 0, 1];
const OTHER: [u8; 4] = [198, 18, 0, 99];
const VTEP: [u8; 4] = [198, 18, 1, 1];
const NODE: [u8; 4] = [198, 18, 1, 11];
const GATEWAY_INNER: [u8; 4] = [10, 0, 0, 3];
const TASK: [u8; 4] = [10, 0, 0, 11];
const SNAT: [u8; 4] = [198, 18, 2, 1];
const OTHER_SNAT: [u8; 4] = [198, 18, 2, 2];
const BACKEND: [u8; 4] = [198, 18, 3, 8];
const ANY_PORT_BACKEND: [u8; 4] = [198, 18, 3, 9];

const TCP: u8 = 6;
const UDP: u8 = 17;
const PASS: u32 = 2;

fn rules() -> FilterRules {
    let listen = |ports, protocol| FilterListen { address: VIP.into(), ports, protocol };
    FilterRules {
        listens: vec![listen(8080..=8080, TCP), listen(6000..=6127, TCP), listen(53..=53, UDP)],
        overlays: vec![FilterOverlay {
            vtep: VTEP.into(),
            port: 4789,
            vni: 4096,
            addresses: vec![GATEWAY_INNER.into()],
        }],
        plain: vec![
            FilterPlain { backend: BACKEND.into(), port: 80, protocol: TCP },
            FilterPlain { backend: BACKEND.into(), port: 53, protocol: UDP },
            FilterPlain { backend: ANY_PORT_BACKEND.into(), port: 0, protocol: TCP },
        ],
        snat: [SNAT, OTHER_SNAT].map(|address| FilterSnat { address: address.into(), ports: 20_000..=29_999 }).into(),
    }
}

/// The filter with these rules; None, loudly, without root.
fn filter() -> Option<XdpFilter> {
    // SAFETY: asks for a number.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("SKIPPED: the XDP filter's tests need root");
        return None;
    }
    let mut filter = XdpFilter::load().unwrap();
    filter.publish(&rules()).unwrap();
    Some(filter)
}

impl XdpFilter {
    fn run(&mut self, packet: &[u8]) -> u32 {
        self.try_frame(packet).unwrap().0
    }

    /// The verdict, by the counter that moved. Without a socket, what was taken is passed, and counted as such.
    fn verdict(&mut self, packet: &[u8]) -> &'static str {
        let before = self.counters();
        assert_eq!(self.run(packet), PASS);
        let moved: Vec<&'static str> =
            before.iter().zip(self.counters()).filter(|(old, new)| old.1 != new.1).map(|(old, _)| old.0).collect();
        match *moved {
            [only] if only.starts_with("pass_") => only,
            [verdict, "pass_no_socket"] => verdict,
            _ => panic!("these counters moved: {moved:?}"),
        }
    }
}

/// Asserts the verdict of each packet.
fn expect(cases: &[(&str, &'static str, Vec<u8>)]) {
    let Some(mut filter) = filter() else { return };
    for (what, verdict, packet) in cases {
        assert_eq!(filter.verdict(packet), *verdict, "{what}");
    }
}

fn ethernet(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame
}

/// An IPv4 packet; `fragment` is the field with the flags, `options` are multiples of 4 bytes. The filter checks no checksum.
fn ip_with(
    source: [u8; 4],
    destination: [u8; 4],
    protocol: u8,
    fragment: u16,
    options: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    let header_words = 5 + options.len() / 4;
    let mut packet = vec![0x40 | header_words as u8, 0];
    packet.extend(((header_words * 4 + payload.len()) as u16).to_be_bytes());
    packet.extend([0, 1]);
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, protocol, 0, 0]);
    packet.extend(source);
    packet.extend(destination);
    packet.extend(options);
    packet.extend(payload);
    packet
}

fn ip(source: [u8; 4], destination: [u8; 4], protocol: u8, payload: &[u8]) -> Vec<u8> {
    ip_with(source, destination, protocol, 0, &[], payload)
}

fn ports(source: u16, destination: u16) -> Vec<u8> {
    [source.to_be_bytes(), destination.to_be_bytes(), [0, 8], [0, 0]].concat()
}

fn packet(source: [u8; 4], destination: [u8; 4], protocol: u8, from: u16, to: u16) -> Vec<u8> {
    ethernet(0x0800, &ip(source, destination, protocol, &ports(from, to)))
}

fn fragment(source: [u8; 4], destination: [u8; 4], protocol: u8, field: u16, to: u16) -> Vec<u8> {
    ethernet(0x0800, &ip_with(source, destination, protocol, field, &[], &ports(53, to)))
}

fn vxlan_with(destination: [u8; 4], port: u16, flags: u8, vni: u32, inner: &[u8]) -> Vec<u8> {
    let mut payload = ports(50_000, port);
    payload.extend([flags, 0, 0, 0]);
    payload.extend((vni << 8).to_be_bytes());
    payload.extend(inner);
    ip(NODE, destination, UDP, &payload)
}

fn vxlan(vni: u32, inner: &[u8]) -> Vec<u8> {
    ethernet(0x0800, &vxlan_with(VTEP, 4789, 8, vni, inner))
}

fn arp(target: [u8; 4]) -> Vec<u8> {
    let mut bytes = vec![0, 1, 8, 0, 6, 4, 0, 1, 2, 66, 10, 0, 0, 11];
    bytes.extend(TASK);
    bytes.extend([0; 6]);
    bytes.extend(target);
    ethernet(0x0806, &bytes)
}

fn icmp(source: [u8; 4], destination: [u8; 4], kind: u8, quoted: &[u8]) -> Vec<u8> {
    let mut payload = vec![kind, 0, 0, 0, 0, 0, 0, 0];
    payload.extend(quoted);
    ethernet(0x0800, &ip(source, destination, 1, &payload))
}

#[test]
fn takes_published_ports_and_no_others() {
    let options = [1_u8; 40];
    expect(&[
        ("published", "listen", packet(CLIENT, VIP, TCP, 40_000, 8080)),
        ("range, first", "listen", packet(CLIENT, VIP, TCP, 40_000, 6000)),
        ("range, last", "listen", packet(CLIENT, VIP, TCP, 40_000, 6127)),
        ("udp", "listen", packet(CLIENT, VIP, UDP, 40_000, 53)),
        ("below the range", "pass_not_ours", packet(CLIENT, VIP, TCP, 40_000, 5999)),
        ("above the range", "pass_not_ours", packet(CLIENT, VIP, TCP, 40_000, 6128)),
        ("ssh", "pass_not_ours", packet(CLIENT, VIP, TCP, 40_000, 22)),
        ("other protocol", "pass_not_ours", packet(CLIENT, VIP, UDP, 40_000, 8080)),
        ("other address", "pass_not_ours", packet(CLIENT, OTHER, TCP, 40_000, 8080)),
        ("a reply from the VIP", "pass_not_ours", packet(VIP, CLIENT, TCP, 8080, 40_000)),
        ("gre", "pass_not_ours", packet(CLIENT, VIP, 47, 40_000, 8080)),
        ("options", "listen", ethernet(0x0800, &ip_with(CLIENT, VIP, TCP, 0, &options, &ports(1, 8080)))),
        (
            "ports in options",
            "pass_not_ours",
            ethernet(0x0800, &ip_with(CLIENT, VIP, TCP, 0, &ports(1, 8080), &ports(1, 22))),
        ),
    ]);
}

#[test]
fn leaves_other_protocols_and_nonsense_to_the_kernel() {
    let good = packet(CLIENT, VIP, TCP, 40_000, 8080);
    let with = |at: usize, value: u8| {
        let mut packet = good.clone();
        packet[at] = value;
        packet
    };
    expect(&[
        ("arp", "pass_not_ipv4", arp(VIP)),
        ("a cut ipv6 header", "pass_malformed", ethernet(0x86dd, &good[14..])),
        ("vlan", "pass_not_ipv4", ethernet(0x8100, &[&[0, 5, 8, 0][..], &good[14..]].concat())),
        ("cut in the address", "pass_malformed", good[..33].to_vec()),
        ("cut in the ports", "pass_malformed", good[..36].to_vec()),
        ("just the ports", "listen", good[..38].to_vec()),
        ("version 6", "pass_malformed", with(14, 0x65)),
        ("header of 16 bytes", "pass_malformed", with(14, 0x44)),
        ("header longer than the packet", "pass_malformed", with(14, 0x4f)),
    ]);
}

#[test]
fn takes_fragments_that_may_be_ours() {
    const MORE: u16 = 0x2000;
    expect(&[
        ("first, published", "fragment", fragment(CLIENT, VIP, UDP, MORE, 53)),
        ("first, not published", "pass_not_ours", fragment(CLIENT, VIP, UDP, MORE, 54)),
        ("middle", "fragment", fragment(CLIENT, VIP, UDP, MORE | 0xb9, 54)),
        ("last", "fragment", fragment(CLIENT, VIP, UDP, 370, 54)),
        ("don't fragment", "listen", fragment(CLIENT, VIP, UDP, 0x4000, 53)),
        ("other address", "pass_not_ours", fragment(CLIENT, OTHER, UDP, 185, 53)),
        ("protocol without services", "pass_not_ours", fragment(CLIENT, VIP, 47, 185, 53)),
    ]);
}

#[test]
fn takes_icmp_to_vips() {
    expect(&[
        ("echo", "vip_icmp", icmp(CLIENT, VIP, 8, &[1; 56])),
        ("error", "vip_icmp", icmp(CLIENT, VIP, 3, &ip(VIP, CLIENT, TCP, &ports(8080, 40_000)))),
        ("echo to another", "pass_not_ours", icmp(CLIENT, OTHER, 8, &[1; 56])),
        ("echo to the SNAT address", "pass_not_ours", icmp(CLIENT, SNAT, 8, &[1; 56])),
    ]);
}

#[test]
fn takes_overlay_packets_for_our_inner_address() {
    let inner = |destination| ethernet(0x0800, &ip(TASK, destination, TCP, &ports(8000, 30_000)));
    let (ours, others) = (inner(GATEWAY_INNER), inner(TASK));
    let outer = |payload: &[u8]| ethernet(0x0800, payload);
    let mut fragmented = vxlan(4096, &ours);
    fragmented[20] = 0x20;
    expect(&[
        ("ours", "overlay", vxlan(4096, &ours)),
        ("another's", "pass_not_ours", vxlan(4096, &others)),
        ("other network", "pass_not_ours", vxlan(4097, &ours)),
        ("no VNI", "pass_not_ours", outer(&vxlan_with(VTEP, 4789, 0, 4096, &ours))),
        ("other flags too", "overlay", outer(&vxlan_with(VTEP, 4789, 0xff, 4096, &ours))),
        ("other port", "pass_not_ours", outer(&vxlan_with(VTEP, 4790, 8, 4096, &ours))),
        ("other vtep", "pass_not_ours", outer(&vxlan_with(OTHER, 4789, 8, 4096, &ours))),
        ("arp for us", "overlay_arp", vxlan(4096, &arp(GATEWAY_INNER))),
        ("arp for another", "pass_not_ours", vxlan(4096, &arp(TASK))),
        ("inner ipv6", "pass_not_ours", vxlan(4096, &ethernet(0x86dd, &[0; 60]))),
        ("fragment of the outer packet", "pass_not_ours", fragmented),
        ("cut in the inner packet", "pass_malformed", vxlan(4096, &ours[..30])),
        ("empty", "pass_malformed", vxlan(4096, &[])),
    ]);
}

#[test]
fn takes_answers_of_plain_backends() {
    let tcp = |source, from, to| packet(source, SNAT, TCP, from, to);
    expect(&[
        ("answer", "plain", tcp(BACKEND, 80, 20_000)),
        ("last port", "plain", tcp(BACKEND, 80, 29_999)),
        ("any port", "plain", tcp(ANY_PORT_BACKEND, 12_345, 25_000)),
        ("udp", "plain", packet(BACKEND, SNAT, UDP, 53, 25_000)),
        ("below our ports", "pass_not_ours", tcp(BACKEND, 80, 19_999)),
        ("above our ports", "pass_not_ours", tcp(BACKEND, 80, 30_000)),
        ("other port of the backend", "pass_not_ours", tcp(BACKEND, 81, 25_000)),
        ("other protocol of the backend", "pass_not_ours", packet(ANY_PORT_BACKEND, SNAT, UDP, 53, 25_000)),
        ("no backend", "pass_not_ours", tcp(CLIENT, 80, 25_000)),
        ("to another address", "pass_not_ours", packet(BACKEND, OTHER, TCP, 80, 25_000)),
        ("later fragment", "plain_fragment", fragment(BACKEND, SNAT, UDP, 185, 1)),
        ("first fragment", "plain", fragment(BACKEND, SNAT, UDP, 0x2000, 25_000)),
        ("later fragment of no backend", "pass_not_ours", fragment(CLIENT, SNAT, UDP, 185, 1)),
        ("later fragment of another protocol", "pass_not_ours", fragment(ANY_PORT_BACKEND, SNAT, UDP, 185, 1)),
    ]);
}

#[test]
fn takes_icmp_errors_about_what_we_sent_to_plain_backends() {
    let about = |from, to, source, destination| ip(source, destination, TCP, &ports(from, to)[..8]);
    let ours = about(20_001, 80, SNAT, BACKEND);
    let error = |kind, quoted: &[u8]| icmp(NODE, SNAT, kind, quoted);
    let options = ip_with(SNAT, BACKEND, TCP, 0, &[1; 8], &ports(20_001, 80));
    expect(&[
        ("unreachable", "plain_icmp", error(3, &ours)),
        ("time exceeded", "plain_icmp", error(11, &ours)),
        ("source quench", "pass_not_ours", error(4, &ours)),
        ("redirect", "pass_not_ours", error(5, &ours)),
        ("quoted options", "plain_icmp", error(3, &options)),
        ("echo", "pass_not_ours", error(8, &ours)),
        ("not our port", "pass_not_ours", error(3, &about(19_999, 80, SNAT, BACKEND))),
        ("not our backend", "pass_not_ours", error(3, &about(20_001, 80, SNAT, CLIENT))),
        ("not its port", "pass_not_ours", error(3, &about(20_001, 81, SNAT, BACKEND))),
        ("not from us", "pass_not_ours", error(3, &about(20_001, 80, OTHER, BACKEND))),
        ("not from this address of ours", "pass_not_ours", error(3, &about(20_001, 80, OTHER_SNAT, BACKEND))),
        ("cut", "pass_malformed", error(3, &ours[..22])),
    ]);
}

#[test]
fn publishes_the_difference() {
    let Some(mut filter) = filter() else { return };
    let published = packet(CLIENT, VIP, TCP, 40_000, 8080);
    let range = packet(CLIENT, VIP, TCP, 40_000, 6100);
    let mut fewer = rules();
    fewer.listens.remove(1);
    fewer.plain.clear();
    filter.publish(&fewer).unwrap();
    assert_eq!(filter.verdict(&published), "listen");
    assert_eq!(filter.verdict(&range), "pass_not_ours");
    assert_eq!(filter.verdict(&packet(BACKEND, SNAT, TCP, 80, 20_000)), "pass_not_ours");
    filter.publish(&rules()).unwrap();
    assert_eq!(filter.verdict(&range), "listen");
    assert_eq!(filter.verdict(&packet(BACKEND, SNAT, TCP, 80, 20_000)), "plain");
    filter.publish(&FilterRules::default()).unwrap();
    assert_eq!(filter.verdict(&published), "pass_not_ours");
    assert_eq!(filter.verdict(&icmp(CLIENT, VIP, 8, &[0; 8])), "pass_not_ours");
}

#[test]
fn holds_many_backends_and_ports() {
    let Some(mut filter) = filter() else { return };
    let mut rules = rules();
    rules.listens = (0..500_u32)
        .map(|n| FilterListen { address: Ipv4Addr::from(0xc612_0000 + n).into(), ports: 1..=65_535, protocol: TCP })
        .collect();
    rules.plain = (0..20_000_u32)
        .map(|n| FilterPlain { backend: Ipv4Addr::from(n << 8).into(), port: 80, protocol: TCP })
        .collect();
    filter.publish(&rules).unwrap();
    assert_eq!(filter.verdict(&packet(CLIENT, [198, 18, 1, 243], TCP, 1, 65_535)), "listen");
    assert_eq!(filter.verdict(&packet(CLIENT, [198, 18, 1, 243], TCP, 1, 0)), "pass_not_ours");
    assert_eq!(filter.verdict(&packet([0, 78, 31, 0], SNAT, TCP, 80, 20_000)), "plain");
}

#[test]
fn says_what_is_wrong() {
    let Some(mut filter) = filter() else { return };
    let error = filter.attach("nosuch0", XdpMode::Auto).unwrap_err().to_string();
    assert!(error.starts_with("nosuch0: there is no such interface"), "{error}");
}

#[test]
fn any_bytes_are_judged() {
    let Some(filter) = filter() else { return };
    let filter = std::cell::RefCell::new(filter);
    let bytes = prop::collection::vec(any::<u8>(), 14..200);
    // Random bytes rarely look like IPv4: half of them are made to.
    let packets = prop_oneof![bytes.clone(), bytes.prop_map(|bytes| ethernet(0x0800, &bytes))];
    proptest::test_runner::TestRunner::default()
        .run(&packets, |packet| {
            prop_assert_eq!(filter.borrow_mut().run(&packet), PASS);
            Ok(())
        })
        .unwrap();
}

#[path = "filter_six_tests.rs"]
mod six;
