//! TUN and the overlay socket.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use crate::lab::{eventually, frame, in_namespace, ip, receive, udp};
use sys::{Device, Frame, FramePool, LinkType, OverlaySocket, TunDevice};

/// Turns a UDP packet around. All checksums stay right: they are sums, and the terms only change places.
fn turn_around(packet: &mut [u8]) {
    for at in 0..4 {
        packet.swap(12 + at, 16 + at);
    }
    packet.swap(20, 22);
    packet.swap(21, 23);
}

#[test]
fn a_tun_device_carries_packets_both_ways() {
    in_namespace(|| {
        let mut tun = TunDevice::open("sgt0", 1400).unwrap();
        let mut pool = FramePool::heap(64, 2048);
        assert_eq!((tun.name(), tun.link_type(), tun.state().up), ("sgt0", LinkType::Ip, false));
        ip("addr add 10.99.0.1/24 dev sgt0");
        ip("link set sgt0 up");
        assert!(ip("link show sgt0").contains("mtu 1400"));
        assert!(tun.state().up, "{:?}", tun.state());
        assert_eq!(tun.rx(&mut pool, &mut Vec::new(), 64), 0);

        let client = UdpSocket::bind("10.99.0.1:0").unwrap();
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        client.send_to(b"through the tunnel", "10.99.0.2:7").unwrap();
        let mut burst = receive(&mut tun, &mut pool, 1);
        assert_eq!(&burst[0].bytes()[28..], b"through the tunnel");
        assert_eq!(burst[0].headroom(), 256);
        turn_around(burst[0].bytes_mut());
        // The answer goes out through a sibling.
        let mut sibling = tun.sibling().unwrap();
        assert!(sibling.fd().is_none());
        assert_eq!(sibling.tx(&mut pool, &mut burst).sent, 1);
        let mut answer = [0; 64];
        let (len, from) = client.recv_from(&mut answer).unwrap();
        assert_eq!((&answer[..len], from.to_string().as_str()), (&b"through the tunnel"[..], "10.99.0.2:7"));
        assert_eq!(pool.free(), 64);
    });
}

/// `tun_net_xmit` holds 500 packets, the device's `txqueuelen`, and drops what comes on top.
#[test]
fn what_a_full_tun_device_drops_is_counted() {
    in_namespace(|| {
        let tun = TunDevice::open("sgt0", 1500).unwrap();
        ip("addr add 10.99.0.1/24 dev sgt0");
        ip("link set sgt0 up");
        assert_eq!(tun.state().rx_dropped, 0);
        let client = UdpSocket::bind("10.99.0.1:0").unwrap();
        for _ in 0..700 {
            // Dropping is no error for the sender.
            client.send_to(b"too many", "10.99.0.2:7").unwrap();
        }
        let dropped = tun.state().rx_dropped;
        assert!((200..=700).contains(&dropped), "{dropped}");
        assert_eq!(tun.sibling().unwrap().state().rx_dropped, 0, "it is counted once");
    });
}

#[test]
fn a_tun_device_survives_being_down() {
    in_namespace(|| {
        let mut tun = TunDevice::open("sgt0", 1500).unwrap();
        let mut pool = FramePool::heap(64, 2048);
        let packet = udp(([10, 99, 0, 2], 7), ([10, 99, 0, 1], 9), b"hello");
        let mut out = vec![frame(&mut pool, &packet), frame(&mut pool, &packet)];
        let report = tun.tx(&mut pool, &mut out);
        assert_eq!((report.sent, report.refused, pool.free()), (0, 2, 64));
        let state = tun.state();
        assert!(!state.up && state.error.is_some() && state.tx_refused == 2, "{state:?}");
        ip("link set sgt0 up");
        let mut out = vec![frame(&mut pool, &packet)];
        assert_eq!(tun.tx(&mut pool, &mut out).sent, 1);
        let state = tun.state();
        assert!(state.up && state.error.is_none(), "{state:?}");
    });
}

#[test]
fn a_tun_device_says_why_it_cannot_be() {
    in_namespace(|| {
        let _holder = TunDevice::open("sgt0", 1500).unwrap();
        let error = |name, mtu| TunDevice::open(name, mtu).err().unwrap().to_string();
        assert!(error("sgt0", 1500).contains("another program holds it"), "{}", error("sgt0", 1500));
        assert!(error("lo", 1500).contains("another kind"), "{}", error("lo", 1500));
        assert!(error("much-too-long-for-linux", 1500).contains("cannot be an interface's name"));
        assert!(error("sgt1", 1).contains("MTU 1"), "{}", error("sgt1", 1));
        assert!(!ip("link show").contains("sgt1"), "left behind");
    });
}

const HERE: [u8; 4] = [10, 98, 0, 1];
const THERE: [u8; 4] = [10, 98, 0, 2];

fn overlay_sockets() -> (OverlaySocket, OverlaySocket) {
    ip("addr add 10.98.0.1/32 dev lo");
    ip("addr add 10.98.0.2/32 dev lo");
    let bind = |address: [u8; 4]| OverlaySocket::bind(Ipv4Addr::from(address), 4789).unwrap();
    (bind(HERE), bind(THERE))
}

#[test]
fn overlay_sockets_keep_the_source_port_and_add_the_outer_headers() {
    in_namespace(|| {
        let (mut here, mut there) = overlay_sockets();
        let mut pool = FramePool::heap(256, 2048);
        let packets: Vec<Vec<u8>> =
            (0..100_u16).map(|n| udp((HERE, 50_000 + n), (THERE, 4789), &vec![n as u8; 8 + usize::from(n)])).collect();
        let mut out: Vec<Frame> = packets.iter().map(|packet| frame(&mut pool, packet)).collect();
        let report = here.tx(&mut pool, &mut out);
        assert_eq!((report.sent, report.refused, pool.free()), (100, 0, 256));
        let burst = receive(&mut there, &mut pool, 100);
        for (received, sent) in burst.iter().zip(&packets) {
            let bytes = received.bytes();
            assert_eq!(bytes.len(), sent.len());
            // Addresses, ports, length, payload; the checksum covers another identification.
            assert_eq!((&bytes[12..], bytes[0], &bytes[2..4]), (&sent[12..], 0x45, &sent[2..4]));
            assert_eq!(received.headroom(), 256);
        }
        assert!(!there.has_work() || there.rx(&mut pool, &mut Vec::new(), 64) == 0);
        pool.put_all(burst);
        assert_eq!(pool.free(), 256);
        assert!(here.state().up && there.state().up);
    });
}

/// Congestion on the underlay is the inner packet's too (RFC 6040).
#[test]
fn an_overlay_socket_tells_what_was_marked_on_the_way() {
    in_namespace(|| {
        let (mut here, mut there) = overlay_sockets();
        let mut pool = FramePool::heap(64, 2048);
        let marks = [3, 0, 0xbb, 2, 0];
        let mark = |(n, tos): (usize, &u8)| {
            let mut packet = udp((HERE, 50_000 + n as u16), (THERE, 4789), b"marked");
            packet[1] = *tos;
            packet
        };
        let mut out: Vec<Frame> = marks.iter().enumerate().map(mark).map(|ip| frame(&mut pool, &ip)).collect();
        assert_eq!(here.tx(&mut pool, &mut out).sent, marks.len());
        let burst = receive(&mut there, &mut pool, marks.len());
        assert_eq!(burst.iter().map(|received| received.bytes()[1]).collect::<Vec<_>>(), marks);
        for received in &burst {
            let words = received.bytes()[..20].chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
            assert_eq!(words.sum::<u32>() % 0xffff, 0, "its checksum covers the mark");
        }
        pool.put_all(burst);
    });
}

#[test]
fn an_overlay_socket_refuses_one_packet_and_sends_the_others() {
    in_namespace(|| {
        let (mut here, mut there) = overlay_sockets();
        let mut pool = FramePool::heap(64, 2048);
        let good = udp((HERE, 50_000), (THERE, 4789), b"good day");
        let nowhere = udp((HERE, 50_000), ([203, 0, 113, 9], 4789), b"no route");
        let mut out: Vec<Frame> = [&good, &nowhere, &good].map(|packet| frame(&mut pool, packet)).into();
        let report = here.tx(&mut pool, &mut out);
        assert_eq!((report.sent, report.refused, pool.free()), (2, 1, 64));
        let burst = receive(&mut there, &mut pool, 2);
        pool.put_all(burst);
    });
}

#[test]
fn an_overlay_socket_drops_what_is_longer_than_a_frame() {
    in_namespace(|| {
        let (_, mut there) = overlay_sockets();
        let mut pool = FramePool::heap(64, 2048);
        let client = UdpSocket::bind("10.98.0.1:0").unwrap();
        client.send_to(&[1; 4000], "10.98.0.2:4789").unwrap();
        client.send_to(&[2; 100], "10.98.0.2:4789").unwrap();
        let burst = receive(&mut there, &mut pool, 1);
        assert_eq!(&burst[0].bytes()[28..], [2; 100]);
        assert_eq!(there.state().rx_dropped, 1);
        pool.put_all(burst);
        assert_eq!(pool.free(), 64);
    });
}

#[test]
fn a_group_of_overlay_sockets_shares_the_work() {
    in_namespace(|| {
        ip("addr add 10.98.0.2/32 dev lo");
        let mut group = OverlaySocket::bind_group(THERE.into(), 4789, 2).unwrap();
        assert!(OverlaySocket::bind_group(THERE.into(), 4789, 2).is_err());
        let mut pool = FramePool::heap(256, 2048);
        for port in 0..64 {
            let client = UdpSocket::bind(("10.98.0.2", 30_000 + port)).unwrap();
            client.send_to(b"which of them?", "10.98.0.2:4789").unwrap();
        }
        let mut counts = [0; 2];
        eventually("all datagrams", || {
            for (count, socket) in counts.iter_mut().zip(&mut group) {
                let mut burst = Vec::new();
                *count += socket.rx(&mut pool, &mut burst, 64);
                pool.put_all(burst);
            }
            (counts[0] + counts[1] == 64).then_some(())
        });
        assert!(counts[0] > 8 && counts[1] > 8, "{counts:?}");
    });
}
