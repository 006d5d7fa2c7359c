//! Edits for a connection whose two ends count in different sequence spaces: something was put into its stream, or taken
//! out of it, between them. Checksums by delta.

use std::ops::Range;

use super::options::{NOP, SACK, Walk};
use super::{Tcp, field};
use crate::Delta;
use crate::bytes::{get32, set16, set32, window, window_mut};

/// SACK blocks that 40 bytes of options have room for.
const MAX_BLOCKS: usize = 4;

impl Tcp {
    /// Sets the sequence number.
    pub fn set_seq(&mut self, frame: &mut [u8], seq: u32) {
        if self.set_number(frame, field::SEQ, self.seq(), seq) {
            self.read_again(frame);
        }
    }

    /// Sets the acknowledgement number.
    pub fn set_ack(&mut self, frame: &mut [u8], ack: u32) {
        if self.set_number(frame, field::ACK, self.ack(), ack) {
            self.read_again(frame);
        }
    }

    /// Sets the receive window, as it stands in the header.
    pub fn set_window(&mut self, frame: &mut [u8], bytes: u16) {
        let Some(place) = window_mut::<2>(frame, self.offset() + field::WINDOW) else { return };
        set16(place, 0, bytes);
        self.fix_checksum(frame, Delta::new().replace16(self.window(), bytes));
        self.read_again(frame);
    }

    /// The view follows the frame after an edit.
    fn read_again(&mut self, frame: &[u8]) {
        if let Some(header) = window(frame, self.offset()) {
            self.header = *header;
        }
    }

    /// Adds to the sequence number, modulo 2^32.
    pub fn shift_seq(&mut self, frame: &mut [u8], delta: u32) {
        self.set_seq(frame, self.seq().wrapping_add(delta));
    }

    /// Adds to the acknowledgement number if it counts (the ACK flag is set), modulo 2^32.
    pub fn shift_ack(&mut self, frame: &mut [u8], delta: u32) {
        if self.flags().ack() {
            self.set_ack(frame, self.ack().wrapping_add(delta));
        }
    }

    /// Puts both edges of every SACK block through `map`. A block of which nothing is left is taken out of the option; an
    /// option without blocks becomes NOPs. The header keeps its length.
    pub fn map_sack(&self, frame: &mut [u8], map: impl Fn(u32) -> u32) {
        let Some(body) =
            Walk::new(self, frame).find(|(kind, _, _)| *kind == SACK).map(|(_, at, body)| at..at + body.len())
        else {
            return;
        };
        let Some(mut blocks) = Blocks::read(frame, &body) else { return };
        blocks.map(map);
        let option = body.start - 2..body.end;
        let mut bytes = [NOP; 2 + 8 * MAX_BLOCKS];
        blocks.write(&mut bytes);
        self.replace_option(frame, option.clone(), &bytes[..option.len()]);
    }

    /// Overwrites an option, at whatever offset it stands.
    pub(super) fn replace_option(&self, frame: &mut [u8], place: Range<usize>, new: &[u8]) {
        let position = place.start.wrapping_sub(self.offset());
        let Some(old) = frame.get_mut(place) else { return };
        let delta = Delta::new().replace_bytes_at(position, old, new);
        old.copy_from_slice(new);
        self.fix_checksum(frame, delta);
    }

    fn set_number(&self, frame: &mut [u8], at: usize, old: u32, new: u32) -> bool {
        let Some(place) = window_mut::<4>(frame, self.offset() + at) else { return false };
        set32(place, 0, new);
        self.fix_checksum(frame, Delta::new().replace32(old, new));
        true
    }
}

/// The blocks of one SACK option.
struct Blocks {
    edges: [(u32, u32); MAX_BLOCKS],
    count: usize,
}

impl Blocks {
    /// `None` for an option whose length is no option's: it is left to the receiver.
    fn read(frame: &[u8], body: &Range<usize>) -> Option<Self> {
        let count = body.len() / 8;
        if !body.len().is_multiple_of(8) || count == 0 || count > MAX_BLOCKS {
            return None;
        }
        let mut edges = [(0, 0); MAX_BLOCKS];
        for (n, edge) in edges.iter_mut().take(count).enumerate() {
            let block: &[u8; 8] = window(frame, body.start + 8 * n)?;
            *edge = (get32(block, 0), get32(block, 4));
        }
        Some(Self { edges, count })
    }

    fn map(&mut self, map: impl Fn(u32) -> u32) {
        let mut kept = 0;
        for n in 0..self.count {
            let (left, right) = self.edges[n];
            let mapped = (map(left), map(right));
            if mapped.0 != mapped.1 || left == right {
                self.edges[kept] = mapped;
                kept += 1;
            }
        }
        self.count = kept;
    }

    /// Kind, length, blocks; nothing if there is no block.
    fn write(&self, option: &mut [u8; 2 + 8 * MAX_BLOCKS]) {
        if self.count == 0 {
            return;
        }
        option[..2].copy_from_slice(&[SACK, 2 + 8 * self.count as u8]);
        for ((left, right), place) in self.edges.iter().take(self.count).zip(option[2..].chunks_exact_mut(8)) {
            place[..4].copy_from_slice(&left.to_be_bytes());
            place[4..].copy_from_slice(&right.to_be_bytes());
        }
    }
}
