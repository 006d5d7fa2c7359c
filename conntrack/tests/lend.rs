//! Flows that are lent: what a borrower may follow, and what it tells when it gives them back.
#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use common::*;
use conntrack::{Direction, Shown, State, Track};
use core::time::Duration;

const UNTIL: Duration = Duration::from_secs(1);

fn lend(lab: &mut Lab) -> Option<[Shown; 2]> {
    lab.table.lend(lab.id, &lab.idle, UNTIL)
}

#[test]
fn a_lent_flow_says_what_its_sides_have_shown() {
    let mut lab = Lab::new();
    lab.scale = Some(7);
    lab.handshake();
    let sides = lend(&mut lab).unwrap();
    assert_eq!((sides[0].end, sides[0].ack, sides[0].window, sides[0].scale), (101, 301, 8192, 7));
    assert_eq!((sides[1].end, sides[1].ack, sides[1].window, sides[1].scale), (301, 101, 64, 7));
    assert!(lab.table.flow(lab.id).is_lent());
    assert_eq!(lend(&mut lab), None, "it is lent already");
}

#[test]
fn a_flow_that_does_not_scale_has_scale_nought() {
    let mut lab = Lab::established();
    assert_eq!(lend(&mut lab).unwrap().map(|side| side.scale), [0, 0]);
}

#[test]
fn only_flows_that_go_on_are_lent() {
    let mut lab = Lab::new();
    let steps = [(Direction::Original, SYN, 100, 0), (Direction::Reply, SYN_ACK, 300, 101)];
    for (from, flags, seq, ack) in steps {
        assert_eq!(lab.send(from, &segment(flags, seq, ack, 0)), Track::Forward);
        assert_eq!(lend(&mut lab), None, "{}", lab.state());
    }
    lab.client(ACK, 101, 301, 0);
    assert_eq!(lab.state(), State::Established);
    let sides = lend(&mut lab).unwrap();
    lab.table.take_back(lab.id, &sides, None, &lab.idle);
    assert!(!lab.table.flow(lab.id).is_lent());
    let close = [
        (Direction::Original, FIN_ACK, 101, 301),
        (Direction::Reply, FIN_ACK, 301, 102),
        (Direction::Original, ACK, 102, 302),
    ];
    for (from, flags, seq, ack) in close {
        assert_eq!(lab.send(from, &segment(flags, seq, ack, 0)), Track::Forward);
        assert_eq!(lend(&mut lab), None, "{}", lab.state());
    }
}

#[test]
fn spliced_flows_stay() {
    let mut lab = Lab::established();
    lab.table.flow_mut(lab.id).set_spliced();
    assert_eq!(lend(&mut lab), None);
}

/// What the borrower has seen counts as if it had been seen here: segments beyond it are believed, those before it are old.
#[test]
fn what_was_shown_meanwhile_is_taken_over() {
    let mut lab = Lab::established();
    let [mut client, mut backend] = lend(&mut lab).unwrap();
    (client.end, client.ack, client.window) = (50_101, 70_301, 9_000);
    (backend.end, backend.ack, backend.window) = (70_301, 50_101, 100);
    lab.table.take_back(lab.id, &[client, backend], Some(UNTIL), &lab.idle);
    lab.now = UNTIL;
    assert_eq!(lab.client(FIN_ACK, 50_101, 70_301, 0), Track::Forward);
    assert_eq!(lab.backend(FIN_ACK, 70_301, 50_102, 0), Track::Forward);
    assert_eq!(lab.client(ACK, 50_102, 70_302, 0), Track::Forward);
    assert_eq!(lab.state(), State::TimeWait);
}

/// A fast link moves more than half of the sequence space in a second.
#[test]
fn numbers_that_have_gone_too_far_to_be_compared_are_taken_over() {
    let far = 0xa000_0000;
    for is_prolonged in [false, true] {
        let mut lab = Lab::established();
        let [client, backend] = lend(&mut lab).unwrap();
        let client = Shown { ack: client.ack.wrapping_add(far), is_far: true, ..client };
        let backend = Shown { end: backend.end.wrapping_add(far), is_far: true, ..backend };
        if is_prolonged {
            lab.table.prolong(lab.id, &[client, backend], Some(UNTIL), &lab.idle, UNTIL);
        } else {
            lab.table.take_back(lab.id, &[client, backend], Some(UNTIL), &lab.idle);
        }
        let shown = Direction::BOTH.map(|side| lab.table.flow(lab.id).shown(side));
        assert_eq!(shown, [client, backend].map(|side| Shown { is_far: false, ..side }));
        lab.now = UNTIL;
        assert_eq!(lab.backend(FIN_ACK, backend.end, backend.ack, 0), Track::Forward);
        assert_eq!(lab.client(FIN_ACK, client.end, backend.end.wrapping_add(1), 0), Track::Forward);
        assert_eq!(lab.backend(ACK, backend.end.wrapping_add(1), client.end + 1, 0), Track::Forward);
        assert_eq!(lab.state(), State::TimeWait);
    }
}

#[test]
fn what_was_known_before_is_not_forgotten() {
    let mut lab = Lab::established();
    let sides = lend(&mut lab).unwrap();
    let less = sides.map(|side| Shown { end: side.end - 50, ack: side.ack - 50, window: 1, ..side });
    lab.table.take_back(lab.id, &less, None, &lab.idle);
    assert_eq!(lend(&mut lab), Some(sides));
}

#[test]
fn it_expires_as_from_the_last_packet() {
    let established = Duration::from_hours(2);
    let mut lab = Lab::established();
    let sides = lend(&mut lab).unwrap();
    assert_eq!(lab.left(), established + UNTIL, "lent, it may have been heard until the end");
    lab.table.take_back(lab.id, &sides, Some(Duration::from_millis(500)), &lab.idle);
    assert_eq!(lab.left(), established + Duration::from_millis(500));
    let sides = lend(&mut lab).unwrap();
    lab.table.take_back(lab.id, &sides, None, &lab.idle);
    assert_eq!(lab.left(), established + UNTIL, "nothing is known: as late as can be");
    // Again: it is not lent any more.
    lab.table.take_back(lab.id, &sides, Some(Duration::ZERO), &lab.idle);
    assert_eq!(lab.left(), established + UNTIL);
}

#[test]
fn a_loan_is_prolonged() {
    let established = Duration::from_hours(2);
    let mut lab = Lab::established();
    let [mut client, backend] = lend(&mut lab).unwrap();
    client.end += 1000;
    let (heard, until) = (Duration::from_millis(700), Duration::from_millis(1_700));
    lab.table.prolong(lab.id, &[client, backend], Some(heard), &lab.idle, until);
    assert!(lab.table.flow(lab.id).is_lent());
    assert_eq!(lab.table.flow(lab.id).shown(Direction::Original), client);
    assert_eq!(lab.left(), established + Duration::from_millis(1_750), "as late as can be, in ticks");
    lab.table.take_back(lab.id, &[client, backend], Some(heard), &lab.idle);
    assert_eq!(lab.left(), established + Duration::from_millis(750));
    // It is not lent any more.
    client.end += 1000;
    lab.table.prolong(lab.id, &[client, backend], Some(until), &lab.idle, until);
    assert_ne!(lab.table.flow(lab.id).shown(Direction::Original), client);
    assert_eq!(lab.left(), established + Duration::from_millis(750));
}

/// The timers know of a deadline that has become earlier.
#[test]
fn a_shorter_deadline_is_noticed() {
    let mut lab = Lab::established();
    lab.idle = Idle::new(Duration::from_secs(5));
    let sides = lab.table.lend(lab.id, &lab.idle, Duration::from_secs(100)).unwrap();
    lab.table.take_back(lab.id, &sides, Some(Duration::from_secs(1)), &lab.idle);
    let mut at = Duration::ZERO;
    while lab.table.expire(at, 32).is_none() {
        at += Duration::from_millis(125);
        assert!(at < Duration::from_secs(10), "it never expires");
    }
    assert_eq!(at, Duration::from_secs(6));
}
