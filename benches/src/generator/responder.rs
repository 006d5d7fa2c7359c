//! The tasks: whatever they do follows from the packet alone, so that a million connections cost them no memory.

use sys::Frame;

use super::port::Port;
use super::segment::{Envelope, Flags, MSS, Segment, WINDOW};
use super::view::View;

/// Bytes at the front of a request: how long the response shall be.
pub const ASK_LEN: usize = 4;
/// What responses consist of.
pub const FILLER: u8 = 0x5a;
static ANSWER: [u8; MSS as usize] = [FILLER; MSS as usize];

/// Answers a TCP segment through the port that it came from.
pub fn answer(heard: &Frame, view: &View, port: &mut Port) {
    let Some((segment, payload)) = Segment::read(heard.bytes(), view) else { return };
    let Some(envelope) = Envelope::back(heard.bytes(), view) else { return };
    if segment.flags.rst {
        return;
    }
    let reply = Segment {
        source: segment.target,
        target: segment.source,
        // Both sides count on: a client acknowledges all that it has.
        seq: if segment.flags.ack { segment.ack } else { first_number(&segment) },
        ack: segment.seq.wrapping_add(segment.span(payload.len())),
        flags: Flags::ACK,
        window: WINDOW,
    };
    if segment.flags.syn {
        send(port, &envelope, Segment { flags: Flags::SYN_ACK, ..reply }, &[]);
    } else if segment.flags.fin {
        send(port, &envelope, Segment { flags: Flags::FIN_ACK, ..reply }, &[]);
    } else if let Some(ask) = payload.first_chunk::<ASK_LEN>() {
        respond(port, &envelope, reply, u32::from_be_bytes(*ask));
    }
}

fn respond(port: &mut Port, envelope: &Envelope, mut segment: Segment, mut left: u32) {
    while left > 0 {
        let len = left.min(u32::from(MSS));
        send(port, envelope, segment, &ANSWER[..len as usize]);
        segment.seq = segment.seq.wrapping_add(len);
        left -= len;
    }
}

/// Where a task's numbers begin: anywhere, but the same for a SYN that comes again.
fn first_number(syn: &Segment) -> u32 {
    (u32::from(syn.source.0) ^ syn.seq.rotate_left(7)).wrapping_mul(0x9e37_79b1)
}

fn send(port: &mut Port, envelope: &Envelope, segment: Segment, payload: &[u8]) {
    // Out of frames: as if it was lost on the way; the client asks again.
    let Some(mut frame) = port.take() else { return };
    if segment.write(envelope, payload, &mut frame) {
        port.queue(frame);
    } else {
        port.put(frame);
    }
}
