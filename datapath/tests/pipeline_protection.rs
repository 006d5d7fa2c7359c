//! Lists of sources and rates of new flows, through the whole pipeline.

#![allow(clippy::unwrap_used, reason = "test code")]

mod lab;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use datapath::protection::{Guard, GuardTotals, Prefix, Prefixes, Protection, Rate};
use datapath::service::{Tables, VirtualService};
use lab::packets::{Segment, answer_of, ethernet, see, udp};
use lab::{BACK, CLIENT, CLIENT_MAC, FRONT, Gateway, OUR_MACS, VIP};
use sys::LinkType;
use wire::Protocol;

const SECOND: Duration = Duration::from_secs(1);
const OTHER: Ipv4Addr = Ipv4Addr::new(198, 20, 0, 7);

fn prefixes(address: Ipv4Addr, bits: u8) -> Prefixes {
    Prefixes::new(&[Prefix { address: address.into(), bits }])
}

fn protected(protocol: Protocol, protection: Protection) -> Tables {
    let guard = Arc::new(Guard::new(2));
    guard.prepare_sources();
    let protection = Protection { guard, ..protection };
    lab::tables(vec![VirtualService { protection, ..lab::service(1, protocol, 8080, &[1, 1]) }])
}

fn totals(tables: &Tables) -> GuardTotals {
    tables.services[0].protection.guard.totals()
}

fn syn(client: Ipv4Addr, port: u16) -> Vec<u8> {
    Segment { src: (client, port), ..Segment::syn(port) }.sent_by_client()
}

fn datagram(client: Ipv4Addr, port: u16) -> Vec<u8> {
    ethernet(CLIENT_MAC, OUR_MACS[0], &udp((client, port), (VIP, 8080), b"hello"))
}

/// How many of these SYNs reach a task, one after the other.
fn passed(gateway: &mut Gateway, client: Ipv4Addr, ports: std::ops::Range<u16>) -> usize {
    ports.map(|port| gateway.forward(&syn(client, port)).len()).sum()
}

#[test]
fn who_is_denied_hears_nothing() {
    let tables = protected(Protocol::Tcp, Protection { deny: prefixes(CLIENT, 16), ..Protection::default() });
    let mut gateway = Gateway::new(tables.clone());
    assert_eq!(passed(&mut gateway, CLIENT, 40_000..40_003), 0);
    let stray = Segment::new((CLIENT, 40_000), (VIP, 8080), "A", 77, 88);
    assert!(gateway.forward(&stray.sent_by_client()).is_empty());
    assert!(gateway.collect(0, FRONT).is_empty(), "no RST either");
    assert_eq!(passed(&mut gateway, OTHER, 40_000..40_003), 3);
    assert_eq!(gateway.drops(), [("denied", 4)]);
    assert_eq!(totals(&tables), GuardTotals { denied: 4, half_open: 3, ..GuardTotals::default() });
    gateway.assert_frames_conserved();
}

#[test]
fn who_is_not_allowed_is_kept_out_over_udp_too() {
    let allow = Protection { allow: prefixes(OTHER, 24), ..Protection::default() };
    let tables = protected(Protocol::Udp, allow);
    let mut gateway = Gateway::new(tables.clone());
    assert!(gateway.forward(&datagram(CLIENT, 5000)).is_empty());
    assert_eq!(gateway.forward(&datagram(OTHER, 5000)).len(), 1);
    assert!(gateway.collect(0, FRONT).is_empty());
    assert_eq!((gateway.drops(), totals(&tables).denied), (vec![("denied", 1)], 1));
}

/// Lists are asked for new flows only: an operator's slip cuts nobody off.
#[test]
fn flows_that_stand_go_on() {
    let mut tables = protected(Protocol::Tcp, Protection::default());
    let mut gateway = Gateway::new(tables.clone());
    let seen = see(&gateway.forward(&syn(CLIENT, 40_000))[0]);
    gateway.backward(&answer_of(0, &seen, "SA", 5000, 1001).sent_by_task(0));
    let segment = |payload: &[u8]| Segment::new((CLIENT, 40_000), (VIP, 8080), "PA", 1001, 5001).with(payload);
    assert_eq!(gateway.forward(&segment(b"one").sent_by_client()).len(), 1);
    tables.services[0].protection.deny = prefixes(CLIENT, 32);
    gateway.publish(tables);
    assert_eq!(gateway.forward(&segment(b"one").sent_by_client()).len(), 1, "the old one");
    assert_eq!(passed(&mut gateway, CLIENT, 40_001..40_002), 0, "a new one");
    assert_eq!(gateway.drops(), [("denied", 1)]);
}

#[test]
fn a_source_has_its_rate_on_all_workers_together() {
    let rate_per_source = Some(Rate::new(10, SECOND, 4));
    let tables = protected(Protocol::Tcp, Protection { rate_per_source, ..Protection::default() });
    let mut gateway = Gateway::with(tables.clone(), 2, [LinkType::Ethernet; 2], 1024);
    let mut burst = |client: Ipv4Addr, ports: std::ops::Range<u16>| {
        for port in ports {
            gateway.inject(usize::from(port % 2), FRONT, &syn(client, port));
        }
        gateway.settle();
        let seen = gateway.collect(0, BACK).len() + gateway.collect(1, BACK).len();
        gateway.pass(SECOND / 5);
        seen
    };
    assert_eq!(burst(CLIENT, 40_000..40_010), 4);
    assert_eq!(burst(CLIENT, 40_010..40_020), 2, "what a fifth of a second earns");
    assert_eq!(burst(OTHER, 40_000..40_010), 4, "another source has its own");
    let over = totals(&tables).over_rate_per_source;
    assert_eq!((over, gateway.drops()), (20, vec![("over_rate_per_source", 20)]));
    gateway.assert_frames_conserved();
}

/// A retransmitted SYN belongs to its flow, and costs nothing.
#[test]
fn only_new_flows_count() {
    let rate = Some(Rate::new(1, SECOND, 1));
    let tables = protected(Protocol::Tcp, Protection { rate, ..Protection::default() });
    let mut gateway = Gateway::new(tables);
    for _ in 0..5 {
        assert_eq!(passed(&mut gateway, CLIENT, 40_000..40_001), 1);
    }
    assert_eq!(passed(&mut gateway, CLIENT, 40_001..40_002), 0);
    gateway.pass(SECOND);
    assert_eq!(passed(&mut gateway, CLIENT, 40_001..40_002), 1, "sent again a second later");
}

/// One source beyond its own rate uses up nothing of what all have together.
#[test]
fn the_service_rate_is_for_all_but_not_for_one_to_eat() {
    let tables = protected(
        Protocol::Udp,
        Protection {
            rate_per_source: Some(Rate::new(1, SECOND, 2)),
            rate: Some(Rate::new(1, SECOND, 5)),
            ..Protection::default()
        },
    );
    let mut gateway = Gateway::new(tables.clone());
    let mut passed = |client: Ipv4Addr, flows: u16| -> usize {
        (0..flows).map(|n| gateway.forward(&datagram(client, 5000 + n)).len()).sum()
    };
    assert_eq!(passed(CLIENT, 50), 2);
    let others: usize = (1..6).map(|n| passed(Ipv4Addr::new(198, 20, 0, n), 1)).sum();
    assert_eq!(others, 3, "five in all");
    let expected = GuardTotals { over_rate_per_source: 48, over_rate: 2, ..GuardTotals::default() };
    assert_eq!(totals(&tables), expected);
    assert_eq!(gateway.drops(), [("over_rate_per_source", 48), ("over_rate", 2)]);
}

/// What a source has left of its own is not used up by asking while all together have used up theirs.
#[test]
fn a_refusal_for_all_costs_the_source_nothing() {
    let (rate_per_source, rate) = (Some(Rate::new(1, 60 * SECOND, 3)), Some(Rate::new(1, SECOND, 1)));
    let tables = protected(Protocol::Tcp, Protection { rate_per_source, rate, ..Protection::default() });
    let mut gateway = Gateway::new(tables.clone());
    assert_eq!(passed(&mut gateway, CLIENT, 40_000..40_020), 1, "one for all in this second");
    gateway.pass(SECOND);
    assert_eq!(passed(&mut gateway, CLIENT, 40_001..40_020), 1);
    gateway.pass(SECOND);
    assert_eq!(passed(&mut gateway, CLIENT, 40_002..40_020), 1, "the third and last of the source");
    gateway.pass(SECOND);
    assert_eq!(passed(&mut gateway, CLIENT, 40_003..40_005), 0);
    assert_eq!(passed(&mut gateway, OTHER, 40_000..40_002), 1, "nor did they cost the service anything");
    let expected =
        GuardTotals { over_rate_per_source: 17 + 2, over_rate: 19 + 18 + 1, half_open: 4, ..GuardTotals::default() };
    assert_eq!(totals(&tables), expected);
}

/// The gauge of half-open flows follows them through every end that they may come to.
#[test]
fn half_open_flows_are_counted() {
    let tables = protected(Protocol::Tcp, Protection::default());
    let mut gateway = Gateway::new(tables.clone());
    let half_open = || totals(&tables).half_open;
    let seen = see(&gateway.forward(&syn(CLIENT, 40_000))[0]);
    assert_eq!(half_open(), 1);
    gateway.backward(&answer_of(0, &seen, "SA", 5000, 1001).sent_by_task(0));
    assert_eq!(half_open(), 1);
    gateway.forward(&Segment::new((CLIENT, 40_000), (VIP, 8080), "A", 1001, 5001).sent_by_client());
    assert_eq!(half_open(), 0, "open");
    let seen = see(&gateway.forward(&syn(CLIENT, 40_001))[0]);
    assert_eq!(half_open(), 1);
    gateway.backward(&answer_of(1, &seen, "RA", 0, 1001).sent_by_task(1));
    assert_eq!(half_open(), 0, "refused");
    gateway.forward(&syn(CLIENT, 40_002));
    gateway.forward(&syn(CLIENT, 40_003));
    assert_eq!(half_open(), 2);
    let mut fewer = tables.clone();
    fewer.services[0].backends.truncate(1);
    gateway.publish(fewer);
    assert_eq!(half_open(), 1, "the backend of one was removed");
    gateway.pass(130 * SECOND);
    assert_eq!(half_open(), 0, "expired");
}
