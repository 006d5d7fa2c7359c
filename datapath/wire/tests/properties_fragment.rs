//! Laws of fragmentation: whatever the way it was cut, the pieces make the packet again.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use common::{Plan, assert_checksums, parse, plans};
use proptest::prelude::*;
use wire::{FragmentKey, Ipv4, split};

/// All pieces of a packet for one MTU.
fn pieces(packet: &[u8], mtu: usize) -> Vec<Vec<u8>> {
    let mut buf = vec![0; packet.len()];
    let pieces = (0..).map_while(|piece| split(packet, mtu, piece, &mut buf).map(|len| buf[..len].to_vec()));
    pieces.collect()
}

/// The payload of the datagram whose fragments these are, in any order (RFC 791 reassembly); panics on holes and
/// overlaps. Also whether the last fragment was among them.
fn reassemble(fragments: &[Vec<u8>]) -> (Vec<u8>, bool) {
    let mut parts: Vec<(Ipv4, &[u8])> = fragments
        .iter()
        .map(|fragment| {
            let ip = Ipv4::parse(fragment, 0).expect("well-formed");
            (ip, &fragment[ip.payload()..ip.end()])
        })
        .collect();
    parts.sort_by_key(|(ip, _)| ip.fragment_offset_bytes());
    let mut payload = Vec::new();
    let count = parts.len();
    for (index, (ip, part)) in parts.iter().enumerate() {
        assert_eq!(ip.fragment_offset_bytes(), payload.len(), "no hole, no overlap");
        assert!(ip.more_fragments() || index + 1 == count, "only the last one is last");
        payload.extend_from_slice(part);
    }
    (payload, parts.last().is_some_and(|(ip, _)| !ip.more_fragments()))
}

fn large_plans() -> impl Strategy<Value = Plan> {
    (plans(), prop::collection::vec(any::<u8>(), 0..4000)).prop_map(|(plan, payload)| Plan { payload, ..plan })
}

proptest! {
    #[test]
    fn pieces_make_the_packet_again(plan in large_plans(), mtu in 68..1600usize, padding in 0..30usize) {
        let packet = plan.build();
        let original = parse(&packet).ip;
        let fragments = pieces(&[packet.clone(), vec![0x55; padding]].concat(), mtu);
        prop_assert!(fragments.iter().all(|fragment| fragment.len() <= mtu));
        prop_assert!(fragments.len() <= packet.len() / (mtu - original.header_len() - 7) + 1, "not more than needed");
        for fragment in &fragments {
            let ip = Ipv4::parse(fragment, 0).expect("well-formed");
            prop_assert_eq!(ip.total_len(), fragment.len());
            prop_assert_eq!(FragmentKey::from(&ip), FragmentKey::from(&original));
            prop_assert_eq!((ip.ttl(), ip.tos()), (original.ttl(), original.tos()));
        }
        prop_assert_eq!(reassemble(&fragments), (packet[original.header_len()..].to_vec(), true));
        if packet.len() <= mtu {
            prop_assert_eq!(fragments, [packet]);
        }
    }

    /// A fragment is cut like a whole packet; its pieces fit in where it was, whether it is first, middle or last.
    #[test]
    fn pieces_of_pieces(plan in large_plans(), mtu in 300..1600usize, smaller in 68..300usize) {
        let packet = plan.build();
        let fragments: Vec<_> = pieces(&packet, mtu).iter().flat_map(|piece| pieces(piece, smaller)).collect();
        prop_assert!(fragments.iter().all(|fragment| fragment.len() <= smaller));
        let header_len = parse(&packet).ip.header_len();
        prop_assert_eq!(reassemble(&fragments), (packet[header_len..].to_vec(), true));
    }

    /// The other way round than the kernel's golden pieces: a whole one rebuilt from them has its checksums.
    #[test]
    fn only_the_first_piece_keeps_all_options(plan in large_plans(), mtu in 68..1600usize) {
        let plan = Plan { ip_options: vec![0x94, 4, 0, 0, 7, 7, 8, 1, 2, 3, 4, 1], ..plan };
        let packet = plan.build();
        assert_checksums(&packet);
        for (index, fragment) in pieces(&packet, mtu).iter().enumerate() {
            let kept = if index == 0 { plan.ip_options.clone() } else { vec![0x94, 4, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1] };
            prop_assert_eq!(&fragment[20..32], &kept);
        }
    }
}

#[test]
fn too_little_room() {
    let packet = common::Golden::read("fragments").packet("before");
    let mut buf = [0; 1500];
    assert_eq!(split(&packet, 27, 0, &mut buf), None, "not even eight bytes of payload");
    assert_eq!(split(&packet, 28, 0, &mut buf), Some(28));
    assert_eq!(split(&packet, 1450, 0, &mut buf[..1000]), None, "buffer");
    assert_eq!(split(&packet, 1500, 0, &mut buf[..1000]), None, "buffer");
    assert_eq!(split(&packet, 1500, 1, &mut buf), None, "there is one piece only");
    assert_eq!(split(&packet[..19], 1500, 0, &mut buf), None, "malformed");
    assert_eq!(split(&packet, 1450, usize::MAX, &mut buf), None);
}

#[test]
fn the_key_of_a_fragment() {
    let ip = Ipv4::parse(&common::Golden::read("fragments").packet("after1"), 0).expect("well-formed");
    let key = FragmentKey::from(&ip);
    assert_eq!((key.src, key.dst), ([198, 18, 0, 2].into(), [10, 0, 0, 11].into()));
    assert_eq!((key.protocol, key.id), (17, ip.id()));
}
