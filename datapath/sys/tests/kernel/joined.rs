//! TCP segments that cross a TUN device joined, and the kernel that joins and cuts them.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::lab::{Wire, eventually, frame, in_namespace, ip, mac_of, veth};
use sys::{Device, Frame, FramePool, MAX_FRAME_BYTES, Segmentation, TunDevice, clock};

const STREAM_BYTES: usize = 8 << 20;
/// IPv4 and TCP headers with time stamps.
const HEADERS: usize = 52;
const MTU: usize = 1500;

fn tun() -> (TunDevice, FramePool) {
    let tun = TunDevice::open("sgt0", 1500).unwrap();
    tun.receive_joined().unwrap();
    ip("addr add 10.99.0.1/24 dev sgt0");
    ip("link set sgt0 up");
    (tun, FramePool::heap(256, MAX_FRAME_BYTES))
}

fn stream(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 31 + n / 253) as u8).collect()
}

/// Takes a stream and sends it back.
fn echo_server() -> JoinHandle<()> {
    let listener = TcpListener::bind("10.99.0.1:80").unwrap();
    thread::spawn(move || {
        let (mut peer, _) = listener.accept().unwrap();
        let mut taken = Vec::new();
        peer.read_to_end(&mut taken).unwrap();
        peer.write_all(&taken).unwrap();
    })
}

fn client() -> JoinHandle<Vec<u8>> {
    thread::spawn(|| {
        let mut peer = TcpStream::connect("10.99.0.2:80").unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        peer.write_all(&stream(STREAM_BYTES)).unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        let mut taken = Vec::new();
        peer.read_to_end(&mut taken).unwrap();
        taken
    })
}

/// Sends a packet back with its addresses changed over, so that the client's packets reach the server and the other way round. No
/// checksum changes by that; one that is unfinished is finished, or left to who cuts the packet.
fn reflect(packet: &mut Frame) {
    let len = packet.len();
    let bytes = packet.bytes_mut();
    for at in 12..16 {
        bytes.swap(at, at + 4);
    }
    if len > MTU {
        let data_offset = 20 + u16::from(bytes[32] >> 4) * 4;
        let order = Segmentation { tcp_offset: 20, data_offset, data_len: (MTU - HEADERS) as u16, cwr: false };
        assert!(order.put_before(packet));
    } else {
        let segment = &bytes[20..];
        let pseudo = pseudo_header(bytes, segment.len() as u16);
        if bytes[36..38] == pseudo.to_be_bytes() {
            let checksum = !sum(segment);
            bytes[36..38].copy_from_slice(&checksum.to_be_bytes());
        }
    }
}

/// The kernel's own TCP at both ends.
#[test]
fn streams_cross_in_joined_segments_both_ways() {
    in_namespace(|| {
        let (mut tun, mut pool) = tun();
        let (server, client) = (echo_server(), client());
        // To the server, to the client.
        let (mut packets, mut longest) = ([0; 2], [0; 2]);
        let deadline = clock::now() + Duration::from_secs(30);
        while !client.is_finished() {
            assert!(clock::now() < deadline, "the stream stands still: {packets:?}, {longest:?}");
            let mut burst = Vec::new();
            if tun.rx(&mut pool, &mut burst, 64) == 0 {
                thread::sleep(Duration::from_micros(100));
            }
            for packet in &mut burst {
                let to_client = usize::from(packet.bytes()[20..22] == [0, 80]);
                packets[to_client] += 1;
                longest[to_client] = packet.len().max(longest[to_client]);
                reflect(packet);
            }
            let count = burst.len();
            assert_eq!(tun.tx(&mut pool, &mut burst).sent, count, "{:?}", tun.state());
        }
        assert!(client.join().unwrap() == stream(STREAM_BYTES), "another stream came back");
        server.join().unwrap();
        let segments = STREAM_BYTES / (MTU - HEADERS);
        // With the acknowledgments of the other way among them.
        assert!(
            packets.iter().all(|count| *count < segments / 4),
            "{packets:?} packets for {segments} segments each way"
        );
        assert!(longest.iter().all(|len| *len > 32_000), "{longest:?}");
        assert_eq!((pool.free(), tun.state().rx_dropped, tun.state().tx_refused), (256, 0, 0));
    });
}

/// A TCP packet to port 5000 of 10.97.0.2, its checksum unfinished.
fn joined_packet(data: &[u8]) -> Vec<u8> {
    let len = (40 + data.len()) as u16;
    let mut packet = vec![0x45, 0];
    packet.extend(len.to_be_bytes());
    packet.extend([0, 7, 0, 0, 64, 6, 0, 0, 10, 99, 0, 2, 10, 97, 0, 2]);
    let checksum = !sum(&packet);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    // From port 80: sequence number 5, FIN, PSH, ACK.
    packet.extend([0, 80, 0x13, 0x88, 0, 0, 0, 5, 0, 0, 0, 9, 0x50, 0x19, 0, 100, 0, 0, 0, 0]);
    let pseudo = pseudo_header(&packet, len - 20);
    packet[36..38].copy_from_slice(&pseudo.to_be_bytes());
    packet.extend(data);
    packet
}

fn sum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    bytes.chunks(2).map(word).fold(0, |sum, word| (sum + word) % 0x1_0000 + (sum + word) / 0x1_0000) as u16
}

fn pseudo_header(packet: &[u8], len: u16) -> u16 {
    sum(&[&packet[12..20], &[0, 6], &len.to_be_bytes()].concat())
}

/// Behind the gateway nothing is longer than the segments that were asked for, nor than the link allows.
#[test]
fn the_kernel_cuts_joined_segments_for_a_link_that_does_not() {
    in_namespace(|| {
        let (mut tun, mut pool) = tun();
        veth("near", "far", 1);
        ip("addr add 10.97.0.1/24 dev near");
        ip(&format!("neigh add 10.97.0.2 dev near lladdr {} nud permanent", text(mac_of("far"))));
        // The far end is in this namespace too, and is to be a wire only.
        std::fs::write("/proc/sys/net/ipv4/conf/sgt0/forwarding", "1").unwrap();
        let off = ["-K", "near", "tx", "off", "tso", "off", "gso", "off"];
        assert!(Command::new("ethtool").args(off).output().unwrap().status.success());
        let wire = Wire::on("far");
        let data = stream(60_000);
        let order = Segmentation { tcp_offset: 20, data_offset: 40, data_len: 1398, cwr: false };
        let mut send = |tun: &mut TunDevice| {
            let mut out = vec![frame(&mut pool, &joined_packet(&data))];
            assert!(order.put_before(&mut out[0]));
            assert_eq!(tun.tx(&mut pool, &mut out).sent, 1, "{:?}", tun.state());
        };
        send(&mut tun);
        let mut carried = Vec::new();
        while carried.len() < data.len() {
            let packet = eventually("a segment", || wire.receive())[14..].to_vec();
            let (segment, last) = (&packet[20..], carried.len() + 1398 >= data.len());
            assert_eq!(packet.len(), if last { 40 + data.len() - carried.len() } else { 1438 });
            assert_eq!(segment[4..8], (5 + carried.len() as u32).to_be_bytes());
            assert_eq!(segment[13], if last { 0x19 } else { 0x10 });
            let pseudo = pseudo_header(&packet, segment.len() as u16);
            assert_eq!((sum(&packet[..20]), sum(&[&pseudo.to_be_bytes(), segment].concat())), (0xffff, 0xffff));
            carried.extend_from_slice(&segment[20..]);
        }
        assert!(carried == data);
        // DF is clear: a narrower link gets fragments.
        ip("link set near mtu 1300");
        send(&mut tun);
        let mut payload = 0;
        while payload < data.len() + 43 * 20 {
            let packet = eventually("a fragment", || wire.receive())[14..].to_vec();
            assert!(packet.len() <= 1300, "{} bytes", packet.len());
            payload += packet.len() - 20;
        }
    });
}

fn text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
