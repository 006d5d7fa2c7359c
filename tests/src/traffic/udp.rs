//! Datagrams of all sizes, there and back.

use crate::traffic::packet::pattern;
use crate::{Outcome, clock};
use clap::Args;
use serde::Serialize;
use socket2::SockRef;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

/// Sends one datagram of each size, and again when none comes back.
#[derive(Args)]
pub struct Exchange {
    /// Where to.
    target: SocketAddr,
    /// Smallest payload.
    #[arg(long, default_value_t = 1)]
    from: usize,
    /// Largest payload.
    #[arg(long, default_value_t = 1)]
    to: usize,
    /// Difference of two sizes.
    #[arg(long, default_value_t = 1)]
    step: usize,
    /// How often all sizes are sent.
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// A fresh socket, so a fresh flow, for each datagram.
    #[arg(long)]
    fresh: bool,
    /// How long to wait for an answer.
    #[arg(long, default_value_t = 1000)]
    timeout_ms: u64,
    /// Pause between two datagrams.
    #[arg(long, default_value_t = 0)]
    pause_ms: u64,
    /// Stop after so many lost datagrams: what comes after would say no more.
    #[arg(long, default_value_t = 10)]
    give_up: usize,
    /// Time to live, or hop limit, of what is sent.
    #[arg(long)]
    ttl: Option<u32>,
}

/// What came of it.
#[derive(Serialize, Default)]
pub struct Report {
    /// Datagrams that came back whole, at the first or second attempt.
    pub answered: usize,
    /// Sizes that needed the second attempt (a kernel learns a path MTU by losing one datagram).
    pub retried: Vec<usize>,
    /// Sizes that never came back.
    pub lost: Vec<usize>,
    /// Sizes that came back with other bytes.
    pub wrong: Vec<usize>,
    /// Errors that the socket told, such as "Connection refused" after an ICMP port unreachable.
    pub errors: Vec<String>,
}

/// Any address and port of the target's family.
#[must_use]
pub fn any_of(target: SocketAddr) -> SocketAddr {
    let any = if target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    SocketAddr::new(any, 0)
}

impl Exchange {
    /// Runs it.
    ///
    /// # Errors
    /// No socket.
    pub fn run(&self) -> Outcome<Report> {
        let mut report = Report::default();
        let mut socket = self.socket()?;
        for _ in 0..self.rounds {
            for len in (self.from..=self.to).step_by(self.step) {
                if self.fresh {
                    socket = self.socket()?;
                }
                self.exchange(&socket, len, &mut report);
                if report.lost.len() >= self.give_up || report.retried.len() >= self.give_up {
                    return Ok(report);
                }
                std::thread::sleep(Duration::from_millis(self.pause_ms));
            }
        }
        Ok(report)
    }

    fn socket(&self) -> Outcome<UdpSocket> {
        let socket = UdpSocket::bind(any_of(self.target))?;
        socket.connect(self.target)?;
        socket.set_read_timeout(Some(Duration::from_millis(self.timeout_ms)))?;
        match self.ttl {
            Some(ttl) if self.target.is_ipv6() => SockRef::from(&socket).set_unicast_hops_v6(ttl)?,
            Some(ttl) => socket.set_ttl(ttl)?,
            None => {}
        }
        Ok(socket)
    }

    fn exchange(&self, socket: &UdpSocket, len: usize, report: &mut Report) {
        let sent = pattern(len);
        for attempt in 0..2 {
            match self.attempt(socket, &sent) {
                Ok(true) if attempt == 0 => report.answered += 1,
                Ok(true) => {
                    report.answered += 1;
                    report.retried.push(len);
                }
                Ok(false) => report.wrong.push(len),
                Err(error) => {
                    if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) {
                        report.errors.push(error.to_string());
                    }
                    continue;
                }
            }
            return;
        }
        report.lost.push(len);
    }

    /// True if the same bytes came back; false if others of the same length did.
    fn attempt(&self, socket: &UdpSocket, sent: &[u8]) -> std::io::Result<bool> {
        socket.send(sent)?;
        let mut buffer = vec![0; sent.len() + 1];
        let limit = Duration::from_millis(self.timeout_ms);
        let start = clock::now();
        loop {
            let len = socket.recv(&mut buffer)?;
            // The answer to an earlier attempt has another length: not ours.
            if len == sent.len() {
                return Ok(buffer[..len] == *sent);
            }
            if start.elapsed() > limit {
                return Err(ErrorKind::TimedOut.into());
            }
        }
    }
}
