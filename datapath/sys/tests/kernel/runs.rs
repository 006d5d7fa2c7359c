//! Packets of one flow that the overlay socket sends in one piece.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use crate::lab::{Wire, eventually, frame, in_namespace, ip, mac_of, udp, veth};
use sys::{Device, Frame, FramePool, OverlaySocket};

const HERE: [u8; 4] = [10, 98, 0, 1];
const THERE: [u8; 4] = [10, 98, 0, 2];
const TOS: u8 = 0xba;
const PORT: u16 = 50_001;

/// The `number`-th packet with so many bytes in it.
fn packet(port: u16, number: usize, len: usize) -> Vec<u8> {
    udp((HERE, port), (THERE, 4789), &payload(number, len))
}

fn payload(number: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + number * 131) as u8).collect()
}

fn send(socket: &mut OverlaySocket, pool: &mut FramePool, packets: &[Vec<u8>]) -> (usize, usize) {
    let before = pool.free();
    let mut out: Vec<Frame> = packets.iter().map(|packet| frame(pool, packet)).collect();
    let report = socket.tx(pool, &mut out);
    assert_eq!((pool.free(), out.len()), (before, 0));
    (report.sent, report.refused)
}

fn receiver() -> UdpSocket {
    let receiver = UdpSocket::bind((Ipv4Addr::from(THERE), 4789)).unwrap();
    receiver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    receiver
}

fn expect(receiver: &UdpSocket, port: u16, number: usize, len: usize) {
    let mut buffer = [0; 2048];
    let (got, from) = receiver.recv_from(&mut buffer).unwrap();
    assert_eq!(from, SocketAddr::from((HERE, port)), "packet {number}");
    assert_eq!(got, len, "packet {number}");
    assert!(buffer[..got] == payload(number, len), "packet {number} is another");
}

fn on_loopback() -> (OverlaySocket, FramePool) {
    ip("addr add 10.98.0.1/32 dev lo");
    ip("addr add 10.98.0.2/32 dev lo");
    (OverlaySocket::bind(HERE.into(), 4789).unwrap(), FramePool::heap(256, 2048))
}

/// Two flows by turns, in runs, alone, and with a shorter one at the end; more than one message holds.
#[test]
fn packets_arrive_as_they_are_and_in_order() {
    in_namespace(|| {
        let (mut here, mut pool) = on_loopback();
        let receiver = receiver();
        // The second port takes the first one's place.
        let flows = [(PORT, 1472, 47), (PORT + 64, 900, 2), (PORT, 300, 1), (PORT + 1, 20, 66), (PORT, 1472, 3)];
        let mut expected = Vec::new();
        for (port, len, count) in flows {
            expected.extend((0..count).map(|number| (port, number, if number + 1 == count { len - 9 } else { len })));
        }
        let packets: Vec<_> = expected.iter().map(|(port, number, len)| packet(*port, *number, *len)).collect();
        assert_eq!(send(&mut here, &mut pool, &packets), (packets.len(), 0), "{:?}", here.state());
        for (port, number, len) in expected {
            expect(&receiver, port, number, len);
        }
        assert!(here.state().up && here.state().tx_refused == 0);
    });
}

/// A run whose packets do not fit the route is refused as such; they go one by one, as packets of any length do.
#[test]
fn what_is_refused_as_a_run_goes_one_by_one() {
    in_namespace(|| {
        let (mut here, mut pool) = on_loopback();
        let receiver = receiver();
        ip("route change table local local 10.98.0.2 dev lo mtu lock 1000");
        let packets: Vec<_> = (0..40).map(|number| packet(PORT, number, 1200)).collect();
        assert_eq!(send(&mut here, &mut pool, &packets), (40, 0), "{:?}", here.state());
        (0..40).for_each(|number| expect(&receiver, PORT, number, 1200));
    });
}

/// The raw socket needs no port.
#[test]
fn a_port_that_somebody_holds_keeps_nobody_from_sending() {
    in_namespace(|| {
        let (mut here, mut pool) = on_loopback();
        let receiver = receiver();
        let _holder = UdpSocket::bind((Ipv4Addr::from(HERE), PORT)).unwrap();
        for port in [PORT, PORT + 1] {
            let packets: Vec<_> = (0..40).map(|number| packet(port, number, 1200)).collect();
            assert_eq!(send(&mut here, &mut pool, &packets), (40, 0), "{:?}", here.state());
            (0..40).for_each(|number| expect(&receiver, port, number, 1200));
        }
        let sockets = std::fs::read_to_string("/proc/thread-self/net/udp").unwrap();
        assert!(sockets.contains(&format!("0100620A:{:04X}", PORT + 1)), "no run of the other flow:\n{sockets}");
    });
}

#[test]
fn a_run_to_nowhere_is_counted() {
    in_namespace(|| {
        let (mut here, mut pool) = on_loopback();
        let nowhere = udp((HERE, PORT), ([203, 0, 113, 9], 4789), b"no route");
        assert_eq!(send(&mut here, &mut pool, &vec![nowhere; 100]), (0, 100));
        assert_eq!(here.state().tx_refused, 100);
        assert!(!here.state().up, "{:?}", here.state());
    });
}

fn on_a_wire(offloads: &str) -> (OverlaySocket, FramePool, Wire) {
    veth("near", "far", 1);
    ip("addr add 10.98.0.1/24 dev near");
    let mac = mac_of("far").map(|byte| format!("{byte:02x}")).join(":");
    ip(&format!("neigh add 10.98.0.2 dev near lladdr {mac} nud permanent"));
    for feature in ["tx", "gso", "tx-udp-segmentation"] {
        let output = Command::new("ethtool").args(["-K", "near", feature, offloads]).output().unwrap();
        assert!(output.status.success(), "{feature}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let socket = OverlaySocket::bind(HERE.into(), 4789).unwrap();
    (socket, FramePool::heap(256, 2048), Wire::on("far"))
}

fn marked(number: usize) -> Vec<u8> {
    let mut packet = packet(PORT, number, 1400);
    packet[1] = TOS;
    packet
}

#[test]
fn a_run_crosses_links_that_cut_in_one_piece() {
    in_namespace(|| {
        let (mut here, mut pool, wire) = on_a_wire("on");
        let packets: Vec<_> = (0..40).map(marked).collect();
        assert_eq!(send(&mut here, &mut pool, &packets), (40, 0), "{:?}", here.state());
        let first = eventually("a frame", || wire.receive());
        // The receiver of this test cuts at 4,096.
        assert_eq!((first.len(), u16::from_be_bytes([first[16], first[17]])), (4096, 28 + 40 * 1400));
        assert!(wire.receive().is_none());
    });
}

fn sum(bytes: &[u8]) -> u32 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    bytes.chunks(2).map(word).fold(0, |sum, word| (sum + word) % 0x1_0000 + (sum + word) / 0x1_0000)
}

/// On a wire nobody sees that it was a run: each packet has the headers that it was given, but for the kernel's identification
/// and a checksum.
#[test]
fn packets_of_a_run_have_their_own_headers_on_the_wire() {
    in_namespace(|| {
        let (mut here, mut pool, wire) = on_a_wire("off");
        // A service type first, then none: the socket has kept nothing.
        for tos in [TOS, 0] {
            let mut packets: Vec<_> = (0..40).map(marked).collect();
            for packet in &mut packets {
                packet[1] = tos;
            }
            assert_eq!(send(&mut here, &mut pool, &packets), (40, 0), "{:?}", here.state());
            for (number, sent) in packets.iter().enumerate() {
                let got = eventually("a frame", || wire.receive())[14..].to_vec();
                assert_eq!((got[0], got[1], &got[2..4], &got[6..10]), (0x45, tos, &sent[2..4], &[0, 0, 64, 17][..]));
                assert_eq!(got[12..26], sent[12..26], "addresses, ports, length of packet {number}");
                assert!(got[28..] == sent[28..], "packet {number} is another");
                let pseudo = [&got[12..20], &[0, 17], &got[24..26]].concat();
                assert_eq!((sum(&got[..20]), sum(&[&pseudo, &got[20..]].concat())), (0xffff, 0xffff));
            }
            assert!(wire.receive().is_none());
        }
    });
}
