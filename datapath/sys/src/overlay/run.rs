//! Runs: packets of one flow and one length, one behind the other, that the kernel takes as one message and cuts where they
//! leave (`UDP_SEGMENT`). A joined segment of a client becomes one, and so do plain segments that came in a row.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::HEADERS;
use crate::{Frame, batch, os};

/// The kernel adds outer headers of its own to each packet of a run, from a socket that is bound to the flow's source port. So
/// many of these are kept, each at its port's place; flows that share a place take it from each other.
const PLACES: usize = 64;
/// What every kernel cuts at once; newer ones take 128.
const PACKETS: usize = batch::RUN;
/// What fits a message: the largest datagram over IPv4.
const BYTES: usize = u16::MAX as usize - HEADERS;
/// Calls of `tx` for which no run is tried after the kernel refused one.
const PAUSE: u32 = 1024;
const TTL: u32 = 64;

struct Place {
    port: u16,
    tos: u8,
    socket: OwnedFd,
}

/// Sends runs from one address.
pub(super) struct Runs {
    vtep: Ipv4Addr,
    /// No places at all where the kernel knows no runs.
    places: Vec<Option<Place>>,
    pause: u32,
}

impl Runs {
    pub(super) fn new(vtep: Ipv4Addr) -> Runs {
        // Asked for ahead: an old kernel would take the run for one datagram and send it in fragments.
        let is_known = open(SocketAddrV4::new(vtep, 0)).is_ok();
        let places = (0..if is_known { PLACES } else { 0 }).map(|_| None).collect();
        Runs { vtep, places, pause: 0 }
    }

    /// To be called before a burst.
    pub(super) fn begin(&mut self) {
        self.pause = self.pause.saturating_sub(1);
    }

    /// How many packets at the front make a run; one if they make none, zero if there are none.
    pub(super) fn len_at_front(&self, frames: &[Frame]) -> usize {
        let Some(first) = frames.first() else { return 0 };
        let Some(way) = Way::of(first).filter(|way| way.source == self.vtep && self.is_able()) else { return 1 };
        let piece = first.len() - HEADERS;
        let most = PACKETS.min(BYTES / piece.max(1));
        let mut len = 1;
        for frame in frames.iter().take(most).skip(1) {
            if frame.len() > first.len() || Way::of(frame) != Some(way) {
                break;
            }
            len += 1;
            // Only the last one may be shorter.
            if frame.len() < first.len() {
                break;
            }
        }
        len
    }

    /// How many packets at the front are in no run, of so many at most.
    pub(super) fn singles(&self, frames: &[Frame], most: usize) -> usize {
        let alone = |at: &usize| self.len_at_front(&frames[*at..]) == 1;
        (0..frames.len().min(most)).take_while(alone).count()
    }

    fn is_able(&self) -> bool {
        self.pause == 0 && !self.places.is_empty()
    }

    /// Sends a run: all of it or nothing. Who is refused sends the packets one by one, and will hear why.
    pub(super) fn send(&mut self, run: &mut [Frame]) -> io::Result<()> {
        let Some(way) = run.first().and_then(Way::of) else { return Err(io::ErrorKind::InvalidInput.into()) };
        let to = SocketAddrV4::new(way.destination, way.destination_port);
        // A port that somebody else holds is one flow's bad luck; whatever it is, it is not a lack of room.
        let place = self.place(way.source_port, way.tos).map_err(|_| io::ErrorKind::Unsupported)?;
        let sent = batch::send_run(place.socket.as_fd(), run, HEADERS, to);
        if let Err(error) = &sent
            && !super::is_full(error)
        {
            self.pause = PAUSE;
        }
        sent
    }

    fn place(&mut self, port: u16, tos: u8) -> io::Result<&Place> {
        let slot = self.places.get_mut(usize::from(port) % PLACES).ok_or(io::ErrorKind::Unsupported)?;
        let place = match slot.take().filter(|place| place.port == port) {
            Some(place) => place,
            None => Place { port, tos: 0, socket: open(SocketAddrV4::new(self.vtep, port))? },
        };
        if place.tos != tos {
            set_tos(place.socket.as_fd(), tos)?;
        }
        Ok(slot.insert(Place { tos, ..place }))
    }
}

/// A socket that sends runs as the raw socket sends packets: DF clear, the same TTL. Nothing is expected to come in.
fn open(address: SocketAddrV4) -> io::Result<OwnedFd> {
    let socket = os::socket(libc::SOCK_DGRAM, 0)?;
    let fd = socket.as_fd();
    os::set_option(fd, libc::SOL_UDP, libc::UDP_SEGMENT, 0_u32)?;
    os::set_option(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DONT.cast_unsigned())?;
    os::set_option(fd, libc::IPPROTO_IP, libc::IP_TTL, TTL)?;
    os::enlarge_buffers(fd, super::SOCKET_BUFFER_BYTES);
    os::set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, 1_u32)?;
    // Another worker may have a flow of the same port.
    os::set_option(fd, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1_u32)?;
    os::bind(fd, address)?;
    Ok(socket)
}

/// A type of service that changes nothing else: the kernel would give it a priority, the raw socket's packets have none, and those
/// of one flow must not overtake each other.
fn set_tos(fd: BorrowedFd<'_>, tos: u8) -> io::Result<()> {
    os::set_option(fd, libc::IPPROTO_IP, libc::IP_TOS, u32::from(tos))?;
    os::set_option(fd, libc::SOL_SOCKET, libc::SO_PRIORITY, 0_u32)
}

/// What all packets of a run have in common, but for their length.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Way {
    tos: u8,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    source_port: u16,
    destination_port: u16,
}

impl Way {
    /// None: no plain UDP packet with something in it.
    #[inline]
    fn of(frame: &Frame) -> Option<Way> {
        let bytes = frame.bytes();
        let header: &[u8; HEADERS] = bytes.first_chunk().filter(|_| bytes.len() > HEADERS)?;
        // No options, no fragment, DF clear: as the sockets of runs send.
        let is_plain = header[0] == 0x45 && header[6..10] == [0, 0, TTL as u8, libc::IPPROTO_UDP as u8];
        let address = |at: usize| Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]);
        let port = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        is_plain.then(|| Way {
            tos: header[1],
            source: address(12),
            destination: address(16),
            source_port: port(20),
            destination_port: port(22),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FramePool;

    const HERE: [u8; 4] = [127, 0, 0, 1];

    /// An outer packet of this length whose byte `at` is changed.
    fn packet(pool: &mut FramePool, len: usize, at: usize, change: u8) -> Frame {
        let mut bytes = vec![0; len];
        bytes[..HEADERS].copy_from_slice(&[
            0x45, 0, 0, 0, 0, 7, 0, 0, 64, 17, 0, 0, 127, 0, 0, 1, 198, 18, 1, 11, 0xc1, 0x23, 0x12, 0xb5, 0, 0, 0, 0,
        ]);
        bytes[at] ^= change;
        let mut frame = pool.take().unwrap();
        assert!(frame.fill(&bytes));
        frame
    }

    /// What `len_at_front` and `singles` make of packets: length, and what is changed where.
    fn found(runs: &Runs, packets: &[(usize, usize, u8)]) -> (usize, usize) {
        let mut pool = FramePool::heap(256, 2048);
        let frames: Vec<Frame> =
            packets.iter().map(|(len, at, change)| packet(&mut pool, *len, *at, *change)).collect();
        let result = (runs.len_at_front(&frames), runs.singles(&frames, 64));
        pool.put_all(frames);
        result
    }

    #[test]
    fn a_run_is_of_one_flow_and_one_length() {
        let runs = Runs::new(HERE.into());
        assert_eq!(runs.places.len(), PLACES, "this kernel does not know UDP_SEGMENT");
        let plain = |len| (len, 30, 0);
        assert_eq!(found(&runs, &[]), (0, 0));
        assert_eq!(found(&runs, &[plain(100)]), (1, 1));
        assert_eq!(found(&runs, &[plain(100), plain(100), plain(100)]), (3, 0));
        assert_eq!(found(&runs, &[plain(100), plain(90), plain(90)]), (2, 0), "a shorter one is the last one");
        assert_eq!(found(&runs, &[plain(100), plain(101), plain(101)]), (1, 1), "no longer one");
        // Options, TOS, fragment, TTL, protocol, source address, destination, both ports.
        for at in [0, 1, 6, 7, 8, 9, 15, 16, 19, 20, 21, 22, 23] {
            assert_eq!(found(&runs, &[plain(100), (100, at, 1), plain(100)]), (1, 3), "byte {at}");
        }
        // Identification, checksums, payload: the kernel's own, or not looked at.
        for at in [4, 11, 27, 28] {
            assert_eq!(found(&runs, &[plain(100), (100, at, 1)]), (2, 0), "byte {at}");
        }
        assert_eq!(found(&runs, &[(100, 15, 1), (100, 15, 1)]), (1, 2), "another's address");
        assert_eq!(found(&runs, &[(28, 4, 0), (28, 4, 0)]), (1, 2), "nothing inside");
        assert_eq!(found(&runs, &[plain(100); 70]).0, 64);
        assert_eq!(found(&runs, &[plain(1500); 70]).0, 44, "more than a datagram");
    }

    /// As on a kernel before 4.18, and for a while after a refusal.
    #[test]
    fn no_runs_where_the_kernel_takes_none() {
        let packets = [(100, 30, 0); 3];
        let mut runs = Runs { vtep: HERE.into(), places: Vec::new(), pause: 0 };
        assert_eq!(found(&runs, &packets), (1, 3));
        runs = Runs { pause: 2, ..Runs::new(HERE.into()) };
        assert_eq!(found(&runs, &packets), (1, 3));
        runs.begin();
        runs.begin();
        assert_eq!(found(&runs, &packets), (3, 0));
    }
}
