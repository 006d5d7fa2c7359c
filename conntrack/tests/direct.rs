//! Direct flows: only the client is heard. What it sends is that of a client of RFC 9293's figures.
#![allow(
    clippy::duration_suboptimal_units,
    clippy::unwrap_used,
    reason = "test code; timeouts are compared: all in seconds"
)]

mod common;

use common::*;
use conntrack::{Conntrack, Direction, Invalid, Open, OpenError, State, Timeouts, Track};
use core::net::SocketAddrV4;
use core::time::Duration;
use wire::{FiveTuple, Protocol, TcpReset};

fn direct(original: FiveTuple) -> Open<'static> {
    let client = conntrack::ClientLink::default();
    Open { original, backend: BACKEND, snat: None, service: 1, backend_id: 2, generation: 3, client }
}

/// A table with one direct flow.
fn lab() -> Lab {
    let mut table = Conntrack::new(8, Timeouts::default(), 0x5eed);
    let id = table.open(&direct(client(0, Protocol::Tcp)), Duration::ZERO).unwrap().id;
    Lab { table, id, now: Duration::ZERO, scale: None, idle: Idle::default() }
}

fn established() -> Lab {
    let mut lab = lab();
    assert_eq!(lab.client(SYN, 100, 0, 0), Track::Forward);
    assert_eq!(lab.client(ACK, 101, 301, 0), Track::Forward);
    assert_eq!((lab.state(), lab.left()), (State::Established, Duration::from_secs(7200)));
    lab
}

#[test]
fn nothing_is_translated() {
    let lab = lab();
    let flow = lab.table.flow(lab.id);
    let original = client(0, Protocol::Tcp);
    assert!(flow.is_direct());
    assert_eq!(flow.binding.backend, SocketAddrV4::new(original.dst, original.dst_port));
    assert_eq!(flow.binding.snat, SocketAddrV4::new(original.src, original.src_port));
    let hit = lab.table.lookup(&original.reversed()).unwrap();
    assert_eq!((hit.id, hit.direction), (lab.id, Direction::Reply), "what is said of an answer is about this flow");
    assert!(!Lab::established().table.flow(lab.id).is_direct());
}

/// What a RST must fit to is known of the last fragment.
#[test]
fn a_segment_in_fragments_is_heard_to_its_end() {
    let mut lab = established();
    let whole = segment(ACK, 101, 301, 2000);
    lab.table.complete(lab.id, Direction::Original, &whole, &lab.idle, lab.now);
    assert_eq!(lab.client(RST, 2101, 0, 0), Track::Forward);
    assert_eq!(lab.state(), State::Close);
}

/// Forged addresses, RFC 793's "LAND": a flow that would be its own answer, or another's.
#[test]
fn a_flow_that_meets_itself_is_refused() {
    let mut table = Conntrack::new(8, Timeouts::default(), 1);
    let tuple = client(0, Protocol::Tcp);
    let land = FiveTuple { src: tuple.dst, src_port: tuple.dst_port, ..tuple };
    assert_eq!(table.open(&direct(land), Duration::ZERO).unwrap_err(), OpenError::Duplicate);
    table.open(&direct(tuple), Duration::ZERO).unwrap();
    assert_eq!(table.open(&direct(tuple.reversed()), Duration::ZERO).unwrap_err(), OpenError::Duplicate);
    assert_eq!(table.len(), 1);
}

/// What passes may be anybody's; the client's is what lies near what it has sent and acknowledged.
#[test]
fn who_sends_near_what_was_sent_is_the_client() {
    let mut lab = established();
    let sent = [(ACK, 101, 301, true), (FIN_ACK, 101, 301, true), (ACK, 900_000_000, 301, false)];
    let more = [(ACK, 101, 900_000_000, false), (SYN, 101, 0, false), (RST, 150, 0, false)];
    for (flags, seq, ack, fits) in more.into_iter().chain(sent) {
        assert_eq!(lab.client(flags, seq, ack, 0), Track::Forward);
        assert_eq!(lab.table.is_of_client(lab.id, &segment(flags, seq, ack, 0)), fits, "{flags:#x} {seq} {ack}");
    }
}

#[test]
fn a_connection_from_its_clients_side() {
    let mut lab = lab();
    assert_eq!(lab.client(SYN, 100, 0, 0), Track::Forward);
    assert_eq!((lab.state(), lab.left()), (State::SynSent, Duration::from_secs(120)));
    lab.wait(3);
    assert_eq!(lab.client(SYN, 100, 0, 0), Track::Forward);
    assert_eq!(lab.left(), Duration::from_secs(117), "a repetition does not prolong it");
    assert_eq!(lab.client(ACK, 101, 301, 0), Track::Forward);
    assert_eq!((lab.state(), lab.left()), (State::Established, Duration::from_secs(7200)));
    lab.wait(1000);
    assert_eq!(lab.client(ACK, 101, 5_000_000, 500), Track::Forward);
    assert_eq!(lab.left(), Duration::from_secs(7200));
    assert_eq!(lab.client(FIN_ACK, 601, 6_000_000, 0), Track::Forward);
    assert_eq!((lab.state(), lab.left()), (State::FinWait, Duration::from_secs(120)));
    lab.wait(100);
    // A half-closed client still acknowledges.
    assert_eq!(lab.client(ACK, 602, 7_000_000, 0), Track::Forward);
    assert_eq!((lab.state(), lab.left()), (State::FinWait, Duration::from_secs(120)));
}

#[test]
fn a_guess_opens_nothing() {
    for (flags, seq) in [(ACK, 0x4000_0000), (FIN_ACK, 0x9000_0000), (RST, 102), (RST, 100)] {
        for pause in [0, 5] {
            let mut lab = lab();
            lab.client(SYN, 100, 0, 0);
            lab.wait(pause);
            assert_eq!(lab.client(flags, seq, 7, 0), Track::Forward, "the backend judges it");
            assert_eq!((lab.state(), lab.left()), (State::SynSent, Duration::from_secs(120 - pause)));
        }
    }
}

#[test]
fn a_reset_must_be_exact_to_end_the_flow() {
    let mut lab = established();
    for seq in [102, 0x8000_0000, 101_u32.wrapping_sub(17 << 20)] {
        assert_eq!(lab.client(RST, seq, 0, 0), Track::Forward);
        assert_eq!(lab.state(), State::Established);
    }
    assert_eq!(lab.client(RST, 101, 0, 0), Track::Forward);
    assert_eq!((lab.state(), lab.left()), (State::Close, Duration::from_secs(10)));
    assert_eq!(lab.client(ACK, 101, 301, 9), Track::Forward, "late");
    assert_eq!(lab.state(), State::Close);
    assert_eq!(lab.client(SYN, 900, 0, 0), Track::Reopen);
}

/// A client that is gone answers with the number that it is asked for, which is older than what it sent last.
#[test]
fn a_reset_with_an_old_number_shortens_the_wait() {
    let mut lab = established();
    lab.client(ACK, 101, 301, 1000);
    lab.client(RST, 101, 0, 0);
    assert_eq!((lab.state(), lab.left()), (State::FinWait, Duration::from_secs(120)));
    lab.wait(60);
    lab.client(ACK, 1101, 301, 5);
    assert_eq!(lab.left(), Duration::from_secs(120), "it was somebody else's");
}

#[test]
fn strange_numbers_pass_and_move_nothing() {
    let mut lab = established();
    lab.client(ACK, 101, 301, 50);
    for (flags, seq, ack) in [(ACK, 0x5000_0000, 301), (FIN_ACK, 151, 0x5000_0000), (ACK, 0x5000_0000, 0x5000_0000)] {
        assert_eq!(lab.client(flags, seq, ack, 0), Track::Forward);
        assert_eq!(lab.state(), State::Established);
    }
    let to_backend = lab.table.reset(lab.id, &Idle::default(), lab.now).to_backend.unwrap();
    assert_eq!((to_backend.seq, to_backend.ack), (151, Some(301)));
}

/// The client has lost its connection and opens another from the same port; the backend takes it, unseen by us.
#[test]
fn another_connection_is_adopted_after_a_silence() {
    let mut lab = established();
    lab.wait(30);
    assert_eq!(lab.client(SYN, 0x7000_0000, 0, 0), Track::Forward);
    assert_eq!(lab.state(), State::Established);
    assert_eq!(lab.client(ACK, 0x7000_0001, 0x6000_0000, 0), Track::Forward);
    assert_eq!(lab.left(), Duration::from_secs(7200));
    let to_client = lab.table.reset(lab.id, &Idle::default(), lab.now).to_client.unwrap();
    assert_eq!((to_client.seq, to_client.ack), (0x6000_0000, Some(0x7000_0001)));
}

#[test]
fn a_closing_port_is_opened_again() {
    let mut lab = established();
    lab.client(FIN_ACK, 101, 301, 0);
    assert_eq!(lab.client(SYN, 5000, 0, 0), Track::Forward, "at once: a stranger's, perhaps");
    lab.wait(2);
    assert_eq!(lab.client(SYN, 100, 0, 0), Track::Forward, "the old one, late");
    assert_eq!(lab.client(SYN, 102, 0, 0), Track::Reopen);
    assert_eq!(lab.client(SYN, 0x9000_0000, 0, 0), Track::Reopen);
}

#[test]
fn an_answer_on_the_wrong_way_moves_nothing() {
    let mut lab = established();
    for flags in [SYN, SYN_ACK, ACK, FIN_ACK, RST] {
        lab.backend(flags, 301, 101, 0);
        assert_eq!(lab.state(), State::Established);
    }
}

#[test]
fn flags_that_no_stack_sends_are_refused() {
    assert_eq!(established().client(0x03, 101, 301, 0), Track::Drop(Invalid::BadFlags));
}

/// RFC 5961: a RST counts if it carries the next byte that its receiver expects.
#[test]
fn both_ends_are_told_when_an_open_one_expires() {
    let mut lab = established();
    lab.client(ACK, 101, 4301, 50);
    lab.wait(7201);
    let expired = lab.table.expire(lab.now, 32).unwrap();
    let original = client(0, Protocol::Tcp);
    let to_client = TcpReset { tuple: original.reversed(), seq: 4301, ack: Some(151) };
    let to_backend = TcpReset { tuple: original, seq: 151, ack: Some(4301) };
    assert_eq!((expired.resets.to_client, expired.resets.to_backend), (Some(to_client), Some(to_backend)));
}

#[test]
fn nobody_is_told_when_a_closing_one_expires() {
    let mut lab = established();
    lab.client(FIN_ACK, 101, 301, 0);
    lab.wait(121);
    let expired = lab.table.expire(lab.now, 32).unwrap();
    assert_eq!((expired.resets.to_client, expired.resets.to_backend), (None, None));
    assert!(lab.table.is_empty());
}

#[test]
fn udp_lives_by_what_the_client_sends() {
    let mut table = Conntrack::new(8, Timeouts::default(), 1);
    let key = client(0, Protocol::Udp);
    let id = table.open(&direct(key), Duration::ZERO).unwrap().id;
    for second in 0..100 {
        table.datagram(id, Direction::Original, &Idle::default(), Duration::from_secs(second));
    }
    assert_eq!(table.flow(id).deadline(), Duration::from_secs(99 + 30));
    assert!(table.expire(Duration::from_secs(129), 32).is_some());
    assert!(table.lookup(&key).is_none() && table.lookup(&key.reversed()).is_none());
}

/// A service's own idle time, also when it is changed while the flow lives.
#[test]
fn a_service_may_be_less_patient() {
    let mut lab = Lab::established();
    lab.idle = Idle::new(Duration::from_secs(40));
    lab.client(ACK, 101, 301, 5);
    assert_eq!(lab.left(), Duration::from_secs(40));
    lab.wait(39);
    lab.backend(ACK, 301, 106, 5);
    assert_eq!(lab.left(), Duration::from_secs(40));
    lab.client(FIN_ACK, 106, 306, 0);
    assert_eq!(lab.left(), Duration::from_secs(120), "closing takes its own time");
    let mut lab = Lab::established();
    lab.idle = Idle::new(Duration::from_secs(40));
    lab.client(ACK, 101, 301, 5);
    lab.wait(41);
    assert!(lab.table.expire(lab.now, 32).is_some());
}

#[test]
fn the_idle_time_of_udp_is_the_services() {
    let mut table = Conntrack::new(8, Timeouts::default(), 1);
    let idle = Idle::new(Duration::from_secs(300));
    let id = open_to(&mut table, client(0, Protocol::Udp), BACKEND, all_ports(), Duration::ZERO).unwrap();
    for second in 0..4 {
        table.datagram(id, Direction::Original, &idle, Duration::from_secs(second));
        table.datagram(id, Direction::Reply, &idle, Duration::from_secs(second));
    }
    assert_eq!(table.flow(id).state(), State::UdpStream);
    assert_eq!(table.flow(id).deadline(), Duration::from_secs(303));
}
