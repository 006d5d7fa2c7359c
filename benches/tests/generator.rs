//! Whether the generator is to be believed: it is pointed at devices that lose, repeat and disorder a known number of packets, and
//! at a gateway that loses none.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

use std::time::Duration;

use benches::generator::faulty::Faults;
use benches::generator::gateway::{MemoryGateway, cable};
use benches::generator::html;
use benches::generator::profile::Profile;
use benches::generator::report::{Report, StreamReport};
use benches::generator::run::{Ends, Options, run};

const SECOND_QUARTER: Duration = Duration::from_millis(250);

fn profile(streams: &str) -> Profile {
    Profile::parse(&format!("name = 'test'\n{streams}")).unwrap()
}

fn udp(flows: u64, more: &str) -> Profile {
    profile(&format!(
        "[[stream]]\nkind = 'udp'\nname = 'a'\nrate = '20kpps'\nports = '9000'\nflows = {flows}\norder = 'in-turn'\n{more}"
    ))
}

fn measure(profile: &Profile, ends: &mut Ends) -> Report {
    let options = Options { run: 1, scale: 1.0, duration: SECOND_QUARTER, show: false };
    run(profile, "test", ends, &options).unwrap()
}

fn through_cable(profile: &Profile, faults: Faults) -> StreamReport {
    let report = measure(profile, &mut cable(faults));
    assert_eq!((report.refused, report.overrun), (0, 0));
    report.streams[0].clone()
}

/// Lost, reordered, duplicated, damaged.
fn judged(stream: &StreamReport) -> (u64, u64, u64, u64) {
    assert!(stream.sent > 100, "{stream:?}");
    assert_eq!(stream.received + stream.lost, stream.sent);
    (stream.lost, stream.reordered, stream.duplicates, stream.strange)
}

#[test]
fn a_good_cable_loses_nothing() {
    for flows in [1, 7, 1000] {
        let stream = through_cable(&udp(flows, "sizes = 'imix'\nburst = 8"), Faults::default());
        assert_eq!(judged(&stream), (0, 0, 0, 0));
        assert_eq!(stream.latency.unwrap().count, stream.sent);
    }
}

#[test]
fn known_losses_are_found_to_the_packet() {
    for lose in [2, 10, 333] {
        let stream = through_cable(&udp(3, ""), Faults { lose, ..Faults::default() });
        assert_eq!(judged(&stream), (stream.sent / lose, 0, 0, 0));
    }
    let stream = through_cable(&udp(1, ""), Faults { lose: 1, ..Faults::default() });
    assert_eq!(judged(&stream), (stream.sent, 0, 0, 0));
    assert_eq!((stream.latency, stream.received), (None, 0));
}

#[test]
fn known_duplicates_are_found_to_the_packet() {
    let stream = through_cable(&udp(5, ""), Faults { duplicate: 7, ..Faults::default() });
    assert_eq!(judged(&stream), (0, 0, stream.sent / 7, 0));
}

#[test]
fn known_disorder_is_found_within_flows_only() {
    let faults = Faults { swap: 10, ..Faults::default() };
    let stream = through_cable(&udp(1, ""), faults);
    // The very last packet may be one that waits for a next one for ever.
    let held = u64::from(stream.sent.is_multiple_of(10));
    assert_eq!(judged(&stream), (held, stream.sent / 10 - held, 0, 0));
    // Neighbours are of different flows here.
    let stream = through_cable(&udp(2, ""), faults);
    let held = u64::from(stream.sent.is_multiple_of(10));
    assert_eq!(judged(&stream), (held, 0, 0, 0));
}

#[test]
fn all_faults_at_once() {
    let faults = Faults { lose: 4, duplicate: 6, swap: 0, delay: Duration::ZERO };
    let stream = through_cable(&udp(1, ""), faults);
    let lost = stream.sent / 4;
    // Every sixth is sent twice unless it is lost.
    let twice = stream.sent / 6 - stream.sent / 12;
    assert_eq!(judged(&stream), (lost, 0, twice, 0));
}

#[test]
fn latency_is_never_less_than_it_was() {
    let delay = Duration::from_millis(5);
    let latency = through_cable(&udp(1, ""), Faults { delay, ..Faults::default() }).latency.unwrap();
    // A histogram of three digits may round down by a thousandth.
    assert!(u128::from(latency.min) >= delay.as_nanos() * 999 / 1000, "{latency:?}");
    assert!(latency.min <= latency.p50 && latency.p50 <= latency.p99 && latency.p99 <= latency.max);
}

const GOOD: &str = "
[[stream]]
kind = 'udp'
name = 'one way'
rate = '4kpps'
sizes = [[64, 1], [1400, 1]]
flows = 50
ports = '9000-9003'
[[stream]]
kind = 'udp'
name = 'echo'
rate = '2kpps'
flows = 50
echo = true
ports = '9010'
[[stream]]
kind = 'tcp'
name = 'web'
rate = '400/s'
at_once = 300
requests = 3
response_bytes = 5000
ports = '8080'
[[stream]]
kind = 'tcp'
name = 'reset'
rate = '200/s'
at_once = 300
end = 'reset'
ports = '8081'
[[stream]]
kind = 'syn'
name = 'flood'
rate = '1kpps'
clients = '198.18.128.0/17'
ports = '8080'
";

/// The real engine: as many packets as went in come out, as NAT and VXLAN leave them; answers find the way back.
#[test]
fn a_gateway_in_memory_forwards_everything() {
    let profile = profile(GOOD);
    let cpu = sys::allowed_cpus()[0];
    for workers in [vec![cpu], vec![cpu, cpu]] {
        let (gateway, mut ends) = MemoryGateway::start(&profile, &workers).unwrap();
        let report = measure(&profile, &mut ends);
        for stream in &report.streams {
            assert!(stream.sent > 20, "{stream:?}");
            assert_eq!(
                (stream.lost, stream.reordered, stream.duplicates),
                (0, 0, 0),
                "{stream:?} {:?}",
                gateway.counters()
            );
            assert!(stream.kind == "syn" || stream.latency.is_some());
        }
        let opened = gateway.counters().into_iter().find(|(name, _)| name == "flows_opened").map(|(_, n)| n);
        let connections: u64 = report.streams[2..].iter().map(|stream| stream.sent).sum();
        assert_eq!(opened, Some(100 + connections));
        // The tunnel is 50 bytes longer than the frame that was sent.
        let one_way = &report.streams[0];
        assert!(one_way.bytes / one_way.received >= 50 + 60);
    }
}

#[test]
fn the_page_stands_alone_and_the_report_is_read_back() {
    let profile = udp(3, "");
    let mut report = measure(&profile, &mut cable(Faults::default()));
    report.target = "<script>alert(1)</script>".into();
    let text = serde_json::to_string(&report).unwrap();
    let back: Report = serde_json::from_str(&text).unwrap();
    let page = html::page(&back);
    assert_eq!(page, html::page(&report));
    assert!(page.contains("<svg") && page.contains("<polyline") && page.contains("p99.9"));
    for outside in ["http:", "https:", "src=", "href=", "<script", "@import", "NaN", "inf,"] {
        assert!(!page.contains(outside), "{outside}");
    }
}
