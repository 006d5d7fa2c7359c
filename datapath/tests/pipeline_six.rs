//! IPv6 through the whole pipeline, in memory: VIPs and backends of either kind, in every combination.

mod lab;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use datapath::protection::{Guard, Prefix, Prefixes, Protection, SynCookies};
use datapath::service::{BackendId, Clients, Persistence, SchedulerKind, Tables};
use datapath::{ProbeKind, surrogate};
use lab::packets::{Segment, Tunnel, answer_of, ethernet, fragments, icmp_error, see, udp};
use lab::six::{
    CLIENT6, ROUTER6, SERVER_FOR_SIX, SERVER6, SNAT_FOR_SIX, SNAT6, VIP_FOR_SIX, VIP6, backend, by_client, by_server,
    client6, error6, fragments6, ping6, reassemble6, see_ip6, see6, service, tables, tcp6, udp6,
};
use lab::{
    BACK, CLIENT, CLIENT_MAC, FRONT, Gateway, OUR_MACS, OUR_OVERLAY, PLAIN_SNAT, SERVER, SERVER_MAC, TASKS, VIP,
};
use sys::LinkType;
use wire::Protocol;

const PORT: u16 = 40_000;

/// One backend, on both VIPs, TCP and UDP.
fn with_backend(make: fn(u32) -> datapath::service::Backend) -> Tables {
    let (mut web, mut dns) = (service(1, Protocol::Tcp, 8080), service(2, Protocol::Udp, 53));
    web.backends.push(make(100));
    dns.backends.push(make(200));
    tables(vec![web, dns])
}

fn task(id: u32) -> datapath::service::Backend {
    lab::overlay_backend(id, 0, 1)
}

fn with_task() -> Tables {
    with_backend(task)
}

fn client_says(flags: &str, seq: u32, ack: u32, payload: &[u8]) -> Vec<u8> {
    by_client(&tcp6((CLIENT6, PORT), (VIP6, 8080), flags, seq, ack, payload))
}

fn client_asks(payload: &[u8]) -> Vec<u8> {
    by_client(&udp6((CLIENT6, PORT), (VIP6, 53), payload))
}

fn sockets(gateway: &mut Gateway) -> Vec<[String; 4]> {
    let flows = gateway.flows();
    let text = |address: SocketAddr| address.to_string();
    flows.iter().map(|flow| [flow.client, flow.vip, flow.snat, flow.backend].map(text)).collect()
}

/// Flows hold surrogates: no more and no fewer than there are.
fn assert_held(gateway: &mut Gateway) {
    let of_six = gateway.flows().iter().filter(|flow| flow.client.is_ipv6()).count();
    assert_eq!(gateway.surrogates.count().1, of_six as u64);
}

#[test]
fn a_connection_from_ipv6_to_a_task() {
    let mut gateway = Gateway::new(with_task());
    let out = see(&gateway.forward(&client_says("S", 1000, 0, b""))[0]);
    assert_eq!((out.src(), out.dst(), out.ports().1), (OUR_OVERLAY, TASKS[0], 8000));
    assert_eq!((out.mss(), out.ip.time_to_live), (Some(1410), 63), "the overlay is the narrower way");
    let answer = answer_of(0, &out, "SA", 5000, 1001);
    let back = see6(&gateway.backward(&answer.sent_by_task(0))[0]);
    assert_eq!((back.src, back.dst, back.ports()), (VIP6, CLIENT6, (8080, PORT)));
    assert_eq!((back.ethernet, back.hop_limit), (Some((OUR_MACS[0], CLIENT_MAC)), 63));
    let data = see(&gateway.forward(&client_says("A", 1001, 5001, &[7; 1300]))[0]);
    assert_eq!((data.payload().len(), data.ip.dont_fragment), (1320, true));
    let back = see6(&gateway.backward(&answer_of(0, &out, "A", 5001, 2301).with(&[9; 1400]).sent_by_task(0))[0]);
    assert_eq!((back.payload.len(), back.fragment), (1420, None));
    assert_eq!(
        sockets(&mut gateway),
        [["[2001:db8:9::7]:40000", "[2001:db8::1]:8080", "10.0.0.3:1024", "10.0.0.11:8000"].map(|text| {
            if text.starts_with("10.0.0.3") { format!("10.0.0.3:{}", out.ports().0) } else { text.to_owned() }
        })]
    );
    assert!(gateway.drops().is_empty(), "{:?}", gateway.drops());
    assert_held(&mut gateway);
    gateway.assert_gauges();
    gateway.assert_frames_conserved();
}

/// What the client's side looks like: who it is, and how a datagram of it is made and read.
#[derive(Clone, Copy, Debug)]
enum Side {
    Four,
    Six,
}

impl Side {
    fn asks(self, payload: &[u8]) -> Vec<u8> {
        match self {
            Side::Four => ethernet(CLIENT_MAC, OUR_MACS[0], &udp((CLIENT, PORT), (VIP, 53), payload)),
            Side::Six => client_asks(payload),
        }
    }

    /// Source, destination, ports and payload of what the client gets.
    fn hears(self, frame: &[u8]) -> (IpAddr, IpAddr, (u16, u16), Vec<u8>) {
        match self {
            Side::Four => {
                let seen = see(frame);
                (seen.src().into(), seen.dst().into(), seen.ports(), seen.payload()[8..].to_vec())
            }
            Side::Six => {
                let seen = see6(frame);
                (seen.src.into(), seen.dst.into(), seen.ports(), seen.payload[8..].to_vec())
            }
        }
    }

    fn addresses(self) -> (IpAddr, IpAddr) {
        match self {
            Side::Four => (VIP.into(), CLIENT.into()),
            Side::Six => (VIP6.into(), CLIENT6.into()),
        }
    }

    /// What the plain backend gets from us, and the frame of its answer.
    fn serves(self, frame: &[u8], answer: &[u8]) -> (Vec<u8>, Vec<u8>) {
        match self {
            Side::Four => {
                let seen = see(frame);
                assert_eq!(
                    (seen.src(), seen.dst(), seen.ethernet),
                    (PLAIN_SNAT, SERVER, Some((OUR_MACS[1], SERVER_MAC)))
                );
                let answer = udp((SERVER, 80), (PLAIN_SNAT, seen.ports().0), answer);
                (seen.payload()[8..].to_vec(), ethernet(SERVER_MAC, OUR_MACS[1], &answer))
            }
            Side::Six => {
                let seen = see6(frame);
                assert_eq!((seen.src, seen.dst, seen.ethernet), (SNAT6, SERVER6, Some((OUR_MACS[1], SERVER_MAC))));
                (seen.payload[8..].to_vec(), by_server(&udp6((SERVER6, 80), (SNAT6, seen.ports().0), answer)))
            }
        }
    }
}

#[test]
fn every_kind_of_vip_with_every_kind_of_plain_backend() {
    for (client, server) in [(Side::Four, Side::Six), (Side::Six, Side::Four), (Side::Six, Side::Six)] {
        let make = if matches!(server, Side::Six) { backend } else { lab::plain_backend };
        let mut gateway = Gateway::new(with_backend(make));
        let out = gateway.forward(&client.asks(b"question"));
        let (heard, answer) = server.serves(&out[0], b"answer");
        assert_eq!(heard, b"question", "{client:?} to {server:?}");
        let back = gateway.backward(&answer);
        let (vip, who) = client.addresses();
        assert_eq!(client.hears(&back[0]), (vip, who, (53, PORT), b"answer".to_vec()), "{client:?} to {server:?}");
        assert!(gateway.drops().is_empty(), "{client:?} to {server:?}: {:?}", gateway.drops());
        assert_held(&mut gateway);
        gateway.assert_frames_conserved();
    }
}

#[test]
fn segments_between_ipv6_and_ipv6_keep_what_fits() {
    let mut gateway = Gateway::new(with_backend(backend));
    let out = see6(&gateway.forward(&client_says("S", 1000, 0, b""))[0]);
    assert_eq!((out.mss(), out.ports().1), (Some(1440), 80));
    let answer = tcp6((SERVER6, 80), (SNAT6, out.ports().0), "SA", 5000, 1001, b"");
    assert_eq!(see6(&gateway.backward(&by_server(&answer))[0]).mss(), Some(1440));
    let whole = gateway.forward(&client_says("A", 1001, 5001, &[7; 1440]));
    assert_eq!(see6(&whole[0]).bytes.len(), 1500, "a full packet");
    let syn = Segment::syn(PORT).sent_by_client();
    assert_eq!(see6(&gateway.forward(&syn)[0]).mss(), Some(1440), "from IPv4, where 1460 fit");
    assert!(gateway.drops().is_empty(), "{:?}", gateway.drops());
}

#[test]
fn a_datagram_without_checksum_gets_one() {
    let mut gateway = Gateway::new(with_task());
    let out = see(&gateway.forward(&client_asks(b"question"))[0]);
    let mut answer = udp((TASKS[0], 8000), (OUR_OVERLAY, out.ports().0), b"answer");
    answer[26..28].fill(0);
    let back = see6(&gateway.backward(&Tunnel::from_node(0).wrap(&answer))[0]);
    assert_eq!(&back.payload[8..], b"answer");
}

/// As the kernel hands packets over a veth: the field holds the sum of the pseudo header, for a card that never comes.
#[test]
fn a_checksum_left_to_the_card_is_finished() {
    let mut gateway = Gateway::new(with_task());
    let mut packet = udp6((CLIENT6, PORT), (VIP6, 53), b"question");
    let words = |bytes: &[u8]| bytes.chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum::<u32>();
    let mut sum = words(&packet[8..40]) + 17 + 16;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    packet[46..48].copy_from_slice(&(sum as u16).to_be_bytes());
    see(&gateway.forward(&by_client(&packet))[0]);
    assert_eq!(gateway.totals().checksums_finished, 1);
}

#[test]
fn ping_is_answered() {
    let mut gateway = Gateway::new(with_task());
    gateway.inject(0, FRONT, &by_client(&ping6(CLIENT6, VIP6, b"abcdefgh")));
    gateway.settle();
    let seen = see6(&gateway.collect(0, FRONT)[0]);
    assert_eq!((seen.src, seen.dst, seen.ethernet), (VIP6, CLIENT6, Some((OUR_MACS[0], CLIENT_MAC))));
    assert_eq!((seen.next, seen.payload[0], &seen.payload[4..]), (58, 129, &b"\0\x07\0\x09abcdefgh"[..]));
    assert_eq!((gateway.totals().replies, gateway.drops().len()), (1, 0));
}

#[test]
fn who_cannot_be_served_is_told() {
    let nobody = tables(vec![service(1, Protocol::Tcp, 8080), service(2, Protocol::Udp, 53)]);
    let mut gateway = Gateway::new(nobody);
    gateway.inject(0, FRONT, &client_says("S", 1000, 0, b""));
    gateway.inject(0, FRONT, &client_asks(b"question"));
    gateway.settle();
    let answers: Vec<_> = gateway.collect(0, FRONT).iter().map(|frame| see6(frame)).collect();
    assert!(answers[0].tcp().rst && answers[0].tcp().acknowledgment_number == 1001);
    assert_eq!((answers[1].next, &answers[1].payload[..2]), (58, &[1, 4][..]), "port unreachable");
    assert_eq!(&answers[1].payload[8..][..40], &udp6((CLIENT6, PORT), (VIP6, 53), b"question")[..40]);
    assert!(answers.iter().all(|seen| (seen.src, seen.dst) == (VIP6, CLIENT6)));
    assert_eq!(gateway.drops(), [("no_backend", 2)]);
    assert_eq!(gateway.surrogates.count(), (1, 0));
}

#[test]
fn a_packet_at_the_end_of_its_way_is_answered() {
    let mut gateway = Gateway::new(with_task());
    let mut packet = client_asks(b"question");
    packet[14 + 7] = 1;
    gateway.inject(0, FRONT, &packet);
    gateway.settle();
    let seen = see6(&gateway.collect(0, FRONT)[0]);
    assert_eq!((seen.src, seen.dst, seen.next, &seen.payload[..2]), (VIP6, CLIENT6, 58, &[3, 0][..]));
    assert_eq!(&seen.payload[8..][8..40], &packet[14..][8..40], "the addresses of what it quotes");
}

#[test]
fn a_client_is_told_what_fits() {
    let mut gateway = Gateway::new(with_task());
    let syn = see(&gateway.forward(&client_says("S", 1000, 0, b""))[0]);
    gateway.backward(&answer_of(0, &syn, "SA", 5000, 1001).sent_by_task(0));
    gateway.inject(0, FRONT, &client_says("A", 1001, 5001, &[7; 1420]));
    gateway.settle();
    let seen = see6(&gateway.collect(0, FRONT)[0]);
    assert_eq!(
        (seen.src, seen.dst, seen.next, &seen.payload[..8]),
        (VIP6, CLIENT6, 58, &[2, 0, seen.payload[2], seen.payload[3], 0, 0, 5, 190][..])
    );
    assert!(gateway.collect(0, BACK).is_empty());
    assert_eq!(gateway.forward(&client_says("A", 1001, 5001, &[7; 1410])).len(), 1, "1470 bytes fit");
}

#[test]
fn an_ipv4_client_is_told_what_fits_an_ipv6_way() {
    let mut gateway = Gateway::new(with_backend(backend));
    let client = |flags, seq, ack| Segment::new((CLIENT, PORT), (VIP, 8080), flags, seq, ack);
    let out = see6(&gateway.forward(&client("S", 1000, 0).sent_by_client())[0]);
    gateway.backward(&by_server(&tcp6((SERVER6, 80), (SNAT6, out.ports().0), "SA", 5000, 1001, b"")));
    gateway.inject(0, FRONT, &client("A", 1001, 5001).with(&[7; 1441]).sent_by_client());
    gateway.settle();
    let seen = see(&gateway.collect(0, FRONT)[0]);
    assert_eq!((seen.src(), &seen.payload()[..2], &seen.payload()[4..8]), (VIP, &[3, 4][..], &[0, 0, 5, 200][..]));
    assert_eq!(gateway.forward(&client("A", 1001, 5001).with(&[7; 1440]).sent_by_client()).len(), 1);
}

/// A fragment that may not be cut once more gets a fragment header, too: 28 bytes, not 20.
#[test]
fn a_fragment_is_told_what_fits_with_its_header() {
    let mut gateway = Gateway::new(with_backend(backend));
    let fragment = |size: usize| {
        let mut piece = fragments(&udp((CLIENT, PORT), (VIP, 53), &[7; 2000]), size).remove(0);
        piece[6] |= 0x40;
        let sum = etherparse::Ipv4Header::from_slice(&piece).unwrap().0.calc_header_checksum();
        piece[10..12].copy_from_slice(&sum.to_be_bytes());
        ethernet(CLIENT_MAC, OUR_MACS[0], &piece)
    };
    assert!(gateway.forward(&fragment(1456)).is_empty(), "1456 and 48: longer than 1500");
    let told = see(&gateway.collect(0, FRONT)[0]);
    assert_eq!((&told.payload()[..2], &told.payload()[6..8]), (&[3, 4][..], &1472_u16.to_be_bytes()[..]));
    let sent = gateway.forward(&fragment(1448));
    assert_eq!((sent.len(), see6(&sent[0]).bytes.len()), (1, 1496));
}

#[test]
fn a_router_towards_the_client_tells_the_task() {
    let mut gateway = Gateway::new(with_task());
    let syn = see(&gateway.forward(&client_says("S", 1000, 0, b""))[0]);
    let answer = answer_of(0, &syn, "SA", 5000, 1001);
    gateway.backward(&answer.sent_by_task(0));
    let data = see6(&gateway.backward(&answer_of(0, &syn, "A", 5001, 1001).with(&[9; 1400]).sent_by_task(0))[0]);
    let told = gateway.forward(&by_client(&error6(ROUTER6, VIP6, 2, 0, 1300, &data.bytes)));
    let seen = see(&told[0]);
    assert_eq!((seen.src(), seen.dst()), (OUR_OVERLAY, TASKS[0]));
    assert_eq!((&seen.payload()[..2], &seen.payload()[4..8]), (&[3, 4][..], &[0, 0, 5, 0][..]), "1280 of 1300");
    let quoted = &seen.payload()[8..];
    assert_eq!((&quoted[12..16], &quoted[16..20]), (&TASKS[0].octets()[..], &OUR_OVERLAY.octets()[..]));
    assert_eq!(quoted[20..24], [8000_u16.to_be_bytes(), syn.ports().0.to_be_bytes()].concat());
    assert_eq!((gateway.drops().len(), gateway.surrogates.count().0), (0, 1), "a router is no client");
}

#[test]
fn a_router_towards_the_backend_tells_the_client() {
    let mut gateway = Gateway::new(with_backend(backend));
    let client = |flags, seq, ack| Segment::new((CLIENT, PORT), (VIP, 8080), flags, seq, ack);
    let out = see6(&gateway.forward(&client("S", 1000, 0).sent_by_client())[0]);
    for (error, wanted) in [((2, 0, 1300), [3, 4, 5, 0]), ((1, 4, 0), [3, 3, 0, 0]), ((3, 0, 0), [11, 0, 0, 0])] {
        let (kind, code, rest) = error;
        let seen = see(&gateway.backward(&by_server(&error6(ROUTER6, SNAT6, kind, code, rest, &out.bytes)))[0]);
        let icmp = seen.payload();
        assert_eq!((seen.src(), seen.dst(), [icmp[0], icmp[1], icmp[6], icmp[7]]), (VIP, CLIENT, wanted));
        assert_eq!((&icmp[8..][12..16], &icmp[8..][16..20]), (&CLIENT.octets()[..], &VIP.octets()[..]));
    }
    assert!(gateway.drops().is_empty(), "{:?}", gateway.drops());
}

/// Every way to order three fragments.
const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

#[test]
fn fragments_of_clients_arrive_in_any_order() {
    for order in ORDERS {
        let mut gateway = Gateway::new(with_task());
        let pieces = fragments6(&udp6((CLIENT6, PORT), (VIP6, 53), &[9; 2500]), 1000);
        let mut seen = Vec::new();
        for n in order {
            seen.extend(gateway.forward(&by_client(&pieces[n])).iter().map(|frame| see(frame).bytes));
        }
        let joined = lab::packets::see_ip(&lab::packets::reassemble(seen));
        assert_eq!((joined.src(), joined.ports().1, &joined.payload()[8..]), (OUR_OVERLAY, 8000, &[9; 2500][..]));
        assert!(gateway.drops().is_empty(), "{:?}", gateway.drops());
        gateway.assert_frames_conserved();
    }
}

#[test]
fn fragments_of_tasks_cross_any_link_and_arrive_in_any_order() {
    for order in ORDERS {
        let mut gateway = Gateway::new(with_task());
        let out = see(&gateway.forward(&client_asks(b"question"))[0]);
        let answer = udp((TASKS[0], 8000), (OUR_OVERLAY, out.ports().0), &[7; 4000]);
        let pieces = fragments(&answer, 1424);
        let mut seen = Vec::new();
        for n in order {
            let sent = gateway.backward(&Tunnel::from_node(0).wrap(&pieces[n]));
            seen.extend(sent.iter().map(|frame| see6(frame)));
        }
        let joined = reassemble6(seen);
        assert_eq!(
            (joined.src, joined.dst, joined.ports(), &joined.payload[8..]),
            (VIP6, CLIENT6, (53, PORT), &[7; 4000][..])
        );
        assert!(gateway.drops().is_empty(), "{:?}", gateway.drops());
        gateway.assert_frames_conserved();
    }
}

/// RFC 7915 4: what may be cut is cut so that it crosses any IPv6 link, since nobody cuts it after us.
/// What the kernel joined on its way to the overlay socket is cut for any link: no IPv6 router cuts it again.
#[test]
fn joined_segments_of_a_task_cross_any_link() {
    let tables = with_task();
    let mut gateway = Gateway::kernel(Tables { six: tables.six, ..lab::kernel_tables(tables.services) });
    let says = |flags, seq, ack| tcp6((CLIENT6, PORT), (VIP6, 8080), flags, seq, ack, b"");
    let syn = lab::packets::see_ip(&gateway.forward(&says("S", 1000, 0))[0]);
    let sent = |segment: &Segment| segment.sent_by_task(0)[14..].to_vec();
    assert_eq!(gateway.backward(&sent(&answer_of(0, &syn, "SA", 5000, 1001))).len(), 1);
    gateway.forward(&says("A", 1001, 5001));
    let data: Vec<u8> = (0..5000_u32).map(|n| n as u8).collect();
    let joined = sent(&answer_of(0, &syn, "PA", 5001, 1001).with(&data));
    let pieces: Vec<_> = gateway.backward(&joined).iter().map(|piece| see_ip6(piece)).collect();
    let mut stream = Vec::new();
    for piece in &pieces {
        assert!(piece.bytes.len() <= 1280 && piece.fragment.is_none(), "{} bytes", piece.bytes.len());
        stream.extend_from_slice(&piece.payload[usize::from(piece.payload[12] >> 4) * 4..]);
    }
    assert_eq!((pieces.len(), stream), (5, data));
    gateway.assert_frames_conserved();
}

/// RFC 7915 4.5: its first piece could get none any more.
#[test]
fn a_datagram_without_checksum_gets_one_before_it_is_cut() {
    let mut gateway = Gateway::new(with_task());
    let out = see(&gateway.forward(&client_asks(b"question"))[0]);
    for len in [1233, 1300, 1422] {
        let mut answer = udp((TASKS[0], 8000), (OUR_OVERLAY, out.ports().0), &vec![7; len]);
        answer[6] &= !0x40;
        let sum = etherparse::Ipv4Header::from_slice(&answer).unwrap().0.calc_header_checksum();
        answer[10..12].copy_from_slice(&sum.to_be_bytes());
        answer[26..28].fill(0);
        let sent = gateway.backward(&Tunnel::from_node(0).wrap(&answer));
        let joined = reassemble6(sent.iter().map(|frame| see6(frame)).collect());
        assert_eq!((sent.len(), &joined.payload[8..]), (2, &vec![7; len][..]));
    }
    assert!(gateway.drops().is_empty(), "{:?}", gateway.drops());
    gateway.assert_frames_conserved();
}

#[test]
fn a_datagram_that_may_be_cut_is_cut() {
    let mut gateway = Gateway::new(with_task());
    let out = see(&gateway.forward(&client_asks(b"question"))[0]);
    for (len, frames) in [(1232, 1), (1233, 2), (1422, 2)] {
        let mut answer = udp((TASKS[0], 8000), (OUR_OVERLAY, out.ports().0), &vec![7; len]);
        answer[6] &= !0x40;
        let sum = etherparse::Ipv4Header::from_slice(&answer).unwrap().0.calc_header_checksum();
        answer[10..12].copy_from_slice(&sum.to_be_bytes());
        let sent: Vec<_> =
            gateway.backward(&Tunnel::from_node(0).wrap(&answer)).iter().map(|frame| see6(frame)).collect();
        assert_eq!(sent.len(), frames, "{len}");
        let joined = if frames == 1 { sent[0].clone() } else { reassemble6(sent) };
        assert_eq!(joined.payload[8..], vec![7; len]);
    }
    let mut whole = udp((TASKS[0], 8000), (OUR_OVERLAY, out.ports().0), &[7; 1422]);
    whole[6] |= 0x40;
    let sum = etherparse::Ipv4Header::from_slice(&whole).unwrap().0.calc_header_checksum();
    whole[10..12].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(gateway.backward(&Tunnel::from_node(0).wrap(&whole)).len(), 1, "this one may not be cut");
}

#[test]
fn nothing_from_the_wire_passes_for_a_surrogate() {
    let mut gateway = Gateway::new(with_task());
    let syn = see(&gateway.forward(&client_says("S", 1000, 0, b""))[0]);
    let client = gateway.surrogates.find(CLIENT6).unwrap();
    let wrap = |packet: &[u8]| ethernet(CLIENT_MAC, OUR_MACS[0], packet);
    let reset = Segment::new((client, PORT), (VIP_FOR_SIX, 8080), "R", 1001, 0);
    let mut sent = 0;
    let mut reject = |gateway: &mut Gateway, slot, frame: &[u8]| {
        sent += 1;
        gateway.inject(0, slot, frame);
        gateway.settle();
        assert!(gateway.collect(0, FRONT).is_empty() && gateway.collect(0, BACK).is_empty());
        assert_eq!(gateway.drops(), [("reserved_address", sent)]);
    };
    reject(&mut gateway, FRONT, &wrap(&reset.ip()));
    reject(&mut gateway, FRONT, &wrap(&udp((CLIENT, PORT), (VIP_FOR_SIX, 53), b"x")));
    reject(&mut gateway, FRONT, &wrap(&udp((Ipv4Addr::new(240, 9, 9, 9), PORT), (VIP, 53), b"x")));
    let inside = udp((SERVER_FOR_SIX, 80), (OUR_OVERLAY, syn.ports().0), b"x");
    reject(&mut gateway, BACK, &Tunnel::from_node(0).wrap(&inside));
    let quoted = Segment::new((VIP_FOR_SIX, 8080), (client, PORT), "A", 1, 1).ip();
    reject(&mut gateway, FRONT, &wrap(&icmp_error(CLIENT, VIP, 3, 3, 0, &quoted)));
    assert_eq!(gateway.flows()[0].state, "SYN_SENT");
}

#[test]
fn what_is_not_for_us_is_left_alone() {
    let mut gateway = Gateway::new(with_task());
    let other = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let frames = [
        udp6((CLIENT6, PORT), (other, 53), b"x"),
        error6(CLIENT6, all_nodes, 134, 0, 0, &[0; 8]),
        lab::six::header(Ipv6Addr::UNSPECIFIED, all_nodes, 58, &[143, 0, 0, 0, 0, 0, 0, 0]),
    ];
    for frame in &frames {
        assert!(gateway.forward(&by_client(frame)).is_empty());
    }
    assert_eq!((gateway.drops(), gateway.surrogates.count()), (vec![("not_ours", 3)], (0, 0)));
    assert!(gateway.forward(&by_client(&udp6((Ipv6Addr::LOCALHOST, PORT), (VIP6, 53), b"x"))).is_empty());
    assert!(gateway.forward(&client_asks(b"x")[..60]).is_empty());
    assert_eq!(gateway.drops(), [("truncated", 1), ("bad_ipv6_header", 1), ("not_ours", 3)]);
    gateway.assert_frames_conserved();
}

#[test]
fn probes_go_to_ipv6_backends_and_answers_come_back() {
    const PROBE: u16 = 32_000;
    let mut gateway = Gateway::new(with_backend(backend));
    gateway.line.expect(ProbeKind::Plain, PROBE, SERVER_FOR_SIX);
    let syn = Segment::new((SNAT_FOR_SIX, PROBE), (SERVER_FOR_SIX, 80), "S", 7, 0).ip();
    assert!(gateway.line.send(BackendId(100), syn));
    gateway.settle();
    let seen = see6(&gateway.collect(0, BACK)[0]);
    assert_eq!((seen.src, seen.dst, seen.ports()), (SNAT6, SERVER6, (PROBE, 80)));
    gateway.inject(0, BACK, &by_server(&tcp6((SERVER6, 80), (SNAT6, PROBE), "SA", 70, 8, b"")));
    gateway.inject(0, BACK, &by_server(&error6(ROUTER6, SNAT6, 1, 0, 0, &seen.bytes)));
    gateway.settle();
    let answer = gateway.line.receive().unwrap();
    let seen = lab::packets::see_ip(&answer.packet);
    assert_eq!((seen.src(), seen.dst(), seen.tcp().acknowledgment_number), (SERVER_FOR_SIX, SNAT_FOR_SIX, 8));
    let error = gateway.line.receive().unwrap();
    assert_eq!((error.port, error.packet[9], &error.packet[20..22]), (PROBE, 1, &[3, 1][..]));
    assert!(gateway.drops().is_empty(), "{:?}", gateway.drops());
}

#[test]
fn the_kernel_may_carry_it() {
    let mut tables = lab::kernel_tables(with_task().services);
    tables.six = with_task().six;
    let mut gateway = Gateway::kernel(tables);
    let out = lab::packets::see_ip(&gateway.forward(&udp6((CLIENT6, PORT), (VIP6, 53), b"question"))[0][..]);
    assert_eq!((out.src(), out.dst()), (OUR_OVERLAY, TASKS[0]));
    let answer = udp((TASKS[0], 8000), (OUR_OVERLAY, out.ports().0), b"answer");
    let back = gateway.backward(&Tunnel { ethernet: None, ..Tunnel::from_node(0) }.wrap(&answer));
    let seen = see_ip6(&back[0]);
    assert_eq!((seen.src, seen.dst, &seen.payload[8..]), (VIP6, CLIENT6, &b"answer"[..]));
}

#[test]
fn workers_share_what_they_know_of_clients() {
    let mut gateway = Gateway::with(with_task(), 2, [LinkType::Ethernet; 2], 1024);
    let out = see(&gateway.forward(&client_says("S", 1000, 0, b""))[0]);
    gateway.inject(1, BACK, &answer_of(0, &out, "SA", 5000, 1001).sent_by_task(0));
    gateway.settle();
    let back = see6(&gateway.collect(0, FRONT)[0]);
    assert_eq!((back.src, back.dst), (VIP6, CLIENT6));
    // The client's kernel has taken another queue.
    gateway.inject(1, FRONT, &client_says("A", 1001, 5001, b"question"));
    gateway.inject(1, FRONT, &by_client(&error6(ROUTER6, VIP6, 2, 0, 1300, &back.bytes)));
    gateway.settle();
    let sent: Vec<_> = gateway.collect(0, BACK).iter().map(|frame| see(frame).ip.protocol.0).collect();
    assert_eq!(sent, [6, 1]);
    assert_eq!((gateway.drops().len(), gateway.surrogates.count()), (0, (1, 1)));
}

#[test]
fn both_ends_are_told_of_an_end() {
    let full = with_backend(backend);
    let mut gateway = Gateway::new(full.clone());
    let out = see6(&gateway.forward(&client_says("S", 1000, 0, b""))[0]);
    gateway.backward(&by_server(&tcp6((SERVER6, 80), (SNAT6, out.ports().0), "SA", 5000, 1001, b"")));
    gateway.forward(&client_says("A", 1001, 5001, b""));
    // With the backend go its address and ours; the VIP stays.
    let mut fewer = tables(vec![service(1, Protocol::Tcp, 8080)]);
    fewer.six.truncate(1);
    gateway.publish(fewer);
    gateway.settle();
    let (front, back) = (gateway.collect(0, FRONT), gateway.collect(0, BACK));
    let (client, server) = (see6(&front[0]), see6(&back[0]));
    assert!(client.tcp().rst && server.tcp().rst);
    assert_eq!((client.src, client.dst), (VIP6, CLIENT6));
    assert_eq!((server.src, server.dst), (SNAT6, SERVER6));
    assert!(gateway.drops().is_empty(), "{:?}", gateway.drops());
}

/// Direct server return from IPv6 to IPv6: the packet arrives as it was sent.
/// A cookie, the PROXY header and the translation at both edges: each renumbers something else.
#[test]
fn a_cookie_and_a_proxy_header_between_ipv6_and_ipv6() {
    let mut tables = with_backend(backend);
    tables.services[0].proxy_protocol = true;
    tables.services[0].protection =
        Protection { syn_cookies: SynCookies::Always, guard: Arc::new(Guard::new(2)), ..Protection::default() };
    let mut gateway = Gateway::new(tables);
    let one = |frames: &[Vec<u8>]| {
        assert_eq!(frames.len(), 1);
        see6(&frames[0])
    };
    assert!(gateway.forward(&client_says("S", 1000, 0, b"")).is_empty(), "no backend is asked");
    let baked = one(&gateway.collect(0, FRONT));
    assert_eq!((baked.src, baked.dst, baked.mss(), baked.tcp().window_size), (VIP6, CLIENT6, Some(1440), 0));
    let cookie = baked.tcp().sequence_number;
    // The client is slow, and others come meanwhile.
    gateway.pass(Duration::from_secs(10));
    let syn = one(&gateway.forward(&client_says("A", 1001, cookie.wrapping_add(1), b"")));
    assert_eq!((syn.src, syn.dst, syn.tcp().sequence_number, syn.mss()), (SNAT6, SERVER6, 1000, Some(1440)));
    let snat = syn.ports().0;
    let server =
        |flags, seq, ack, payload: &[u8]| by_server(&tcp6((SERVER6, 80), (SNAT6, snat), flags, seq, ack, payload));
    let open = one(&gateway.backward(&server("SA", 5000, 1001, b"")));
    assert_eq!((open.dst, open.tcp().sequence_number, open.tcp().syn), (CLIENT6, cookie.wrapping_add(1), false));
    let header = one(&gateway.collect(0, BACK));
    assert_eq!((header.tcp().sequence_number, header.tcp().acknowledgment_number), (1001, 5001));
    let proxy = &header.payload[20..];
    assert_eq!((proxy.len(), &proxy[12..16]), (52, &[0x21, 0x21, 0, 36][..]));
    assert_eq!((&proxy[16..32], &proxy[32..48]), (&CLIENT6.octets()[..], &VIP6.octets()[..]));
    one(&gateway.backward(&server("A", 5001, 1053, b"")));
    let data = one(&gateway.forward(&client_says("A", 1001, cookie.wrapping_add(1), b"GET")));
    assert_eq!((data.tcp().sequence_number, data.tcp().acknowledgment_number), (1053, 5001));
    let answer = one(&gateway.backward(&server("A", 5001, 1056, &[9; 1400])));
    assert_eq!((answer.tcp().sequence_number, answer.tcp().acknowledgment_number), (cookie.wrapping_add(1), 1004));
    // A router on the client's side has a narrower link: the backend's segment is quoted as the backend has sent it.
    let narrow = error6(ROUTER6, VIP6, 2, 0, 1300, &answer.bytes);
    let told = one(&gateway.forward(&by_client(&narrow)));
    assert_eq!(
        (told.src, told.dst, told.payload[0], &told.payload[4..8]),
        (SNAT6, SERVER6, 2, &1300_u32.to_be_bytes()[..])
    );
    assert_eq!(told.payload[8 + 40 + 4..][..4], 5001_u32.to_be_bytes());
    assert!(gateway.drops().is_empty(), "{:?}", gateway.drops());
    assert_held(&mut gateway);
    gateway.assert_gauges();
    gateway.assert_frames_conserved();
}

#[test]
fn a_direct_backend_gets_the_clients_packet() {
    let mut tables = with_backend(backend);
    for service in &mut tables.services {
        service.direct = true;
        service.backends[0].port = None;
    }
    let mut gateway = Gateway::new(tables);
    let sent = udp6((CLIENT6, PORT), (VIP6, 53), b"question");
    let seen = see6(&gateway.forward(&by_client(&sent))[0]);
    assert_eq!((seen.src, seen.dst, seen.ports()), (CLIENT6, VIP6, (PORT, 53)));
    assert_eq!(
        (&seen.payload[8..], seen.hop_limit, seen.ethernet),
        (&b"question"[..], 63, Some((OUR_MACS[1], SERVER_MAC)))
    );
    assert!(gateway.drops().is_empty(), "{:?}", gateway.drops());
}

/// The same clients and backends choose alike whatever stands for them: after a restart, and in another gateway.
#[test]
fn hashes_are_of_the_real_addresses() {
    let picks = |kind, swap: bool| {
        let mut dns = service(1, Protocol::Udp, 53);
        dns.scheduler = kind;
        dns.backends = (0..8).map(|n| backend(100 + n)).collect();
        let mut tables = tables(vec![]);
        for (n, backend) in (0..).zip(&mut dns.backends) {
            backend.address = Ipv4Addr::new(240, 0, 1, if swap { 8 - n } else { n });
            tables.six.push((client6(0x100 + u16::from(n)), backend.address));
        }
        tables.services.push(dns);
        let mut gateway = Gateway::new(tables);
        if swap {
            assert!((0..50).all(|n| gateway.surrogates.hear(client6(0x900 + n), 100).is_some()));
        }
        let ask = |n| by_client(&udp6((client6(n), PORT), (VIP6, 53), b"x"));
        (0..100).map(|n| see6(&gateway.forward(&ask(n))[0]).dst).collect::<Vec<_>>()
    };
    for kind in [SchedulerKind::SourceHash, SchedulerKind::DestinationHash, SchedulerKind::Maglev] {
        let first = picks(kind, false);
        assert_eq!(first, picks(kind, true), "{kind}");
        let used: std::collections::BTreeSet<_> = first.iter().collect();
        assert_eq!(used.len() > 1, kind != SchedulerKind::DestinationHash, "{kind}");
    }
}

#[test]
fn clients_of_an_ipv6_network_stay_together() {
    let mut dns = service(1, Protocol::Udp, 53);
    dns.backends = vec![task(100), lab::overlay_backend(101, 1, 1)];
    dns.persistence = Some(Persistence {
        time: Duration::from_mins(5),
        prefix: 32,
        prefix_six: 64,
        grouped: false,
        clients: Arc::new(Clients::new(1024)),
    });
    let mut gateway = Gateway::new(tables(vec![dns]));
    let mut serves = |network: u16, host| {
        let client = Ipv6Addr::new(0x2001, 0xdb8, 9, network, 0, 0, 0, host);
        see(&gateway.forward(&by_client(&udp6((client, PORT), (VIP6, 53), b"x")))[0]).dst()
    };
    let first: Vec<_> = (0..20).map(|network| serves(network, 1)).collect();
    assert!(first.contains(&TASKS[0]) && first.contains(&TASKS[1]));
    let again: Vec<_> = (0..20).map(|network| serves(network, 2)).collect();
    assert_eq!(first, again);
}

// What clients' surrogates are held by.

/// Ways in which flows end. Each is done by more clients than there is room for at once.
#[derive(Clone, Copy, Debug)]
enum End {
    Expired,
    BackendGone,
    ResetByClient,
    Closed,
    Evicted,
}

/// So many that chance does not fill both buckets of a client while half of the table is free.
const ROOM: usize = 512;

fn end_some(gateway: &mut Gateway, end: End, from: u16) {
    let opened = 16;
    for n in from..from + opened {
        let who = (client6(n), PORT);
        match end {
            End::Expired | End::BackendGone => {
                gateway.forward(&by_client(&udp6(who, (VIP6, 53), b"x")));
            }
            End::ResetByClient | End::Closed | End::Evicted => {
                let says = |flags, seq, ack| by_client(&tcp6(who, (VIP6, 8080), flags, seq, ack, b""));
                let syn = see(&gateway.forward(&says("S", 1000, 0))[0]);
                gateway.backward(&answer_of(0, &syn, "SA", 5000, 1001).sent_by_task(0));
                if matches!(end, End::Closed | End::Evicted) {
                    gateway.forward(&says("FA", 1001, 5001));
                    gateway.backward(&answer_of(0, &syn, "FA", 5001, 1002).sent_by_task(0));
                    gateway.forward(&says("A", 1002, 5002));
                } else {
                    gateway.forward(&says("R", 1001, 0));
                }
            }
        }
    }
    assert_eq!(gateway.drops(), [], "{end:?}");
    assert_held(gateway);
    let time = match end {
        // Closed flows give way to new ones before their time.
        End::Evicted => surrogate::IDLE_SECONDS.into(),
        End::BackendGone => {
            let mut without = with_task();
            without.services.remove(1);
            gateway.publish_same(without);
            gateway.publish_same(with_task());
            surrogate::IDLE_SECONDS.into()
        }
        _ => 3600,
    };
    gateway.pass(Duration::from_secs(time));
}

#[test]
fn clients_make_room_however_their_flows_end() {
    for end in [End::Expired, End::BackendGone, End::ResetByClient, End::Closed, End::Evicted] {
        // The table of clients is twice as large as that of flows.
        let mut gateway = Gateway::with(with_task(), 1, [LinkType::Ethernet; 2], ROOM / 2);
        assert_eq!(gateway.surrogates.capacity(), ROOM);
        for round in 0..40 {
            end_some(&mut gateway, end, round * 16);
        }
        let flows = gateway.workers[0].core().flows();
        assert_eq!(gateway.surrogates.count().1, flows as u64, "{end:?}");
        assert!(!matches!(end, End::Evicted) || flows == ROOM / 2, "flows were evicted");
        gateway.assert_gauges();
        gateway.assert_frames_conserved();
    }
}

#[test]
fn who_finds_no_room_is_dropped_and_counted() {
    let mut gateway = Gateway::with(with_task(), 1, [LinkType::Ethernet; 2], 4);
    assert_eq!(gateway.surrogates.capacity(), 8);
    let ask = |gateway: &mut Gateway, n| gateway.forward(&by_client(&ping6(client6(n), VIP6, b"")));
    for n in 0..20 {
        ask(&mut gateway, n);
    }
    assert_eq!((gateway.drops(), gateway.surrogates.count()), (vec![("clients_full", 12)], (8, 0)));
    gateway.pass(Duration::from_secs(surrogate::IDLE_SECONDS.into()));
    ask(&mut gateway, 100);
    assert_eq!((gateway.drops(), gateway.surrogates.count()), (vec![("clients_full", 12)], (8, 0)));
}

/// Who is kept out by a service's lists takes no place from those who are not; flows that stand go on.
#[test]
fn who_is_denied_takes_no_place() {
    let mut tables = with_task();
    let mut gateway = Gateway::new(tables.clone());
    let deny = Prefixes::new(&[Prefix { address: CLIENT6.into(), bits: 64 }]);
    let protection = || Protection { deny: deny.clone(), guard: Arc::new(Guard::new(1)), ..Protection::default() };
    let syn = see(&gateway.forward(&client_says("S", 1000, 0, b""))[0]);
    gateway.backward(&answer_of(0, &syn, "SA", 5000, 1001).sent_by_task(0));
    tables.services.iter_mut().for_each(|service| service.protection = protection());
    gateway.publish_same(tables.clone());
    for n in 100..200 {
        let (syn, asked) =
            (tcp6((client6(n), PORT), (VIP6, 8080), "S", 1, 0, b""), udp6((client6(n), PORT), (VIP6, 53), b"?"));
        assert!(gateway.forward(&by_client(&syn)).is_empty() && gateway.forward(&by_client(&asked)).is_empty());
    }
    assert_eq!(gateway.surrogates.count(), (1, 1));
    assert_eq!(gateway.forward(&client_says("A", 1001, 5001, b"data")).len(), 1, "the flow that stands");
    assert!(gateway.forward(&client_asks(b"?")).is_empty(), "its client, for another one");
    let denied: Vec<u64> = tables.services.iter().map(|service| service.protection.guard.totals().denied).collect();
    assert_eq!((denied, gateway.drops()), (vec![100, 101], vec![("denied", 201)]));
    let other = Ipv6Addr::new(0x2001, 0xdb8, 10, 0, 0, 0, 0, 7);
    assert_eq!(gateway.forward(&by_client(&udp6((other, PORT), (VIP6, 53), b"?"))).len(), 1);
    gateway.assert_frames_conserved();
}

#[test]
fn a_full_flow_table_holds_nobody() {
    let mut gateway = Gateway::with(with_task(), 1, [LinkType::Ethernet; 2], 4);
    let opened: usize = (0..8)
        .map(|n| gateway.forward(&by_client(&tcp6((client6(n), PORT), (VIP6, 8080), "S", 1, 0, b""))).len())
        .sum();
    let held = gateway.surrogates.count().1;
    assert_eq!((opened as u64, gateway.drops()), (held, vec![("table_full", 8 - held)]));
    assert_held(&mut gateway);
}
