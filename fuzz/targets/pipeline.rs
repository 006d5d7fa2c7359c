//! Frames of any bytes through two whole workers: no panic, no lost frame, and a good packet still goes through.
//!
//! The input is a list of frames: one byte that says which worker and which side, one byte of length divided by 8, then
//! the bytes. IP checksums are mended when the first byte says so, so that the fuzzer gets further in.
#![no_main]

#[path = "../../datapath/tests/lab/mod.rs"]
mod lab;

use lab::packets::Segment;
use lab::{BACK, FRONT, Gateway};
use libfuzzer_sys::fuzz_target;
use wire::Protocol;

const WORKER: u8 = 1;
const BEHIND: u8 = 2;
const MEND: u8 = 4;

fn mend(frame: &mut [u8]) {
    if frame.len() < 34 {
        return;
    }
    if let Ok((ip, _)) = etherparse::Ipv4Header::from_slice(&frame[14..]) {
        frame[24..26].copy_from_slice(&ip.calc_header_checksum().to_be_bytes());
    }
}

fuzz_target!(|input: &[u8]| {
    let services = vec![lab::service(1, Protocol::Tcp, 8080, &[1, 1]), lab::service(2, Protocol::Udp, 53, &[1, 1])];
    let mut gateway = Gateway::with(lab::tables(services), 2, [sys::LinkType::Ethernet; 2], 64);
    let mut rest = input;
    while let [flags, eighths, tail @ ..] = rest {
        let len = (usize::from(*eighths) * 8).min(tail.len());
        let (bytes, next) = tail.split_at(len);
        let mut frame = bytes.to_vec();
        if flags & MEND != 0 {
            mend(&mut frame);
        }
        let slot = if flags & BEHIND != 0 { BACK } else { FRONT };
        gateway.inject(usize::from(flags & WORKER), slot, &frame);
        gateway.settle();
        rest = next;
    }
    gateway.assert_frames_conserved();
    for worker in 0..2 {
        gateway.collect_all(worker, FRONT);
        gateway.collect_all(worker, BACK);
    }
    gateway.inject(0, FRONT, &Segment::syn(61_000).sent_by_client());
    gateway.settle();
    assert_eq!(gateway.collect(0, BACK).len(), 1);
});
