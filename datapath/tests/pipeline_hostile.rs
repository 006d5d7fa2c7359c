//! Any bytes from any side: no panic, no lost frame, and the next good packet goes through.

mod lab;

use lab::packets::{Segment, Tunnel, ethernet, fragments, ping, udp};
use lab::{BACK, CLIENT, CLIENT_MAC, FRONT, Gateway, OUR_MACS, OUR_OVERLAY, TASKS, VIP};
use proptest::prelude::*;
use wire::Protocol;

fn gateway() -> Gateway {
    let services = vec![lab::service(1, Protocol::Tcp, 8080, &[1, 1]), lab::service(2, Protocol::Udp, 53, &[1, 1])];
    Gateway::with(lab::tables(services), 2, [sys::LinkType::Ethernet; 2], 64)
}

/// Good packets of every kind, to be spoilt.
fn seeds() -> Vec<Vec<u8>> {
    let datagram = udp((CLIENT, 5000), (VIP, 53), &[1; 40]);
    let mut seeds = vec![
        Segment::syn(40_000).sent_by_client(),
        Segment::new((CLIENT, 40_000), (VIP, 8080), "A", 1001, 1).with(b"data").sent_by_client(),
        ethernet(CLIENT_MAC, OUR_MACS[0], &datagram),
        ethernet(CLIENT_MAC, OUR_MACS[0], &ping(CLIENT, VIP, &[0; 56])),
        Tunnel::from_node(0).wrap(&udp((TASKS[0], 8000), (OUR_OVERLAY, 30_000), b"answer")),
        Segment::new((TASKS[0], 8000), (OUR_OVERLAY, 30_000), "SA", 1, 1).sent_by_task(0),
        ethernet(CLIENT_MAC, OUR_MACS[0], &lab::packets::icmp_error(CLIENT, VIP, 3, 4, 1300, &datagram)),
    ];
    seeds.extend(fragments(&datagram, 16).iter().map(|piece| ethernet(CLIENT_MAC, OUR_MACS[0], piece)));
    seeds
}

/// A seed with some bytes changed and its end cut, its IP checksum mended so that it gets further in.
fn spoilt() -> impl Strategy<Value = Vec<u8>> {
    let seeds = seeds();
    let change = (0usize..200, any::<u8>());
    (0..seeds.len(), prop::collection::vec(change, 0..4), 0usize..60, any::<bool>()).prop_map(
        move |(seed, changes, cut, mend)| {
            let mut bytes = seeds[seed].clone();
            for (at, value) in changes {
                let at = at % bytes.len();
                bytes[at] = value;
            }
            if cut < 20 {
                bytes.truncate(bytes.len() - cut);
            }
            if mend && bytes.len() >= 34 {
                bytes[24..26].fill(0);
                if let Ok((ip, _)) = etherparse::Ipv4Header::from_slice(&bytes[14..]) {
                    bytes[24..26].copy_from_slice(&ip.calc_header_checksum().to_be_bytes());
                }
            }
            bytes
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn nothing_breaks(frames in prop::collection::vec((0usize..2, 0usize..2, spoilt()), 1..60)) {
        let mut gateway = gateway();
        for (worker, slot, bytes) in &frames {
            gateway.inject(*worker, *slot, bytes);
            if worker == slot {
                gateway.settle();
            }
        }
        gateway.assert_frames_conserved();
        let totals = gateway.totals();
        prop_assert_eq!(totals.rx_packets, frames.len() as u64);
        for worker in 0..2 {
            gateway.collect_all(worker, FRONT);
            gateway.collect_all(worker, BACK);
        }
        gateway.inject(0, FRONT, &Segment::syn(61_000).sent_by_client());
        gateway.settle();
        prop_assert_eq!(gateway.collect(0, BACK).len(), 1);
    }

    #[test]
    fn random_bytes_go_nowhere(bytes in prop::collection::vec(any::<u8>(), 0..300), slot in 0usize..2) {
        let mut gateway = gateway();
        gateway.inject(0, slot, &bytes);
        gateway.assert_frames_conserved();
        prop_assert_eq!(gateway.totals().drops.iter().map(|(_, n)| n).sum::<u64>(), 1);
    }
}
