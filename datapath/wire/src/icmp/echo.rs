//! Answering an echo request.

use super::{CHECKSUM, Icmp, kind};
use crate::bytes::{get16, set_address, set16, window_mut};
use crate::ipv4::{self, DEFAULT_TTL, MIN_HEADER_LEN};
use crate::{Delta, Ipv4};

/// Turns an echo request into its reply: addresses swapped, type 0, TTL 64, checksums by delta.
///
/// TOS and identification stay, as the data does. The caller has checked that `icmp` is a request, not a fragment, and
/// that its destination is an address that answers.
pub fn echo_reply_in_place(frame: &mut [u8], ip: &Ipv4, icmp: &Icmp) {
    let Some(message) = window_mut::<4>(frame, icmp.offset()) else { return };
    let old = get16(message, 0);
    message[0] = kind::ECHO_REPLY;
    let delta = Delta::new().replace16(old, get16(message, 0));
    let checksum = delta.apply(get16(message, CHECKSUM));
    set16(message, CHECKSUM, checksum);

    let Some(header) = window_mut::<MIN_HEADER_LEN>(frame, ip.offset()) else { return };
    // Swapping the addresses leaves the sum as it is.
    set_address(header, ipv4::field::SRC, ip.dst());
    set_address(header, ipv4::field::DST, ip.src());
    let old = get16(header, ipv4::field::TTL);
    header[ipv4::field::TTL] = DEFAULT_TTL;
    let delta = Delta::new().replace16(old, get16(header, ipv4::field::TTL));
    let checksum = delta.apply(get16(header, ipv4::field::CHECKSUM));
    set16(header, ipv4::field::CHECKSUM, checksum);
}
