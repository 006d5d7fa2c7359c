//! Every flow that opens is said, and every one that ends, once, whatever ends it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod lab;

use std::time::Duration;

use datapath::flow_log::{Ending, FlowEvent};
use datapath::service::Tables;
use lab::packets::{Segment, Tunnel, answer_of, ethernet, see, udp};
use lab::{CLIENT, CLIENT_MAC, Gateway, OUR_MACS, OUR_OVERLAY, TASKS, VIP};
use wire::Protocol;

fn web() -> Tables {
    let services = vec![lab::service(1, Protocol::Tcp, 8080, &[1]), lab::service(2, Protocol::Udp, 53, &[1])];
    lab::tables(services)
}

fn events(gateway: &Gateway) -> Vec<FlowEvent> {
    gateway.events.iter().flat_map(|events| std::iter::from_fn(|| events.pop())).collect()
}

fn endings(gateway: &Gateway) -> Vec<Ending> {
    events(gateway).iter().filter_map(|event| event.ending).collect()
}

/// A connection from this port, established: gives the SNAT port.
fn establish(gateway: &mut Gateway, port: u16) -> u16 {
    let syn = see(&gateway.forward(&Segment::syn(port).sent_by_client())[0]);
    gateway.backward(&answer_of(0, &syn, "SA", 300, 1001).sent_by_task(0));
    gateway.forward(&Segment::new((CLIENT, port), (VIP, 8080), "A", 1001, 301).sent_by_client());
    syn.ports().0
}

fn client(gateway: &mut Gateway, port: u16, flags: &'static str, seq: u32, ack: u32) {
    gateway.forward(&Segment::new((CLIENT, port), (VIP, 8080), flags, seq, ack).sent_by_client());
}

fn task(gateway: &mut Gateway, snat: u16, flags: &'static str, seq: u32, ack: u32) {
    gateway.backward(&Segment::new((TASKS[0], 8000), (OUR_OVERLAY, snat), flags, seq, ack).sent_by_task(0));
}

#[test]
fn from_the_first_packet_to_the_last() {
    let mut gateway = Gateway::new(web());
    let begun = gateway.now;
    let snat = establish(&mut gateway, 5000);
    gateway.pass(Duration::from_millis(2_500));
    client(&mut gateway, 5000, "FA", 1001, 301);
    task(&mut gateway, snat, "FA", 301, 1002);
    client(&mut gateway, 5000, "A", 1002, 302);
    let [opened, closed] = &events(&gateway)[..] else { panic!("two events") };
    assert_eq!((opened.ending, opened.at, opened.opened), (None, begun, begun));
    assert_eq!((closed.ending, closed.opened), (Some(Ending::Closed), begun));
    assert_eq!(closed.at, begun + Duration::from_millis(2_500));
    assert_eq!((closed.client.to_string(), closed.vip.to_string()), (format!("{CLIENT}:5000"), format!("{VIP}:8080")));
    assert_eq!(
        (closed.snat.to_string(), closed.backend.to_string()),
        (format!("{OUR_OVERLAY}:{snat}"), format!("{}:8000", TASKS[0]))
    );
    assert_eq!((closed.packets, closed.service.0), ([4, 2], 1), "the last one is counted");
    assert_eq!(closed.bytes, [160, 80].map(|least| least.max(closed.bytes[usize::from(least == 80)])));
    // It leaves the table later: that is no news.
    gateway.pass(Duration::from_mins(5));
    assert!(gateway.flows().is_empty() && events(&gateway).is_empty());
}

#[test]
fn a_reset_of_either_side() {
    let mut gateway = Gateway::new(web());
    let snat = establish(&mut gateway, 5000);
    task(&mut gateway, snat, "R", 301, 0);
    establish(&mut gateway, 5001);
    client(&mut gateway, 5001, "R", 1001, 0);
    // Refused at once.
    let syn = see(&gateway.forward(&Segment::syn(5002).sent_by_client())[0]);
    gateway.backward(&answer_of(0, &syn, "RA", 0, 1001).sent_by_task(0));
    assert_eq!(endings(&gateway), [Ending::Reset; 3]);
}

#[test]
fn a_flow_that_nobody_ends_and_one_that_never_began() {
    let mut gateway = Gateway::new(web());
    establish(&mut gateway, 5000);
    gateway.forward(&Segment::syn(5001).sent_by_client());
    gateway.pass(Duration::from_secs(121));
    assert_eq!(endings(&gateway), [Ending::Timeout]);
    gateway.pass(Duration::from_hours(2));
    assert_eq!(endings(&gateway), [Ending::Timeout]);
}

#[test]
fn flows_of_a_backend_that_goes() {
    let mut gateway = Gateway::new(web());
    establish(&mut gateway, 5000);
    gateway.forward(&ethernet(CLIENT_MAC, OUR_MACS[0], &udp((CLIENT, 6000), (VIP, 53), b"x")));
    let mut none = web();
    none.services.iter_mut().for_each(|service| service.backends.clear());
    gateway.publish_same(none);
    let mut endings = endings(&gateway);
    endings.sort_by_key(|ending| ending.name());
    assert_eq!(endings, [Ending::Replaced, Ending::ResetHere]);
    gateway.pass(Duration::from_mins(5));
    assert!(events(&gateway).is_empty(), "once");
}

#[test]
fn a_client_that_begins_anew() {
    let mut gateway = Gateway::new(web());
    let snat = establish(&mut gateway, 5000);
    client(&mut gateway, 5000, "FA", 1001, 301);
    task(&mut gateway, snat, "FA", 301, 1002);
    client(&mut gateway, 5000, "A", 1002, 302);
    gateway.pass(Duration::from_secs(2));
    gateway.forward(&Segment::syn(5000).sent_by_client());
    let kinds: Vec<Option<Ending>> = events(&gateway).iter().map(|event| event.ending).collect();
    assert_eq!(kinds, [None, Some(Ending::Closed), None]);
}

/// Its backend has not closed yet, and is reset; of a direct service's flows the gateway never sees more than this.
#[test]
fn a_client_that_begins_anew_before_the_end() {
    let mut direct = web();
    direct.services[0].direct = true;
    for tables in [web(), direct] {
        let is_direct = tables.services[0].direct;
        let mut gateway = Gateway::new(tables);
        if is_direct {
            gateway.forward(&Segment::syn(5000).sent_by_client());
            client(&mut gateway, 5000, "A", 1001, 301);
        } else {
            establish(&mut gateway, 5000);
        }
        client(&mut gateway, 5000, "FA", 1001, 301);
        gateway.pass(Duration::from_secs(2));
        gateway.forward(&Segment { seq: 900_000, ..Segment::syn(5000) }.sent_by_client());
        let kinds: Vec<Option<Ending>> = events(&gateway).iter().map(|event| event.ending).collect();
        assert_eq!(kinds, [None, Some(Ending::Replaced), None], "direct: {is_direct}");
    }
}

#[test]
fn what_nobody_takes_is_lost_and_counted() {
    let mut gateway = Gateway::with(web(), 1, [sys::LinkType::Ethernet; 2], 32_768);
    for port in 10_000..30_000 {
        gateway.forward(&Segment::syn(port).sent_by_client());
    }
    let waiting = events(&gateway).len() as u64;
    assert!(waiting >= 10_000);
    assert_eq!(gateway.totals().flow_events_lost, 20_000 - waiting);
}

#[test]
fn udp_ends_by_silence_and_answers_are_its_packets() {
    let mut gateway = Gateway::new(web());
    let sent =
        see(&gateway.forward(&ethernet(CLIENT_MAC, OUR_MACS[0], &udp((CLIENT, 6000), (VIP, 53), b"question")))[0]);
    let answer = udp((TASKS[0], 8000), (OUR_OVERLAY, sent.ports().0), b"answer");
    gateway.backward(&Tunnel::from_node(0).wrap(&answer));
    gateway.pass(Duration::from_secs(31));
    let events = events(&gateway);
    assert_eq!((events[1].ending, events[1].packets, events[1].bytes), (Some(Ending::Timeout), [1, 1], [36, 34]));
    assert_eq!(events[1].at, events[0].at + Duration::from_secs(31), "its end, not when the last packet came");
}
