//! Several overlay networks behind one tunnel endpoint.

#![allow(clippy::unwrap_used, reason = "test code")]

mod lab;

use std::net::Ipv4Addr;

use datapath::service::Path;
use lab::packets::{Tunnel, ethernet, see, udp};
use lab::{CLIENT, CLIENT_MAC, Gateway, OUR_MACS, OUR_OVERLAY, TASKS, VIP, VNI};
use vxlan::Vni;
use wire::{MacAddr, Protocol};

/// A second network: other number, other addresses, the same tunnel endpoint.
#[test]
fn two_overlays_are_kept_apart() {
    let (second, ours) = (Vni::try_from(99).unwrap(), Ipv4Addr::new(10, 9, 0, 3));
    let mut tables = lab::tables(vec![lab::service(1, Protocol::Udp, 53, &[1])]);
    let mut overlay = tables.overlays[0].clone();
    (overlay.vni, overlay.addresses, overlay.mac) = (second, vec![ours], MacAddr::docker(ours));
    tables.overlays.push(overlay);
    let mut other = lab::service(2, Protocol::Udp, 54, &[1]);
    let task = Ipv4Addr::new(10, 9, 0, 11);
    other.backends[0].address = task;
    if let Path::Overlay { vni, mac, .. } = &mut other.backends[0].path {
        (*vni, *mac) = (second, MacAddr::docker(task));
    }
    tables.services.push(other);
    let mut gateway = Gateway::new(tables);
    for (port, number, from, to) in [(53, VNI, OUR_OVERLAY, TASKS[0]), (54, 99, ours, task)] {
        let ask = ethernet(CLIENT_MAC, OUR_MACS[0], &udp((CLIENT, 5000), (VIP, port), b"?"));
        let asked = see(&gateway.forward(&ask)[0]);
        let outer = asked.outer.clone().unwrap();
        assert_eq!((outer.vni, outer.inner_src, outer.inner_dst), (number, MacAddr::docker(from), MacAddr::docker(to)));
        assert_eq!((asked.src(), asked.dst()), (from, to));
        let answer = udp((to, 8000), (from, asked.ports().0), b"!");
        let tunnel = Tunnel {
            vni: number,
            inner_src: MacAddr::docker(to),
            inner_dst: MacAddr::docker(from),
            ..Tunnel::from_node(0)
        };
        // In the other network it is a stranger's.
        let forged = Tunnel { vni: VNI + 99 - number, ..tunnel.clone() };
        assert!(gateway.backward(&forged.wrap(&answer)).is_empty());
        let heard = see(&gateway.backward(&tunnel.wrap(&answer))[0]);
        assert_eq!((heard.src(), heard.ports()), (VIP, (port, 5000)));
    }
    assert!(gateway.backward(&Tunnel { vni: 100, ..Tunnel::from_node(0) }.wrap(&[0; 40])).is_empty());
    assert_eq!(gateway.drops(), [("wrong_vni", 1), ("wrong_inner_mac", 2)]);
    gateway.assert_frames_conserved();
}
