//! TCP Fast Open (RFC 7413) taken out of a SYN: the data, and the option that asks for a cookie or shows one.

use super::options::{NOP, Walk};
use super::{MIN_HEADER_LEN, Tcp, field};
use crate::bytes::{get16, set16, window_mut};
use crate::{Delta, Headers, L4, checksum, ipv4, l4_checksum_ok};

const FAST_OPEN: u8 = 34;
/// Experimental options share a kind; this identifier after it means Fast Open.
const EXPERIMENT: u8 = 254;
const EXPERIMENTAL_FAST_OPEN: [u8; 2] = [0xf9, 0x89];

/// Makes a plain SYN of one with Fast Open, and returns the length of the packet from then on; the caller cuts its frame
/// there. A client whose data was not acknowledged by the SYN-ACK sends it again (RFC 7413, 4.2.1).
///
/// `None`, and nothing is done, if the packet is no whole TCP segment or its checksum is wrong: the sum over what is left
/// is made anew, which must not make a spoiled packet right.
pub fn without_fast_open(frame: &mut [u8], headers: &Headers) -> Option<usize> {
    let (L4::Tcp(tcp), ip) = (&headers.l4, &headers.ip) else { return None };
    if ip.is_fragment() {
        return None;
    }
    let end = tcp.offset() + tcp.header_len();
    if tcp.payload_len() > 0 {
        if !l4_checksum_ok(frame, headers) {
            return None;
        }
        cut(frame, headers, tcp, end)?;
    }
    while let Some(place) = fast_open(tcp, frame) {
        let nops = [NOP; 40];
        tcp.replace_option(frame, place.clone(), nops.get(..place.len())?);
    }
    Some(end - ip.offset())
}

fn fast_open(tcp: &Tcp, frame: &[u8]) -> Option<std::ops::Range<usize>> {
    let is_it =
        |kind, body: &[u8]| kind == FAST_OPEN || kind == EXPERIMENT && body.starts_with(&EXPERIMENTAL_FAST_OPEN);
    let (_, at, body) = Walk::new(tcp, frame).find(|(kind, _, body)| is_it(*kind, body))?;
    Some(at - 2..at + body.len())
}

/// Takes the payload off: both lengths, both checksums.
fn cut(frame: &mut [u8], headers: &Headers, tcp: &Tcp, end: usize) -> Option<()> {
    let ip = &headers.ip;
    let total_len = (end - ip.offset()) as u16;
    let header = window_mut::<{ ipv4::MIN_HEADER_LEN }>(frame, ip.offset())?;
    let old = get16(header, ipv4::field::TOTAL_LEN);
    set16(header, ipv4::field::TOTAL_LEN, total_len);
    let sum = Delta::new().replace16(old, total_len).apply(get16(header, ipv4::field::CHECKSUM));
    set16(header, ipv4::field::CHECKSUM, sum);
    set16(window_mut::<MIN_HEADER_LEN>(frame, tcp.offset())?, field::CHECKSUM, 0);
    let pseudo = checksum::pseudo_header(ip.src(), ip.dst(), ipv4::protocol::TCP, tcp.header_len() as u16);
    let sum = !checksum::fold(pseudo + checksum::sum(frame.get(tcp.offset()..end)?));
    set16(window_mut::<MIN_HEADER_LEN>(frame, tcp.offset())?, field::CHECKSUM, sum);
    Some(())
}
