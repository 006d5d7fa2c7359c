//! The underlay of the overlay without `AF_XDP`: VXLAN datagrams through an ordinary UDP socket.

mod run;

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use self::run::Runs;
use crate::batch::{self, Received};
use crate::sum::Sum;
use crate::{BURST, Device, DeviceState, Frame, FramePool, LinkType, TxReport, os};

/// Outer IPv4 and UDP header, as the pipeline expects it in front of a datagram.
const HEADERS: usize = 28;
const SOCKET_BUFFER_BYTES: u32 = 8 << 20;
/// Where `SO_MEMINFO` tells how many datagrams were dropped.
const SK_MEMINFO_DROPS: usize = 8;

/// A UDP socket on the gateway's VTEP, for one worker. What it receives begins with an outer IPv4 header made here; what it sends
/// brings its own, so that the source port is the sender's to choose.
pub struct OverlaySocket {
    vtep: SocketAddrV4,
    udp: OwnedFd,
    raw: OwnedFd,
    runs: Runs,
    received: [Received; BURST],
    scratch: Vec<Frame>,
    more: bool,
    cut: u64,
    refused: u64,
    error: Option<io::Error>,
}

impl OverlaySocket {
    /// Binds to the VTEP and port. Several workers may do so; each peer's flow goes to one of them. To be sure that no other
    /// program shares the port, use [`OverlaySocket::bind_group`].
    ///
    /// # Errors
    /// The address is in use or not ours, or raw sockets are not permitted; the text says what to do.
    pub fn bind(vtep: Ipv4Addr, port: u16) -> io::Result<OverlaySocket> {
        let vtep = SocketAddrV4::new(vtep, port);
        let open = || -> io::Result<(OwnedFd, OwnedFd)> {
            let udp = os::socket(libc::SOCK_DGRAM, 0)?;
            os::set_option(udp.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEPORT, 1_u32)?;
            os::set_option(udp.as_fd(), libc::IPPROTO_IP, libc::IP_RECVTOS, 1_u32)?;
            os::bind(udp.as_fd(), vtep)?;
            // This protocol means that packets bring their own headers, and that nothing is received.
            let raw = os::socket(libc::SOCK_RAW, libc::IPPROTO_RAW)?;
            Ok((udp, raw))
        };
        let (udp, raw) = open().map_err(|error| explain(vtep, &error))?;
        os::enlarge_buffers(udp.as_fd(), SOCKET_BUFFER_BYTES);
        os::enlarge_buffers(raw.as_fd(), SOCKET_BUFFER_BYTES);
        let nothing = Received { peer: vtep, len: 0, tos: 0, cut: false };
        let (received, scratch) = ([nothing; BURST], Vec::with_capacity(BURST));
        let runs = Runs::new(*vtep.ip());
        Ok(OverlaySocket { vtep, udp, raw, runs, received, scratch, more: false, cut: 0, refused: 0, error: None })
    }

    /// The sockets of all workers, after making sure that no other program has one on the same address.
    ///
    /// # Errors
    /// As [`OverlaySocket::bind`].
    pub fn bind_group(vtep: Ipv4Addr, port: u16, workers: usize) -> io::Result<Vec<OverlaySocket>> {
        let address = SocketAddrV4::new(vtep, port);
        let alone = os::socket(libc::SOCK_DGRAM, 0).and_then(|probe| os::bind(probe.as_fd(), address));
        alone.map_err(|error| explain(address, &error))?;
        (0..workers).map(|_| OverlaySocket::bind(vtep, port)).collect()
    }

    /// Sends what stands at the front: a run, or what comes before the next one. Gives how many packets that was.
    fn send_some(&mut self, frames: &mut [Frame]) -> io::Result<usize> {
        let run = self.runs.len_at_front(frames);
        let count = if run > 1 {
            match self.runs.send(&mut frames[..run]) {
                Ok(()) => return Ok(run),
                Err(error) if is_full(&error) => return Err(error),
                Err(_) => run,
            }
        } else {
            self.runs.singles(frames, BURST)
        };
        batch::send(self.raw.as_fd(), &mut frames[..count], destination)
    }

    /// Takes frames to receive into, with room for the headers in front.
    fn prepare(&mut self, pool: &mut FramePool, limit: usize) {
        while self.scratch.len() < limit.min(BURST) {
            let Some(mut frame) = pool.take() else { break };
            frame.reset();
            frame.grow_back(frame.tailroom());
            self.scratch.push(frame);
        }
    }
}

/// Puts the headers of a datagram in front of it, as the wire had them but for what the socket does not tell.
fn write_headers(packet: &mut [u8], Received { peer, tos, .. }: &Received, local: SocketAddrV4) {
    let len = packet.len() as u16;
    let Some(headers) = packet.first_chunk_mut::<HEADERS>() else { return };
    *headers = [0; HEADERS];
    headers[..2].copy_from_slice(&[0x45, *tos]);
    headers[2..4].copy_from_slice(&len.to_be_bytes());
    headers[8] = 64;
    headers[9] = libc::IPPROTO_UDP as u8;
    headers[12..16].copy_from_slice(&peer.ip().octets());
    headers[16..20].copy_from_slice(&local.ip().octets());
    let checksum = !Sum::default().with(&headers[..20]).folded();
    headers[10..12].copy_from_slice(&checksum.to_be_bytes());
    headers[20..22].copy_from_slice(&peer.port().to_be_bytes());
    headers[22..24].copy_from_slice(&local.port().to_be_bytes());
    headers[24..26].copy_from_slice(&(len - 20).to_be_bytes());
}

/// Where a packet wants to go; nowhere, which the kernel refuses, when it is none.
fn destination(frame: &Frame) -> SocketAddrV4 {
    let address: [u8; 4] = frame.bytes().get(16..20).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default();
    SocketAddrV4::new(address.into(), 0)
}

/// No room now; there will be.
fn is_full(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS))
}

fn explain(vtep: SocketAddrV4, error: &io::Error) -> io::Error {
    let why = match error.raw_os_error() {
        Some(libc::EADDRINUSE) => {
            "address in use: most likely by the kernel's VXLAN device of a swarm member (`ip -d link show type vxlan` in every \
             namespace of dockerd), or by another gateway; use driver = \"af_xdp\", or a node that is not a member"
        }
        Some(libc::EADDRNOTAVAIL) => "not an address of this machine; add it to an interface, or correct `vtep`",
        Some(libc::EPERM | libc::EACCES) => "not permitted; run as root or with CAP_NET_RAW",
        _ => return io::Error::new(error.kind(), format!("overlay socket {vtep}: {error}")),
    };
    io::Error::new(error.kind(), format!("overlay socket {vtep}: {why}"))
}

impl Device for OverlaySocket {
    fn link_type(&self) -> LinkType {
        LinkType::Ip
    }

    fn rx(&mut self, pool: &mut FramePool, burst: &mut Vec<Frame>, limit: usize) -> usize {
        self.prepare(pool, limit);
        let wanted = self.scratch.len();
        let got = match batch::receive(self.udp.as_fd(), &mut self.scratch, HEADERS, &mut self.received) {
            Ok(got) => got,
            Err(error) => {
                if error.kind() != io::ErrorKind::WouldBlock {
                    self.error = Some(error);
                }
                &[]
            }
        };
        self.more = got.len() == wanted && wanted > 0;
        let before = burst.len();
        for (mut frame, datagram) in self.scratch.drain(..got.len()).zip(got) {
            if datagram.cut {
                self.cut += 1;
                pool.put(frame);
                continue;
            }
            frame.truncate(HEADERS + datagram.len);
            write_headers(frame.bytes_mut(), datagram, self.vtep);
            burst.push(frame);
        }
        pool.put_all(self.scratch.drain(..));
        burst.len() - before
    }

    fn tx(&mut self, pool: &mut FramePool, out: &mut Vec<Frame>) -> TxReport {
        let mut report = TxReport::default();
        let mut at = 0;
        self.runs.begin();
        while at < out.len() {
            match self.send_some(&mut out[at..]) {
                Ok(count) if count > 0 => {
                    report.sent += count;
                    report.bytes += out[at..at + count].iter().map(|frame| frame.len() as u64).sum::<u64>();
                    at += count;
                    self.error = None;
                }
                Ok(_) => break,
                Err(error) => {
                    // About the first packet only, unless there is no room for any.
                    let full = is_full(&error);
                    self.error = (!full).then_some(error);
                    if full {
                        break;
                    }
                    at += 1;
                }
            }
        }
        report.refused = out.len() - report.sent;
        self.refused += report.refused as u64;
        pool.put_all(out.drain(..));
        report
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.udp.as_fd())
    }

    fn has_work(&self) -> bool {
        self.more
    }

    fn state(&self) -> DeviceState {
        let memory = os::get_option::<[u32; 9]>(self.udp.as_fd(), libc::SOL_SOCKET, libc::SO_MEMINFO);
        let overflown = memory.map_or(0, |memory| u64::from(memory[SK_MEMINFO_DROPS]));
        DeviceState {
            name: self.vtep.to_string(),
            driver: "overlay",
            mode: "-",
            rx_dropped: overflown + self.cut,
            tx_refused: self.refused,
            up: self.error.is_none(),
            error: self.error.as_ref().map(|error| format!("cannot send: {error}")),
            ..DeviceState::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_those_of_the_wire() {
        let mut packet = [0xaa; HEADERS + 4];
        let address = |text: &str| text.parse().unwrap();
        let datagram = Received { peer: address("192.168.77.11:51234"), len: 4, tos: 3, cut: false };
        write_headers(&mut packet, &datagram, address("192.168.77.14:4789"));
        // Made by hand from RFC 791 and RFC 768; the checksum by adding the words: 0x4503 + 0x20 + 0x4011 + 0xc0a8 + 0x4d0b
        // + 0xc0a8 + 0x4d0e = 0x2a09d, folded 0xa09f, inverted 0x5f60.
        let expected = [
            0x45, 3, 0, 32, 0, 0, 0, 0, 64, 17, 0x5f, 0x60, 192, 168, 77, 11, 192, 168, 77, 14, 0xc8, 0x22, 0x12, 0xb5,
            0, 12, 0, 0, 0xaa, 0xaa, 0xaa, 0xaa,
        ];
        assert_eq!(packet, expected);
    }

    #[test]
    fn a_foreign_address_is_refused_with_a_remedy() {
        let error = OverlaySocket::bind(Ipv4Addr::new(192, 0, 2, 1), 4789).err().unwrap().to_string();
        assert!(error.starts_with("overlay socket 192.0.2.1:4789: not an address of this machine"), "{error}");
    }

    #[test]
    fn an_address_in_use_is_refused_with_a_remedy() {
        let holder = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = holder.local_addr().unwrap().port();
        for error in [
            OverlaySocket::bind(Ipv4Addr::LOCALHOST, port).err().unwrap(),
            OverlaySocket::bind_group(Ipv4Addr::LOCALHOST, port, 2).err().unwrap(),
        ] {
            assert!(error.to_string().contains("VXLAN device of a swarm member"), "{error}");
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        }
    }
}
