//! Expiry: never early, never missed, never more work at once than allowed; and what the ends are told.
#![allow(clippy::duration_suboptimal_units, reason = "timeouts are compared: all in seconds")]

mod common;

use common::*;
use conntrack::{Conntrack, Direction, State, Timeouts};
use core::time::Duration;
use proptest::prelude::*;
use std::collections::HashMap;
use wire::Protocol;

#[test]
fn idle_established_flows_tell_both_ends() {
    let mut lab = Lab::established();
    lab.client(ACK, 101, 301, 50);
    lab.backend(ACK, 301, 151, 4000);
    lab.client(ACK, 151, 4301, 0);
    lab.now = Duration::from_secs(7200) - Duration::from_nanos(1);
    assert!(lab.table.expire(lab.now, 10).is_none());
    lab.now = Duration::from_secs(7200);
    let flow = lab.table.flow(lab.id).clone();
    let expired = lab.table.expire(lab.now, 10).unwrap();
    assert!(lab.table.is_empty());
    assert_eq!(expired.flow.original, flow.original);
    let (client, backend) = (expired.resets.to_client.unwrap(), expired.resets.to_backend.unwrap());
    // Exactly what each side expects next, and in the right name.
    assert_eq!((client.seq, client.ack, client.tuple), (4301, Some(151), flow.original.reversed()));
    assert_eq!((backend.seq, backend.ack), (151, Some(4301)));
    assert_eq!((backend.tuple.src, backend.tuple.src_port), (SNAT, flow.binding.snat.port()));
    assert_eq!((backend.tuple.dst, backend.tuple.dst_port), (*BACKEND.ip(), BACKEND.port()));
}

#[test]
fn who_is_told() {
    let fin = |lab: &mut Lab| lab.client(FIN_ACK, 101, 301, 0);
    let both = |lab: &mut Lab| {
        lab.client(FIN_ACK, 101, 301, 0);
        lab.backend(FIN_ACK, 301, 102, 0)
    };
    let all = |lab: &mut Lab| {
        lab.client(FIN_ACK, 101, 301, 0);
        lab.backend(FIN_ACK, 301, 102, 0);
        lab.client(ACK, 102, 302, 0)
    };
    let rst = |lab: &mut Lab| lab.client(RST, 101, 0, 0);
    let told = |lab: &mut Lab| {
        let expired = lab.table.expire(Duration::from_secs(8000), 10).unwrap();
        let numbers = |reset: wire::TcpReset| (reset.seq, reset.ack);
        (expired.resets.to_client.map(numbers), expired.resets.to_backend.map(numbers))
    };
    let mut lab = Lab::established();
    fin(&mut lab);
    assert_eq!(told(&mut lab), (Some((301, Some(102))), Some((102, Some(301)))));
    let mut lab = Lab::established();
    both(&mut lab);
    assert_eq!(told(&mut lab), (Some((302, Some(102))), Some((102, Some(302)))));
    for end in [all, rst] {
        let mut lab = Lab::established();
        end(&mut lab);
        assert_eq!(told(&mut lab), (None, None));
    }
    let mut lab = Lab::new();
    lab.client(SYN, 100, 0, 0);
    assert_eq!(told(&mut lab), (None, None), "no answer: nothing to reset");
    let mut lab = Lab::new();
    lab.client(SYN, 100, 0, 0);
    lab.backend(SYN_ACK, 300, 101, 0);
    assert_eq!(told(&mut lab), (None, None), "a flood must not be echoed");
}

#[test]
fn every_state_has_its_time() {
    let mut lab = Lab::established();
    lab.client(FIN_ACK, 101, 301, 0);
    assert!(lab.table.expire(Duration::from_millis(119_999), 10).is_none());
    assert!(lab.table.expire(Duration::from_secs(120), 10).is_some());
    let mut lab = Lab::established();
    lab.table.reset(lab.id, &Idle::default(), Duration::from_secs(1));
    assert!(lab.table.expire(Duration::from_millis(10_999), 10).is_none());
    assert!(lab.table.expire(Duration::from_secs(11), 10).is_some());
}

#[test]
fn udp_is_short_until_it_goes_on() {
    let mut table = Conntrack::new(4, Timeouts::default(), 1);
    let second = Duration::from_secs(1);
    let id = open_to(&mut table, client(0, Protocol::Udp), BACKEND, all_ports(), second).unwrap();
    let mut state = |direction, now| {
        table.datagram(id, direction, &Idle::default(), now);
        (table.flow(id).state(), table.flow(id).deadline().saturating_sub(now))
    };
    let (new, stream) = ((State::UdpNew, 30 * second), (State::UdpStream, 120 * second));
    assert_eq!(state(Direction::Original, second), new);
    assert_eq!(state(Direction::Original, 20 * second), new, "no answer yet, however long");
    assert_eq!(state(Direction::Reply, 21 * second), stream);
    assert_eq!(state(Direction::Original, 60 * second), stream);
    let id = open_to(&mut table, client(1, Protocol::Udp), BACKEND, all_ports(), second).unwrap();
    table.datagram(id, Direction::Original, &Idle::default(), second);
    table.datagram(id, Direction::Reply, &Idle::default(), second);
    assert_eq!(table.flow(id).state(), State::UdpNew, "one question, one answer");
    let expired = table.expire(31 * second, 10).unwrap();
    assert_eq!(expired.resets, conntrack::Resets::default());
}

#[test]
fn the_budget_holds_for_one_moment() {
    let mut table = Conntrack::new(1000, Timeouts::default(), 1);
    for number in 0..1000 {
        open_to(&mut table, client(number, Protocol::Tcp), BACKEND, all_ports(), Duration::ZERO).unwrap();
    }
    let mut rounds = 0;
    while !table.is_empty() {
        let now = Duration::from_secs(500) + Duration::from_micros(rounds);
        let gone = core::iter::from_fn(|| table.expire(now, 64)).count();
        assert_eq!(gone, 64.min(1000 - rounds as usize * 64));
        assert!(table.expire(now, 64).is_none(), "no more at this moment");
        rounds += 1;
    }
    assert_eq!(rounds, 16);
}

/// Flows that were heard since come up once in a while, are looked at within the budget, and go on.
#[test]
fn flows_that_live_on_count_for_the_budget_too() {
    let timeouts = Timeouts { tcp_syn_sent: Duration::from_secs(5), ..Timeouts::default() };
    let mut table = Conntrack::new(100, timeouts, 1);
    let ids: Vec<_> = (0..100)
        .map(|number| open_to(&mut table, client(number, Protocol::Tcp), BACKEND, all_ports(), Duration::ZERO).unwrap())
        .collect();
    let last = Duration::from_secs(4);
    for id in &ids[..99] {
        table.segment(*id, Direction::Original, &segment(SYN, 100, 0, 0), None, &Idle::default(), last);
    }
    // The one that is due may be behind 99 that are not: ten looks at a time find it after ten moments at the latest.
    let found = (0..10).find_map(|step| table.expire(Duration::from_millis(5000 + step), 10));
    assert_eq!(found.map(|expired| expired.flow.original), Some(client(99, Protocol::Tcp)));
    assert_eq!(table.len(), 99);
    assert!(table.expire(Duration::from_millis(8999), 1000).is_none());
    assert_eq!(core::iter::from_fn(|| table.expire(Duration::from_secs(9), 1000)).count(), 99);
}

proptest! {
    /// Random lives and random jumps of time, with small budgets: nobody goes early, and everybody who is due has gone
    /// once the budget was large enough.
    #[test]
    fn never_early_never_missed(steps in prop::collection::vec((0..40u32, 0..3u8, 0..60_000u64, 0..9usize), 1..200)) {
        let timeouts = Timeouts { udp_stream: Duration::from_secs(700), ..Timeouts::default() };
        let mut table = Conntrack::new(64, timeouts, 1);
        let mut deadlines = HashMap::new();
        let mut now = Duration::ZERO;
        for (number, packets, jump_millis, budget) in steps {
            let key = client(number, Protocol::Udp);
            let id = match table.lookup(&key) {
                Some(hit) => hit.id,
                None => open_to(&mut table, key, BACKEND, all_ports(), now).unwrap(),
            };
            for _ in 0..packets {
                table.datagram(id, Direction::Original, &Idle::default(), now);
                table.datagram(id, Direction::Reply, &Idle::default(), now);
            }
            deadlines.insert(key, table.flow(id).deadline());
            now += Duration::from_millis(jump_millis);
            while let Some(expired) = table.expire(now, budget) {
                let deadline = deadlines.remove(&expired.flow.original);
                prop_assert!(deadline.is_some_and(|deadline| deadline <= now));
            }
        }
        now += Duration::from_nanos(1);
        while let Some(expired) = table.expire(now, 10_000) {
            prop_assert!(deadlines.remove(&expired.flow.original).is_some_and(|deadline| deadline <= now));
        }
        prop_assert!(deadlines.values().all(|deadline| *deadline > now));
        prop_assert_eq!(deadlines.len(), table.len());
    }
}
