//! Many connections, one request on each.

use crate::clock;
use clap::Args;
use serde::Serialize;
use socket2::{Domain, Socket, Type};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How long one connection may take in all.
const LIMIT: Duration = Duration::from_secs(10);
/// Clients are many and shallow.
const STACK_BYTES: usize = 128 * 1024;

/// Opens connections, `at_once` of them at a time.
#[derive(Args)]
pub struct Load {
    /// Where to.
    target: SocketAddr,
    /// How many in all.
    #[arg(long, default_value_t = 1)]
    count: usize,
    /// How many at a time.
    #[arg(long, default_value_t = 1)]
    at_once: usize,
    /// Addresses to connect from, in turn.
    #[arg(long)]
    source: Vec<IpAddr>,
    /// How long to stay connected between connect and request.
    #[arg(long, default_value_t = 0)]
    hold_ms: u64,
    /// Path to ask for.
    #[arg(long, default_value = "/")]
    path: String,
}

/// What came of it.
#[derive(Serialize, Default)]
pub struct Report {
    /// Requests that were answered with 200.
    pub succeeded: usize,
    /// Requests that were not.
    pub failed: usize,
    /// The failures' reasons, with their numbers.
    pub reasons: BTreeMap<String, usize>,
    /// Bodies of the answers, with their numbers.
    pub answers: BTreeMap<String, usize>,
    /// The slowest one.
    pub slowest_ms: u128,
    /// From the first connect to the last answer.
    pub took_ms: u128,
}

impl Load {
    /// Runs it.
    #[must_use]
    pub fn run(&self) -> Report {
        let start = clock::now();
        let next = AtomicUsize::new(0);
        let mut total = Report::default();
        std::thread::scope(|scope| {
            let spawn = |_| {
                let work = || self.work(&next);
                std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, work)
            };
            let workers: Vec<_> = (0..self.at_once).map(spawn).collect();
            for worker in workers {
                match worker.map(std::thread::ScopedJoinHandle::join) {
                    Ok(Ok(report)) => total.add(report),
                    Ok(Err(_)) => total.fail("a worker panicked".into()),
                    Err(error) => total.fail(format!("no thread: {error}")),
                }
            }
        });
        total.took_ms = start.elapsed().as_millis();
        total
    }

    fn work(&self, next: &AtomicUsize) -> Report {
        let mut report = Report::default();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= self.count {
                return report;
            }
            let start = clock::now();
            match self.request(index) {
                Ok(body) => {
                    report.succeeded += 1;
                    *report.answers.entry(body).or_default() += 1;
                }
                Err(error) => report.fail(error.to_string()),
            }
            report.slowest_ms = report.slowest_ms.max(start.elapsed().as_millis());
        }
    }

    fn request(&self, index: usize) -> io::Result<String> {
        let socket = Socket::new(Domain::for_address(self.target), Type::STREAM, None)?;
        if let Some(source) = self.source.get(index % self.source.len().max(1)) {
            socket.bind(&SocketAddr::new(*source, 0).into())?;
        }
        socket.connect_timeout(&self.target.into(), LIMIT)?;
        let mut stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(LIMIT))?;
        std::thread::sleep(Duration::from_millis(self.hold_ms));
        stream.write_all(format!("GET {} HTTP/1.0\r\n\r\n", self.path).as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let Some((head, body)) = answer.split_once("\r\n\r\n") else {
            return Err(io::Error::other(format!("cut off after {} bytes", answer.len())));
        };
        if !head.starts_with("HTTP/1.1 200") {
            return Err(io::Error::other(head.lines().next().unwrap_or_default().to_owned()));
        }
        Ok(body.trim().to_owned())
    }
}

impl Report {
    fn fail(&mut self, reason: String) {
        self.failed += 1;
        *self.reasons.entry(reason).or_default() += 1;
    }

    fn add(&mut self, other: Report) {
        self.succeeded += other.succeeded;
        self.failed += other.failed;
        self.slowest_ms = self.slowest_ms.max(other.slowest_ms);
        for (reason, count) in other.reasons {
            *self.reasons.entry(reason).or_default() += count;
        }
        for (answer, count) in other.answers {
            *self.answers.entry(answer).or_default() += count;
        }
    }
}
