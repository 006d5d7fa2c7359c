//! The translation against the Linux kernel, which sent every packet over IPv6 and over IPv4 (`golden/capture6.py`).
//!
//! What the kernel chooses by family is blanked before the comparison: flow label, identification, DF, the TOS of
//! errors. All else must be equal, byte for byte.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::net::{Ipv4Addr, Ipv6Addr};

use common::six::{assert_checksum6, parse6, to_four, to_six};
use common::{Golden, assert_checksums, parse, slow_sum};
use wire::translate::ROOM;
use wire::{Ipv6, Malformed, Pair, Untranslatable};

/// The hosts of the capture.
const HOSTS: [([u16; 8], [u8; 4]); 3] = [
    ([0x2001, 0xdb8, 1, 0, 0, 0, 0, 2], [198, 18, 0, 2]),
    ([0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x11], [10, 0, 0, 11]),
    ([0x2001, 0xdb8, 1, 0, 0, 0, 0, 1], [198, 18, 0, 1]),
];

fn narrow(address: Ipv6Addr) -> Option<Ipv4Addr> {
    HOSTS.iter().find(|(six, _)| Ipv6Addr::from(*six) == address).map(|(_, four)| Ipv4Addr::from(*four))
}

fn widen(address: Ipv4Addr) -> Option<Ipv6Addr> {
    HOSTS.iter().find(|(_, four)| Ipv4Addr::from(*four) == address).map(|(six, _)| Ipv6Addr::from(*six))
}

fn four_of(packet: &[u8]) -> Vec<u8> {
    let mut frame = packet.to_vec();
    let ip = parse6(&frame);
    let to = Pair { src: narrow(ip.src).expect("a host"), dst: narrow(ip.dst).expect("a host") };
    let range = wire::six_to_four(&mut frame, &ip, to, 0, narrow).expect("translatable");
    frame[range].to_vec()
}

fn six_of(packet: &[u8]) -> Vec<u8> {
    let mut frame = [vec![0xee; ROOM], packet.to_vec()].concat();
    let ip = parse(packet).ip;
    let to = Pair { src: widen(ip.src()).expect("a host"), dst: widen(ip.dst()).expect("a host") };
    let range = wire::four_to_six(&mut frame, ROOM, to, widen).expect("translatable");
    frame[range].to_vec()
}

/// Blanks what is chosen by family, in the packet and in the one that it quotes. Checksums have been looked at before.
fn blank4(packet: &[u8]) -> Vec<u8> {
    assert_checksums(packet);
    let mut packet = packet.to_vec();
    let is_error = packet[9] == 1 && !matches!(packet[20], 0 | 8);
    let blank = |header: &mut [u8]| [1, 4, 5, 6, 10, 11].into_iter().for_each(|at| header[at] = 0);
    blank(&mut packet);
    if is_error {
        blank(&mut packet[28..48]);
        packet[22..24].fill(0);
    }
    packet
}

/// As [`blank4`] for IPv6.
fn blank6(packet: &[u8]) -> Vec<u8> {
    assert_checksum6(packet);
    let mut packet = packet.to_vec();
    let is_error = packet[6] == 58 && packet[40] < 128;
    packet[0..4].fill(0);
    if is_error {
        packet[48..52].fill(0);
        packet[42..44].fill(0);
    }
    packet
}

fn assert_as_the_kernel(name: &str, labels: &[&str]) {
    let golden = Golden::read(name);
    for label in labels {
        let (six, four) = (golden.packet(&format!("six_{label}")), golden.packet(&format!("four_{label}")));
        assert_eq!(blank4(&four_of(&six)), blank4(&four), "{name} {label}");
        assert_eq!(blank6(&six_of(&four)), blank6(&six), "{name} {label}");
    }
}

#[test]
fn echo() {
    assert_as_the_kernel("six_echo", &["request", "reply"]);
}

#[test]
fn port_unreachable() {
    assert_as_the_kernel("six_udp_refused", &["datagram", "error"]);
}

#[test]
fn time_exceeded() {
    assert_as_the_kernel("six_time_exceeded", &["datagram", "error"]);
}

/// Numbers and timestamps are the kernel's own in every connection: only the checksums can be asked, and the rest is
/// what it was.
#[test]
fn tcp() {
    for label in ["syn", "syn_ack", "data"] {
        let packet = Golden::read("six_tcp").packet(&format!("six_{label}"));
        let four = four_of(&packet);
        assert_checksums(&four);
        assert_eq!((&four[20..36], &four[38..]), (&packet[40..56], &packet[58..]), "{label}");
        assert_eq!(blank6(&six_of(&four)), blank6(&packet), "{label}");
        let packet = Golden::read("six_tcp").packet(&format!("four_{label}"));
        let six = six_of(&packet);
        assert_checksum6(&six);
        assert_eq!((&six[40..56], &six[58..]), (&packet[20..36], &packet[38..]), "{label}");
    }
}

/// The two families cut at other places; joined, the datagrams are equal.
#[test]
fn fragments() {
    let golden = Golden::read("six_fragments");
    let [first6, later6, first4, later4] =
        ["six_first", "six_later", "four_first", "four_later"].map(|l| golden.packet(l));
    let [first, later] = [four_of(&first6), four_of(&later6)];
    assert_eq!([&first[20..], &later[20..]].concat(), [&first4[20..], &later4[20..]].concat());
    let facts = [parse(&first).ip, parse(&later).ip];
    assert_eq!(facts.map(|ip| (ip.more_fragments(), ip.fragment_offset_bytes())), [(true, 0), (false, 1448)]);
    assert!(facts[0].id() == facts[1].id() && facts[0].id() == parse6(&first6).fragment.expect("a fragment").id as u16);
    for facts in facts {
        assert!(!facts.dont_fragment());
    }

    let [first, later] = [six_of(&first4), six_of(&later4)];
    assert_eq!([&first[48..], &later[48..]].concat(), [&first6[48..], &later6[48..]].concat());
    let facts = [parse6(&first), parse6(&later)].map(|ip| ip.fragment.expect("a fragment"));
    assert_eq!(facts.map(|fragment| (fragment.more, fragment.offset_bytes)), [(true, 0), (false, 1480)]);
    assert_eq!(facts.map(|fragment| fragment.id), [u32::from(parse(&first4).ip.id()); 2]);
}

/// The router's MTU of 1400 is 1380 for who sends IPv4 through the translation, and 1420 the other way.
#[test]
fn packet_too_big() {
    let golden = Golden::read("six_too_big");
    assert_eq!(golden.packet("six_error").len(), 1280);
    let four = four_of(&golden.packet("six_error"));
    assert_checksums(&four);
    assert_eq!(&four[20..22], &[3, 4]);
    assert_eq!(&four[24..28], &u32::to_be_bytes(1380));
    let quoted = four_of(&golden.packet("six_datagram"));
    assert_eq!(&four[48..], &quoted[20..four.len() - 28]);

    let six = six_of(&golden.packet("four_error"));
    assert_checksum6(&six);
    assert_eq!((&six[40..42], &six[44..48]), (&[2, 0][..], &u32::to_be_bytes(1420)[..]));
    let quoted = six_of(&golden.packet("four_datagram"));
    assert_eq!(&six[88..], &quoted[40..six.len() - 48]);
}

fn refused(packet: &[u8]) -> Untranslatable {
    let to = Pair { src: Ipv4Addr::LOCALHOST, dst: Ipv4Addr::LOCALHOST };
    to_four(packet, to).expect_err("refused")
}

/// What is no IPv6 packet, and by what name.
#[test]
fn malformed() {
    use Malformed::{BadIcmp, BadIpv6Extension, BadIpv6Fragment, BadUdpLen, BadVersion, SourceRoute, Truncated};
    let datagram = Golden::read("six_udp_refused").packet("six_datagram");
    let spoiled = |at: usize, value: u8| {
        let mut packet = datagram.clone();
        packet[at] = value;
        refused(&packet)
    };
    let extended = |headers: &[(u8, Vec<u8>)]| refused(&common::six::extend(&datagram, headers));
    let options = |number: u8| (number, vec![0; 8]);
    let fragment = common::six::fragment_header;
    assert_eq!(spoiled(0, 0x40), BadVersion.into());
    assert_eq!(spoiled(5, 21), Truncated.into());
    assert_eq!(refused(&datagram[..39]), Truncated.into());
    assert_eq!(spoiled(5, 7), BadUdpLen.into());
    assert_eq!(spoiled(45, 21), BadUdpLen.into());
    assert_eq!(spoiled(6, 58), BadIcmp.into(), "a wrong checksum");
    assert_eq!(spoiled(6, 59), Untranslatable::Protocol(59));
    assert_eq!(spoiled(6, 1), Untranslatable::Protocol(1), "ICMP of the other family");
    assert_eq!(spoiled(6, 60), BadIpv6Extension.into(), "options longer than the packet");
    assert_eq!(extended(&[(43, vec![0, 0, 0, 1, 0, 0, 0, 0])]), SourceRoute.into());
    assert_eq!(extended(&[options(60), options(0)]), BadIpv6Extension.into(), "hop-by-hop options in the middle");
    assert_eq!(extended(&vec![options(60); 9]), BadIpv6Extension.into(), "too many");
    assert_eq!(extended(&[fragment(1, 0, false), fragment(1, 0, false)]), BadIpv6Extension.into());
    assert_eq!(extended(&[fragment(1, 8, false), options(60)]), BadIpv6Extension.into(), "options cut into pieces");
    assert_eq!(extended(&[fragment(1, 0, true)]), BadIpv6Fragment.into(), "20 bytes, more to come");
    assert_eq!(extended(&[fragment(1, 65_528, false)]), BadIpv6Fragment.into(), "beyond the end");
    assert_eq!(Ipv6::parse(&datagram, usize::MAX), Err(Truncated));
}

/// IPv4 packets that have no IPv6 form.
#[test]
fn untranslatable() {
    let golden = Golden::read("six_udp_refused");
    let to = Pair { src: Ipv6Addr::LOCALHOST, dst: Ipv6Addr::LOCALHOST };
    let sealed = |mut packet: Vec<u8>| {
        let len = usize::from(packet[0] & 15) * 4;
        packet[10..12].fill(0);
        let checksum = !slow_sum(&[&packet[..len]]);
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());
        to_six(&packet, to)
    };
    let mut packet = golden.packet("four_datagram");
    packet[9] = 132;
    assert_eq!(sealed(packet), Err(Untranslatable::Protocol(132)));
    let mut packet = golden.packet("four_datagram");
    packet.splice(20..20, [1, 131, 7, 4, 192, 0, 2, 1]);
    (packet[0], packet[3]) = (0x47, packet[3] + 8);
    assert_eq!(sealed(packet.clone()), Err(Malformed::SourceRoute.into()));
    packet[23] = 8;
    assert!(sealed(packet).is_ok(), "all stops visited");
    for word in [0x20, 0x01] {
        let mut packet = Golden::read("six_echo").packet("four_request");
        packet[6 + usize::from(word & 1)] = word;
        assert_eq!(sealed(packet), Err(Untranslatable::IcmpFragment));
    }
    let mut packet = golden.packet("four_datagram");
    (packet[7], packet[9]) = (1, 132);
    assert_eq!(sealed(packet), Err(Untranslatable::Protocol(132)), "a later fragment");
    let packet = golden.packet("four_datagram");
    let room = |room: usize| {
        let mut frame = [vec![0; room], packet.clone()].concat();
        wire::four_to_six(&mut frame, room, to, widen)
    };
    assert_eq!((room(19), room(20)), (Err(Untranslatable::NoRoom), Ok(0..60)));
}
