//! A steady load: one request after another, each on a connection of its own, and every failure counted.

use crate::clock;
use crate::traffic::udp::any_of;
use clap::Args;
use serde::Serialize;
use socket2::{Domain, Socket, Type};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long a request may take: several retransmissions of a SYN.
const LIMIT: Duration = Duration::from_secs(5);

/// Sends requests until a file appears.
#[derive(Args)]
pub struct Requests {
    /// Where to.
    target: SocketAddr,
    /// Stops when this file exists.
    #[arg(long)]
    until: PathBuf,
    /// Between two requests.
    #[arg(long, default_value_t = 20)]
    pause_ms: u64,
    /// How many clients do so at the same time.
    #[arg(long, default_value_t = 1)]
    at_once: usize,
    /// Datagrams on one socket instead: one flow.
    #[arg(long)]
    udp: bool,
    /// How long to wait for a datagram.
    #[arg(long, default_value_t = 500)]
    wait_ms: u64,
    /// Prints a line whenever a second has passed.
    #[arg(long)]
    live: bool,
}

/// What came of it.
#[derive(Serialize, Default)]
pub struct Report {
    /// Requests that were answered.
    pub succeeded: usize,
    /// Requests that were not.
    pub failed: usize,
    /// The failures: milliseconds after the start, and why.
    pub failures: Vec<String>,
    /// Who answered how often.
    pub answers: BTreeMap<String, usize>,
    /// The slowest answer.
    pub slowest_ms: u128,
}

impl Requests {
    /// Runs it; prints `ready NAME` with the first answer, `moved NAME` when a datagram was answered by another task.
    #[must_use]
    pub fn run(&self) -> Report {
        let total = Mutex::new(Report::default());
        std::thread::scope(|scope| {
            for _ in 0..self.at_once {
                scope.spawn(|| self.work(&total));
            }
            if self.live {
                self.tell(&total);
            }
        });
        total.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, total: &Mutex<Report>) {
        let start = clock::now();
        let socket = UdpSocket::bind(any_of(self.target));
        while !self.until.exists() {
            let began = clock::now();
            let answer = match (&socket, self.udp) {
                (Ok(socket), true) => datagram(socket, self.target, Duration::from_millis(self.wait_ms)),
                _ => request(self.target),
            };
            let mut report = total.lock().unwrap_or_else(PoisonError::into_inner);
            match answer {
                Ok(name) => {
                    self.tell_of_first(&report, &name);
                    report.succeeded += 1;
                    *report.answers.entry(name).or_default() += 1;
                    report.slowest_ms = report.slowest_ms.max(began.elapsed().as_millis());
                }
                Err(error) => {
                    report.failed += 1;
                    report.failures.push(format!("{} ms: {error}", (began - start).as_millis()));
                }
            }
            drop(report);
            std::thread::sleep(Duration::from_millis(self.pause_ms));
        }
    }

    /// The first answer, and with datagrams, which are one flow, the first of another task.
    fn tell_of_first(&self, so_far: &Report, name: &str) {
        let word = match so_far.answers.len() {
            0 if !self.live => "ready",
            1 if self.udp && !so_far.answers.contains_key(name) => "moved",
            _ => return,
        };
        println!("{word} {name}");
    }

    /// A line a second.
    fn tell(&self, total: &Mutex<Report>) {
        let mut second = 0;
        while !self.until.exists() {
            std::thread::sleep(Duration::from_secs(1));
            second += 1;
            let report = total.lock().unwrap_or_else(PoisonError::into_inner);
            println!("  {second:>3} s: {} answered, {} failed", report.succeeded, report.failed);
        }
    }
}

fn name(answer: &str) -> io::Result<String> {
    let name = answer.lines().rev().find_map(|line| line.strip_prefix("I am ")?.split(',').next());
    name.map(str::to_owned).ok_or_else(|| io::Error::other(format!("no answer, but {answer:?}")))
}

fn request(target: SocketAddr) -> io::Result<String> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, None)?;
    socket.connect_timeout(&target.into(), LIMIT)?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    name(&answer)
}

fn datagram(socket: &UdpSocket, target: SocketAddr, wait: Duration) -> io::Result<String> {
    socket.set_read_timeout(Some(wait))?;
    socket.send_to(b"who", target)?;
    let mut buffer = [0; 2048];
    let (len, _) = socket.recv_from(&mut buffer)?;
    name(&String::from_utf8_lossy(&buffer[..len]))
}
