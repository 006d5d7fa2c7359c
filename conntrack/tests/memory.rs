//! A million flows, counted in resident memory. Alone in its file, so that nothing else moves the count.

mod common;

use common::*;
use conntrack::{Conntrack, SnatRange, Timeouts};
use core::net::{Ipv4Addr, SocketAddrV4};
use core::time::Duration;
use wire::Protocol;

const FLOWS: u32 = 1_000_000;
const PAGE_BYTES: usize = 4096;

fn resident_bytes() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: usize = text.split(' ').nth(1)?.parse().ok()?;
    Some(pages * PAGE_BYTES)
}

/// Keys of both directions, NAT, TCP tracking, timers, index, ports: all of it.
#[test]
fn at_most_128_bytes_a_flow() {
    let before = resident_bytes().unwrap();
    let mut table = Conntrack::new(FLOWS as usize, Timeouts::default(), 7);
    for number in 0..FLOWS {
        let backend = SocketAddrV4::new(Ipv4Addr::from(0x0a00_0100 + number % 50), 80);
        let range = SnatRange { addresses: &[SNAT], ports: 1024..=65_535 };
        open_to(&mut table, client(number, Protocol::Tcp), backend, range, Duration::ZERO).unwrap();
    }
    let used = resident_bytes().unwrap() - before;
    assert_eq!(table.len(), FLOWS as usize);
    let each = used / FLOWS as usize;
    assert!(each <= 128, "{each} bytes resident a flow");
    assert!(table.memory_bytes() / FLOWS as usize <= 128);
    println!("{each} bytes resident a flow, {} by its own count", table.memory_bytes() / FLOWS as usize);
}
