//! Conversations with a made-up server over a made-up wire: lost, repeated, hostile.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use datapath::exchange::Mailbox;
use datapath::probes::Probes;
use datapath::service::BackendId;
use datapath::{ProbeKind, ProbeLine, SnatPorts};
use proptest::prelude::*;

use super::probe::Probe;
use super::runner::{ANSWERS_PER_TURN, Runner};
use super::testing::{Server, of, play, target, tcp, unreachable};
use super::{Outcome, Target};
use crate::config::check::StatusSet;
use crate::config::{CheckKind, HttpCheck, UdpCheck};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nwell";

fn http() -> HttpCheck {
    HttpCheck { tls: false, path: "/".to_owned(), host: None, status: StatusSet::default(), body: None, digest: None }
}

fn asks(http: HttpCheck) -> Target {
    target(of(CheckKind::Http(http)))
}

fn sends(send: &[u8], expect: Option<&[u8]>) -> Target {
    target(of(CheckKind::Udp(UdpCheck { send: send.to_vec(), expect: expect.map(<[u8]>::to_vec) })))
}

/// Over a wire that loses nothing.
fn check(target: &Target, server: &mut Server) -> (bool, String) {
    let Outcome { passed, what, .. } = play(target, server, &mut |_, _| 1);
    (passed, what)
}

fn passed(what: &str) -> (bool, String) {
    (true, what.to_owned())
}

fn failed(what: &str) -> (bool, String) {
    (false, what.to_owned())
}

#[test]
fn a_listener_is_there_or_not() {
    let mut server = Server::new(b"");
    let mut flags = Vec::new();
    let outcome = play(&target(tcp()), &mut server, &mut |of_probe, packet| {
        flags.push((of_probe, packet[33] & 0x17));
        1
    });
    assert_eq!((outcome.passed, outcome.what.as_str()), (true, "connected"));
    // SYN, SYN-ACK, RST: the handshake is never completed, no application sees it.
    assert_eq!((&flags[..2], flags.len(), flags[2].1 & 4), (&[(true, 2), (false, 0x12)][..], 3, 4));
    assert!(server.is_alone());
    server.shut();
    assert_eq!(check(&target(tcp()), &mut server), failed("connection refused"));
}

#[test]
fn silence_fails_when_the_time_is_up() {
    let mut syns = 0;
    let outcome = play(&target(tcp()), &mut Server::new(b""), &mut |of_probe, packet| {
        syns += usize::from(of_probe && packet[33] & 0x17 == 2);
        0
    });
    let took = Duration::from_secs(10);
    assert_eq!(outcome, Outcome { passed: false, what: "no answer to SYN within 10s".to_owned(), took });
    assert_eq!(syns, 4, "at 0, 1, 3 and 7 seconds");
}

#[test]
fn http_is_asked_and_judged() {
    let mut server = Server::new(OK);
    assert_eq!(check(&asks(http()), &mut server), passed("HTTP status 200"));
    assert!(server.heard.starts_with(b"GET / HTTP/1.0\r\nHost: 10.0.0.11:8000\r\n"));
    let wanting = |text: &str| asks(HttpCheck { body: Some(text.to_owned()), ..http() });
    assert_eq!(check(&wanting("well"), &mut Server::new(OK)), passed("HTTP status 200"));
    let ill = failed("HTTP status 200, the body lacks \"ill\"");
    assert_eq!(check(&wanting("ill"), &mut Server::new(OK)), ill);
    let cut = &OK[..OK.len() - 1];
    assert_eq!(check(&wanting("ill"), &mut Server::new(cut)), failed("the body was cut off"));
    assert_eq!(check(&asks(http()), &mut Server::new(b"")), failed("the answer was cut off"));
    let broken = b"HTTP/1.1 503 No\r\n\r\n";
    assert_eq!(check(&asks(http()), &mut Server::new(broken)), failed("HTTP status 503"));
    let tls = asks(HttpCheck { tls: true, ..http() });
    let (passed, what) = check(&tls, &mut Server::new(OK));
    assert!(!passed && what.starts_with("TLS: "), "{what}");
}

/// Longer than all windows.
#[test]
fn a_long_body_comes_whole() {
    let body: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
    let mut digest = [0; 32];
    digest.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, &body).as_ref());
    let answer = [b"HTTP/1.0 200 OK\r\n\r\n".as_slice(), &body].concat();
    let target = asks(HttpCheck { digest: Some(digest), ..http() });
    assert_eq!(check(&target, &mut Server::new(&answer)), passed("HTTP status 200"));
    let mut count = 0;
    let outcome = play(&target, &mut Server::new(&answer), &mut |_, _| {
        count += 1;
        usize::from(count % 17 != 0) + usize::from(count % 5 == 0)
    });
    assert!(outcome.passed, "with loss and repetition: {}", outcome.what);
}

#[test]
fn datagrams_are_answered_or_not() {
    let mut server = Server::new(b"I am alive");
    assert_eq!(check(&sends(b"are you\0", None), &mut server), passed("answered 10 bytes"));
    assert_eq!(server.heard, b"are you\0");
    assert!(check(&sends(b"x", Some(b"alive")), &mut server).0);
    let lacks = failed("the answer of 10 bytes lacks what is expected");
    assert_eq!(check(&sends(b"x", Some(b"dead")), &mut server), lacks);
    let lost = play(&sends(b"x", None), &mut server, &mut |_, _| 0);
    assert_eq!((lost.passed, lost.what.as_str()), (false, "no answer within 10s"));
}

#[test]
fn a_payload_that_does_not_fit_is_no_silence_of_the_backend() {
    let with_room = |target: Target, room: usize| Target { mtu: room + 28, ..target };
    let mut server = Server::new(b"alive");
    assert_eq!(check(&with_room(sends(&[1; 600], None), 600), &mut server), passed("answered 5 bytes"));
    let outcome = play(&with_room(sends(&[1; 601], None), 600), &mut server, &mut |_, _| 1);
    let why = "the payload of 601 bytes does not fit: a packet on the way has room for 600";
    assert_eq!((outcome.what.as_str(), outcome.took), (why, Duration::ZERO));
    let greeted = Target { greeted: true, ..with_room(sends(&[1; 600], None), 600) };
    assert!(check(&greeted, &mut server).1.starts_with("the payload of 616 bytes does not fit"));
}

/// By hand from the specification, section 2.2: version 2, LOCAL, no addresses.
#[test]
fn who_wants_a_proxy_header_gets_one_first() {
    let header = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".as_slice();
    let greeted = |target: Target| Target { greeted: true, ..target };
    let mut server = Server::new(OK);
    assert_eq!(check(&greeted(asks(http())), &mut server), passed("HTTP status 200"));
    assert!(server.heard.starts_with(&[header, b"GET / HTTP/1.0\r\n"].concat()));
    let mut server = Server::new(b"");
    assert_eq!(check(&greeted(target(tcp())), &mut server), passed("connected"));
    assert_eq!(server.heard, header, "it has arrived before the connection ends");
    let mut server = Server::new(b"I am alive");
    assert_eq!(check(&greeted(sends(b"are you", None)), &mut server), passed("answered 10 bytes"));
    assert_eq!(server.heard, [header, b"are you"].concat());
}

#[test]
fn only_the_backend_s_own_icmp_counts() {
    let now = Duration::from_secs(1);
    for target in [sends(b"x", None), target(tcp())] {
        let begin = || {
            let mut probe = Probe::begin(&target, 65_000, 42, now);
            let packet = probe.step(now).packets.remove(0);
            (probe, packet)
        };
        let task = [10, 0, 0, 11].into();
        let (mut probe, packet) = begin();
        probe.hear(unreachable([10, 0, 0, 12].into(), 3, &packet), now);
        probe.hear(unreachable(task, 4, &packet), now);
        let mut of_another = packet.clone();
        of_another[21] ^= 1;
        probe.hear(unreachable(task, 3, &of_another), now);
        assert_eq!(probe.step(now).outcome, None);
        probe.hear(unreachable(task, 3, &packet), now);
        let outcome = probe.step(now).outcome.unwrap();
        assert_eq!((outcome.passed, outcome.what.as_str()), (false, "ICMP port unreachable"));
    }
}

/// A hundred tasks fill the queue of answers.
#[test]
fn tasks_that_send_without_end_hold_nobody_up() {
    let probes = Arc::new(Probes::new(SnatPorts { overlay: 64_512..=65_535, plain: 31_744..=32_767 }));
    let line = ProbeLine::new(Arc::clone(&probes), [Mailbox::new(1, None)].into());
    let (sender, findings) = mpsc::channel();
    let mut runner = Runner::new(line.clone(), sender);
    let task = |n: u8| Ipv4Addr::new(10, 0, 0, n);
    let of = |n: u8| {
        let address = SocketAddrV4::new(task(n), 8000);
        Target { backend: BackendId(n.into()), address, reachable: n > 0, ..target(tcp()) }
    };
    let start = Duration::from_secs(1000);
    runner.set((0..=100).map(of).collect(), start);
    let now = start + Duration::from_secs(21);
    assert!(runner.turn(now) > Some(now), "all have begun, none has answered");
    let ports = line.ports(ProbeKind::Overlay);
    let places = ports.flat_map(|port| (1..=100).map(move |n| (port, task(n))));
    let says = |(port, from)| probes.answer(ProbeKind::Overlay, port, from, &[0; 40]).is_ok();
    let mut sent = 0;
    for place in places {
        sent += std::iter::from_fn(|| says(place).then_some(())).count();
    }
    assert!(sent > 4 * ANSWERS_PER_TURN, "{sent}");
    // All are due now: nobody's interval is longer.
    let now = now + Duration::from_secs(23);
    assert_eq!(findings.try_iter().count(), 1, "the one to which there is no way");
    assert_eq!(runner.turn(now), Some(now), "there is more to be heard");
    assert_eq!(
        findings.try_iter().filter(|finding| finding.backend == BackendId(0)).count(),
        1,
        "it was not forgotten"
    );
    assert_eq!(std::iter::from_fn(|| line.receive()).count(), sent - ANSWERS_PER_TURN);
    assert!(runner.turn(now) > Some(now), "nothing waits any more");
}

proptest! {
    /// Whatever is lost or repeated, a check ends, and a server that answers is never taken for a wrong one.
    #[test]
    fn loss_and_repetition_only_cost_time(fates in proptest::collection::vec(0_usize..4, 40)) {
        let mut fates = fates.into_iter();
        let mut fate = |_: bool, _: &[u8]| fates.next().unwrap_or(1);
        let target = asks(HttpCheck { body: Some("well".to_owned()), ..http() });
        let outcome = play(&target, &mut Server::new(OK), &mut fate);
        prop_assert!(outcome.passed || outcome.what.contains("within"), "{}", outcome.what);
    }

    /// A backend may send what it likes.
    #[test]
    fn no_packet_panics(packets: Vec<Vec<u8>>, flips in proptest::collection::vec((0_usize..60, any::<u8>()), 0..20)) {
        let now = Duration::from_secs(1);
        for target in [asks(http()), asks(HttpCheck { tls: true, ..http() }), sends(b"x", Some(b"y"))] {
            let mut server = Server::new(OK);
            let mut probe = Probe::begin(&target, 65_000, 42, now);
            for (step, (place, bits)) in flips.iter().enumerate() {
                let now = now + Duration::from_millis(step as u64);
                for mut packet in server.exchange(probe.step(now).packets, now) {
                    probe.hear(packet.clone(), now);
                    if let Some(byte) = packet.get_mut(*place) {
                        *byte ^= bits;
                    }
                    probe.hear(packet, now);
                }
            }
            for packet in &packets {
                probe.hear(packet.clone(), now);
                probe.step(now);
            }
        }
    }
}
