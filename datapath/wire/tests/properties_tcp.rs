//! Laws of the TCP option walk and its edits.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use common::{Plan, assert_checksums, parse, plans};
use etherparse::{TcpHeaderSlice, TcpOptionElement};
use proptest::prelude::*;
use wire::{L4, Protocol, Tcp, TcpFlags};

fn tcp_plans() -> impl Strategy<Value = Plan> {
    plans().prop_map(|mut plan| {
        plan.tuple.protocol = Protocol::Tcp;
        plan
    })
}

fn tcp(packet: &[u8]) -> Tcp {
    let L4::Tcp(tcp) = parse(packet).l4 else { panic!("not TCP") };
    tcp
}

proptest! {
    #[test]
    fn header_agrees_with_etherparse(plan in tcp_plans()) {
        let packet = plan.build();
        let tcp = tcp(&packet);
        let oracle = TcpHeaderSlice::from_slice(&packet[tcp.offset()..]).expect("well-formed");
        prop_assert_eq!(tcp.header_len(), oracle.slice().len());
        prop_assert_eq!((tcp.src_port(), tcp.dst_port()), (oracle.source_port(), oracle.destination_port()));
        prop_assert_eq!((tcp.seq(), tcp.ack()), (oracle.sequence_number(), oracle.acknowledgment_number()));
        prop_assert_eq!(tcp.window(), oracle.window_size());
        prop_assert_eq!(tcp.payload_len(), plan.payload.len());
        let flags = (tcp.flags().fin(), tcp.flags().syn(), tcp.flags().rst(), tcp.flags().ack());
        prop_assert_eq!(flags, (oracle.fin(), oracle.syn(), oracle.rst(), oracle.ack()));
    }

    /// As far as etherparse understands the options, we see the same.
    #[test]
    fn options_agree_with_etherparse(plan in tcp_plans()) {
        let packet = plan.build();
        let tcp = tcp(&packet);
        let (mut mss, mut scale, mut sack, mut stamps) = (None, None, false, None);
        let oracle = TcpHeaderSlice::from_slice(&packet[tcp.offset()..]).expect("well-formed");
        for option in oracle.options_iterator() {
            match option {
                Ok(TcpOptionElement::MaximumSegmentSize(value)) => mss = Some(value),
                Ok(TcpOptionElement::WindowScale(value)) => scale = Some(value),
                Ok(TcpOptionElement::SelectiveAcknowledgementPermitted) => sack = true,
                Ok(TcpOptionElement::Timestamp(value, echo)) => stamps = Some((value, echo)),
                Ok(_) => {}
                // It gives up here; we go on.
                Err(_) => return Ok(()),
            }
        }
        let options = tcp.options(&packet);
        prop_assert_eq!((options.mss, options.window_scale, options.sack_permitted), (mss, scale, sack));
        prop_assert_eq!(options.timestamps.map(|found| (found.value, found.echo)), stamps);
    }

    #[test]
    fn clamp_lowers_and_never_raises(mut plan in tcp_plans(), mss: u16, syn: bool) {
        plan.tcp_flags = plan.tcp_flags & !2 | u8::from(syn) << 1;
        let before = plan.build();
        let mut packet = before.clone();
        let tcp = tcp(&packet);
        let old = tcp.options(&packet).mss;
        tcp.clamp_mss(&mut packet, mss);
        let new = tcp.options(&packet).mss;
        if syn {
            prop_assert_eq!(new, old.map(|old| old.min(mss)));
        } else {
            prop_assert_eq!(&packet, &before);
        }
        assert_checksums(&packet);
        let differing = packet.iter().zip(&before).filter(|(new, old)| new != old).count();
        prop_assert!(differing <= 4, "the MSS and the checksum");
    }

    #[test]
    fn shift_and_back(plan in tcp_plans(), value_delta: u32, echo_delta: u32) {
        let before = plan.build();
        let mut packet = before.clone();
        let tcp = tcp(&packet);
        let old = tcp.timestamps(&packet);
        tcp.shift_timestamps(&mut packet, value_delta, echo_delta);
        assert_checksums(&packet);
        if let Some(old) = old {
            let new = tcp.timestamps(&packet).expect("still there");
            prop_assert_eq!(new.value, old.value.wrapping_add(value_delta));
            let echo_delta = if tcp.flags().ack() { echo_delta } else { 0 };
            prop_assert_eq!(new.echo, old.echo.wrapping_add(echo_delta));
        }
        tcp.shift_timestamps(&mut packet, value_delta.wrapping_neg(), echo_delta.wrapping_neg());
        prop_assert_eq!(packet, before);
    }
}

/// Bytes are swapped in a sum by their place in the segment, not in the frame.
#[test]
fn frames_may_begin_anywhere() {
    let packet = common::Golden::read("nat_tcp_syn").packet("before");
    for offset in [14, 15] {
        let mut frame = [vec![0xee; offset], packet.clone()].concat();
        let headers = wire::Headers::parse(&frame, offset).expect("well-formed");
        let L4::Tcp(tcp) = headers.l4 else { panic!("not TCP") };
        tcp.clamp_mss(&mut frame, 1000);
        tcp.shift_timestamps(&mut frame, 0x1234_5678, 0);
        let to = wire::Rewrite { src: headers.ip.dst(), dst: headers.ip.src(), src_port: 7, dst_port: 8 };
        wire::rewrite(&mut frame, &headers, &to);
        assert_checksums(&frame[offset..]);
    }
}

/// The segment of a file, its options replaced.
fn with_options(options: &[u8]) -> (Vec<u8>, Tcp) {
    let mut packet = common::Golden::read("nat_tcp_syn").packet("before");
    packet[40..40 + options.len()].copy_from_slice(options);
    let tcp = tcp(&packet);
    (packet, tcp)
}

#[test]
fn options_of_a_linux_syn() {
    let (packet, tcp) = with_options(&[]);
    assert_eq!(tcp.flags(), TcpFlags::SYN);
    assert_eq!(tcp.header_len(), 40);
    let options = tcp.options(&packet);
    assert_eq!(options.mss, Some(1460));
    assert_eq!(options.mss_offset, Some(42));
    assert_eq!(options.window_scale, Some(10));
    assert!(options.sack_permitted);
    let stamps = options.timestamps.expect("timestamps");
    assert_eq!((stamps.offset, stamps.echo), (48, 0));
    assert_eq!(tcp.timestamps(&packet), options.timestamps);
}

#[test]
fn what_stands_behind_an_unknown_option_is_found() {
    // MD5 signature would be 18 bytes; Fast Open with an empty cookie, then MSS 500, then scale 7.
    let (packet, tcp) = with_options(&[34, 2, 2, 4, 1, 244, 3, 3, 7, 0]);
    let options = tcp.options(&packet);
    assert_eq!((options.mss, options.window_scale), (Some(500), Some(7)));
}

#[test]
fn broken_tails_are_ignored() {
    for tail in [[3, 0], [3, 1], [3, 40], [253, 255]] {
        let (packet, tcp) = with_options(&[&[2, 4, 5, 100], &tail[..], &[7, 3, 3, 9]].concat());
        let options = tcp.options(&packet);
        assert_eq!(options.mss, Some(1380), "{tail:?}");
        assert_eq!(options.window_scale, None, "{tail:?}");
    }
    // Options of a wrong length are not theirs.
    let (packet, tcp) = with_options(&[2, 3, 5, 3, 4, 7, 7, 4, 3, 1, 8, 6, 1, 1, 1, 1, 1, 1, 1, 1]);
    assert_eq!(tcp.options(&packet), wire::TcpOptions::default());
    // Nothing counts behind the end of the list.
    let (packet, tcp) = with_options(&[0, 2, 4, 5, 100, 3, 3, 9, 1, 1]);
    assert_eq!(tcp.options(&packet).mss, None);
}

#[test]
fn data_segments_take_the_short_way() {
    let packet = common::Golden::read("nat_tcp_data").packet("before");
    let tcp = tcp(&packet);
    assert_eq!(tcp.header_len(), 32);
    assert_eq!(tcp.payload_len(), 18);
    assert_eq!(tcp.sequence_len(), 18);
    assert_eq!(tcp.timestamps(&packet), tcp.options(&packet).timestamps);
    assert_eq!(tcp.timestamps(&packet).map(|stamps| stamps.offset), Some(44));
}
