//! Segments in fragments: the first one tells the sequence number, the last one where the segment ends. Anybody who guesses
//! the datagram's identification can forge a last one.
#![allow(clippy::duration_suboptimal_units, clippy::panic, reason = "test code; timeouts are compared: all in seconds")]

mod common;

use common::*;
use conntrack::{Direction, Invalid, State, Track};
use core::time::Duration;
use wire::{Headers, L4, Tcp};

/// The first fragment of a segment, with the first eight bytes of its payload.
fn first(flags: u8, seq: u32, ack: u32) -> Tcp {
    let mut packet = vec![0; 48];
    (packet[0], packet[3], packet[6], packet[9]) = (0x45, 48, 0x20, 6);
    parsed(packet, flags, seq, ack)
}

/// The client sends a first fragment.
fn begin(lab: &mut Lab, flags: u8, seq: u32, ack: u32) -> Tcp {
    let first = first(flags, seq, ack);
    let track = lab.table.first_fragment(lab.id, Direction::Original, &first, None, &lab.idle, lab.now);
    assert_eq!(track, Track::Forward);
    first
}

/// The last fragment comes: the segment has so many bytes of payload.
fn end(lab: &mut Lab, first: &Tcp, payload_len: usize) {
    let whole = first.completed(20 + payload_len);
    lab.table.complete(lab.id, Direction::Original, &whole, &lab.idle, lab.now);
}

#[test]
fn what_is_acknowledged_is_the_whole_segment() {
    let mut lab = Lab::established();
    let first = begin(&mut lab, ACK, 101, 301);
    end(&mut lab, &first, 2000);
    lab.wait(100);
    end(&mut lab, &first, 2000);
    assert_eq!(lab.left(), Duration::from_secs(7200));
    assert_eq!(lab.backend(FIN_ACK, 301, 2101, 0), Track::Forward);
    assert_eq!(lab.state(), State::FinWait);
}

#[test]
fn the_farthest_end_of_a_fin_stands() {
    for ends in [[300, 2000], [2000, 300]] {
        let mut lab = Lab::established();
        let first = begin(&mut lab, FIN_ACK, 101, 301);
        assert_eq!(lab.state(), State::Established);
        for payload_len in ends {
            end(&mut lab, &first, payload_len);
        }
        assert_eq!(lab.state(), State::FinWait);
        lab.backend(ACK, 301, 401, 0);
        assert_eq!(lab.state(), State::FinWait);
        lab.backend(ACK, 301, 2102, 0);
        assert_eq!(lab.state(), State::CloseWait);
        assert_eq!(lab.client(FIN_ACK, 2101, 301, 0), Track::Forward, "sent again");
    }
}

#[test]
fn a_forged_end_moves_nothing_out_of_the_window() {
    let mut lab = Lab::established();
    let data = begin(&mut lab, ACK, 101, 301);
    end(&mut lab, &data, 60_000);
    assert_eq!(lab.client(FIN_ACK, 109, 301, 0), Track::Forward, "the window is 8,192 bytes");
    end(&mut lab, &data, 2000);
    assert_eq!(lab.backend(ACK, 301, 110, 0), Track::Forward);
    assert_eq!(lab.state(), State::CloseWait, "nothing comes after a FIN");
}

#[test]
fn a_segment_out_of_the_window_moves_nothing_with_its_last_fragment_either() {
    let (old, older) = (101u32.wrapping_sub(10_000), 301u32.wrapping_sub(70_000));
    for (seq, ack) in [(9_000, 301), (101, 400), (101, older), (old, 301), (0x8000_0000, 301)] {
        let mut lab = Lab::established();
        let left = lab.left();
        lab.wait(5);
        let data = begin(&mut lab, ACK, seq, ack);
        end(&mut lab, &data, 200);
        end(&mut lab, &first(FIN_ACK, seq, ack), 200);
        assert_eq!((lab.state(), lab.left() + Duration::from_secs(5)), (State::Established, left));
        assert_eq!(lab.client(FIN_ACK, 101, 301, 0), Track::Forward);
    }
}

#[test]
fn what_is_no_data_has_no_end() {
    let mut lab = Lab::established();
    end(&mut lab, &first(RST_ACK, 109, 301), 200);
    end(&mut lab, &first(SYN, 109, 301), 200);
    assert_eq!(lab.backend(FIN_ACK, 301, 200, 0), Track::Drop(Invalid::FinOutOfWindow));
}

#[test]
fn an_end_of_what_is_not_open_moves_nothing() {
    let mut lab = Lab::new();
    lab.client(SYN, 100, 0, 0);
    end(&mut lab, &first(FIN_ACK, 101, 301), 200);
    assert_eq!(lab.state(), State::SynSent);
    end(&mut lab, &first(SYN, 100, 0), 200);
    assert_eq!(lab.backend(SYN_ACK, 300, 101, 0), Track::Forward);
    assert_eq!(lab.client(ACK, 101, 301, 0), Track::Forward);
    assert_eq!(lab.client(RST, 101, 0, 0), Track::Forward);
    end(&mut lab, &first(FIN_ACK, 101, 301), 200);
    assert_eq!(lab.state(), State::Close);
}

#[test]
fn a_header_that_is_cut_has_its_whole_length_in_the_end() {
    let mut cut = [0; 40];
    (cut[0], cut[3], cut[6], cut[9]) = (0x45, 40, 0x20, 6);
    let checksum = wire::checksum::internet(&cut[..20]);
    cut[10..12].copy_from_slice(&checksum.to_be_bytes());
    // 32 bytes of header, of which 20 are here.
    cut[32] = 0x80;
    let Ok(L4::Tcp(first)) = Headers::parse(&cut, 0).map(|headers| headers.l4) else { panic!("no TCP") };
    assert_eq!((first.header_len(), first.payload_len()), (20, 0));
    let whole = first.completed(132);
    assert_eq!((whole.header_len(), whole.payload_len()), (32, 100));
    assert_eq!(first.completed(8).payload_len(), 0, "a length that no segment has");
}
