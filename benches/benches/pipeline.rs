//! Nanoseconds per packet of the whole pipeline, in memory: `cargo bench --package benches --bench pipeline`.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use std::hint::black_box;
use std::time::Duration;

use benches::cases::{Refused, Size, Way, new_flows, play_data, play_datagrams, play_refused};
use benches::floor::Floor;
use benches::gateway::{Connection, FORGOTTEN, Gateway};
use benches::results::quick;
use benches::stopwatch::timed;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use wire::Protocol;

type Group<'a> = BenchmarkGroup<'a, WallTime>;

const BURSTS: [usize; 3] = [1, 32, 64];
const BURST: usize = 64;
/// New flows are opened in pieces of so many, each on a fresh table.
const PIECE: usize = 64 * 1024;

fn flow_counts() -> &'static [usize] {
    if quick() { &[1, 1_000, 100_000] } else { &[1, 1_000, 100_000, 1_000_000, 4_000_000] }
}

/// Measures turns of the gateway, of so many packets each.
fn measure(group: &mut Group<'_>, name: &str, packets: usize, gateway: &mut Gateway) {
    group.throughput(Throughput::Elements(packets as u64));
    gateway.run(2_000);
    group.bench_function(name, |bencher| bencher.iter_custom(|turns| timed(|| black_box(gateway.run(turns))).1));
}

/// Packets of established connections.
fn data(criterion: &mut Criterion) {
    for &flows in flow_counts() {
        let Ok(mut gateway) = Gateway::new(flows) else { return };
        let connections = gateway.establish(flows);
        assert_eq!(connections.len(), flows, "all connections are established");
        for way in Way::ALL {
            let mut group = criterion.benchmark_group(way.name());
            for (size, burst) in sizes_and_bursts() {
                play_data(&gateway, &connections, way, size, burst);
                check(&mut gateway, &connections);
                let packets = if way == Way::Both { 2 * burst } else { burst };
                let name = format!("{}/burst{burst}/flows{flows}", size.name());
                measure(&mut group, &name, packets, &mut gateway);
            }
        }
    }
}

/// Datagrams of exchanges that stand.
fn datagrams(criterion: &mut Criterion) {
    for &flows in flow_counts().iter().filter(|flows| [1_000, 100_000, 1_000_000].contains(*flows)) {
        let Ok(mut gateway) = Gateway::new(flows) else { return };
        let exchanges = gateway.establish_udp(flows);
        assert_eq!(exchanges.len(), flows, "all exchanges stand");
        for way in Way::ALL {
            let mut group = criterion.benchmark_group(way.name());
            play_datagrams(&gateway, &exchanges, way, BURST);
            check(&mut gateway, &exchanges);
            let packets = if way == Way::Both { 2 * BURST } else { BURST };
            measure(&mut group, &format!("udp/burst{BURST}/flows{flows}"), packets, &mut gateway);
        }
    }
}

fn sizes_and_bursts() -> Vec<(Size, usize)> {
    let mut cases: Vec<_> = BURSTS.map(|burst| (Size::Small, burst)).into();
    cases.extend([(Size::Imix, BURST), (Size::Large, BURST)]);
    cases
}

/// Everything that comes in goes out, and nothing else but ARP.
fn check(gateway: &mut Gateway, connections: &[Connection]) {
    let before = gateway.counters();
    gateway.run(connections.len().min(1_000) as u64);
    let after = gateway.counters();
    let sent = after.tx_packets - before.tx_packets - (after.arp_taught - before.arp_taught);
    assert_eq!(after.rx_packets - before.rx_packets, sent, "packets were lost");
    assert_eq!(after.drops, before.drops, "packets were dropped");
}

/// First packets of flows, on a table that already has some.
fn opening(criterion: &mut Criterion) {
    let there = if quick() { [0, 10_000] } else { [0, 1_000_000] };
    for flows in there {
        for (name, protocol) in [("new_tcp", Protocol::Tcp), ("new_udp", Protocol::Udp)] {
            let Ok(mut gateway) = Gateway::new(flows + PIECE) else { return };
            gateway.establish(flows);
            let mut group = criterion.benchmark_group(name);
            group.throughput(Throughput::Elements(1)).sample_size(10);
            group.bench_function(format!("64B/burst{BURST}/flows{flows}"), |bencher| {
                bencher.iter_custom(|count| open(&mut gateway, protocol, flows, count));
            });
        }
    }
}

/// Opens `count` flows in pieces; between the pieces their time passes, which is not measured.
fn open(gateway: &mut Gateway, protocol: Protocol, there: usize, count: u64) -> Duration {
    let (mut spent, mut left) = (Duration::ZERO, count as usize);
    while left > 0 {
        let piece = left.min(PIECE);
        gateway.front.play(new_flows(protocol, there, piece), BURST);
        spent += timed(|| gateway.run(piece.div_ceil(BURST) as u64)).1;
        assert_eq!(gateway.flows(), there + piece, "flows were opened");
        gateway.silence();
        gateway.pass(FORGOTTEN);
        while gateway.flows() > there {
            gateway.turn();
            gateway.pass(Duration::from_millis(1));
        }
        left -= piece;
    }
    spent
}

/// Packets that end here.
fn refused(criterion: &mut Criterion) {
    let Ok(mut gateway) = Gateway::new(1_000) else { return };
    gateway.establish(1_000);
    let mut group = criterion.benchmark_group("drop");
    for case in Refused::ALL {
        play_refused(&gateway, case, BURST);
        measure(&mut group, case.name(), BURST, &mut gateway);
    }
}

/// The same devices and frames without a pipeline.
fn floor(criterion: &mut Criterion) {
    let Ok(mut gateway) = Gateway::new(1_000) else { return };
    let connections = gateway.establish(1_000);
    let mut group = criterion.benchmark_group("floor");
    for size in Size::ALL {
        let mut bare = Floor::new(0);
        play_data(&gateway, &connections, Way::ToTask, size, BURST);
        bare_run(&mut group, &format!("copy/{}", size.name()), &mut bare, &gateway);
    }
    for &entries in flow_counts() {
        let mut bare = Floor::new(entries);
        play_data(&gateway, &connections, Way::ToTask, Size::Small, BURST);
        bare_run(&mut group, &format!("copy_and_read/64B/flows{entries}"), &mut bare, &gateway);
    }
}

fn bare_run(group: &mut Group<'_>, name: &str, bare: &mut Floor, gateway: &Gateway) {
    bare.remote.take_over(&gateway.front);
    bare.run(2_000);
    group.throughput(Throughput::Elements(BURST as u64));
    group.bench_function(name, |bencher| bencher.iter_custom(|turns| timed(|| black_box(bare.run(turns))).1));
}

fn config() -> Criterion {
    let (warm_up, measure) = if quick() { (50, 100) } else { (200, 1_000) };
    Criterion::default()
        .warm_up_time(Duration::from_millis(warm_up))
        .measurement_time(Duration::from_millis(measure))
        .sample_size(20)
        .without_plots()
}

criterion_group! { name = pipeline; config = config(); targets = floor, data, datagrams, opening, refused }
criterion_main!(pipeline);
