//! One connection that falls silent, to see how and when it ends.

use crate::traffic::packet::pattern;
use crate::{Outcome, clock};
use clap::Args;
use serde::Serialize;
use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::time::Duration;

/// Connects to an echo server, exchanges a message or some, then waits.
#[derive(Args)]
pub struct Idle {
    /// The echo server.
    target: SocketAddrV4,
    /// How many messages, one after the other.
    #[arg(long, default_value_t = 1)]
    messages: usize,
    /// How long to wait for the end.
    #[arg(long, default_value_t = 10_000)]
    limit_ms: u64,
}

/// What came of it.
#[derive(Serialize)]
pub struct Report {
    /// `closed`, or the socket's error.
    pub ended: String,
    /// How long after the last message.
    pub after_ms: u128,
}

impl Idle {
    /// Runs it; prints `ready` once all messages are back.
    ///
    /// # Errors
    /// No connection.
    pub fn run(&self) -> Outcome<Report> {
        let mut stream = TcpStream::connect(self.target)?;
        let message = pattern(64);
        let mut buffer = vec![0; message.len()];
        for _ in 0..self.messages {
            stream.write_all(&message)?;
            stream.read_exact(&mut buffer)?;
        }
        println!("ready");
        let start = clock::now();
        stream.set_read_timeout(Some(Duration::from_millis(self.limit_ms)))?;
        let ended = match stream.read(&mut buffer) {
            Ok(0) => "closed".into(),
            Ok(_) => "unexpected data".into(),
            Err(error) => error.to_string(),
        };
        Ok(Report { ended, after_ms: start.elapsed().as_millis() })
    }
}
