//! Laws of the translation of ICMP errors: what they quote becomes what the quoted packet would have become.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::net::{Ipv4Addr, Ipv6Addr};

use common::six::{assert_checksum6, build6, extend, fragment_header, narrow, pseudo6, to_four, to_six, widen};
use common::{Plan, addresses, assert_checksums, plans, slow_sum};
use etherparse::{IpNumber, Ipv4Header};
use proptest::prelude::*;
use wire::{Malformed, Pair, Protocol, Untranslatable};

fn pairs4() -> impl Strategy<Value = Pair<Ipv4Addr>> {
    (addresses(), addresses()).prop_map(|(src, dst)| Pair { src, dst })
}

fn widened(pair: Pair<Ipv4Addr>) -> Pair<Ipv6Addr> {
    Pair { src: widen(pair.src), dst: widen(pair.dst) }
}

/// An `ICMPv6` message between `pair`: `head` is type and code.
fn message6(pair: Pair<Ipv6Addr>, head: [u8; 2], rest: u32, body: &[u8]) -> Vec<u8> {
    let mut message = [&head[..], &[0, 0], &rest.to_be_bytes(), body].concat();
    let len = (message.len() as u16).to_be_bytes();
    let header = [&[0x60, 0, 0, 0][..], &len, &[58, 64], &pair.src.octets(), &pair.dst.octets()].concat();
    let checksum = !slow_sum(&[&pseudo6(&header, message.len()), &message]);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    [header, message].concat()
}

/// An ICMP message between `pair`.
fn message4(pair: Pair<Ipv4Addr>, head: [u8; 2], rest: u32, body: &[u8]) -> Vec<u8> {
    let mut message = [&head[..], &[0, 0], &rest.to_be_bytes(), body].concat();
    let checksum = !slow_sum(&[&message]);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    let (src, dst) = (pair.src.octets(), pair.dst.octets());
    let mut ip = Ipv4Header::new(message.len() as u16, 64, IpNumber::ICMP, src, dst).expect("short enough");
    (ip.identification, ip.dont_fragment) = (0x1234, ip.total_len > 1260);
    ip.header_checksum = ip.calc_header_checksum();
    [ip.to_bytes().as_slice(), &message].concat()
}

/// The plan as the two packets that one translation makes of the other.
fn both(plan: &Plan, pair: Pair<Ipv4Addr>) -> (Vec<u8>, Vec<u8>) {
    let mut plan = Plan { id: 0, ip_options: vec![], no_checksum: false, ..plan.clone() };
    (plan.tuple.src, plan.tuple.dst) = (pair.src, pair.dst);
    let mut six = build6(&plan, widened(pair));
    six[1] &= 0xf0;
    six[2..4].fill(0);
    let mut four = plan.build();
    four[6] = 0;
    four[10..12].fill(0);
    let checksum = !slow_sum(&[&four[..20]]);
    four[10..12].copy_from_slice(&checksum.to_be_bytes());
    (six, four)
}

/// Errors that both families know, and that become one another.
const ERRORS: [([u8; 2], u32, [u8; 2], u32); 5] = [
    ([1, 4], 0, [3, 3], 0),
    ([1, 1], 0, [3, 10], 0),
    ([2, 0], 1500, [3, 4], 1480),
    ([3, 0], 0, [11, 0], 0),
    ([4, 0], 7, [12, 0], 8 << 24),
];

proptest! {
    #[test]
    fn quotes_are_translated(
        plan in plans(), inner in pairs4(), outer in pairs4(), error in prop::sample::select(&ERRORS[..]), cut in 0..400usize,
    ) {
        let (six, four) = both(&plan, inner);
        let quote = 8.max(six.len().saturating_sub(40 + cut));
        let (kind6, rest6, kind4, rest4) = error;
        let six = message6(widened(outer), kind6, rest6, &six[..40 + quote]);
        let four = message4(outer, kind4, rest4, &four[..20 + quote]);
        assert_checksum6(&six);
        assert_checksums(&four);
        prop_assert_eq!(to_four(&six, outer), Ok(four.clone()));
        prop_assert_eq!(to_six(&four, widened(outer)), Ok(six));
    }

    /// Damaged messages are not mended by a new checksum.
    #[test]
    fn damaged(plan in plans(), inner in pairs4(), outer in pairs4(), at in 8..56usize, bit in 0..8u8) {
        let (quote6, quote4) = both(&plan, inner);
        let mut six = message6(widened(outer), [1, 4], 0, &quote6);
        let mut four = message4(outer, [3, 3], 0, &quote4);
        six[40 + at] ^= 1 << bit;
        four[20 + at.min(35)] ^= 1 << bit;
        let refused = Untranslatable::Malformed(Malformed::BadIcmp);
        prop_assert_eq!(to_four(&six, outer), Err(refused));
        prop_assert_eq!(to_six(&four, widened(outer)), Err(refused));
    }

    /// Extensions (RFC 4884) are cut off.
    #[test]
    fn extensions_are_cut(plan in plans(), inner in pairs4(), outer in pairs4(), extension in prop::collection::vec(any::<u8>(), 4..40)) {
        let (mut six, mut four) = both(&plan, inner);
        six.resize(128, 0);
        four.resize(128, 0);
        let length6 = message6(widened(outer), [3, 0], 16 << 24, &[six.as_slice(), &extension].concat());
        prop_assert_eq!(to_four(&length6, outer), to_four(&message6(widened(outer), [3, 0], 0, &six), outer));
        let length4 = message4(outer, [11, 0], 32 << 16, &[four.as_slice(), &extension].concat());
        prop_assert_eq!(to_six(&length4, widened(outer)), to_six(&message4(outer, [11, 0], 0, &four), widened(outer)));
    }

    /// An error about a fragment, and about one of any length: no more than 1280 bytes over IPv6.
    #[test]
    fn about_fragments(mut plan in plans(), inner in pairs4(), outer in pairs4(), id: u16, at in 1..4000usize, len in 0..1400usize) {
        plan.tuple.protocol = Protocol::Udp;
        plan.payload.resize(len, 3);
        let (six, _) = both(&plan, inner);
        let fragment = extend(&six, &[fragment_header(u32::from(id), at * 8, false)]);
        let quote = &fragment[..fragment.len().min(1280 - 48)];
        let four = to_four(&message6(widened(outer), [2, 0], 1400, quote), outer).expect("translatable");
        assert_checksums(&four);
        prop_assert_eq!(&four[20..22], &[3, 4]);
        prop_assert_eq!(&four[26..28], &u16::to_be_bytes(1372));
        prop_assert_eq!(&four[32..36], &[id.to_be_bytes(), (at as u16).to_be_bytes()].concat());
        prop_assert_eq!(&four[48..], &quote[48..]);
        let back = to_six(&four, widened(outer)).expect("translatable");
        assert_checksum6(&back);
        prop_assert!(back.len() <= 1280);
        prop_assert_eq!(&back[48..], &quote[..back.len() - 48]);
    }
}

fn echo_pair() -> (Vec<u8>, Vec<u8>, Pair<Ipv4Addr>) {
    let pair = Pair { src: Ipv4Addr::new(192, 0, 2, 1), dst: Ipv4Addr::new(198, 51, 100, 2) };
    (message6(widened(pair), [128, 0], 77, b"ping"), message4(pair, [8, 0], 77, b"ping"), pair)
}

#[test]
fn about_echoes() {
    let (mut six, mut four, pair) = echo_pair();
    six[7] = 9;
    four[8] = 9;
    four[4..6].fill(0);
    four[10..12].fill(0);
    let checksum = !slow_sum(&[&four[..20]]);
    four[10..12].copy_from_slice(&checksum.to_be_bytes());
    let six = message6(widened(pair), [3, 0], 0, &six);
    let four = message4(pair, [11, 0], 0, &four);
    assert_eq!(to_four(&six, pair), Ok(four.clone()));
    assert_eq!(to_six(&four, widened(pair)), Ok(six));
}

/// A UDP checksum that comes out as 0 is written as 0xffff, also in a quote.
#[test]
fn checksums_that_come_out_as_zero() {
    let (_, _, pair) = echo_pair();
    let plan = |payload: &[u8]| Plan { payload: payload.to_vec(), ..sample() };
    let (six, four) = both(&plan(&[0, 0]), pair);
    for (zero_in_six, word) in [(true, &six[46..48]), (false, &four[26..28])] {
        let (six, four) = both(&plan(word), pair);
        assert_eq!(if zero_in_six { &six[46..48] } else { &four[26..28] }, [0xff; 2]);
        assert_eq!(to_six(&four, widened(pair)), Ok(six.clone()));
        let (six, four) = (message6(widened(pair), [1, 4], 0, &six), message4(pair, [3, 3], 0, &four));
        assert_eq!(to_four(&six, pair), Ok(four.clone()));
        assert_eq!(to_six(&four, widened(pair)), Ok(six));
    }
}

#[test]
fn what_the_other_family_does_not_know() {
    let (_, _, pair) = echo_pair();
    let unknown6 = [
        [130, 0],
        [133, 0],
        [134, 0],
        [135, 0],
        [136, 0],
        [137, 0],
        [143, 0],
        [128, 1],
        [1, 5],
        [4, 2],
        [0, 0],
        [5, 0],
    ];
    for [kind, code] in unknown6 {
        let quote = build6(&sample(), widened(pair));
        let refused = Err(Untranslatable::IcmpMessage(kind, code));
        assert_eq!(to_four(&message6(widened(pair), [kind, code], 0, &quote), pair), refused);
    }
    for [kind, code] in
        [[4, 0], [5, 1], [9, 0], [10, 0], [13, 0], [15, 0], [17, 0], [3, 14], [3, 16], [12, 1], [11, 2], [8, 3]]
    {
        let refused = Err(Untranslatable::IcmpMessage(kind, code));
        assert_eq!(to_six(&message4(pair, [kind, code], 0, &sample().build()), widened(pair)), refused);
    }
}

/// Any UDP datagram.
fn sample() -> Plan {
    let tuple = wire::FiveTuple {
        src: Ipv4Addr::new(10, 0, 0, 11),
        dst: Ipv4Addr::new(10, 0, 0, 3),
        src_port: 8000,
        dst_port: 20_000,
        protocol: Protocol::Udp,
    };
    let payload = b"hello".to_vec();
    let (ip_options, tcp_options) = (vec![], vec![]);
    Plan { tuple, ip_options, tos: 0, ttl: 64, id: 0, tcp_flags: 0, tcp_options, no_checksum: false, payload }
}

#[test]
fn quotes_that_cannot_be_translated() {
    let (six, four, pair) = echo_pair();
    let error6 = |quote: &[u8]| to_four(&message6(widened(pair), [1, 4], 0, quote), pair);
    let error4 = |quote: &[u8]| to_six(&message4(pair, [3, 3], 0, quote), widened(pair));
    let bad = |malformed| Err(Untranslatable::Malformed(malformed));
    assert_eq!(error6(&six[..39]), bad(Malformed::Truncated));
    assert_eq!(error4(&four[..19]), bad(Malformed::Truncated));
    assert_eq!(error6(&six[..43]), bad(Malformed::BadIcmp), "half an echo");
    assert_eq!(error4(&four[..23]), bad(Malformed::BadIcmp), "half an echo");
    assert_eq!(error6(&four), bad(Malformed::Truncated), "the wrong family");
    assert_eq!(error4(&six), bad(Malformed::BadVersion), "the wrong family");
    let error_in_error = message6(widened(pair), [1, 4], 0, &six);
    assert_eq!(error6(&error_in_error), Err(Untranslatable::IcmpMessage(1, 4)));
    assert_eq!(error4(&message4(pair, [3, 3], 0, &four)), Err(Untranslatable::IcmpMessage(3, 3)));
    let mut stranger = build6(&sample(), widened(pair));
    stranger[24] = 0x20;
    assert_eq!(error6(&stranger), Err(Untranslatable::QuotedAddress));
    stranger[24] = 0;
    stranger[6] = 132;
    assert_eq!(error6(&stranger), Err(Untranslatable::Protocol(132)));
    let fragment = extend(&six, &[fragment_header(1, 8, false)]);
    assert_eq!(to_four(&fragment, pair), Err(Untranslatable::IcmpFragment));
    assert_eq!(error6(&fragment), Err(Untranslatable::IcmpFragment));
    assert_eq!(narrow(Ipv6Addr::LOCALHOST), None);
}

#[test]
fn lengths_of_quotes_that_lie() {
    let (_, _, pair) = echo_pair();
    let (six, four) = both(&sample(), pair);
    // "The quote ends after eight bytes": before its own header does.
    let six = message6(widened(pair), [1, 4], 1 << 24, &six);
    assert_eq!(to_four(&six, pair), Err(Untranslatable::Malformed(Malformed::BadIcmp)));
    let four = message4(pair, [3, 3], 2 << 16, &four);
    assert_eq!(to_six(&four, widened(pair)), Err(Untranslatable::Malformed(Malformed::BadIcmp)));
}
