//! What somebody who does not see the traffic can do with forged segments (RFC 5961), and what honest ends do that looks
//! alike: half-open connections, reused ports, resets.
#![allow(clippy::duration_suboptimal_units, reason = "timeouts are compared: all in seconds")]

mod common;

use common::*;
use conntrack::{Direction, Invalid, State, Track};
use core::time::Duration;

/// A lab in every state that a connection goes through, with what comes next from the client and from the backend.
fn states() -> Vec<(State, Lab, u32, u32)> {
    let drive: [(State, &[Sent], u32, u32); 6] = [
        (State::Established, &[], 101, 301),
        (State::FinWait, &[(Direction::Original, FIN_ACK, 101, 301)], 102, 301),
        (State::FinWait, &[(Direction::Reply, FIN_ACK, 301, 101)], 101, 302),
        (State::CloseWait, &[(Direction::Original, FIN_ACK, 101, 301), (Direction::Reply, ACK, 301, 102)], 102, 301),
        (State::LastAck, &[(Direction::Original, FIN_ACK, 101, 301), (Direction::Reply, FIN_ACK, 301, 102)], 102, 302),
        (
            State::TimeWait,
            &[
                (Direction::Original, FIN_ACK, 101, 301),
                (Direction::Reply, FIN_ACK, 301, 102),
                (Direction::Original, ACK, 102, 302),
            ],
            102,
            302,
        ),
    ];
    let mut all = Vec::new();
    for (state, steps, next_client, next_backend) in drive {
        let mut lab = Lab::established();
        for &(from, flags, seq, ack) in steps {
            assert_eq!(lab.send(from, &segment(flags, seq, ack, 0)), Track::Forward);
        }
        assert_eq!(lab.state(), state);
        all.push((state, lab, next_client, next_backend));
    }
    all
}

#[test]
fn an_exact_rst_ends_the_connection_in_every_state_and_from_both_sides() {
    for side in Direction::BOTH {
        for (state, mut lab, next_client, next_backend) in states() {
            let seq = if side == Direction::Original { next_client } else { next_backend };
            assert_eq!(lab.send(side, &segment(RST, seq, 0, 0)), Track::Forward, "{state} {side:?}");
            assert_eq!((lab.state(), lab.left()), (State::Close, Duration::from_secs(10)), "{state} {side:?}");
            // The end that gets it late answers with a challenge ACK, and that is answered with another exact RST.
            assert_eq!(lab.send(side.reversed(), &segment(ACK, 301, 101, 0)), Track::Forward);
        }
    }
}

/// A task can send as another one, and anybody as a plainly routed backend.
#[test]
fn a_blind_syn_ack_starts_nothing_anew() {
    for (state, mut lab, next_client, next_backend) in states() {
        let left = lab.left();
        for (seq, ack) in [(2_000_000_000, 3_000_000_001), (next_backend + 100_000, next_client), (9, 0x8000_0000)] {
            assert_eq!(lab.backend(SYN_ACK, seq, ack, 0), Track::Forward, "{state}: it may be late");
        }
        assert_eq!((lab.state(), lab.left()), (state, left));
    }
    let mut lab = Lab::established();
    // Nor after a SYN of the client, if it does not acknowledge that one.
    assert_eq!(lab.client(SYN, 70_000, 0, 0), Track::Forward);
    lab.backend(SYN_ACK, 2_000_000_000, 70_002, 0);
    assert_eq!(lab.state(), State::Established);
    assert_eq!(lab.client(FIN_ACK, 101, 301, 0), Track::Forward);
    assert_eq!(lab.state(), State::FinWait);
}

#[test]
fn a_blind_rst_ends_nothing() {
    for side in Direction::BOTH {
        for (state, mut lab, next_client, next_backend) in states() {
            let next = if side == Direction::Original { next_client } else { next_backend };
            let left = lab.left();
            for distance in [8193, 100_000, 0x8000_0000, u32::MAX - 9] {
                let seq = next.wrapping_add(distance);
                let track = lab.send(side, &segment(RST, seq, 0, 0));
                assert_eq!(track, Track::Drop(Invalid::ResetOutOfWindow), "{state} {side:?} +{distance}");
            }
            // In the window but not exact: the end answers with a challenge ACK; here it ends nothing.
            for distance in [1, 17, 8000] {
                assert_eq!(
                    lab.send(side, &segment(RST_ACK, next + distance, 0, 0)),
                    Track::Forward,
                    "{state} {side:?}"
                );
            }
            assert_eq!((lab.state(), lab.left()), (state, left), "{state} {side:?}");
        }
    }
}

/// A RST right behind data that is not acknowledged yet (a closed socket with unread data, for example).
#[test]
fn rst_at_the_end_of_a_train() {
    let mut lab = Lab::established();
    lab.backend(ACK, 301, 101, 1000);
    lab.backend(ACK, 1301, 101, 1000);
    assert_eq!(lab.backend(RST, 2301, 0, 0), Track::Forward);
    assert_eq!(lab.state(), State::Close);
}

#[test]
fn a_blind_fin_ends_nothing() {
    let mut lab = Lab::established();
    let blind = [(9_000, 301), (101, 400), (101, 301u32.wrapping_sub(70_000)), (0x8000_0000, 301), (5, 0x8000_0000)];
    for (seq, ack) in blind {
        let track = lab.client(FIN_ACK, seq, ack, 0);
        assert_eq!(track, Track::Drop(Invalid::FinOutOfWindow), "seq {seq} ack {ack}");
    }
    assert_eq!(lab.state(), State::Established);
    assert_eq!(lab.left(), Duration::from_secs(7200));
}

#[test]
fn a_rst_answers_the_syn_only_if_it_acknowledges_it() {
    let mut lab = Lab::new();
    lab.client(SYN, 100, 0, 0);
    for (flags, seq, ack) in [(RST, 0, 0), (RST_ACK, 0, 100), (RST_ACK, 0, 102), (RST_ACK, 0, 0), (RST, 101, 101)] {
        assert_eq!(lab.backend(flags, seq, ack, 0), Track::Drop(Invalid::ResetOutOfWindow), "{seq} {ack}");
    }
    assert_eq!(lab.state(), State::SynSent);
    assert_eq!(lab.backend(RST_ACK, 0, 101, 0), Track::Forward);
    assert_eq!(lab.state(), State::Close);
    assert_eq!(lab.client(SYN, 200, 0, 0), Track::Reopen, "a client that tries again is served at once");
}

#[test]
fn the_client_takes_back_its_syn() {
    let mut lab = Lab::new();
    lab.client(SYN, 100, 0, 0);
    assert_eq!(lab.client(RST, 5000, 0, 0), Track::Drop(Invalid::ResetOutOfWindow));
    assert_eq!(lab.client(RST, 101, 0, 0), Track::Forward);
    assert_eq!(lab.state(), State::Close);
}

#[test]
fn resets_during_the_handshake() {
    // The listener closes after its SYN-ACK, which the client may not have got: either form counts.
    for (flags, seq, ack) in [(RST_ACK, 0, 101), (RST, 301, 0)] {
        let mut lab = Lab::new();
        lab.client(SYN, 100, 0, 0);
        lab.backend(SYN_ACK, 300, 101, 0);
        assert_eq!(lab.backend(flags, seq, ack, 0), Track::Forward);
        assert_eq!(lab.state(), State::Close);
    }
    // The client did not ask (its address was forged): it answers the SYN-ACK with a RST (RFC 9293, figure 8).
    let mut lab = Lab::new();
    lab.client(SYN, 100, 0, 0);
    lab.backend(SYN_ACK, 300, 101, 0);
    assert_eq!(lab.client(RST, 20_000, 0, 0), Track::Drop(Invalid::ResetOutOfWindow));
    assert_eq!(lab.client(RST, 101, 0, 0), Track::Forward);
    assert_eq!(lab.state(), State::Close);
}

/// A flood with forged addresses must not make flows that live for hours: the ACK must fit the SYN-ACK exactly.
#[test]
fn a_guessed_ack_does_not_open() {
    let mut lab = Lab::new();
    lab.client(SYN, 100, 0, 0);
    lab.backend(SYN_ACK, 70_000, 101, 0);
    for ack in [69_000, 70_000, 70_002, 4000, 0x9000_0000] {
        assert_eq!(lab.client(ACK, 101, ack, 10), Track::Forward, "the backend answers it with a RST");
        assert_eq!(lab.client(FIN_ACK, 101, ack, 0), Track::Drop(Invalid::FinOutOfWindow));
        assert_eq!(lab.state(), State::SynReceived, "{ack}");
    }
    lab.client(ACK, 101, 70_001, 0);
    assert_eq!(lab.state(), State::Established);
}

/// RFC 9293, figure 9: the client crashed and comes back from the same port; the backend still has the connection.
#[test]
fn half_open_at_the_backend() {
    let mut lab = Lab::established();
    lab.wait(60);
    assert_eq!(lab.client(SYN, 400_000, 0, 0), Track::Forward);
    assert_eq!(lab.state(), State::Established);
    assert_eq!(lab.left(), Duration::from_secs(7140), "a SYN does not keep it alive");
    assert_eq!(lab.backend(ACK, 301, 101, 0), Track::Forward, "challenge");
    assert_eq!(lab.client(RST, 101, 301, 0), Track::Forward);
    assert_eq!(lab.state(), State::Close);
    assert_eq!(lab.client(SYN, 400_000, 0, 0), Track::Reopen);
}

/// The same with a backend that has lost the connection: it answers with a SYN-ACK, and both are in step again.
#[test]
fn half_open_at_the_gateway() {
    for steps in 0..4 {
        let mut lab = Lab::established();
        let closing: [Sent; 3] = [
            (Direction::Reply, FIN_ACK, 301, 101),
            (Direction::Original, ACK, 101, 302),
            (Direction::Original, FIN_ACK, 101, 302),
        ];
        for &(from, flags, seq, ack) in &closing[..steps] {
            lab.send(from, &segment(flags, seq, ack, 0));
        }
        if lab.client(SYN, 3_000_000_000, 0, 0) == Track::Reopen {
            assert_eq!(steps, 3, "LAST_ACK");
            continue;
        }
        assert_eq!(lab.backend(SYN_ACK, 2_000_000_000, 3_000_000_001, 0), Track::Forward);
        assert_eq!(lab.state(), State::SynReceived);
        assert_eq!(lab.client(ACK, 3_000_000_001, 2_000_000_001, 10), Track::Forward);
        assert_eq!(lab.state(), State::Established);
        assert_eq!(lab.backend(ACK, 2_000_000_001, 3_000_000_011, 1000), Track::Forward);
        assert_eq!(lab.client(FIN_ACK, 3_000_000_011, 2_000_001_001, 0), Track::Forward);
        assert_eq!(lab.state(), State::FinWait, "FINs are believed again");
    }
}

/// The backend holds an old connection on the port that we gave to a new flow: challenge ACK, RST, new attempt.
#[test]
fn half_open_at_the_backend_from_an_older_flow() {
    let mut lab = Lab::new();
    lab.client(SYN, 100, 0, 0);
    assert_eq!(lab.backend(ACK, 9_000_000, 8_000_000, 0), Track::Forward);
    assert_eq!((lab.state(), lab.left()), (State::SynSent, Duration::from_secs(120)));
    lab.client(SYN, 100, 0, 0);
    assert_eq!(lab.client(RST, 8_000_001, 0, 0), Track::Drop(Invalid::ResetOutOfWindow));
    assert_eq!(lab.client(RST, 8_000_000, 0, 0), Track::Forward);
    assert_eq!(lab.state(), State::Close);
    assert_eq!(lab.client(SYN, 100, 0, 0), Track::Reopen);
}

/// … or the backend drops the old one by the RST and takes the next SYN, if the gateway is asked again too late.
#[test]
fn a_challenge_does_not_stand_in_the_way_of_a_true_answer() {
    let mut lab = Lab::new();
    lab.client(SYN, 100, 0, 0);
    lab.backend(ACK, 9_000_000, 8_000_000, 0);
    lab.backend(SYN_ACK, 300, 101, 0);
    lab.client(ACK, 101, 301, 0);
    assert_eq!(lab.state(), State::Established);
    assert_eq!(lab.client(RST, 8_000_000, 0, 0), Track::Drop(Invalid::ResetOutOfWindow));
}

#[test]
fn a_syn_on_a_closing_flow() {
    for (state, mut lab, _, _) in states() {
        let at_once = match state {
            State::Established | State::FinWait | State::CloseWait => Track::Forward,
            _ => Track::Reopen,
        };
        assert_eq!(lab.client(SYN, 5_000_000, 0, 0), at_once, "{state}");
        assert_eq!(lab.state(), state, "it is the caller who closes");
    }
    // The client has closed its half and nothing has come for a second: it is a new connection.
    let mut lab = Lab::established();
    lab.client(FIN_ACK, 101, 301, 0);
    lab.wait(1);
    assert_eq!(lab.client(SYN, 101 + 8000, 0, 0), Track::Forward, "could be an old one");
    assert_eq!(lab.client(SYN, 5_000_000, 0, 0), Track::Reopen);
    // The client has not closed: a SYN is no reason to believe that it is gone.
    let mut lab = Lab::established();
    lab.backend(FIN_ACK, 301, 101, 0);
    lab.wait(100);
    assert_eq!(lab.client(SYN, 5_000_000, 0, 0), Track::Forward);
}

#[test]
fn the_backend_opens_nothing() {
    for (state, mut lab, _, _) in states() {
        assert_eq!(lab.backend(SYN, 5_000_000, 0, 0), Track::Drop(Invalid::UnexpectedSyn), "{state}");
        assert_eq!(lab.client(SYN_ACK, 101, 301, 0), Track::Drop(Invalid::UnexpectedSynAck), "{state}");
        assert_eq!(lab.state(), state);
    }
}

/// A closed port's answer to a SYN that passed on an open flow tells that client, and ends nothing.
#[test]
fn connection_refused_reaches_a_client_that_came_back() {
    let mut lab = Lab::established();
    lab.client(SYN, 3_000_000_000, 0, 0);
    assert_eq!(lab.backend(RST_ACK, 0, 3_000_000_001, 0), Track::Forward);
    assert_eq!(lab.state(), State::Established);
    assert_eq!(lab.client(RST_ACK, 0, 301, 0), Track::Drop(Invalid::ResetOutOfWindow), "nobody else has that right");
}

#[test]
fn our_reset_carries_the_next_numbers_and_is_repeated_on_demand() {
    let mut lab = Lab::established();
    lab.client(ACK, 101, 301, 50);
    lab.backend(ACK, 301, 151, 4000);
    let flow = lab.table.flow(lab.id).clone();
    let resets = lab.table.reset(lab.id, &Idle::default(), lab.now);
    let (client, backend) = (resets.to_client.unwrap(), resets.to_backend.unwrap());
    assert_eq!((client.seq, client.ack), (4301, Some(151)));
    assert_eq!((backend.seq, backend.ack), (151, Some(4301)));
    assert_eq!(client.tuple, flow.original.reversed());
    assert_eq!(backend.tuple, flow.reply_tuple().reversed());
    assert_eq!((lab.state(), lab.left()), (State::Reset, Duration::from_secs(10)));
    // The client had not got the 4000 bytes: its challenge ACK is to be answered.
    assert_eq!(lab.client(ACK, 151, 301, 0), Track::Refused);
    assert_eq!(lab.backend(ACK, 301, 151, 100), Track::Refused);
    assert_eq!(lab.backend(FIN_ACK, 301, 151, 100), Track::Refused);
    assert_eq!(lab.backend(SYN_ACK, 301, 151, 0), Track::Refused);
    assert_eq!(lab.client(RST, 151, 0, 0), Track::Drop(Invalid::AfterReset));
    assert_eq!(lab.client(SYN, 5, 0, 0), Track::Reopen);
    assert_eq!(lab.state(), State::Reset);
    assert_eq!(lab.table.reset(lab.id, &Idle::default(), lab.now), conntrack::Resets::default(), "once is enough");
}

#[test]
fn our_reset_before_the_answer() {
    let mut lab = Lab::new();
    lab.client(SYN, 100, 0, 0);
    let resets = lab.table.reset(lab.id, &Idle::default(), lab.now);
    // RFC 9293, 3.10.7.1: to a SYN without connection, sequence number 0 and an acknowledgment of the SYN.
    let client = resets.to_client.map(|reset| (reset.seq, reset.ack));
    let backend = resets.to_backend.map(|reset| (reset.seq, reset.ack));
    assert_eq!((client, backend), (Some((0, Some(101))), Some((101, None))));
}
