//! The generator over real interfaces: a slow stream through the bare forwarder and through the gateway arrives whole, where it
//! belongs, and its replies come back. Needs root.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

use std::io::Write;
use std::time::Duration;

use benches::generator::driver::{Bench, Contestant};
use benches::generator::profile::Profile;

const ONE_WAY: &str = "
[[stream]]
kind = 'udp'
name = 'one way'
rate = '2kpps'
sizes = [[64, 1], [1468, 1]]
flows = 50
ports = '9000-9003'
";

/// More clients than a /24 has, which wait for replies.
const BOTH_WAYS: &str = "
[[stream]]
kind = 'udp'
name = 'echo'
rate = '1kpps'
flows = 600
echo = true
clients = '198.19.0.1-198.19.3.0'
ports = '9010'
[[stream]]
kind = 'tcp'
name = 'web'
rate = '100/s'
at_once = 100
requests = 2
response_bytes = 3000
clients = '198.19.4.1-198.19.4.100'
ports = '8080'
";

fn check(bench: &Bench, contestant: Contestant, streams: &str) {
    let profile = Profile::parse(&format!("name = 'test'\n{streams}")).unwrap();
    let process = bench.start(contestant, &profile, &[sys::allowed_cpus()[0]]).unwrap();
    let report = bench.generate(&profile, Duration::from_millis(700), &[]).unwrap();
    assert_eq!((report.refused, report.overrun, report.strays), (0, 0, 0));
    for stream in &report.streams {
        assert!(stream.sent > 10, "{stream:?}");
        assert_eq!((stream.lost, stream.duplicates, stream.damaged, stream.misdelivered), (0, 0, 0, 0), "{stream:?}");
        assert!(stream.latency.is_some());
    }
    drop(process);
}

/// Packets and time are those of the same stretch: the warm-up's count neither here nor there.
fn check_rate(bench: &Bench) {
    let profile = Profile::parse(&format!("name = 'test'\nwarmup = '700ms'\n{ONE_WAY}")).unwrap();
    let process = bench.start(Contestant::Bare, &profile, &[sys::allowed_cpus()[0]]).unwrap();
    let measured = bench.measure(&process, &profile, 1.0, Duration::from_millis(700)).unwrap();
    assert!((0.9..1.1).contains(&(measured.rate / measured.offered)), "{measured:?}");
}

#[test]
fn a_slow_stream_arrives_whole_over_af_xdp() {
    if !tests::lab::is_root() {
        // Past what the test harness keeps to itself.
        writeln!(std::io::stderr(), "SKIPPED: the generator over veth needs root").unwrap();
        return;
    }
    let bench = Bench::build().unwrap();
    check(&bench, Contestant::Bare, ONE_WAY);
    check_rate(&bench);
    check(&bench, Contestant::Sluicegate, &format!("{ONE_WAY}{BOTH_WAYS}"));
}
