//! Edits of TCP options in place, with the checksum by delta.

use super::{Tcp, field};
use crate::Delta;
use crate::bytes::{get16, set16, window_mut};

impl Tcp {
    /// Lowers the MSS that a SYN announces to `mss`. Never raises it; a segment without the option stays as it is.
    pub fn clamp_mss(&self, frame: &mut [u8], mss: u16) {
        if !self.flags().syn() {
            return;
        }
        let options = self.options(frame);
        let (Some(old), Some(offset)) = (options.mss, options.mss_offset) else { return };
        if old <= mss {
            return;
        }
        let Some(bytes) = window_mut::<2>(frame, offset) else { return };
        *bytes = mss.to_be_bytes();
        self.fix_checksum(frame, Delta::new().replace16_at(offset - self.offset(), old, mss));
    }

    /// Adds to `TSval`, and to `TSecr` where it counts (the ACK flag is set, RFC 7323 3.2), modulo 2^32.
    ///
    /// `TSecr` is not exempt when it is 0: a clock may well stand there.
    pub fn shift_timestamps(&self, frame: &mut [u8], value_delta: u32, echo_delta: u32) {
        let Some(old) = self.timestamps(frame) else { return };
        let value = old.value.wrapping_add(value_delta);
        let echo = if self.flags().ack() { old.echo.wrapping_add(echo_delta) } else { old.echo };
        let Some(bytes) = window_mut::<8>(frame, old.offset) else { return };
        bytes[0..4].copy_from_slice(&value.to_be_bytes());
        bytes[4..8].copy_from_slice(&echo.to_be_bytes());
        let position = old.offset - self.offset();
        let delta = Delta::new().replace32_at(position, old.value, value).replace32_at(position, old.echo, echo);
        self.fix_checksum(frame, delta);
    }

    pub(super) fn fix_checksum(&self, frame: &mut [u8], delta: Delta) {
        if let Some(bytes) = window_mut::<2>(frame, self.offset() + field::CHECKSUM) {
            let checksum = delta.apply(get16(bytes, 0));
            set16(bytes, 0, checksum);
        }
    }
}
