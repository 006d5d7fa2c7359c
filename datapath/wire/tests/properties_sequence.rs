//! Laws of the edits for connections whose ends count in different sequence spaces.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use common::{Plan, assert_checksums, parse, plans, tuples};
use etherparse::{TcpHeaderSlice, TcpOptionElement};
use proptest::prelude::*;
use wire::{
    FiveTuple, Headers, L4, Protocol, ProxyHeader, Tcp, TcpData, map_quoted_seq, prepend_to_datagram,
    without_fast_open, write_tcp_data,
};

fn tcp(packet: &[u8]) -> Tcp {
    let L4::Tcp(tcp) = parse(packet).l4 else { panic!("not TCP") };
    tcp
}

/// A SACK option behind some NOPs, so that it stands anywhere, and what etherparse reads of it.
fn with_sack(mut plan: Plan, nops: usize, blocks: &[(u32, u32)]) -> Plan {
    plan.tuple.protocol = Protocol::Tcp;
    let edges = blocks.iter().flat_map(|(left, right)| [left.to_be_bytes(), right.to_be_bytes()]);
    plan.tcp_options = [vec![1; nops], vec![5, 2 + 8 * blocks.len() as u8], edges.flatten().collect()].concat();
    plan
}

fn sack_of(packet: &[u8]) -> Vec<(u32, u32)> {
    let at = parse(packet).ip.payload();
    let header = TcpHeaderSlice::from_slice(&packet[at..]).expect("well-formed");
    let found = header.options_iterator().map(|option| option.expect("well-formed")).find_map(|option| match option {
        TcpOptionElement::SelectiveAcknowledgement(first, rest) => {
            Some(std::iter::once(first).chain(rest.into_iter().flatten()).collect())
        }
        _ => None,
    });
    found.unwrap_or_default()
}

proptest! {
    #[test]
    fn numbers_move_and_come_back(mut plan in plans(), seq: u32, ack: u32, window: u16) {
        plan.tuple.protocol = Protocol::Tcp;
        let before = plan.build();
        let mut packet = before.clone();
        let mut edited = tcp(&packet);
        let old = edited;
        edited.shift_seq(&mut packet, seq);
        edited.shift_ack(&mut packet, ack);
        edited.set_window(&mut packet, window);
        assert_checksums(&packet);
        let read = tcp(&packet);
        prop_assert_eq!(edited, read, "the view follows the frame");
        let expected_ack = if old.flags().ack() { old.ack().wrapping_add(ack) } else { old.ack() };
        prop_assert_eq!((read.seq(), read.ack(), read.window()), (old.seq().wrapping_add(seq), expected_ack, window));
        edited.shift_seq(&mut packet, seq.wrapping_neg());
        edited.shift_ack(&mut packet, ack.wrapping_neg());
        edited.set_window(&mut packet, old.window());
        prop_assert_eq!(packet, before);
    }

    #[test]
    fn sack_edges_move(plan in plans(), nops in 0..3usize, delta: u32,
                       blocks in prop::collection::vec((any::<u32>(), 1..1000u32), 1..=4)) {
        let blocks: Vec<_> = blocks.iter().map(|(left, len)| (*left, left.wrapping_add(*len))).collect();
        let mut packet = with_sack(plan, nops, &blocks).build();
        tcp(&packet).map_sack(&mut packet, |edge| edge.wrapping_add(delta));
        assert_checksums(&packet);
        let moved: Vec<_> = blocks.iter().map(|(l, r)| (l.wrapping_add(delta), r.wrapping_add(delta))).collect();
        prop_assert_eq!(sack_of(&packet), moved);
    }

    /// A map that sends everything below 1000 to 1000 leaves nothing of the blocks there.
    #[test]
    fn blocks_of_which_nothing_is_left_go(plan in plans(), nops in 0..3usize,
                                          lefts in prop::collection::vec(0..2000u32, 1..=4)) {
        let blocks: Vec<_> = lefts.iter().map(|left| (*left, left + 50)).collect();
        let mut packet = with_sack(plan, nops, &blocks).build();
        let len = packet.len();
        tcp(&packet).map_sack(&mut packet, |edge| edge.max(1000));
        assert_checksums(&packet);
        let kept: Vec<_> = blocks.iter().map(|(l, r)| (*l.max(&1000), *r.max(&1000))).filter(|(l, r)| l != r).collect();
        prop_assert_eq!((sack_of(&packet), packet.len()), (kept, len));
    }

    #[test]
    fn segments_made_here_are_read_by_etherparse(tuple in tuples(), seq: u32, ack: u32, window: u16,
                                                 timestamps: Option<(u32, u32)>,
                                                 payload in prop::collection::vec(any::<u8>(), 0..60)) {
        let tuple = FiveTuple { protocol: Protocol::Tcp, ..tuple };
        let data = TcpData { tuple, seq, ack, window, timestamps, payload: &payload };
        let mut buf = [0xee; 200];
        let len = write_tcp_data(&mut buf, &data);
        let packet = &buf[..len];
        assert_checksums(packet);
        let (headers, read) = (parse(packet), tcp(packet));
        prop_assert_eq!(headers.five_tuple(), Some(tuple));
        prop_assert_eq!((read.seq(), read.ack(), read.window(), read.flags().0), (seq, ack, window, 0x18));
        prop_assert_eq!(read.timestamps(packet).map(|found| (found.value, found.echo)), timestamps);
        prop_assert_eq!(&packet[read.offset() + read.header_len()..], &payload[..]);
        prop_assert_eq!(write_tcp_data(&mut buf[..len - 1], &data), 0);
    }

    #[test]
    fn datagrams_get_longer_in_front(mut plan in plans(), extra in prop::collection::vec(any::<u8>(), 0..30), id: u16) {
        plan.tuple.protocol = Protocol::Udp;
        let extra = [&extra[..], &extra[..]].concat();
        let before = plan.build();
        let mut frame = [vec![0xee; extra.len()], before.clone()].concat();
        let headers = Headers::parse(&frame, extra.len()).expect("well-formed");
        prop_assert!(prepend_to_datagram(&mut frame, &headers, &extra, id));
        assert_checksums(&frame);
        let after = parse(&frame);
        prop_assert_eq!((after.ip.total_len(), after.ip.dont_fragment()), (frame.len(), false));
        prop_assert_eq!(after.ip.id(), if headers.ip.dont_fragment() { id } else { headers.ip.id() });
        prop_assert_eq!(after.five_tuple(), headers.five_tuple());
        let L4::Udp(udp) = after.l4 else { panic!("not UDP") };
        prop_assert_eq!(&frame[udp.payload()..], &[extra, plan.payload.clone()].concat()[..]);
        prop_assert_eq!(udp.checksum == 0, plan.no_checksum);
    }

    /// What remains is what the sender would have sent without Fast Open.
    #[test]
    fn fast_open_leaves_no_trace(mut plan in plans(), before in 0..3usize, cookie in 0..=4usize, old: bool) {
        plan.tuple.protocol = Protocol::Tcp;
        plan.tcp_flags = 2;
        let body = if old { [vec![254, 4 + 2 * cookie as u8, 0xf9, 0x89], vec![9; 2 * cookie]] }
                   else { [vec![34, 2 + 2 * cookie as u8], vec![9; 2 * cookie]] }.concat();
        let scale = [3, 3, 7];
        plan.tcp_options = [&vec![1; before][..], &body, &scale].concat();
        let mut packet = plan.build();
        let headers = parse(&packet);
        let len = without_fast_open(&mut packet, &headers).expect("whole and right");
        packet.truncate(len);
        plan.tcp_options = [&vec![1; before + body.len()][..], &scale].concat();
        plan.payload.clear();
        let plain = plan.build();
        prop_assert_eq!(packet, plain);
    }
}

#[test]
fn a_spoiled_syn_is_not_made_right() {
    let mut packet = common::Golden::read("nat_tcp_data").packet("before");
    let headers = parse(&packet);
    *packet.last_mut().expect("bytes") ^= 1;
    let before = packet.clone();
    assert_eq!(without_fast_open(&mut packet, &headers), None);
    assert_eq!(packet, before);
}

/// By hand: NOP NOP SACK(18) 1000-1028 2000-2100, everything above 1028 28 less, what is below it 1000.
#[test]
fn a_sack_option_by_hand() {
    let mut packet = common::Golden::read("nat_tcp_syn").packet("before");
    let option = [1, 1, 5, 18, 0, 0, 3, 0xe8, 0, 0, 4, 4, 0, 0, 7, 0xd0, 0, 0, 8, 0x34];
    let mapped = [1, 1, 5, 10, 0, 0, 7, 0xb4, 0, 0, 8, 0x18, 1, 1, 1, 1, 1, 1, 1, 1];
    let (mut old, mut new) = (packet.clone(), packet.clone());
    old[40..60].copy_from_slice(&option);
    new[40..60].copy_from_slice(&mapped);
    packet.clone_from(&old);
    tcp(&packet).map_sack(&mut packet, |edge| if edge <= 1028 { 1000 } else { edge - 28 });
    assert_eq!(packet[40..], new[40..]);
    // As the sum over the old bytes was off by some number, that over the new ones is.
    let sum = |packet: &[u8]| common::slow_sum(&[&packet[20..]]);
    assert_eq!(sum(&packet), sum(&old));
    // Broken lengths are left to the receiver.
    let mut broken = old;
    broken[43] = 17;
    let before = broken.clone();
    tcp(&broken).map_sack(&mut broken, |edge| edge + 1);
    assert_eq!(broken, before);
}

#[test]
fn quoted_segments_are_renumbered() {
    for (name, whole) in [("nat_icmp_tcp_8_bytes", false), ("nat_icmp_tcp_whole", true)] {
        let mut packet = common::Golden::read(name).packet("before");
        let L4::Icmp(icmp) = parse(&packet).l4 else { panic!("not ICMP") };
        let (quote, before) = (icmp.offset() + 8, packet.clone());
        let seq_at = quote + usize::from(packet[quote] & 15) * 4 + 4;
        map_quoted_seq(&mut packet, &icmp, |seq| seq.wrapping_sub(28));
        assert_checksums(&packet);
        let number = |bytes: &[u8]| u32::from_be_bytes(bytes[seq_at..seq_at + 4].try_into().expect("four"));
        assert_eq!(number(&packet), number(&before).wrapping_sub(28), "{name}");
        let checksum = seq_at + 12..seq_at + 14;
        assert_eq!(packet.get(checksum.clone()) != before.get(checksum), whole, "{name}: its checksum");
        map_quoted_seq(&mut packet, &icmp, |seq| seq.wrapping_add(28));
        assert_eq!(packet, before);
    }
    let udp = common::Golden::read("nat_icmp_udp_whole").packet("before");
    let mut packet = udp.clone();
    let L4::Icmp(icmp) = parse(&packet).l4 else { panic!("not ICMP") };
    map_quoted_seq(&mut packet, &icmp, |_| 0);
    assert_eq!(packet, udp);
}

/// A header is two even halves for the checksum, whatever its family.
#[test]
fn proxy_headers_fit_in_front_of_datagrams() {
    for client in ["192.0.2.1:7", "[2001:db8::1]:7"] {
        let client = client.parse().expect("an address");
        let header = ProxyHeader::new(client, "198.18.0.1:53".parse().expect("an address"), Protocol::Udp);
        let before = common::Golden::read("nat_udp").packet("before");
        let mut frame = [header.bytes(), &before].concat();
        let headers = Headers::parse(&frame, header.bytes().len()).expect("well-formed");
        assert!(prepend_to_datagram(&mut frame, &headers, header.bytes(), 7));
        assert_checksums(&frame);
        assert!(!prepend_to_datagram(&mut frame, &headers, &header.bytes()[1..], 7), "odd");
    }
}
