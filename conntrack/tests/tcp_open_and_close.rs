//! Connections that open and close as RFC 9293 draws them. Sequence numbers are those of its figures.
#![allow(clippy::duration_suboptimal_units, reason = "timeouts are compared: all in seconds")]

mod common;

use common::*;
use conntrack::{Invalid, State, Timeouts, Track};
use core::time::Duration;

#[test]
fn three_way_handshake() {
    let mut lab = Lab::new();
    assert_eq!((lab.state(), lab.left()), (State::SynSent, Duration::from_secs(120)));
    assert_eq!(lab.client(SYN, 100, 0, 0), Track::Forward);
    assert_eq!(lab.state(), State::SynSent);
    assert_eq!(lab.backend(SYN_ACK, 300, 101, 0), Track::Forward);
    assert_eq!((lab.state(), lab.left()), (State::SynReceived, Duration::from_secs(60)));
    assert_eq!(lab.client(ACK, 101, 301, 0), Track::Forward);
    assert_eq!((lab.state(), lab.left()), (State::Established, Duration::from_secs(7200)));
    assert_eq!(lab.client(ACK, 101, 301, 5), Track::Forward);
    assert_eq!(lab.backend(ACK, 301, 106, 1000), Track::Forward);
    assert_eq!(lab.state(), State::Established);
}

#[test]
fn the_last_ack_of_the_handshake_may_be_lost() {
    for flags in [ACK, FIN_ACK] {
        let mut lab = Lab::new();
        lab.client(SYN, 100, 0, 0);
        lab.backend(SYN_ACK, 300, 101, 0);
        assert_eq!(lab.client(flags, 101, 301, 10), Track::Forward);
        let opened = if flags == ACK { State::Established } else { State::FinWait };
        assert_eq!(lab.state(), opened);
    }
}

/// Figure 7.
#[test]
fn simultaneous_open() {
    let mut lab = Lab::new();
    assert_eq!(lab.client(SYN, 100, 0, 0), Track::Forward);
    assert_eq!(lab.backend(SYN, 300, 0, 0), Track::Forward);
    assert_eq!(lab.state(), State::SynSent2);
    assert_eq!(lab.client(SYN_ACK, 100, 301, 0), Track::Forward);
    assert_eq!(lab.state(), State::SynReceived);
    assert_eq!(lab.backend(SYN_ACK, 300, 101, 0), Track::Forward);
    assert_eq!(lab.state(), State::Established);
    assert_eq!(lab.client(ACK, 101, 301, 7), Track::Forward);
    assert_eq!(lab.backend(ACK, 301, 108, 7), Track::Forward);
    assert_eq!(lab.state(), State::Established);
}

#[test]
fn simultaneous_open_with_the_backend_first_and_repeated_syns() {
    let mut lab = Lab::new();
    lab.client(SYN, 100, 0, 0);
    lab.backend(SYN, 300, 0, 0);
    assert_eq!(lab.client(SYN, 100, 0, 0), Track::Forward);
    assert_eq!(lab.backend(SYN, 300, 0, 0), Track::Forward);
    assert_eq!(lab.state(), State::SynSent2);
    assert_eq!(lab.backend(SYN_ACK, 300, 101, 0), Track::Forward);
    assert_eq!(lab.state(), State::SynReceived);
    assert_eq!(lab.backend(SYN, 300, 0, 0), Track::Forward, "its SYN once more");
    assert_eq!(lab.backend(SYN, 900, 0, 0), Track::Drop(Invalid::UnexpectedSyn));
    assert_eq!(lab.client(SYN_ACK, 100, 301, 0), Track::Forward);
    assert_eq!(lab.state(), State::Established);
}

/// Figure 12, with the close begun by either side.
#[test]
fn normal_close() {
    let mut lab = Lab::established();
    assert_eq!(lab.client(FIN_ACK, 101, 301, 0), Track::Forward);
    assert_eq!((lab.state(), lab.left()), (State::FinWait, Duration::from_secs(120)));
    assert_eq!(lab.backend(ACK, 301, 102, 0), Track::Forward);
    assert_eq!((lab.state(), lab.left()), (State::CloseWait, Duration::from_secs(60)));
    assert_eq!(lab.backend(FIN_ACK, 301, 102, 0), Track::Forward);
    assert_eq!((lab.state(), lab.left()), (State::LastAck, Duration::from_secs(30)));
    assert_eq!(lab.client(ACK, 102, 302, 0), Track::Forward);
    assert_eq!((lab.state(), lab.left()), (State::TimeWait, Duration::from_secs(120)));

    let mut lab = Lab::established();
    lab.backend(FIN_ACK, 301, 101, 0);
    assert_eq!(lab.state(), State::FinWait);
    lab.client(ACK, 101, 302, 0);
    assert_eq!(lab.state(), State::CloseWait);
    lab.client(FIN_ACK, 101, 302, 0);
    assert_eq!(lab.state(), State::LastAck);
    lab.backend(ACK, 302, 102, 0);
    assert_eq!(lab.state(), State::TimeWait);
}

#[test]
fn fin_answered_by_fin_in_one_segment() {
    let mut lab = Lab::established();
    lab.client(FIN_ACK, 101, 301, 20);
    assert_eq!(lab.backend(FIN_ACK, 301, 122, 50), Track::Forward);
    assert_eq!(lab.state(), State::LastAck);
    lab.client(ACK, 122, 352, 0);
    assert_eq!(lab.state(), State::TimeWait);
}

/// Figure 13.
#[test]
fn simultaneous_close() {
    let mut lab = Lab::established();
    lab.client(FIN_ACK, 101, 301, 0);
    lab.backend(FIN_ACK, 301, 101, 0);
    assert_eq!(lab.state(), State::LastAck);
    assert_eq!(lab.client(ACK, 102, 302, 0), Track::Forward);
    assert_eq!(lab.state(), State::LastAck, "the client's own FIN is not acknowledged yet");
    assert_eq!(lab.backend(ACK, 302, 102, 0), Track::Forward);
    assert_eq!(lab.state(), State::TimeWait);
}

/// A client that says "that was all" and then reads for long: repeated FINs and a thousand data segments later the
/// flow is still open, where Linux' table would have gone to `TIME_WAIT`.
#[test]
fn half_close_lasts_as_long_as_the_other_side_sends() {
    let mut lab = Lab::established();
    lab.client(FIN_ACK, 101, 301, 30);
    assert_eq!(lab.client(FIN_ACK, 101, 301, 30), Track::Forward, "repeated FIN");
    assert_eq!(lab.state(), State::FinWait);
    let mut seq = 301;
    for _ in 0..1000 {
        lab.wait(59);
        assert_eq!(lab.backend(ACK, seq, 132, 1000), Track::Forward);
        seq += 1000;
        assert_eq!(lab.client(ACK, 132, seq, 0), Track::Forward);
        assert_eq!((lab.state(), lab.left()), (State::CloseWait, Duration::from_secs(60)));
    }
    assert_eq!(lab.client(FIN_ACK, 101, 301, 30), Track::Drop(Invalid::FinOutOfWindow), "by now too old");
    lab.backend(FIN_ACK, seq, 132, 0);
    assert_eq!(lab.state(), State::LastAck);
    assert_eq!(lab.backend(FIN_ACK, seq, 132, 0), Track::Forward, "repeated");
    assert_eq!(lab.state(), State::LastAck);
    lab.client(ACK, 132, seq + 1, 0);
    assert_eq!(lab.state(), State::TimeWait);
}

#[test]
fn nothing_comes_after_a_fin() {
    let mut lab = Lab::established();
    lab.client(FIN_ACK, 101, 301, 0);
    lab.backend(ACK, 301, 102, 0);
    lab.wait(10);
    assert_eq!(lab.client(ACK, 102, 301, 10), Track::Forward);
    assert_eq!((lab.state(), lab.left()), (State::CloseWait, Duration::from_secs(50)));
    assert_eq!(lab.client(FIN_ACK, 102, 301, 10), Track::Drop(Invalid::FinOutOfWindow));
    assert_eq!(lab.client(ACK, 102, 301, 0), Track::Forward);
    assert_eq!((lab.state(), lab.left()), (State::CloseWait, Duration::from_secs(60)));
}

#[test]
fn a_fin_before_lost_data_is_not_acknowledged_by_an_ack_for_less() {
    let mut lab = Lab::established();
    lab.backend(FIN_ACK, 1301, 101, 100);
    assert_eq!(lab.client(ACK, 101, 301, 0), Track::Forward, "the first 1000 bytes are missing");
    assert_eq!(lab.state(), State::FinWait);
    lab.backend(ACK, 301, 101, 1000);
    lab.client(ACK, 101, 1402, 0);
    assert_eq!(lab.state(), State::CloseWait);
}

#[test]
fn time_wait_serves_late_segments_but_is_not_prolonged() {
    let mut lab = Lab::established();
    lab.client(FIN_ACK, 101, 301, 0);
    lab.backend(FIN_ACK, 301, 102, 0);
    lab.client(ACK, 102, 302, 0);
    assert_eq!(lab.state(), State::TimeWait);
    lab.wait(100);
    assert_eq!(lab.backend(FIN_ACK, 301, 102, 0), Track::Forward);
    assert_eq!(lab.client(ACK, 102, 302, 0), Track::Forward);
    assert_eq!((lab.state(), lab.left()), (State::TimeWait, Duration::from_secs(20)));
}

#[test]
fn repeated_syn_and_syn_ack() {
    let mut lab = Lab::new();
    lab.client(SYN, 100, 0, 0);
    lab.wait(1);
    assert_eq!(lab.client(SYN, 100, 0, 0), Track::Forward);
    assert_eq!(lab.left(), Duration::from_secs(119), "a repeated SYN does not keep the flow alive");
    lab.backend(SYN_ACK, 300, 101, 0);
    lab.wait(1);
    assert_eq!(lab.client(SYN, 100, 0, 0), Track::Forward);
    assert_eq!(lab.backend(SYN_ACK, 300, 101, 0), Track::Forward);
    assert_eq!((lab.state(), lab.left()), (State::SynReceived, Duration::from_secs(59)));
    lab.client(ACK, 101, 301, 0);
    assert_eq!(lab.backend(SYN_ACK, 300, 101, 0), Track::Forward, "it had not got the ACK");
    assert_eq!(lab.state(), State::Established);
    lab.client(ACK, 101, 301, 500);
    assert_eq!(lab.backend(SYN_ACK, 300, 101, 0), Track::Forward);
    assert_eq!(lab.state(), State::Established);
}

/// The client gave up its first attempt and tries again from the same port; the answer counts for what it answers.
#[test]
fn another_syn_before_any_answer() {
    let mut lab = Lab::new();
    lab.client(SYN, 100, 0, 0);
    assert_eq!(lab.client(SYN, 7_000_000, 0, 0), Track::Forward);
    lab.backend(SYN_ACK, 300, 7_000_001, 0);
    assert_eq!(lab.client(ACK, 7_000_001, 301, 0), Track::Forward);
    assert_eq!(lab.state(), State::Established);
}

/// A forged SYN between SYN and SYN-ACK does not cut off the true one.
#[test]
fn a_forged_syn_before_the_answer_changes_nothing() {
    let mut lab = Lab::new();
    lab.client(SYN, 100, 0, 0);
    lab.client(SYN, 3_000_000_000, 0, 0);
    lab.backend(SYN_ACK, 300, 101, 0);
    lab.client(ACK, 101, 301, 0);
    assert_eq!(lab.state(), State::Established);
    assert_eq!(lab.client(FIN_ACK, 101, 301, 10), Track::Forward);
    assert_eq!(lab.state(), State::FinWait);
}

/// TCP fast open: data in the SYN, taken or not.
#[test]
fn data_in_the_syn() {
    for taken in [true, false] {
        let mut lab = Lab::new();
        lab.client(SYN, 100, 0, 400);
        let acked = if taken { 501 } else { 101 };
        lab.backend(SYN_ACK, 300, acked, 0);
        if !taken {
            assert_eq!(lab.client(ACK, 101, 301, 400), Track::Forward);
        }
        assert_eq!(lab.client(FIN_ACK, 501, 301, 0), Track::Forward);
        assert_eq!(lab.state(), State::FinWait, "taken: {taken}");
        lab.backend(ACK, 301, 502, 0);
        assert_eq!(lab.state(), State::CloseWait);
    }
}

#[test]
fn window_scale_counts_when_both_offer_it() {
    for (offered, reach) in [(Some(7), 8192 << 7), (None, 8192)] {
        let mut lab = Lab::new();
        lab.scale = Some(7);
        lab.client(SYN, 100, 0, 0);
        lab.scale = offered;
        lab.backend(SYN_ACK, 300, 101, 0);
        lab.client(ACK, 101, 301, 0);
        // The client's window is now 8192 units from 301 on. A FIN may begin at its right edge, not beyond.
        let edge = 301 + reach;
        assert_eq!(lab.backend(FIN_ACK, edge + 1, 101, 0), Track::Drop(Invalid::FinOutOfWindow), "{offered:?}");
        assert_eq!(lab.state(), State::Established);
        assert_eq!(lab.backend(FIN_ACK, edge, 101, 0), Track::Forward);
        assert_eq!(lab.state(), State::FinWait);
    }
}

#[test]
fn sequence_numbers_wrap() {
    let mut lab = Lab::new();
    lab.client(SYN, u32::MAX - 1, 0, 0);
    lab.backend(SYN_ACK, u32::MAX, u32::MAX, 0);
    lab.client(ACK, u32::MAX, 0, 100);
    assert_eq!(lab.state(), State::Established);
    assert_eq!(lab.backend(FIN_ACK, 0, 99, 10), Track::Forward);
    lab.client(ACK, 99, 11, 0);
    assert_eq!(lab.state(), State::CloseWait);
}

/// Data that fits nothing passes and neither moves the state nor keeps the flow alive.
#[test]
fn data_out_of_window_passes_and_counts_for_nothing() {
    let mut lab = Lab::established();
    lab.wait(100);
    assert_eq!(lab.client(ACK, 1_000_000, 301, 100), Track::Forward);
    assert_eq!(lab.client(ACK, 101, 2_000_000, 100), Track::Forward);
    assert_eq!(lab.backend(ACK, 3_000_000_000, 101, 100), Track::Forward);
    assert_eq!((lab.state(), lab.left()), (State::Established, Duration::from_secs(7100)));
    assert_eq!(lab.backend(ACK, 301, 101, 100), Track::Forward);
    assert_eq!(lab.left(), Duration::from_secs(7200));
}

/// Keepalive probes: one byte before what comes next (RFC 9293, 3.8.4).
#[test]
fn keepalives_keep_alive() {
    let mut lab = Lab::established();
    lab.client(ACK, 101, 301, 50);
    lab.backend(ACK, 301, 151, 0);
    for _ in 0..5 {
        lab.wait(7199);
        assert_eq!(lab.backend(ACK, 300, 151, 0), Track::Forward);
        assert_eq!(lab.left(), Duration::from_secs(7200));
    }
    lab.wait(7199);
    lab.client(ACK, 150, 301, 1);
    assert_eq!(lab.left(), Duration::from_secs(7200));
}

#[test]
fn only_a_clean_syn_opens() {
    for flags in 0..=0x3f {
        let clean = flags & 0x17 == SYN;
        assert_eq!(conntrack::opens(&segment(flags, 1, 0, 0)), clean, "{flags:#x}");
    }
}

#[test]
fn what_no_tcp_sends_is_dropped_and_changes_nothing() {
    let mut lab = Lab::established();
    lab.wait(5);
    for flags in [0x00, 0x01, 0x03, 0x06, 0x07, 0x08, 0x13, 0x15, 0x20, 0x29, 0x3f] {
        assert_eq!(lab.client(flags, 101, 301, 0), Track::Drop(Invalid::BadFlags), "{flags:#x}");
        assert_eq!(lab.backend(flags, 301, 101, 0), Track::Drop(Invalid::BadFlags), "{flags:#x}");
    }
    assert_eq!((lab.state(), lab.left()), (State::Established, Duration::from_secs(7195)));
}

#[test]
fn before_the_handshake_nothing_else_passes() {
    let mut lab = Lab::new();
    assert_eq!(lab.client(ACK, 101, 301, 0), Track::Drop(Invalid::BeforeHandshake));
    assert_eq!(lab.backend(SYN_ACK, 300, 101, 0), Track::Drop(Invalid::UnexpectedSynAck), "no SYN was seen");
    assert_eq!(lab.backend(ACK, 300, 101, 0), Track::Drop(Invalid::BeforeHandshake));
    lab.client(SYN, 100, 0, 0);
    assert_eq!(lab.client(ACK, 101, 301, 0), Track::Drop(Invalid::BeforeHandshake));
    assert_eq!(lab.client(FIN_ACK, 101, 301, 0), Track::Drop(Invalid::BeforeHandshake));
    assert_eq!(lab.client(SYN_ACK, 100, 301, 0), Track::Drop(Invalid::UnexpectedSynAck));
    assert_eq!(lab.backend(FIN_ACK, 300, 101, 0), Track::Drop(Invalid::BeforeHandshake));
    assert_eq!(lab.state(), State::SynSent);
}

#[test]
fn timeouts_are_those_given() {
    let mut lab = Lab::with(Timeouts { tcp_established: Duration::from_secs(9), ..Timeouts::default() });
    lab.handshake();
    assert_eq!(lab.left(), Duration::from_secs(9));
}
