//! Segmentation of TCP packets that are longer than a link allows (what the kernel calls TSO or GSO).

use super::{MIN_HEADER_LEN, TcpFlags, field};
use crate::bytes::{get16, get32, set16, set32, window_mut};
use crate::ipv4::{self, DONT_FRAGMENT};
use crate::{Delta, Headers, L4, checksum};

/// Writes the `piece`-th segment (from 0) of an IPv4 packet with TCP inside for a link with `mtu`, and returns its
/// length. `None` when there is no such piece, the packet is no whole TCP segment with data, or `buf` or `mtu` is too
/// small.
///
/// `headers` are those of `packet`, whose IPv4 header is at its start. Every piece has all options; FIN and PSH are on
/// the last one only, CWR on the first one only; identifications count up. DF is clear: how long the sender's own
/// segments are is not known here, and a router with a smaller MTU must be able to go on.
pub fn segment(packet: &[u8], headers: &Headers, mtu: usize, piece: usize, buf: &mut [u8]) -> Option<usize> {
    let L4::Tcp(tcp) = &headers.l4 else { return None };
    let ip = &headers.ip;
    if tcp.flags().syn() || ip.is_fragment() || ip.offset() != 0 {
        return None;
    }
    let headers_len = tcp.offset() + tcp.header_len();
    let (data, step) = (packet.get(headers_len..ip.end())?, mtu.checked_sub(headers_len)?);
    let start = step.checked_mul(piece)?;
    if step == 0 || start >= data.len() {
        return None;
    }
    let part = &data[start..data.len().min(start + step)];
    let out = buf.get_mut(..headers_len + part.len())?;
    out[..headers_len].copy_from_slice(packet.get(..headers_len)?);
    out[headers_len..].copy_from_slice(part);
    write_ip(&mut out[..tcp.offset()], headers_len + part.len(), piece as u16)?;
    write_tcp(&mut out[tcp.offset()..], start, start + part.len() == data.len())?;
    let pseudo = checksum::pseudo_header(ip.src(), ip.dst(), ipv4::protocol::TCP, (out.len() - tcp.offset()) as u16);
    let sum = !checksum::fold(pseudo + checksum::sum(&out[tcp.offset()..]));
    set16(window_mut::<MIN_HEADER_LEN>(out, tcp.offset())?, field::CHECKSUM, sum);
    Some(out.len())
}

/// Makes a packet one that somebody else cuts into the segments that [`segment`] writes for this `mtu`, and returns how many
/// bytes of data each but the last one has: DF is cleared, and the checksum is left unfinished, whatever it was. `None`,
/// and nothing changes, when there are not two of them.
pub fn leave_uncut(packet: &mut [u8], headers: &Headers, mtu: usize) -> Option<usize> {
    let L4::Tcp(tcp) = &headers.l4 else { return None };
    let ip = &headers.ip;
    if tcp.flags().syn() || ip.is_fragment() || ip.offset() != 0 {
        return None;
    }
    let step =
        mtu.checked_sub(tcp.offset() + tcp.header_len()).filter(|step| *step > 0 && *step < tcp.payload_len())?;
    let pseudo = checksum::pseudo_header(ip.src(), ip.dst(), ipv4::protocol::TCP, ip.payload_len() as u16);
    set16(window_mut::<MIN_HEADER_LEN>(packet, tcp.offset())?, field::CHECKSUM, checksum::fold(pseudo));
    let header = window_mut::<{ ipv4::MIN_HEADER_LEN }>(packet, 0)?;
    let old = get16(header, ipv4::field::FRAGMENT);
    set16(header, ipv4::field::FRAGMENT, old & !DONT_FRAGMENT);
    let delta = Delta::new().replace16(old, old & !DONT_FRAGMENT);
    set16(header, ipv4::field::CHECKSUM, delta.apply(get16(header, ipv4::field::CHECKSUM)));
    Some(step)
}

fn write_ip(header: &mut [u8], total_len: usize, piece: u16) -> Option<()> {
    let fixed = window_mut::<{ ipv4::MIN_HEADER_LEN }>(header, 0)?;
    set16(fixed, ipv4::field::TOTAL_LEN, u16::try_from(total_len).ok()?);
    let id = get16(fixed, ipv4::field::ID);
    set16(fixed, ipv4::field::ID, id.wrapping_add(piece));
    let flags = get16(fixed, ipv4::field::FRAGMENT);
    set16(fixed, ipv4::field::FRAGMENT, flags & !DONT_FRAGMENT);
    set16(fixed, ipv4::field::CHECKSUM, 0);
    let sum = checksum::internet(header);
    set16(window_mut::<{ ipv4::MIN_HEADER_LEN }>(header, 0)?, ipv4::field::CHECKSUM, sum);
    Some(())
}

/// Sequence number and flags of the piece at `start` of the data; the checksum is left at zero.
fn write_tcp(segment: &mut [u8], start: usize, is_last: bool) -> Option<()> {
    let header = window_mut::<MIN_HEADER_LEN>(segment, 0)?;
    let seq = get32(header, field::SEQ);
    set32(header, field::SEQ, seq.wrapping_add(start as u32));
    let mut absent = 0;
    if !is_last {
        absent |= TcpFlags::FIN.0 | TcpFlags::PSH.0;
    }
    if start > 0 {
        absent |= TcpFlags::CWR.0;
    }
    header[field::FLAGS] &= !absent;
    set16(header, field::CHECKSUM, 0);
    Some(())
}
