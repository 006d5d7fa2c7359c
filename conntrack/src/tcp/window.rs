//! Sequence numbers and windows, after "Real Stateful TCP Packet Filtering in IP Filter" (van Rooij), as Linux does it,
//! with one simplification: the right edge of a window is taken as the highest acknowledgment plus the largest window
//! that the receiver has ever offered. That is never less than the real edge.

use wire::{Tcp, TcpOptions};

use crate::{Direction, Flow};

/// How far behind the last byte an acknowledgment may lie if the windows are smaller than that (Linux' `MAXACKWINCONST`).
const MIN_ACK_SPAN_BYTES: u32 = 66_000;
/// Four bits in `Flow::scales` that say: this side has not offered window scaling.
const NO_SCALE: u8 = 15;
/// RFC 7323, 2.3.
const MAX_SCALE: u8 = 14;

/// `a` comes before `b` on the circle of sequence numbers.
pub(super) fn before(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() < 0
}

/// The sequence number after the segment.
pub(crate) fn end_of(tcp: &Tcp) -> u32 {
    let flags = u32::from(tcp.flags().syn()) + u32::from(tcp.flags().fin());
    tcp.seq().wrapping_add(tcp.payload_len() as u32).wrapping_add(flags)
}

/// The largest window that this side has offered.
pub(super) fn window_bytes(flow: &Flow, side: Direction) -> u32 {
    u32::from(flow.windows[side.index()]) << shift_of(flow, side)
}

/// By how many bits this side's windows are shifted.
pub(crate) fn shift_of(flow: &Flow, side: Direction) -> u8 {
    match scale_of(flow, side) {
        NO_SCALE => 0,
        scale => scale,
    }
}

fn scale_of(flow: &Flow, side: Direction) -> u8 {
    flow.scales >> (4 * side.index()) & 0x0f
}

fn set_scale(flow: &mut Flow, side: Direction, scale: u8) {
    let shift = 4 * side.index();
    flow.scales = flow.scales & !(0x0f << shift) | scale << shift;
}

/// Does the segment lie within what its receiver can take, and does it acknowledge what its receiver can have sent?
pub(super) fn admits(flow: &Flow, from: Direction, tcp: &Tcp) -> bool {
    let end = end_of(tcp);
    // Nothing comes after a FIN.
    let over = flow.has_fin(from) && before(flow.ends[from.index()], end);
    fits(flow, from, tcp.seq(), end) && !over && admits_ack(flow, from, tcp.ack())
}

/// As [`admits`], for a segment whose end only its last fragment has told.
pub(super) fn admits_completed(flow: &Flow, from: Direction, tcp: &Tcp) -> bool {
    let end = end_of(tcp);
    let over = flow.has_fin(from) && !tcp.flags().fin() && before(flow.ends[from.index()], end);
    let data_end = tcp.seq().wrapping_add(tcp.payload_len() as u32);
    let beyond = before(right_edge(flow, from), data_end);
    fits(flow, from, tcp.seq(), end) && !over && !beyond && admits_ack(flow, from, tcp.ack())
}

/// As [`admits`] and then [`advance`], for an acknowledgment without SYN and FIN in [`crate::State::Established`]. False: it is
/// not admitted, and nothing is changed.
#[inline]
pub(super) fn admits_next(flow: &mut Flow, from: Direction, tcp: &Tcp) -> bool {
    let end = tcp.seq().wrapping_add(tcp.payload_len() as u32);
    let admitted = fits(flow, from, tcp.seq(), end) && acknowledges(flow, from, tcp.ack());
    if admitted {
        take_over(flow, from, end, tcp.ack(), tcp.window());
    }
    admitted
}

/// From `seq` to `end` it lies within what its receiver can take.
#[inline]
fn fits(flow: &Flow, from: Direction, seq: u32, end: u32) -> bool {
    let window = window_bytes(flow, from.reversed());
    !before(right_edge(flow, from), seq) && !before(end, flow.ends[from.index()].wrapping_sub(window))
}

/// How far the receiver can have let this side go.
#[inline]
fn right_edge(flow: &Flow, from: Direction) -> u32 {
    let to = from.reversed();
    flow.acks[to.index()].wrapping_add(window_bytes(flow, to))
}

fn admits_ack(flow: &Flow, from: Direction, ack: u32) -> bool {
    if flow.has_acked(from) {
        return acknowledges(flow, from, ack);
    }
    // The first acknowledgment must cover the other side's SYN: nobody opens a connection by guessing roughly.
    let sent = flow.ends[from.reversed().index()];
    !before(sent, ack) && before(flow.acks[from.index()], ack)
}

/// A later acknowledgment covers what the other side has sent, and not too little of it.
#[inline]
fn acknowledges(flow: &Flow, from: Direction, ack: u32) -> bool {
    let sent = flow.ends[from.reversed().index()];
    let span = window_bytes(flow, from).max(MIN_ACK_SPAN_BYTES);
    !before(sent, ack) && !before(ack, sent.wrapping_sub(span))
}

/// Takes over what an admitted segment shows.
pub(super) fn advance(flow: &mut Flow, from: Direction, tcp: &Tcp) {
    flow.set_acked(from, true);
    // Windows of SYN segments are not scaled.
    let window = if tcp.flags().syn() { unscaled(flow, from, tcp.window()) } else { tcp.window() };
    take_over(flow, from, end_of(tcp), tcp.ack(), window);
}

#[inline]
pub(crate) fn take_over(flow: &mut Flow, from: Direction, end: u32, ack: u32, window: u16) {
    let side = from.index();
    flow.ends[side] = later(flow.ends[side], end);
    flow.acks[side] = later(flow.acks[side], ack);
    flow.windows[side] = flow.windows[side].max(window);
}

fn later(a: u32, b: u32) -> u32 {
    if before(a, b) { b } else { a }
}

/// A window of a SYN in units of the side's own scale, rounded up, at least 1.
fn unscaled(flow: &Flow, side: Direction, window: u16) -> u16 {
    match scale_of(flow, side) {
        NO_SCALE => window.max(1),
        scale => u32::from(window).div_ceil(1 << scale).max(1) as u16,
    }
}

/// Starts a side with its SYN or SYN-ACK, and what the other side is known to expect.
pub(super) fn start(flow: &mut Flow, from: Direction, tcp: &Tcp, options: Option<&TcpOptions>) {
    let (side, other) = (from.index(), from.reversed().index());
    let offered = options.and_then(|options| options.window_scale);
    set_scale(flow, from, offered.map_or(NO_SCALE, |scale| scale.min(MAX_SCALE)));
    flow.ends[side] = end_of(tcp);
    flow.windows[side] = unscaled(flow, from, tcp.window());
    flow.acks[other] = tcp.seq();
    flow.set_acked(from.reversed(), false);
}

/// Both sides' SYNs are known: windows are scaled only if both have offered it (RFC 7323, 2.2).
pub(super) fn agree_on_scale(flow: &mut Flow) {
    if Direction::BOTH.iter().all(|&side| scale_of(flow, side) != NO_SCALE) {
        return;
    }
    for side in Direction::BOTH {
        flow.windows[side.index()] = u16::try_from(window_bytes(flow, side)).unwrap_or(u16::MAX);
        set_scale(flow, side, NO_SCALE);
    }
}

/// The client's SYN was never seen, but the backend's SYN-ACK to it was: `scaled` tells whether the client had offered
/// scaling, not how much. The largest scale shuts out nothing that is right.
pub(super) fn assume_scale(flow: &mut Flow, side: Direction, scaled: bool) {
    set_scale(flow, side, if scaled { MAX_SCALE } else { NO_SCALE });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn before_wraps() {
        assert!(before(1, 2) && !before(2, 1) && !before(2, 2));
        assert!(before(u32::MAX, 0) && !before(0, u32::MAX));
    }

    #[test]
    fn scales_of_both_sides_are_apart() {
        let mut flow = Flow::vacant();
        set_scale(&mut flow, Direction::Original, 7);
        set_scale(&mut flow, Direction::Reply, NO_SCALE);
        assert_eq!((scale_of(&flow, Direction::Original), scale_of(&flow, Direction::Reply)), (7, NO_SCALE));
        flow.windows = [502, 1000];
        assert_eq!(window_bytes(&flow, Direction::Original), 64_256);
        agree_on_scale(&mut flow);
        assert_eq!((window_bytes(&flow, Direction::Original), window_bytes(&flow, Direction::Reply)), (64_256, 1000));
        assert_eq!(scale_of(&flow, Direction::Original), NO_SCALE);
    }
}
