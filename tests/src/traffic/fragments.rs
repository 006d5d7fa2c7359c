//! One datagram, cut up by hand and sent in any order.

use crate::traffic::packet::{Ipv4Fields, PacketSocket, ipv4_frame, ipv6_fragment, mac_of, pattern, udp_datagram};
use crate::{Failure, Outcome};
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

/// In which order the pieces leave.
#[derive(Clone, Copy, ValueEnum)]
pub enum Order {
    /// As IP would.
    Forward,
    /// The first piece last.
    Reverse,
    /// The first piece in the middle.
    Middle,
}

/// Sends a datagram in pieces and waits for its echo on a usual socket.
#[derive(Args)]
pub struct Fragments {
    /// The echo server.
    target: SocketAddr,
    /// The own address and port.
    #[arg(long)]
    source: SocketAddr,
    /// The interface to send on.
    #[arg(long, default_value = "eth0")]
    interface: String,
    /// The gateway's MAC, in hex without colons.
    #[arg(long)]
    next_hop: String,
    /// Payload of the datagram.
    #[arg(long, default_value_t = 4000)]
    len: usize,
    /// Bytes of IP payload in a piece; a multiple of 8.
    #[arg(long, default_value_t = 1200)]
    piece: usize,
    /// In which order.
    #[arg(long, value_enum)]
    order: Order,
    /// How many datagrams, one after the other.
    #[arg(long, default_value_t = 1)]
    count: u16,
    /// Pause between two pieces.
    #[arg(long, default_value_t = 0)]
    pause_ms: u64,
}

/// What came of it.
#[derive(Serialize)]
pub struct Report {
    /// Datagrams that came back whole.
    pub answered: usize,
    /// Datagrams that did not.
    pub lost: usize,
}

impl Fragments {
    /// Runs it.
    ///
    /// # Errors
    /// No socket, or the kernel refuses a frame.
    pub fn run(&self) -> Outcome<Report> {
        let listening = UdpSocket::bind(self.source)?;
        listening.set_read_timeout(Some(Duration::from_secs(1)))?;
        let raw = PacketSocket::open(&self.interface)?;
        let mut report = Report { answered: 0, lost: 0 };
        let payload = pattern(self.len);
        let mut buffer = vec![0; self.len + 1];
        for id in 1..=self.count {
            for frame in self.frames(&payload, id)? {
                raw.send(&frame)?;
                std::thread::sleep(Duration::from_millis(self.pause_ms));
            }
            match listening.recv(&mut buffer) {
                Ok(len) if buffer[..len] == payload => report.answered += 1,
                _ => report.lost += 1,
            }
        }
        Ok(report)
    }

    fn frames(&self, payload: &[u8], id: u16) -> Outcome<Vec<Vec<u8>>> {
        let macs = (mac_of(&self.interface)?, hex(&self.next_hop)?.try_into().map_err(|_| Failure::new("no MAC"))?);
        let datagram = udp_datagram(self.source, self.target, payload);
        let pieces = datagram.chunks(self.piece).count();
        let mut frames: Vec<_> = datagram
            .chunks(self.piece)
            .enumerate()
            .map(|(at, body)| {
                let more = at + 1 < pieces;
                let fields = Ipv4Fields { id, offset_bytes: at * self.piece, more, ttl: 64, protocol: 17 };
                match (self.source, self.target) {
                    (SocketAddr::V4(source), SocketAddr::V4(target)) => {
                        Ok(ipv4_frame(macs, (source, target), fields, body))
                    }
                    (SocketAddr::V6(source), SocketAddr::V6(target)) => {
                        Ok(ipv6_fragment(macs, (source, target), fields, body))
                    }
                    _ => Err(Failure::new("source and target are of two families")),
                }
            })
            .collect::<Outcome<_>>()?;
        match self.order {
            Order::Forward => {}
            Order::Reverse => frames.reverse(),
            Order::Middle => frames[..=pieces / 2].rotate_left(1),
        }
        Ok(frames)
    }
}

/// Bytes written as hex digits.
///
/// # Errors
/// Other characters, or an odd number of them.
pub fn hex(text: &str) -> Outcome<Vec<u8>> {
    let text = text.trim();
    let digits: Option<Vec<u8>> = text.chars().map(|digit| digit.to_digit(16).map(|value| value as u8)).collect();
    match digits {
        Some(digits) if digits.len().is_multiple_of(2) => {
            Ok(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
        }
        _ => Err(Failure::new(format!("no hex: {text}"))),
    }
}
