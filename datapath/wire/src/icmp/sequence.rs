//! The sequence number of a quoted TCP segment, for connections whose two ends count differently.

use super::{CHECKSUM, HEADER_LEN, Icmp};
use crate::bytes::{get16, get32, set16, set32, window_mut};
use crate::ipv4::protocol;
use crate::{Delta, Ipv4, tcp};

/// Puts the sequence number of the TCP segment that an ICMP error quotes through `map`: its sender believes the error
/// only if it has such a segment under way (RFC 5927, 4.1). Checksums by delta: the message's, and the quoted one where it
/// is quoted.
pub fn map_quoted_seq(frame: &mut [u8], icmp: &Icmp, map: impl Fn(u32) -> u32) {
    let Some(message) = frame.get_mut(..icmp.end()) else { return };
    let Ok(quoted) = Ipv4::parse_quoted(message, icmp.offset() + HEADER_LEN) else { return };
    if quoted.protocol() != protocol::TCP || quoted.is_later_fragment() {
        return;
    }
    let Some(place) = window_mut::<4>(message, quoted.payload() + tcp::field::SEQ) else { return };
    let old = get32(place, 0);
    let new = map(old);
    set32(place, 0, new);
    // The quote begins at an even offset of the message, and its headers are whole words.
    let mut delta = Delta::new().replace32(old, new);
    if let Some(field) = window_mut::<2>(message, quoted.payload() + tcp::field::CHECKSUM) {
        let before = get16(field, 0);
        let after = delta.apply(before);
        set16(field, 0, after);
        delta = delta.replace16(before, after);
    }
    if let Some(field) = window_mut::<2>(message, icmp.offset() + CHECKSUM) {
        let checksum = delta.apply(get16(field, 0));
        set16(field, 0, checksum);
    }
}
