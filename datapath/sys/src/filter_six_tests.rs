//! IPv6 packets, laid out by hand from RFC 8200, RFC 4443 and RFC 4861.

use std::net::Ipv6Addr;

use super::*;

const CLIENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 7);
const VIP: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const OTHER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x99);
const SNAT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 1);
const BACKEND: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 3, 0, 0, 0, 0, 8);
const ANY_PORT_BACKEND: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 3, 0, 0, 0, 0, 9);
const ROUTER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 8, 0, 0, 0, 0, 1);
/// The group of all hosts whose address ends as the VIP does.
const SOLICITED: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 1);
const ICMP: u8 = 58;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const OPTIONS: u8 = 60;

fn rules_six() -> FilterRules {
    let mut all = rules();
    let listen = |ports, protocol| FilterListen { address: VIP.into(), ports, protocol };
    all.listens.extend([listen(8080..=8080, TCP), listen(53..=53, UDP)]);
    all.plain.extend([
        FilterPlain { backend: BACKEND.into(), port: 80, protocol: TCP },
        FilterPlain { backend: BACKEND.into(), port: 53, protocol: UDP },
        FilterPlain { backend: ANY_PORT_BACKEND.into(), port: 0, protocol: TCP },
    ]);
    all.snat.push(FilterSnat { address: SNAT.into(), ports: 20_000..=29_999 });
    all
}

fn expect_six(cases: &[(&str, &'static str, Vec<u8>)]) {
    let Some(mut filter) = filter() else { return };
    filter.publish(&rules_six()).unwrap();
    for (what, verdict, packet) in cases {
        assert_eq!(filter.verdict(packet), *verdict, "{what}");
    }
}

fn ip6(source: Ipv6Addr, destination: Ipv6Addr, next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next, 64]);
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend(payload);
    packet
}

fn frame(source: Ipv6Addr, destination: Ipv6Addr, next: u8, payload: &[u8]) -> Vec<u8> {
    ethernet(0x86dd, &ip6(source, destination, next, payload))
}

fn l4(source: Ipv6Addr, destination: Ipv6Addr, protocol: u8, from: u16, to: u16) -> Vec<u8> {
    frame(source, destination, protocol, &ports(from, to))
}

/// An extension header of so many units of eight bytes.
fn extension(next: u8, units: u8, rest: &[u8]) -> Vec<u8> {
    let mut header = vec![next, units - 1];
    header.resize(usize::from(units) * 8, 0);
    header.extend(rest);
    header
}

/// `which` holds the offset in its upper 13 bits, "more fragments" in its lowest.
fn fragment_six(source: Ipv6Addr, destination: Ipv6Addr, protocol: u8, which: u16, to: u16) -> Vec<u8> {
    let mut payload = vec![protocol, 0];
    payload.extend(which.to_be_bytes());
    payload.extend([0, 0, 0, 7]);
    payload.extend(ports(53, to));
    frame(source, destination, FRAGMENT, &payload)
}

fn icmp6(source: Ipv6Addr, destination: Ipv6Addr, kind: u8, rest: &[u8]) -> Vec<u8> {
    frame(source, destination, ICMP, &[&[kind, 0, 0, 0, 0, 0, 0, 0], rest].concat())
}

#[test]
fn takes_published_ports_and_no_others() {
    expect_six(&[
        ("published", "listen", l4(CLIENT, VIP, TCP, 40_000, 8080)),
        ("udp", "listen", l4(CLIENT, VIP, UDP, 40_000, 53)),
        ("other port", "pass_not_ours", l4(CLIENT, VIP, TCP, 40_000, 22)),
        ("other protocol", "pass_not_ours", l4(CLIENT, VIP, UDP, 40_000, 8080)),
        ("other address", "pass_not_ours", l4(CLIENT, OTHER, UDP, 40_000, 53)),
        ("dhcp", "pass_not_ours", l4(CLIENT, VIP, UDP, 547, 546)),
        ("sctp", "pass_not_ours", l4(CLIENT, VIP, 132, 40_000, 8080)),
        ("to a port of the source that is not ours", "pass_not_ours", l4(CLIENT, SNAT, TCP, 40_000, 22)),
    ]);
}

#[test]
fn leaves_neighbours_routers_and_groups_to_the_kernel() {
    let mut cases = vec![("echo reply", "pass_not_ours", icmp6(CLIENT, VIP, 129, &[1; 56]))];
    for (what, kind) in [
        ("group query", 130),
        ("group report", 131),
        ("group done", 132),
        ("router solicitation", 133),
        ("router advertisement", 134),
        ("neighbour solicitation", 135),
        ("neighbour advertisement", 136),
        ("redirect", 137),
        ("group report 2", 143),
    ] {
        for destination in [VIP, SNAT, SOLICITED] {
            cases.push((what, "pass_not_ours", icmp6(CLIENT, destination, kind, &[0; 40])));
        }
        let behind = extension(ICMP, 1, &[&[kind, 0, 0, 0][..], &[0; 40]].concat());
        cases.push((what, "pass_not_ours", frame(CLIENT, VIP, HOP_BY_HOP, &behind)));
    }
    expect_six(&cases);
}

#[test]
fn takes_echo_and_errors_to_vips() {
    let quoted = ip6(VIP, CLIENT, TCP, &ports(8080, 40_000));
    let mut cases = vec![
        ("echo", "vip_icmp", icmp6(CLIENT, VIP, 128, &[1; 56])),
        ("echo to another", "pass_not_ours", icmp6(CLIENT, OTHER, 128, &[1; 56])),
        ("echo to the source", "pass_not_ours", icmp6(CLIENT, SNAT, 128, &[1; 56])),
        ("kind 0", "pass_not_ours", icmp6(CLIENT, VIP, 0, &quoted)),
        ("kind 5", "pass_not_ours", icmp6(CLIENT, VIP, 5, &quoted)),
        ("a fragment of an echo", "pass_not_ours", fragment_six(CLIENT, VIP, ICMP, 1, 53)),
        ("cut", "pass_malformed", frame(CLIENT, VIP, ICMP, &[128, 0, 0])),
    ];
    cases.extend((1..=4).map(|kind| ("error", "vip_icmp", icmp6(ROUTER, VIP, kind, &quoted))));
    expect_six(&cases);
}

#[test]
fn walks_a_few_extension_headers() {
    let tcp = ports(40_000, 8080);
    let options = |next, rest: &[u8]| extension(next, 2, rest);
    let four = options(OPTIONS, &options(OPTIONS, &options(OPTIONS, &extension(TCP, 1, &tcp))));
    let five = options(OPTIONS, &four);
    let whole = l4(CLIENT, VIP, TCP, 40_000, 8080);
    expect_six(&[
        ("hop by hop", "listen", frame(CLIENT, VIP, HOP_BY_HOP, &extension(TCP, 1, &tcp))),
        ("long options", "listen", frame(CLIENT, VIP, OPTIONS, &extension(TCP, 100, &tcp))),
        ("four", "listen", frame(CLIENT, VIP, OPTIONS, &four)),
        ("five", "pass_not_ours", frame(CLIENT, VIP, OPTIONS, &five)),
        ("routing", "pass_not_ours", frame(CLIENT, VIP, ROUTING, &extension(TCP, 1, &tcp))),
        ("authentication", "pass_not_ours", frame(CLIENT, VIP, 51, &extension(TCP, 1, &tcp))),
        ("nothing behind", "pass_not_ours", frame(CLIENT, VIP, 59, &tcp)),
        ("cut in an option", "pass_malformed", frame(CLIENT, VIP, OPTIONS, &[TCP, 9, 0, 0, 0, 0, 0, 0])),
        ("cut before an option", "pass_not_ours", frame(CLIENT, VIP, OPTIONS, &[TCP, 9])),
        ("cut in the ports", "pass_malformed", whole[..14 + 40 + 3].to_vec()),
        ("cut in the header", "pass_malformed", whole[..14 + 39].to_vec()),
        ("version 4", "pass_malformed", [&whole[..14], &[0x45][..], &whole[15..]].concat()),
    ]);
}

#[test]
fn takes_fragments_that_may_be_ours() {
    const MORE: u16 = 1;
    let (options, first) = (extension(FRAGMENT, 1, &[]), fragment_six(CLIENT, VIP, UDP, MORE, 53));
    expect_six(&[
        ("first, published", "fragment", first.clone()),
        ("first, not published", "pass_not_ours", fragment_six(CLIENT, VIP, UDP, MORE, 54)),
        ("middle", "fragment", fragment_six(CLIENT, VIP, UDP, 185 << 3 | MORE, 54)),
        ("last", "fragment", fragment_six(CLIENT, VIP, UDP, 370 << 3, 54)),
        ("atomic", "listen", fragment_six(CLIENT, VIP, UDP, 0, 53)),
        ("reserved bits", "listen", fragment_six(CLIENT, VIP, UDP, 6, 53)),
        ("other address", "pass_not_ours", fragment_six(CLIENT, OTHER, UDP, 185 << 3, 53)),
        ("protocol without services", "pass_not_ours", fragment_six(CLIENT, VIP, 47, 185 << 3, 53)),
        ("behind options", "fragment", frame(CLIENT, VIP, OPTIONS, &[&options, &first[14 + 40..]].concat())),
    ]);
}

#[test]
fn takes_answers_of_plain_backends() {
    let tcp = |source, from, to| l4(source, SNAT, TCP, from, to);
    expect_six(&[
        ("answer", "plain", tcp(BACKEND, 80, 20_000)),
        ("last port", "plain", tcp(BACKEND, 80, 29_999)),
        ("any port", "plain", tcp(ANY_PORT_BACKEND, 12_345, 25_000)),
        ("udp", "plain", l4(BACKEND, SNAT, UDP, 53, 25_000)),
        ("below our ports", "pass_not_ours", tcp(BACKEND, 80, 19_999)),
        ("above our ports", "pass_not_ours", tcp(BACKEND, 80, 30_000)),
        ("other port of the backend", "pass_not_ours", tcp(BACKEND, 81, 25_000)),
        ("other protocol of the backend", "pass_not_ours", l4(ANY_PORT_BACKEND, SNAT, UDP, 53, 25_000)),
        ("no backend", "pass_not_ours", tcp(CLIENT, 80, 25_000)),
        ("to another address", "pass_not_ours", l4(BACKEND, OTHER, TCP, 80, 25_000)),
        ("later fragment", "plain_fragment", fragment_six(BACKEND, SNAT, UDP, 185 << 3, 1)),
        ("first fragment", "plain", fragment_six(BACKEND, SNAT, UDP, 1, 25_000)),
        ("later fragment of no backend", "pass_not_ours", fragment_six(CLIENT, SNAT, UDP, 185 << 3, 1)),
        ("later fragment of another protocol", "pass_not_ours", fragment_six(ANY_PORT_BACKEND, SNAT, UDP, 185 << 3, 1)),
    ]);
}

#[test]
fn takes_icmp_errors_about_what_we_sent_to_plain_backends() {
    let about = |from, to, source, destination| ip6(source, destination, TCP, &ports(from, to));
    let ours = about(20_001, 80, SNAT, BACKEND);
    let error = |kind, quoted: &[u8]| icmp6(ROUTER, SNAT, kind, quoted);
    let mut of_a_fragment = vec![TCP, 0, 0, 1, 0, 0, 0, 7];
    of_a_fragment.extend(ports(20_001, 80));
    let of_a_fragment = ip6(SNAT, BACKEND, FRAGMENT, &of_a_fragment);
    expect_six(&[
        ("unreachable", "plain_icmp", error(1, &ours)),
        ("too big", "plain_icmp", error(2, &ours)),
        ("time exceeded", "plain_icmp", error(3, &ours)),
        ("about a fragment", "plain_icmp", error(2, &of_a_fragment)),
        ("echo", "pass_not_ours", error(128, &ours)),
        ("not our port", "pass_not_ours", error(1, &about(19_999, 80, SNAT, BACKEND))),
        ("not our backend", "pass_not_ours", error(1, &about(20_001, 80, SNAT, CLIENT))),
        ("not its port", "pass_not_ours", error(1, &about(20_001, 81, SNAT, BACKEND))),
        ("not from us", "pass_not_ours", error(1, &about(20_001, 80, OTHER, BACKEND))),
        ("cut in the ports", "pass_malformed", error(1, &ours[..42])),
        ("cut in the header", "pass_malformed", error(1, &ours[..39])),
    ]);
}

#[test]
fn publishes_the_difference() {
    let Some(mut filter) = filter() else { return };
    let packets = [l4(CLIENT, VIP, TCP, 40_000, 8080), l4(BACKEND, SNAT, TCP, 80, 20_000)];
    let verdicts = |filter: &mut XdpFilter| packets.clone().map(|packet| filter.verdict(&packet));
    assert_eq!(verdicts(&mut filter), ["pass_not_ours"; 2]);
    filter.publish(&rules_six()).unwrap();
    assert_eq!(verdicts(&mut filter), ["listen", "plain"]);
    filter.publish(&rules()).unwrap();
    assert_eq!(verdicts(&mut filter), ["pass_not_ours"; 2]);
    assert_eq!(filter.verdict(&icmp6(CLIENT, VIP, 128, &[0; 8])), "pass_not_ours");
}

#[test]
fn any_bytes_are_judged() {
    let Some(mut filter) = filter() else { return };
    filter.publish(&rules_six()).unwrap();
    let filter = std::cell::RefCell::new(filter);
    let next = prop::sample::select(vec![HOP_BY_HOP, TCP, UDP, FRAGMENT, ICMP, OPTIONS]);
    let packets = (next, prop::bool::ANY, prop::collection::vec(any::<u8>(), 0..200))
        .prop_map(|(next, to_vip, bytes)| frame(BACKEND, if to_vip { VIP } else { SNAT }, next, &bytes));
    proptest::test_runner::TestRunner::default()
        .run(&packets, |packet| {
            prop_assert_eq!(filter.borrow_mut().run(&packet), PASS);
            Ok(())
        })
        .unwrap();
}
