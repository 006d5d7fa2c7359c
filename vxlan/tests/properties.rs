//! Laws of the tunnel: ECN through it, there and back, entropy, any bytes.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::HashSet;
use std::net::Ipv4Addr;

use proptest::prelude::*;
use vxlan::{Encap, OVERHEAD, Tunnel, Vni, decap_ecn, entropy, parse};
use wire::{FiveTuple, Headers, L4, MacAddr, Protocol, ethernet};

const NOT_ECT: u8 = 0b00;
const ECT_1: u8 = 0b01;
const ECT_0: u8 = 0b10;
const CE: u8 = 0b11;

/// RFC 6040, figure 4, row by row: inner header, then what comes out for the outer Not-ECT, ECT(0), ECT(1), CE.
#[test]
fn ecn_out_of_the_tunnel() {
    let figure = [
        (NOT_ECT, [Some(NOT_ECT), Some(NOT_ECT), Some(NOT_ECT), None]),
        (ECT_0, [Some(ECT_0), Some(ECT_0), Some(ECT_1), Some(CE)]),
        (ECT_1, [Some(ECT_1), Some(ECT_1), Some(ECT_1), Some(CE)]),
        (CE, [Some(CE), Some(CE), Some(CE), Some(CE)]),
    ];
    for (inner, row) in figure {
        for (outer, expected) in [NOT_ECT, ECT_0, ECT_1, CE].into_iter().zip(row) {
            assert_eq!(decap_ecn(outer, inner), expected, "outer {outer:02b}, inner {inner:02b}");
            // The inner DSCP stays, the outer one does not matter.
            let with_dscp = expected.map(|ecn| 0xb8 | ecn);
            assert_eq!(decap_ecn(0x48 | outer, 0xb8 | inner), with_dscp);
        }
    }
}

fn macs() -> impl Strategy<Value = MacAddr> {
    any::<[u8; 6]>().prop_map(MacAddr)
}

fn addresses() -> impl Strategy<Value = Ipv4Addr> {
    any::<u32>().prop_map(Ipv4Addr::from_bits)
}

fn tunnels() -> impl Strategy<Value = Tunnel> {
    let vni = (0..1u32 << 24).prop_map(|number| Vni::try_from(number).expect("24 bits"));
    (addresses(), addresses(), any::<u16>(), vni, macs(), macs()).prop_map(
        |(local, remote, port, vni, inner_src, inner_dst)| Tunnel { local, remote, port, vni, inner_src, inner_dst },
    )
}

proptest! {
    /// What goes in comes out: headers as prepared, the packet untouched, nothing written beyond the 50 bytes.
    #[test]
    fn decap_of_encap(
        tunnel in tunnels(),
        packet in prop::collection::vec(any::<u8>(), 0..1450),
        (tos, entropy, id, ethertype) in any::<(u8, u16, u16, u16)>(),
    ) {
        let mut frame = [vec![0xee; OVERHEAD], packet.clone()].concat();
        Encap::new(&tunnel).write(&mut frame, packet.len(), tos, entropy, id, ethertype);
        // The parser checks the outer header's checksum.
        let outer = Headers::parse(&frame, 0).expect("well-formed");
        let L4::Udp(udp) = outer.l4 else { panic!("not UDP") };
        prop_assert_eq!((outer.ip.src(), outer.ip.dst()), (tunnel.local, tunnel.remote));
        prop_assert_eq!((outer.ip.tos(), outer.ip.id(), outer.ip.ttl(), outer.ip.dont_fragment()), (tos, id, 64, false));
        prop_assert_eq!(outer.ip.end(), frame.len());
        prop_assert_eq!((udp.dst_port, udp.checksum, udp.offset() + udp.len()), (tunnel.port, 0, frame.len()));
        prop_assert_eq!(udp.src_port, 49152 + entropy % 16384);
        let found = parse(&frame, udp.payload(), udp.offset() + udp.len()).expect("well-formed");
        prop_assert_eq!(found.vni, tunnel.vni);
        let inner = ethernet(&frame[found.inner..]).expect("well-formed");
        prop_assert_eq!((inner.dst, inner.src), (tunnel.inner_dst, tunnel.inner_src));
        prop_assert_eq!(inner.ethertype, ethertype);
        prop_assert_eq!(&frame[found.inner + 14..], &packet);
    }

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..100), start in 0..120usize, end in 0..120usize) {
        if let Ok(found) = parse(&bytes, start, end) {
            prop_assert!(found.inner + 14 <= end && end <= bytes.len());
        }
        let _ = parse(&bytes, usize::MAX, end);
        let _ = parse(&bytes, start, usize::MAX);
    }

    /// No length makes it panic, and a short buffer is left alone.
    #[test]
    fn any_length(tunnel in tunnels(), len: usize, short in 0..OVERHEAD) {
        let mut buf = [0xee; OVERHEAD];
        Encap::new(&tunnel).write(&mut buf, len % (1 << 40), 0, 0, 0, 0);
        let mut buf = vec![0xee; short];
        Encap::new(&tunnel).write(&mut buf, 100, 0, 0, 0, 0);
        prop_assert_eq!(buf, vec![0xee; short]);
    }
}

/// Flows that differ in one port only, as those of one client do, take nearly as many source ports as chance would.
#[test]
fn entropy_spreads_flows() {
    let flow = |src_port| FiveTuple {
        src: Ipv4Addr::new(10, 0, 0, 3),
        dst: Ipv4Addr::new(10, 0, 0, 11),
        src_port,
        dst_port: 8000,
        protocol: Protocol::Tcp,
    };
    assert_eq!(entropy(&flow(1)), entropy(&flow(1)), "one flow, one port");
    let base = flow(1);
    let others = [
        FiveTuple { src: Ipv4Addr::new(10, 0, 0, 4), ..base },
        FiveTuple { dst: Ipv4Addr::new(10, 0, 0, 12), ..base },
        FiveTuple { dst_port: 8001, ..base },
        FiveTuple { protocol: Protocol::Udp, ..base },
        base.reversed(),
    ];
    assert!(others.iter().all(|other| entropy(other) != entropy(&base)), "every part of the key counts");
    let ports: HashSet<u16> = (0..16384).map(|port| entropy(&flow(20000 + port)) % 16384).collect();
    // Chance would give 1 - 1/e of them: 10,356.
    assert!(ports.len() > 9_800, "{}", ports.len());
    let paths = (0..4096).fold([0u32; 4], |mut paths, port| {
        paths[usize::from(entropy(&flow(20000 + port)) % 4)] += 1;
        paths
    });
    assert!(paths.iter().all(|&flows| (900..1150).contains(&flows)), "{paths:?}");
}
