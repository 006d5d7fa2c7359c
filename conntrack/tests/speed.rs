//! Nanoseconds for the main operations, printed: `cargo test -p conntrack --release --test speed -- --ignored --nocapture`.
//! For a quick look while changing the table; the real figures are made in `benches/`.
#![expect(clippy::disallowed_methods, reason = "measures real time")]

mod common;

use common::*;
use conntrack::{Conntrack, Direction, FlowId, SnatRange, Timeouts};
use core::net::{Ipv4Addr, SocketAddrV4};
use core::time::Duration;
use std::time::Instant;
use wire::{FiveTuple, Protocol};

const BURST: usize = 64;

fn backend(number: u32) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::from(0x0a00_0100 + number % 100), 80)
}

fn report(what: &str, flows: u32, count: usize, since: Instant) {
    let each = since.elapsed().as_nanos() / count as u128;
    println!("{what:<28}{flows:>9} flows {each:>6} ns");
}

/// A walk over all numbers below `flows` in an order without pattern.
fn shuffled(flows: u32) -> Vec<u32> {
    let mut state = 1u64;
    let mut numbers: Vec<u32> = (0..flows).collect();
    for at in (1..numbers.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        numbers.swap(at, (state >> 33) as usize % (at + 1));
    }
    numbers
}

fn insert_all(flows: u32) -> (Conntrack, Vec<FlowId>) {
    let mut table = Conntrack::new(flows as usize, Timeouts::default(), 7);
    let since = Instant::now();
    let mut ids = Vec::with_capacity(flows as usize);
    for number in 0..flows {
        let range = SnatRange { addresses: &[SNAT], ports: 1024..=65_535 };
        let opened = open_to(
            &mut table,
            client(number, Protocol::Tcp),
            backend(number),
            range,
            Duration::from_micros(number.into()),
        );
        ids.extend(opened);
    }
    report("insert", flows, flows as usize, since);
    (table, ids)
}

fn look_up(table: &mut Conntrack, keys: &[FiveTuple], flows: u32, what: &str) {
    let mut hits = [None; BURST];
    let since = Instant::now();
    let mut found = 0;
    for burst in keys.chunks_exact(BURST) {
        table.lookup_burst(burst, &mut hits);
        found += hits.iter().flatten().count();
    }
    report(what, flows, keys.len(), since);
    assert!(found == 0 || found == keys.len() / BURST * BURST);
}

fn track(table: &mut Conntrack, ids: &[FlowId], keys: &[FiveTuple], flows: u32) {
    let mut hits = [None; BURST];
    let since = Instant::now();
    for burst in keys.chunks_exact(BURST) {
        table.lookup_burst(burst, &mut hits);
        for hit in hits.iter().flatten() {
            let tcp = segment(ACK, 101, 301, 100);
            table.segment(hit.id, hit.direction, &tcp, None, Duration::from_secs(5));
            table.flow_mut(hit.id).count(hit.direction, 140);
        }
    }
    report("burst lookup + segment", flows, keys.len(), since);
    assert_eq!(ids.len(), table.len());
}

fn expire_all(table: &mut Conntrack, flows: u32) {
    let mut now = Duration::from_secs(20_000);
    let (mut worst, mut gone) = (Duration::ZERO, 0);
    let all = Instant::now();
    while !table.is_empty() {
        now += Duration::from_micros(1);
        let since = Instant::now();
        gone += core::iter::from_fn(|| table.expire(now, BURST)).count();
        worst = worst.max(since.elapsed());
    }
    report("expire", flows, gone, all);
    println!("{:<28}{flows:>9} flows {:>6} ns", "  worst call of 64", worst.as_nanos());
}

#[test]
#[ignore = "prints times; asserts nothing"]
fn speed() {
    for flows in [1_000, 100_000, 1_000_000] {
        let (mut table, ids) = insert_all(flows);
        for &id in &ids {
            for (from, flags, seq, ack) in [
                (Direction::Original, SYN, 100, 0),
                (Direction::Reply, SYN_ACK, 300, 101),
                (Direction::Original, ACK, 101, 301),
            ] {
                table.segment(id, from, &segment(flags, seq, ack, 0), None, Duration::from_secs(1));
            }
        }
        let order = shuffled(flows);
        let keys: Vec<FiveTuple> = order.iter().map(|&number| client(number, Protocol::Tcp)).collect();
        let misses: Vec<FiveTuple> = order.iter().map(|&number| client(number, Protocol::Udp)).collect();
        let replies: Vec<FiveTuple> =
            order.iter().map(|&number| table.flow(ids[number as usize]).reply_tuple()).collect();
        for _ in 0..2 {
            look_up(&mut table, &keys, flows, "burst lookup, original");
        }
        look_up(&mut table, &replies, flows, "burst lookup, reply");
        look_up(&mut table, &misses, flows, "burst lookup, miss");
        let since = Instant::now();
        let found = keys.iter().filter(|key| table.lookup(key).is_some()).count();
        report("single lookup", flows, found, since);
        track(&mut table, &ids, &keys, flows);
        expire_all(&mut table, flows);
    }
}
