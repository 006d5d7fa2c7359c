//! Our tunnel against the kernel's: frames captured from a Linux vxlan device (see `golden/capture.py`).
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::net::Ipv4Addr;

use vxlan::{Encap, OVERHEAD, PORT, Tunnel, Vni, parse};
use wire::{ETHERNET_LEN, Headers, L4, MacAddr, Malformed, ethernet, ethertype};

const LEFT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 3);
const RIGHT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 11);

/// The frame of `golden/NAME.hex`, from its outer Ethernet header on.
fn golden(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/golden/{name}.hex", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).expect(&path);
    let hex = text.lines().find_map(|line| line.strip_prefix("frame ")).expect("a frame");
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ascii"), 16).expect("hex");
    hex.as_bytes().chunks(2).map(byte).collect()
}

fn tunnel(inner_dst: MacAddr) -> Tunnel {
    Tunnel {
        local: Ipv4Addr::new(192, 0, 2, 1),
        remote: Ipv4Addr::new(192, 0, 2, 2),
        port: PORT,
        vni: Vni::try_from(4096).expect("24 bits"),
        inner_src: MacAddr::docker(LEFT),
        inner_dst,
    }
}

/// Encapsulates the inner packet of a kernel's frame and compares all of it. Identification and source port are the
/// sender's choice and taken over.
fn assert_as_the_kernel(name: &str, inner_dst: MacAddr, inner_tos: u8, ethertype: u16) {
    let frame = golden(name);
    let outer = &frame[ETHERNET_LEN..];
    let id = u16::from_be_bytes([outer[4], outer[5]]);
    let source_port = u16::from_be_bytes([outer[20], outer[21]]);
    let inner = &outer[OVERHEAD..];
    let mut ours = vec![0xee; OVERHEAD];
    Encap::new(&tunnel(inner_dst)).write(&mut ours, inner.len(), inner_tos, 0x1234, id, ethertype);
    assert_eq!(ours[20..22], 0xd234u16.to_be_bytes(), "entropy in the dynamic ports");
    ours[20..22].copy_from_slice(&source_port.to_be_bytes());
    ours.extend_from_slice(inner);
    assert_eq!(ours, outer, "{name}");
}

#[test]
fn encap() {
    assert_as_the_kernel("udp", MacAddr::docker(RIGHT), 0, ethertype::IPV4);
    assert_as_the_kernel("tcp_syn", MacAddr::docker(RIGHT), 0, ethertype::IPV4);
    assert_as_the_kernel("arp_request", MacAddr::BROADCAST, 0, ethertype::ARP);
}

#[test]
fn encap_copies_tos() {
    assert_as_the_kernel("udp_tos", MacAddr::docker(RIGHT), 0xba, ethertype::IPV4);
}

/// Finds the inner Ethernet header of a whole frame as the data path does.
fn decap(frame: &[u8]) -> Result<vxlan::Vxlan, Malformed> {
    let headers = Headers::parse(frame, ETHERNET_LEN)?;
    let L4::Udp(udp) = headers.l4 else { panic!("not UDP") };
    assert_eq!(udp.dst_port, PORT);
    parse(frame, udp.payload(), udp.offset() + udp.len())
}

#[test]
fn decap_of_kernel_frames() {
    for (name, dst, kind) in [
        ("udp", MacAddr::docker(RIGHT), ethertype::IPV4),
        ("udp_outer_checksum", MacAddr::docker(RIGHT), ethertype::IPV4),
        ("tcp_syn", MacAddr::docker(RIGHT), ethertype::IPV4),
        ("arp_request", MacAddr::BROADCAST, ethertype::ARP),
    ] {
        let frame = golden(name);
        let found = decap(&frame).expect(name);
        assert_eq!((found.vni.get(), found.inner), (4096, ETHERNET_LEN + 36));
        let inner = ethernet(&frame[found.inner..]).expect(name);
        assert_eq!((inner.dst, inner.src, inner.ethertype), (dst, MacAddr::docker(LEFT), kind), "{name}");
        if kind == ethertype::IPV4 {
            let headers = Headers::parse(&frame, found.inner + ETHERNET_LEN).expect(name);
            assert_eq!((headers.ip.src(), headers.ip.dst()), (LEFT, RIGHT));
            assert_eq!(headers.five_tuple().map(|tuple| tuple.dst_port), Some(8000));
        }
    }
}

/// Offset of the VXLAN header in a frame.
const VXLAN: usize = ETHERNET_LEN + 28;

#[test]
fn what_the_header_must_have() {
    let spoil = |at: usize, value: u8| {
        let mut frame = golden("udp");
        frame[at] = value;
        decap(&frame).map(|found| found.vni.get())
    };
    assert_eq!(spoil(VXLAN, 0), Err(Malformed::BadVxlan), "no I flag");
    assert_eq!(spoil(VXLAN, 0xf7), Err(Malformed::BadVxlan), "every flag but I");
    assert_eq!(spoil(VXLAN, 0xff), Ok(4096), "reserved flags");
    assert_eq!(spoil(VXLAN + 3, 0xff), Ok(4096), "reserved bits");
    assert_eq!(spoil(VXLAN + 7, 0xff), Ok(4096), "reserved byte");
    assert_eq!(spoil(VXLAN + 4, 0xff), Ok(0x00ff_1000));
    let frame = golden("udp");
    assert_eq!(parse(&frame, VXLAN, VXLAN + 21), Err(Malformed::BadVxlan), "no inner Ethernet header");
    assert!(parse(&frame, VXLAN, VXLAN + 22).is_ok());
    assert_eq!(parse(&frame, VXLAN, frame.len() + 1), Err(Malformed::Truncated));
    assert_eq!(parse(&frame, VXLAN, VXLAN - 1), Err(Malformed::BadVxlan));
}
