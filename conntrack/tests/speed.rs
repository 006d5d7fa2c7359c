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

/// The middle of many short measurements: what else runs on the machine hits only some of them.
fn per_burst(keys: &[FiveTuple], flows: u32, what: &str, mut work: impl FnMut(&[FiveTuple])) {
    let mut times = Vec::new();
    for bursts in keys.chunks(16 * BURST).cycle().take(2000) {
        let since = Instant::now();
        bursts.chunks(BURST).for_each(&mut work);
        times.push(since.elapsed().as_nanos() / bursts.len() as u128);
    }
    times.sort_unstable();
    let (low, middle) = (times[times.len() / 10], times[times.len() / 2]);
    println!("{what:<28}{flows:>9} flows {middle:>6} ns (best tenth {low})");
}

fn look_up(table: &mut Conntrack, keys: &[FiveTuple], flows: u32, what: &str) {
    let mut hits = [None; BURST];
    per_burst(keys, flows, what, |burst| table.lookup_burst(burst, &mut hits));
}

fn track(table: &mut Conntrack, keys: &[FiveTuple], flows: u32) {
    let mut hits = [None; BURST];
    per_burst(keys, flows, "burst lookup + segment", |burst| {
        table.lookup_burst(burst, &mut hits);
        for hit in hits.iter().flatten() {
            let tcp = segment(ACK, 101, 301, 100);
            table.segment(hit.id, hit.direction, &tcp, None, &Idle::default(), Duration::from_secs(5));
            table.flow_mut(hit.id).count(hit.direction, 140);
        }
    });
}

/// A whole walk in the slices of the data path's sweep: a slice must not cost more the further on it begins.
fn sweep(table: &Conntrack, flows: u32) {
    const SLICE: usize = 1024;
    let since = Instant::now();
    let found: usize = (0..table.slots()).step_by(SLICE).map(|cursor| table.scan(cursor, SLICE).count()).sum();
    report("sweep in slices", flows, found, since);
}

fn expire_all(table: &mut Conntrack, flows: u32) {
    let mut now = Duration::from_secs(20_000);
    let (mut calls, mut gone) = (Vec::new(), 0);
    let all = Instant::now();
    while !table.is_empty() {
        now += Duration::from_micros(1);
        let since = Instant::now();
        gone += core::iter::from_fn(|| table.expire(now, BURST)).count();
        calls.push(since.elapsed().as_nanos());
    }
    report("expire", flows, gone, all);
    calls.sort_unstable();
    // The very longest are those in which the machine did something else.
    let slow = calls.get(calls.len() * 99 / 100).copied().unwrap_or_default();
    println!("{:<28}{flows:>9} flows {slow:>6} ns", "  64 at once, 99th percentile");
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
                table.segment(id, from, &segment(flags, seq, ack, 0), None, &Idle::default(), Duration::from_secs(1));
            }
        }
        let order = shuffled(flows);
        let keys: Vec<FiveTuple> = order.iter().map(|&number| client(number, Protocol::Tcp)).collect();
        let misses: Vec<FiveTuple> = order.iter().map(|&number| client(number, Protocol::Udp)).collect();
        let replies: Vec<FiveTuple> =
            order.iter().map(|&number| table.flow(ids[number as usize]).reply_tuple()).collect();
        look_up(&mut table, &keys, flows, "burst lookup, original");
        look_up(&mut table, &replies, flows, "burst lookup, reply");
        look_up(&mut table, &misses, flows, "burst lookup, miss");
        let since = Instant::now();
        let found = keys.iter().filter(|key| table.lookup(key).is_some()).count();
        report("single lookup", flows, found, since);
        track(&mut table, &keys, flows);
        sweep(&table, flows);
        expire_all(&mut table, flows);
    }
}
