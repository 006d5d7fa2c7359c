//! SYN cookies through the whole pipeline: the client's view is that of a plain TCP, the backend's too.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod lab;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use datapath::protection::{Guard, GuardTotals, Protection, SynCookies};
use datapath::service::{Hop, Path, Tables, VirtualService};
use etherparse::TcpOptionElement;
use lab::packets::{Seen, Segment, answer_of, ethernet, see, udp};
use lab::{BACK, CLIENT, CLIENT_MAC, FRONT, Gateway, OUR_MACS, TASKS, VIP};
use sys::LinkType;
use wire::Protocol;

const SECOND: Duration = Duration::from_secs(1);
/// Of `Segment::syn`.
const ISN: u32 = 1000;
/// Of the task, near the end of the circle.
const TASK_ISN: u32 = u32::MAX - 5;

fn web(syn_cookies: SynCookies) -> Tables {
    let protection = Protection { syn_cookies, guard: Arc::new(Guard::new(2)), ..Protection::default() };
    lab::tables(vec![VirtualService { protection, ..lab::service(1, Protocol::Tcp, 8080, &[1, 1]) }])
}

fn totals(tables: &Tables) -> GuardTotals {
    tables.services[0].protection.guard.totals()
}

fn one(frames: &[Vec<u8>]) -> Seen {
    assert_eq!(frames.len(), 1, "exactly one packet");
    see(&frames[0])
}

fn from_client(port: u16, flags: &'static str, seq: u32, ack: u32) -> Segment {
    Segment::new((CLIENT, port), (VIP, 8080), flags, seq, ack)
}

fn scale(seen: &Seen) -> Option<u8> {
    match seen.option(|option| matches!(option, TcpOptionElement::WindowScale(_))) {
        Some(TcpOptionElement::WindowScale(shift)) => Some(shift),
        _ => None,
    }
}

fn is_sack_permitted(seen: &Seen) -> bool {
    seen.option(|option| *option == TcpOptionElement::SelectiveAcknowledgementPermitted).is_some()
}

/// Sends a SYN; gives the number in the SYN-ACK.
fn cookie(gateway: &mut Gateway, syn: &Segment) -> Seen {
    assert!(gateway.forward(&syn.sent_by_client()).is_empty(), "no backend is asked");
    let answer = one(&gateway.collect(0, FRONT));
    assert_eq!((answer.src(), answer.dst(), answer.ports()), (VIP, CLIENT, (8080, syn.src.1)));
    let tcp = answer.tcp();
    assert!(tcp.syn && tcp.ack && !tcp.rst);
    assert_eq!((tcp.acknowledgment_number, tcp.window_size), (ISN + 1, 0));
    answer
}

/// As far as the SYN that the task gets.
fn come_back(gateway: &mut Gateway, port: u16) -> (u32, usize, Seen) {
    let cookie = cookie(gateway, &Segment::syn(port)).tcp().sequence_number;
    let ack = from_client(port, "A", ISN + 1, cookie.wrapping_add(1));
    let syn = one(&gateway.forward(&ack.sent_by_client()));
    let task = TASKS.iter().position(|task| *task == syn.dst()).unwrap();
    (cookie, task, syn)
}

struct Open {
    cookie: u32,
    task: usize,
    snat: u16,
}

/// The whole handshake.
fn connect(gateway: &mut Gateway, port: u16) -> Open {
    let (cookie, task, syn) = come_back(gateway, port);
    let snat = syn.ports().0;
    let options = vec![
        TcpOptionElement::MaximumSegmentSize(1410),
        TcpOptionElement::SelectiveAcknowledgementPermitted,
        TcpOptionElement::WindowScale(9),
    ];
    let synack = Segment { options, ..answer_of(task, &syn, "SA", TASK_ISN, ISN + 1) };
    let open = one(&gateway.backward(&synack.sent_by_task(task)));
    let tcp = open.tcp();
    assert!(tcp.ack && !tcp.syn && open.payload().len() == 20, "a bare ACK opens the client's window");
    assert_eq!((tcp.sequence_number, tcp.acknowledgment_number), (cookie.wrapping_add(1), ISN + 1));
    assert_eq!(tcp.window_size, 511, "65535 bytes in units of 128");
    let end = one(&gateway.collect(0, BACK));
    let tcp = end.tcp();
    assert!(tcp.ack && !tcp.syn && end.ports() == (snat, 8000));
    assert_eq!((tcp.sequence_number, tcp.acknowledgment_number), (ISN + 1, TASK_ISN.wrapping_add(1)));
    Open { cookie, task, snat }
}

#[test]
fn a_syn_costs_nothing_and_is_answered_in_kind() {
    let tables = web(SynCookies::Always);
    let mut gateway = Gateway::new(tables.clone());
    let answer = cookie(&mut gateway, &Segment::syn(40_000));
    assert_eq!((answer.mss(), scale(&answer), is_sack_permitted(&answer)), (Some(1410), Some(7), true));
    assert_eq!(answer.timestamps(), None);
    let plain = Segment { options: vec![], ..Segment::syn(40_001) };
    let answer = cookie(&mut gateway, &plain);
    assert_eq!((answer.mss(), scale(&answer), is_sack_permitted(&answer)), (Some(1410), None, false));
    assert!(gateway.flows().is_empty());
    assert_eq!(totals(&tables), GuardTotals { cookies_sent: 2, ..GuardTotals::default() });
    assert!(gateway.drops().is_empty());
    gateway.assert_frames_conserved();
}

#[test]
fn the_backend_gets_the_syn_that_the_client_sent() {
    let tables = web(SynCookies::Always);
    let mut gateway = Gateway::new(tables.clone());
    let (_, _, syn) = come_back(&mut gateway, 40_000);
    let tcp = syn.tcp();
    assert!(tcp.syn && !tcp.ack);
    assert_eq!((tcp.sequence_number, tcp.window_size), (ISN, 65_535));
    assert_eq!((syn.mss(), scale(&syn), is_sack_permitted(&syn)), (Some(1410), Some(7), true));
    let expected = GuardTotals { cookies_sent: 1, cookies_accepted: 1, half_open: 1, ..GuardTotals::default() };
    assert_eq!(totals(&tables), expected);
}

#[test]
fn both_ends_see_a_plain_connection() {
    let tables = web(SynCookies::Always);
    let mut gateway = Gateway::new(tables.clone());
    let Open { cookie, task, snat } = connect(&mut gateway, 40_000);
    assert_eq!(totals(&tables).half_open, 0);
    let ask = from_client(40_000, "PA", ISN + 1, cookie.wrapping_add(1)).with(b"GET");
    let seen = one(&gateway.forward(&ask.sent_by_client())).tcp();
    assert_eq!((seen.sequence_number, seen.acknowledgment_number), (ISN + 1, TASK_ISN.wrapping_add(1)));
    assert_eq!(seen.window_size, 65_535, "the client's window is as it was");
    let to_us = |flags, seq: u32, ack| Segment::new((TASKS[task], 8000), (lab::OUR_OVERLAY, snat), flags, seq, ack);
    let answer = to_us("PA", TASK_ISN.wrapping_add(1), ISN + 4).with(b"200 OK");
    let seen = one(&gateway.backward(&answer.sent_by_task(task))).tcp();
    assert_eq!((seen.sequence_number, seen.acknowledgment_number), (cookie.wrapping_add(1), ISN + 4));
    assert_eq!(seen.window_size, 65_535, "2^9 units are more than 2^7 units can say");
    let sack =
        vec![TcpOptionElement::SelectiveAcknowledgement((cookie.wrapping_add(3), cookie.wrapping_add(7)), [None; 3])];
    let dup = Segment { options: sack, ..from_client(40_000, "A", ISN + 4, cookie.wrapping_add(1)) };
    let seen = one(&gateway.forward(&dup.sent_by_client()));
    let blocks = seen.option(|option| matches!(option, TcpOptionElement::SelectiveAcknowledgement(..)));
    let edges = (TASK_ISN.wrapping_add(3), TASK_ISN.wrapping_add(7));
    assert_eq!(blocks, Some(TcpOptionElement::SelectiveAcknowledgement(edges, [None; 3])));
    let fin = one(&gateway.forward(&from_client(40_000, "FA", ISN + 4, cookie.wrapping_add(7)).sent_by_client())).tcp();
    assert_eq!((fin.sequence_number, fin.acknowledgment_number), (ISN + 4, TASK_ISN.wrapping_add(7)));
    let fin = to_us("FA", TASK_ISN.wrapping_add(7), ISN + 5);
    let fin = one(&gateway.backward(&fin.sent_by_task(task))).tcp();
    assert_eq!((fin.sequence_number, fin.acknowledgment_number), (cookie.wrapping_add(7), ISN + 5));
    one(&gateway.forward(&from_client(40_000, "A", ISN + 5, cookie.wrapping_add(8)).sent_by_client()));
    assert_eq!(gateway.flows()[0].state, "TIME_WAIT");
    assert!(gateway.drops().is_empty(), "{:?}", gateway.drops());
    gateway.assert_gauges();
    gateway.assert_frames_conserved();
}

/// Windows: what a backend offers in its own units, what the client is to read.
#[test]
fn a_backend_without_scaling_is_understood_by_a_client_that_scales() {
    let mut gateway = Gateway::new(web(SynCookies::Always));
    let (cookie, task, syn) = come_back(&mut gateway, 40_000);
    let open = one(&gateway.backward(&answer_of(task, &syn, "SA", TASK_ISN, ISN + 1).sent_by_task(task)));
    assert_eq!(open.tcp().window_size, 511);
    gateway.collect(0, BACK);
    let data = answer_of(task, &syn, "PA", TASK_ISN.wrapping_add(1), ISN + 1).with(b"hello");
    assert_eq!(one(&gateway.backward(&data.sent_by_task(task))).tcp().window_size, 511, "65535 bytes again");
    let ack = from_client(40_000, "A", ISN + 1, cookie.wrapping_add(6));
    assert_eq!(
        one(&gateway.forward(&ack.sent_by_client())).tcp().window_size,
        65_535,
        "65535 units of 128: all it can say"
    );
}

/// Both ends have lost the connection and open it anew on the same ports: now they tell each other their scales.
#[test]
fn windows_of_a_connection_that_begins_anew_are_as_its_ends_say() {
    let mut gateway = Gateway::new(web(SynCookies::Always));
    let Open { task, .. } = connect(&mut gateway, 40_000);
    let syn = one(&gateway.forward(&Segment { seq: 500_000_000, ..Segment::syn(40_000) }.sent_by_client()));
    let options = vec![TcpOptionElement::MaximumSegmentSize(1410), TcpOptionElement::WindowScale(9)];
    let synack = Segment { options, ..answer_of(task, &syn, "SA", 77_000, 500_000_001) };
    let told = one(&gateway.backward(&synack.sent_by_task(task)));
    assert_eq!(scale(&told), Some(9));
    let ack = from_client(40_000, "A", 500_000_001, told.tcp().sequence_number.wrapping_add(1));
    one(&gateway.forward(&ack.sent_by_client()));
    let window = Segment { window: 1_000, ..answer_of(task, &syn, "A", 77_001, 500_000_001) };
    assert_eq!(one(&gateway.backward(&window.sent_by_task(task))).tcp().window_size, 1_000);
    assert!(gateway.drops().is_empty(), "{:?}", gateway.drops());
}

#[test]
fn forged_ends_of_handshakes_are_refused() {
    let tables = web(SynCookies::Always);
    let mut gateway = Gateway::new(tables.clone());
    let cookie = cookie(&mut gateway, &Segment::syn(40_000)).tcp().sequence_number;
    let wrong = [
        from_client(40_000, "A", ISN + 1, cookie),
        from_client(40_000, "A", ISN + 3, cookie.wrapping_add(1)),
        from_client(40_001, "A", ISN + 1, cookie.wrapping_add(1)),
        from_client(40_000, "A", ISN + 1, cookie.wrapping_add(1 + (1 << 28))),
    ];
    for segment in &wrong {
        assert!(gateway.forward(&segment.sent_by_client()).is_empty());
        let reset = one(&gateway.collect(0, FRONT)).tcp();
        assert!(reset.rst && reset.sequence_number == segment.ack);
    }
    assert_eq!((totals(&tables).cookies_rejected, totals(&tables).cookies_accepted), (4, 0));
    gateway.pass(200 * SECOND);
    assert!(gateway.forward(&from_client(40_000, "A", ISN + 1, cookie.wrapping_add(1)).sent_by_client()).is_empty());
    assert_eq!(totals(&tables).cookies_rejected, 5, "too old");
    assert_eq!(gateway.drops(), [("no_flow_tcp", 5)]);
}

/// The end of the handshake is lost, and the client asks whether the window has opened: one byte before its first.
#[test]
fn a_question_about_the_shut_window_brings_the_cookie_too() {
    let mut gateway = Gateway::new(web(SynCookies::Always));
    let cookie = cookie(&mut gateway, &Segment::syn(40_000)).tcp().sequence_number;
    let probe = from_client(40_000, "A", ISN, cookie.wrapping_add(1));
    let syn = one(&gateway.forward(&probe.sent_by_client())).tcp();
    assert_eq!((syn.syn, syn.sequence_number), (true, ISN));
}

#[test]
fn a_backend_that_refuses_refuses_the_client_at_once() {
    let tables = web(SynCookies::Always);
    let mut gateway = Gateway::new(tables.clone());
    let (cookie, task, syn) = come_back(&mut gateway, 40_000);
    let reset = one(&gateway.backward(&answer_of(task, &syn, "RA", 0, ISN + 1).sent_by_task(task)));
    let tcp = reset.tcp();
    assert!(tcp.rst);
    assert_eq!((reset.src(), reset.ports(), tcp.sequence_number), (VIP, (8080, 40_000), cookie.wrapping_add(1)));
    assert_eq!((gateway.flows()[0].state, totals(&tables).half_open), ("CLOSE", 0));
    assert_eq!(tables.services[0].backends[task].stats.totals().refused, 1);
    gateway.assert_gauges();
    gateway.assert_frames_conserved();
}

/// A segment of the client or of a task whose window has changed on the way: only its checksum tells.
fn damaged(mut frame: Vec<u8>) -> Vec<u8> {
    let is_tunnelled = frame[23] == 17;
    let tcp = if is_tunnelled { 14 + 20 + 8 + 8 + 14 + 20 } else { 14 + 20 };
    frame[tcp + 14] ^= 1;
    frame
}

/// What is said anew here has a right checksum, whatever it was taken from: damage must not be hidden.
#[test]
fn damaged_segments_are_not_taken_up() {
    let tables = web(SynCookies::Always);
    let mut gateway = Gateway::new(tables.clone());
    let hears_nothing = |gateway: &mut Gateway, slot, frame: Vec<u8>| {
        gateway.inject(0, slot, &damaged(frame));
        gateway.settle();
        assert!(gateway.collect(0, FRONT).is_empty() && gateway.collect(0, BACK).is_empty());
    };
    hears_nothing(&mut gateway, FRONT, Segment::syn(40_000).sent_by_client());
    let cookie = cookie(&mut gateway, &Segment::syn(40_000)).tcp().sequence_number;
    let ack = from_client(40_000, "A", ISN + 1, cookie.wrapping_add(1));
    hears_nothing(&mut gateway, FRONT, ack.sent_by_client());
    let syn = one(&gateway.forward(&ack.sent_by_client()));
    let task = TASKS.iter().position(|task| *task == syn.dst()).unwrap();
    let answers = [("RA", 0, ISN + 1), ("A", 777, 888), ("SA", TASK_ISN, ISN + 1)];
    for (flags, seq, number) in answers {
        hears_nothing(&mut gateway, BACK, answer_of(task, &syn, flags, seq, number).sent_by_task(task));
    }
    one(&gateway.backward(&answer_of(task, &syn, "SA", TASK_ISN, ISN + 1).sent_by_task(task)));
    let expected = GuardTotals { cookies_sent: 1, cookies_accepted: 1, ..GuardTotals::default() };
    assert_eq!((totals(&tables), gateway.drops()), (expected, vec![("bad_transport_header", 5)]));
    gateway.assert_gauges();
    gateway.assert_frames_conserved();
}

#[test]
fn a_silent_backend_is_asked_again_and_then_given_up() {
    let tables = web(SynCookies::Always);
    let mut gateway = Gateway::new(tables.clone());
    let (cookie, task, first) = come_back(&mut gateway, 40_000);
    let mut asked = Vec::new();
    for tenth in 1..=150 {
        gateway.pass(SECOND / 10);
        for frame in gateway.collect(0, BACK) {
            let again = see(&frame);
            if again.tcp().syn {
                assert_eq!(again.bytes[20..], first.bytes[20..], "the very same SYN");
                asked.push(tenth);
            } else {
                assert!(again.tcp().rst && again.tcp().sequence_number == ISN + 1, "the end, for the backend");
                asked.push(tenth);
            }
        }
    }
    assert_eq!(asked, [10, 30, 70, 150]);
    let reset = one(&gateway.collect(0, FRONT)).tcp();
    assert!(reset.rst && reset.sequence_number == cookie.wrapping_add(1));
    assert_eq!(tables.services[0].backends[task].stats.totals().unanswered, 3);
    assert_eq!(totals(&tables).half_open, 0);
    gateway.assert_gauges();
    gateway.assert_frames_conserved();
}

/// As a client's own SYN, sent again, would find another backend: this client sends none.
#[test]
fn another_backend_is_asked_when_the_silent_one_is_taken_out() {
    let mut tables = web(SynCookies::Always);
    let mut gateway = Gateway::new(tables.clone());
    let (cookie, task, first) = come_back(&mut gateway, 40_000);
    tables.services[0].backends[task].weight = 0;
    gateway.publish(tables.clone());
    gateway.pass(SECOND);
    let syn = one(&gateway.collect(0, BACK));
    assert_eq!((syn.dst(), syn.ports().1, syn.tcp().syn), (TASKS[1 - task], 8000, true));
    assert_eq!((syn.tcp().sequence_number, syn.mss()), (ISN, first.mss()));
    assert!(gateway.collect(0, FRONT).is_empty(), "the client hears nothing of it");
    gateway.assert_gauges();
    let open = one(&gateway.backward(&answer_of(1 - task, &syn, "SA", TASK_ISN, ISN + 1).sent_by_task(1 - task)));
    assert_eq!((open.tcp().sequence_number, open.tcp().acknowledgment_number), (cookie.wrapping_add(1), ISN + 1));
    assert_eq!((gateway.collect(0, BACK).len(), totals(&tables).half_open, gateway.drops()), (1, 0, vec![]));
    gateway.pass(20 * SECOND);
    assert_eq!(gateway.flows()[0].state, "ESTABLISHED");
    gateway.assert_gauges();
    gateway.assert_frames_conserved();
}

#[test]
fn a_client_hears_when_the_other_backend_cannot_be_asked() {
    let mut tables = web(SynCookies::Always);
    let mut gateway = Gateway::new(tables.clone());
    let (cookie, task, _) = come_back(&mut gateway, 40_000);
    tables.services[0].backends[task].weight = 0;
    let Path::Overlay { hop, .. } = &mut tables.services[0].backends[1 - task].path else { panic!() };
    *hop = Hop::Unresolved;
    gateway.publish(tables.clone());
    gateway.pass(SECOND);
    let reset = one(&gateway.collect(0, FRONT)).tcp();
    assert_eq!((reset.rst, reset.sequence_number), (true, cookie.wrapping_add(1)));
    assert_eq!((gateway.flows().len(), totals(&tables).half_open), (0, 0));
    gateway.assert_gauges();
    gateway.assert_frames_conserved();
}

/// It is asked again before the sweep gets to its flow, which stands behind those of another service.
#[test]
fn a_backend_that_nobody_knows_any_more_is_not_asked_again() {
    let mut tables = web(SynCookies::Always);
    tables.services.push(lab::service(2, Protocol::Udp, 53, &[1]));
    let mut gateway = Gateway::with(tables.clone(), 1, [LinkType::Ethernet; 2], 3000);
    for port in 1..=1100 {
        let question = udp((CLIENT, port), (VIP, 53), b"?");
        assert_eq!(gateway.forward(&ethernet(CLIENT_MAC, OUR_MACS[0], &question)).len(), 1);
    }
    come_back(&mut gateway, 40_000);
    tables.services[0].backends.clear();
    gateway.publish_alone(tables);
    gateway.now += SECOND;
    gateway.workers[0].turn(gateway.now);
    assert!(gateway.collect(0, BACK).is_empty());
    gateway.assert_frames_conserved();
}

/// What the client says meanwhile is not lost on anybody: its window is shut.
#[test]
fn a_client_that_gives_up_meanwhile_takes_the_backend_with_it() {
    let mut gateway = Gateway::new(web(SynCookies::Always));
    let (cookie, ..) = come_back(&mut gateway, 40_000);
    assert!(gateway.forward(&from_client(40_000, "A", ISN, cookie.wrapping_add(1)).sent_by_client()).is_empty());
    assert_eq!(gateway.drops(), [("before_backend", 1)]);
    let reset = one(&gateway.forward(&from_client(40_000, "R", ISN + 1, 0).sent_by_client())).tcp();
    assert!(reset.rst && reset.sequence_number == ISN + 1);
    gateway.pass(20 * SECOND);
    assert!(gateway.collect(0, BACK).is_empty() && gateway.collect(0, FRONT).is_empty(), "nobody is asked again");
}

/// The backend holds an older connection of the port: without timestamps it can't know better.
#[test]
fn an_old_connection_at_the_backend_is_cleared_away() {
    let mut gateway = Gateway::new(web(SynCookies::Always));
    let (_, task, syn) = come_back(&mut gateway, 40_000);
    let challenge = answer_of(task, &syn, "A", 777, 888);
    assert!(gateway.backward(&challenge.sent_by_task(task)).is_empty(), "nothing for the client");
    let reset = one(&gateway.collect(0, BACK)).tcp();
    assert!(reset.rst && reset.sequence_number == 888);
    gateway.pass(SECOND);
    assert!(one(&gateway.collect(0, BACK)).tcp().syn);
}

#[test]
fn whoever_of_two_workers_hears_the_end_the_flow_is_where_its_packets_come() {
    let tables = web(SynCookies::Always);
    let mut gateway = Gateway::with(tables.clone(), 2, [LinkType::Ethernet; 2], 1024);
    gateway.inject(1, FRONT, &Segment::syn(40_000).sent_by_client());
    gateway.settle();
    let cookie = one(&gateway.collect(1, FRONT)).tcp().sequence_number;
    gateway.inject(0, FRONT, &from_client(40_000, "A", ISN + 1, cookie.wrapping_add(1)).sent_by_client());
    gateway.settle();
    assert!(one(&gateway.collect(0, BACK)).tcp().syn);
    assert_eq!(gateway.flows()[0].worker, 0);
    gateway.assert_frames_conserved();
}

fn spoofed(n: u16) -> Segment {
    Segment { src: (Ipv4Addr::new(198, 21, (n >> 8) as u8, n as u8), 1024 + n), ..Segment::syn(0) }
}

/// A flood of SYNs: as many flows as allowed, cookies beyond; who was there before notices nothing.
#[test]
fn a_flood_finds_an_end() {
    let tables = web(SynCookies::Above { half_open: 20 });
    let mut gateway = Gateway::new(tables.clone());
    let seen = one(&gateway.forward(&Segment::syn(40_000).sent_by_client()));
    one(&gateway.backward(&answer_of(0, &seen, "SA", 5000, 1001).sent_by_task(0)));
    let data = from_client(40_000, "PA", 1001, 5001).with(b"x");
    one(&gateway.forward(&data.sent_by_client()));
    one(&gateway.forward(&Segment::syn(40_001).sent_by_client()));
    let asked = |gateway: &mut Gateway, n: u16| gateway.forward(&spoofed(n).sent_by_client()).len();
    let flows: usize = (0..200).map(|n| asked(&mut gateway, n)).sum();
    assert_eq!((flows, gateway.collect(0, FRONT).len()), (19, 181), "twenty half-open flows, and then cookies");
    one(&gateway.forward(&data.sent_by_client()));
    one(&gateway.forward(&Segment::syn(40_001).sent_by_client()));
    assert!(gateway.collect(0, FRONT).is_empty(), "a SYN sent again belongs to its flow");
    connect(&mut gateway, 40_002);
    gateway.pass(130 * SECOND);
    assert_eq!(totals(&tables).half_open, 0);
    assert_eq!(asked(&mut gateway, 600), 1, "and all is as before");
    assert!(gateway.drops().is_empty(), "{:?}", gateway.drops());
    gateway.assert_gauges();
    gateway.assert_frames_conserved();
}

/// The PROXY header and the cookie: both renumber, in different directions.
#[test]
fn the_proxy_header_goes_in_front_here_too() {
    let mut tables = web(SynCookies::Always);
    tables.services[0].proxy_protocol = true;
    let mut gateway = Gateway::new(tables);
    let (cookie, task, syn) = come_back(&mut gateway, 40_000);
    let open = one(&gateway.backward(&answer_of(task, &syn, "SA", TASK_ISN, ISN + 1).sent_by_task(task)));
    assert_eq!((open.tcp().sequence_number, open.tcp().acknowledgment_number), (cookie.wrapping_add(1), ISN + 1));
    let header = one(&gateway.collect(0, BACK));
    assert_eq!(header.tcp().sequence_number, ISN + 1);
    assert_eq!(header.tcp().acknowledgment_number, TASK_ISN.wrapping_add(1));
    assert_eq!(header.payload()[20..32], *b"\r\n\r\n\0\r\nQUIT\n");
    let data = from_client(40_000, "PA", ISN + 1, cookie.wrapping_add(1)).with(b"GET");
    let frames = gateway.forward(&data.sent_by_client());
    let seen = see(frames.last().unwrap()).tcp();
    assert_eq!((seen.sequence_number, seen.acknowledgment_number), (ISN + 1 + 28, TASK_ISN.wrapping_add(1)));
    let ack = answer_of(task, &syn, "A", TASK_ISN.wrapping_add(1), ISN + 1 + 28 + 3);
    let seen = one(&gateway.backward(&ack.sent_by_task(task))).tcp();
    assert_eq!((seen.sequence_number, seen.acknowledgment_number), (cookie.wrapping_add(1), ISN + 4));
}
