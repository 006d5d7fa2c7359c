//! One long connection to a task, to see when and how it ends.

use crate::{Failure, Outcome, clock};
use clap::Args;
use serde::Serialize;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::time::Duration;

/// Asks a task (`traffic task`) to speak on and on, and listens.
#[derive(Args)]
pub struct Stay {
    /// Where to.
    target: SocketAddrV4,
    /// How long to wait for the end when nothing comes any more.
    #[arg(long, default_value_t = 90_000)]
    limit_ms: u64,
}

/// What came of it.
#[derive(Serialize)]
pub struct Report {
    /// Lines that came.
    pub lines: usize,
    /// `closed`, or the socket's error.
    pub ended: String,
    /// Between the last line and the end.
    pub silent_ms: u128,
}

impl Stay {
    /// Runs it; prints `ready NAME` with the first line.
    ///
    /// # Errors
    /// No connection, or not a word.
    pub fn run(&self) -> Outcome<Report> {
        let mut stream = TcpStream::connect(self.target)?;
        stream.set_read_timeout(Some(Duration::from_millis(self.limit_ms)))?;
        stream.write_all(b"GET /stay HTTP/1.0\r\n\r\n")?;
        let mut lines = BufReader::new(stream).lines();
        let first = lines.next().ok_or_else(|| Failure::new("not a word"))??;
        println!("ready {}", crate::swarm::name_in(&first));
        let (mut count, mut last) = (1, clock::now());
        let ended = loop {
            match lines.next() {
                Some(Ok(_)) => (count, last) = (count + 1, clock::now()),
                Some(Err(error)) => break word(&error),
                None => break "closed".to_owned(),
            }
        };
        Ok(Report { lines: count, ended, silent_ms: last.elapsed().as_millis() })
    }
}

/// `reset`, or what the system says.
#[must_use]
pub fn word(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::ConnectionReset { "reset".to_owned() } else { error.to_string() }
}
