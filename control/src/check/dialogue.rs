//! What is said on a probe's connection, step by step.

use smoltcp::socket::tcp::{Socket, State};

use super::Target;
use super::http::{Reader, Verdict, request};
use super::stack::Stack;
use super::tls::Tls;
use crate::config::{CheckKind, UdpCheck};

use memchr::memmem;

/// How far a conversation has come.
pub enum Dialogue {
    /// A TCP connection.
    Stream {
        /// It was open once.
        opened: bool,
        /// What is still to be sent before all else.
        greeting: Vec<u8>,
        /// What is said on it.
        talk: Talk,
    },
    /// A datagram was sent.
    Datagram(UdpCheck),
}

/// What is said on a TCP connection.
pub enum Talk {
    /// Nothing: that it opens is enough.
    Connect,
    /// HTTP. The request is empty once it is sent.
    Http(Vec<u8>, Box<Reader>),
    /// HTTP inside TLS.
    Https(Box<Tls>, Box<Reader>),
    /// There is no TLS to be had, for this reason.
    Hopeless(String),
}

impl Dialogue {
    /// What a target's check asks.
    pub fn new(target: &Target) -> Dialogue {
        let http = match &target.check.kind {
            CheckKind::Tcp => return Dialogue::stream(target, Talk::Connect),
            CheckKind::Udp(udp) => return Dialogue::Datagram(udp.clone()),
            CheckKind::Http(http) => http,
        };
        let request = request(http, target.real);
        let reader = Box::new(Reader::new(http));
        let talk = if http.tls {
            match Tls::new(http, target.real, &request) {
                Ok(tls) => Talk::Https(Box::new(tls), reader),
                Err(error) => Talk::Hopeless(format!("TLS: {error}")),
            }
        } else {
            Talk::Http(request, reader)
        };
        Dialogue::stream(target, talk)
    }

    fn stream(target: &Target, talk: Talk) -> Dialogue {
        Dialogue::Stream { opened: false, greeting: target.greeting().to_vec(), talk }
    }

    /// Goes as far as it can; the verdict once there is one.
    pub fn advance(&mut self, stack: &mut Stack) -> Option<Verdict> {
        match self {
            Dialogue::Datagram(udp) => stack.received().map(|answer| judge_datagram(udp, &answer)),
            Dialogue::Stream { opened, greeting, talk } => {
                let socket = stack.tcp();
                match socket.state() {
                    State::SynSent | State::SynReceived => return None,
                    State::Closed if !*opened => return Some((false, "connection refused".to_owned())),
                    _ => *opened = true,
                }
                if greet(greeting, matches!(talk, Talk::Connect), socket) { talk.advance(socket) } else { None }
            }
        }
    }

    /// What had not come when the time was up.
    pub fn missing(&self) -> &'static str {
        match self {
            Dialogue::Stream { opened: false, .. } => "no answer to SYN",
            Dialogue::Stream { talk: Talk::Https(tls, _), .. } if !tls.is_open() => "no TLS handshake",
            Dialogue::Stream { .. } => "no complete answer",
            Dialogue::Datagram(_) => "no answer",
        }
    }
}

/// Sends the greeting. False: it is still under way, and what follows waits for that.
fn greet(greeting: &mut Vec<u8>, must_arrive: bool, socket: &mut Socket<'_>) -> bool {
    if !greeting.is_empty()
        && let Ok(sent) = socket.send_slice(greeting)
    {
        greeting.drain(..sent);
    }
    greeting.is_empty() && !(must_arrive && socket.may_send() && socket.send_queue() > 0)
}

impl Target {
    /// What it gets before all else.
    pub(super) fn greeting(&self) -> &'static [u8] {
        if self.greeted { &wire::LOCAL_PROXY_HEADER } else { &[] }
    }
}

impl Talk {
    fn advance(&mut self, socket: &mut Socket<'_>) -> Option<Verdict> {
        let verdict = match self {
            Talk::Connect => return Some((true, "connected".to_owned())),
            Talk::Hopeless(why) => return Some((false, why.clone())),
            Talk::Http(request, reader) => http(request, reader, socket),
            Talk::Https(tls, reader) => tls.advance(socket, reader),
        };
        if verdict.is_some() || socket.may_recv() {
            return verdict;
        }
        let (Talk::Http(_, reader) | Talk::Https(_, reader)) = self else { return None };
        match socket.state() {
            State::Closed => Some((false, "connection reset".to_owned())),
            _ => Some(reader.end()),
        }
    }
}

fn http(request: &mut Vec<u8>, reader: &mut Reader, socket: &mut Socket<'_>) -> Option<Verdict> {
    if let Ok(sent) = socket.send_slice(request) {
        request.drain(..sent);
    }
    while socket.can_recv() {
        // An error means that nothing is there, which the loop's condition has ruled out.
        let verdict = socket.recv(|bytes| (bytes.len(), reader.feed(bytes)));
        if let Ok(Some(verdict)) = verdict {
            return Some(verdict);
        }
    }
    None
}

fn judge_datagram(udp: &UdpCheck, answer: &[u8]) -> Verdict {
    match &udp.expect {
        Some(wanted) if memmem::find(answer, wanted).is_none() => {
            (false, format!("the answer of {} bytes lacks what is expected", answer.len()))
        }
        _ => (true, format!("answered {} bytes", answer.len())),
    }
}
