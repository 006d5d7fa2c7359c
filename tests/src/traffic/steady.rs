//! One connection (or UDP socket) on which a small message goes to and fro, and the longest wait for an answer.

use crate::traffic::packet::pattern;
use crate::{Failure, Outcome, clock};
use clap::Args;
use serde::Serialize;
use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

/// Talks to an echo server until the `until` file exists, and a few messages more.
#[derive(Args)]
pub struct Steady {
    /// The echo server.
    target: SocketAddrV4,
    /// Datagrams rather than a connection.
    #[arg(long)]
    udp: bool,
    /// Pause between two messages.
    #[arg(long, default_value_t = 5)]
    pause_ms: u64,
    /// The file whose appearance ends it.
    #[arg(long)]
    until: PathBuf,
}

/// Messages after the end was asked for: whatever happened before, they must come back.
const AFTERWARDS: usize = 10;

/// Sends a message and tells whether it came back.
type Exchange = Box<dyn FnMut(&[u8]) -> Outcome<bool>>;

/// What came of it.
#[derive(Serialize, Default)]
pub struct Report {
    /// Messages that came back.
    pub answered: usize,
    /// Datagrams that did not (TCP ends at the first failure).
    pub lost: usize,
    /// The longest wait for an answer.
    pub slowest_ms: u128,
}

impl Steady {
    /// Runs it; prints `ready` after the first answer.
    ///
    /// # Errors
    /// No connection, or it broke.
    pub fn run(&self) -> Outcome<Report> {
        let mut exchange: Exchange = if self.udp { Box::new(udp(self.target)?) } else { Box::new(tcp(self.target)?) };
        let mut report = Report::default();
        let message = pattern(64);
        let mut left = AFTERWARDS;
        while left > 0 {
            left -= usize::from(self.until.exists());
            let start = clock::now();
            if exchange(&message)? {
                report.answered += 1;
            } else {
                report.lost += 1;
            }
            report.slowest_ms = report.slowest_ms.max(start.elapsed().as_millis());
            if report.answered + report.lost == 1 {
                println!("ready");
            }
            std::thread::sleep(Duration::from_millis(self.pause_ms));
        }
        Ok(report)
    }
}

fn tcp(target: SocketAddrV4) -> Outcome<impl FnMut(&[u8]) -> Outcome<bool>> {
    let mut stream = TcpStream::connect(target)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut buffer = vec![0; 64];
    Ok(move |message: &[u8]| {
        stream.write_all(message)?;
        stream.read_exact(&mut buffer)?;
        if buffer != message {
            return Err(Failure::new("other bytes came back"));
        }
        Ok(true)
    })
}

fn udp(target: SocketAddrV4) -> Outcome<impl FnMut(&[u8]) -> Outcome<bool>> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(target)?;
    socket.set_read_timeout(Some(Duration::from_millis(500)))?;
    let mut buffer = vec![0; 128];
    Ok(move |message: &[u8]| {
        socket.send(message)?;
        Ok(socket.recv(&mut buffer).is_ok_and(|len| buffer[..len] == *message))
    })
}
