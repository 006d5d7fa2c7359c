//! A TCP packet that stands for many, as the kernel or the sender has joined them, and the headers of the pieces that it is cut
//! into. Nothing here knows where the packet's data lie.

use crate::JoinedLimits;
use crate::sum::Sum;

/// Length of an Ethernet header.
pub(crate) const ETHERNET: usize = 14;

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;
const TCP: u8 = 6;
const UDP: u8 = 17;
const UDP_HEADER: usize = 8;
const VXLAN_HEADER: usize = 8;
const TCP_HEADER: usize = 20;
/// Ethernet, IPv4, UDP, VXLAN and Ethernet again; IPv4 and TCP with all the options that there can be.
const MAX_HEADERS: usize = ETHERNET + IPV4_HEADER + UDP_HEADER + VXLAN_HEADER + ETHERNET + 60 + 60;

/// In the word that begins at an IPv4 header's sixth byte.
const DONT_FRAGMENT: u8 = 0x40;
const MORE_FRAGMENTS_OR_OFFSET: u16 = 0x3fff;
/// VXLAN's flag "the network's number counts".
const VXLAN_FLAG: u8 = 0x08;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

/// How a joined packet is cut, and how far that has got.
pub(crate) struct Joined {
    headers: [u8; MAX_HEADERS],
    /// The inner packet is in a VXLAN tunnel.
    is_tunnel: bool,
    /// Where the header of the IP packet begins that is cut: of the inner one in a tunnel.
    ip: usize,
    is_six: bool,
    tcp: usize,
    /// Where the data begin, which is the length of all headers.
    data: usize,
    data_len: usize,
    /// Bytes of data in each piece but the last; not zero.
    step: usize,
    done: usize,
}

impl Joined {
    /// A packet of `len` bytes that begins with `first`, where all of its headers must lie. None when it cannot be cut: it is not
    /// TCP, or no whole packet, or opens a connection, or has no data, or its lengths or an IPv4 checksum are wrong.
    pub(crate) fn read(first: &[u8], len: usize, limits: &JoinedLimits) -> Option<Joined> {
        let outer = Ip::read(first, 0, len)?;
        let inner = if outer.protocol == UDP { outer.tunnelled(first, limits.tunnel_port?)? } else { outer };
        let data = inner.end_of_headers(first)?;
        let mut headers = [0; MAX_HEADERS];
        headers.get_mut(..data)?.copy_from_slice(first.get(..data)?);
        Some(Joined {
            headers,
            is_tunnel: inner.at != outer.at,
            ip: inner.at,
            is_six: inner.is_six,
            tcp: inner.payload,
            data,
            data_len: inner.end.checked_sub(data).filter(|len| *len > 0)?,
            step: limits.piece.checked_sub(data - inner.at).filter(|step| *step > 0)?,
            done: 0,
        })
    }

    /// Bytes of all headers, in the packet and in each piece.
    pub(crate) fn headers_len(&self) -> usize {
        self.data
    }

    /// The length of the next piece, headers included. None when all are made.
    pub(crate) fn next_len(&self) -> Option<usize> {
        let left = self.data_len - self.done;
        (left > 0).then_some(self.data + left.min(self.step))
    }

    /// Writes the headers of the next piece into `room`, which has their length, and goes on to the one after it.
    ///
    /// The TCP checksum is left unfinished, as Linux leaves it to a network card. In IPv4, DF is cleared: how long the sender's own
    /// segments were is not known here, and a router with a smaller MTU must be able to go on.
    pub(crate) fn write_next(&mut self, room: &mut [u8]) {
        debug_assert_eq!(room.len(), self.data);
        let part = (self.data_len - self.done).min(self.step);
        let end = self.data + part;
        let number = (self.done / self.step) as u16;
        room.copy_from_slice(&self.headers[..self.data]);
        if self.is_tunnel {
            write_tunnel(room, end, number);
        }
        if self.is_six {
            set16(room, self.ip + 4, end - self.ip - IPV6_HEADER);
        } else {
            room[self.ip + 6] &= !DONT_FRAGMENT;
            write_four(&mut room[self.ip..self.tcp], end - self.ip, number);
        }
        self.write_tcp(&mut room[self.tcp..], part);
        set16(room, self.tcp + 16, self.pseudo_header(end - self.tcp).folded().into());
        self.done += part;
    }

    fn write_tcp(&self, header: &mut [u8], part: usize) {
        let sequence = get32(header, 4).wrapping_add(self.done as u32);
        header[4..8].copy_from_slice(&sequence.to_be_bytes());
        if self.done + part < self.data_len {
            header[13] &= !(FIN | PSH);
        }
        if self.done > 0 {
            header[13] &= !CWR;
        }
    }

    /// Whether the packet's own checksum waits to be finished by whoever sends the packet on. A finished one may happen to look so.
    pub(crate) fn is_unfinished(&self) -> bool {
        get16(&self.headers, self.tcp + 16) == self.pseudo_header(self.segment().len()).folded()
    }

    /// Where in the packet the bytes lie that the packet's own checksum covers, beside the pseudo header.
    pub(crate) fn segment(&self) -> std::ops::Range<usize> {
        self.tcp..self.data + self.data_len
    }

    /// The sum that a TCP checksum begins with, for a TCP packet of `len` bytes, its header included.
    pub(crate) fn pseudo_header(&self, len: usize) -> Sum {
        let addresses = if self.is_six { self.ip + 8..self.ip + 40 } else { self.ip + 12..self.ip + 20 };
        let [high, low] = (len as u16).to_be_bytes();
        Sum::default().with(&self.headers[addresses]).with(&[0, TCP, high, low])
    }
}

/// Where an IP packet lies, offsets from the start of all.
#[derive(Clone, Copy)]
struct Ip {
    at: usize,
    payload: usize,
    end: usize,
    protocol: u8,
    is_six: bool,
}

impl Ip {
    /// The IP packet in the Ethernet frame that begins at `ethernet` and ends no later than at `end`.
    fn read(packet: &[u8], ethernet: usize, end: usize) -> Option<Ip> {
        let at = ethernet + ETHERNET;
        let ip = match get16(packet.get(ethernet..at)?, 12) {
            IPV4 => Ip::read_four(packet, at),
            IPV6 => Ip::read_six(packet, at),
            _ => None,
        };
        ip.filter(|ip| ip.payload <= ip.end && ip.end <= end)
    }

    fn read_four(packet: &[u8], at: usize) -> Option<Ip> {
        let fixed = packet.get(at..at + IPV4_HEADER)?;
        let payload = at + usize::from(fixed[0] & 0x0f) * 4;
        let header = packet.get(at..payload).filter(|header| header.len() >= IPV4_HEADER)?;
        let is_whole = fixed[0] >> 4 == 4 && get16(fixed, 6) & MORE_FRAGMENTS_OR_OFFSET == 0;
        if !is_whole || Sum::default().with(header).folded() != 0xffff {
            return None;
        }
        Some(Ip { at, payload, end: at + usize::from(get16(fixed, 2)), protocol: fixed[9], is_six: false })
    }

    fn read_six(packet: &[u8], at: usize) -> Option<Ip> {
        let (header, payload) = (packet.get(at..at + IPV6_HEADER)?, at + IPV6_HEADER);
        let end = payload + usize::from(get16(header, 4));
        (header[0] >> 4 == 6).then_some(Ip { at, payload, end, protocol: header[6], is_six: true })
    }

    /// The IPv4 packet in this one, if it is one of a VXLAN tunnel.
    fn tunnelled(&self, packet: &[u8], port: u16) -> Option<Ip> {
        let inner_frame = self.payload + UDP_HEADER + VXLAN_HEADER;
        let header = packet.get(self.payload..inner_frame)?;
        let is_tunnel = !self.is_six
            && self.payload - self.at == IPV4_HEADER
            && get16(header, 2) == port
            && usize::from(get16(header, 4)) == self.end - self.payload
            && header[UDP_HEADER] & VXLAN_FLAG != 0;
        Ip::read(packet, inner_frame, self.end).filter(|inner| is_tunnel && !inner.is_six)
    }

    /// Where the data of a TCP packet begin.
    fn end_of_headers(&self, packet: &[u8]) -> Option<usize> {
        let header = packet.get(self.payload..self.payload + TCP_HEADER)?;
        let len = usize::from(header[12] >> 4) * 4;
        let can_be_cut = self.protocol == TCP && len >= TCP_HEADER && header[13] & SYN == 0;
        can_be_cut.then_some(self.payload + len)
    }
}

/// The headers outside, of a packet that ends at `end`. The UDP checksum is left out, as IPv4 allows: what is inside has its own.
fn write_tunnel(room: &mut [u8], end: usize, number: u16) {
    let udp = ETHERNET + IPV4_HEADER;
    write_four(&mut room[ETHERNET..udp], end - ETHERNET, number);
    set16(room, udp + 4, end - udp);
    set16(room, udp + 6, 0);
}

/// Length, identification and checksum of the IPv4 header of the `number`-th piece.
fn write_four(header: &mut [u8], total_len: usize, number: u16) {
    set16(header, 2, total_len);
    let identification = get16(header, 4).wrapping_add(number);
    set16(header, 4, identification.into());
    set16(header, 10, 0);
    let checksum = !Sum::default().with(header).folded();
    set16(header, 10, checksum.into());
}

fn get16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn get32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Writes a number that is known to fit: no piece is longer than the packet that it is cut from.
fn set16(bytes: &mut [u8], at: usize, number: usize) {
    bytes[at..at + 2].copy_from_slice(&(number as u16).to_be_bytes());
}

#[cfg(test)]
#[path = "joined_tests.rs"]
pub(crate) mod tests;
