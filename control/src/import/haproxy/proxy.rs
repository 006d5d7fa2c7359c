//! One frontend, backend or listen.

use std::time::Duration;

use super::check::HttpCheck;
use super::words::{Line, Section};
use super::{keywords, server};
use crate::import::draft::{Backend, Check};
use crate::import::notes::Notes;

/// What its lines say; those of `defaults` are the beginning.
#[derive(Debug, Clone, Default)]
pub struct Proxy {
    /// Where it begins.
    pub line: usize,
    /// `frontend`, `backend`, `listen` or `defaults`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// `mode http`
    pub http: bool,
    /// `address:port/tcp`, each with its line.
    pub listens: Vec<(usize, String)>,
    /// Its servers.
    pub servers: Vec<Backend>,
    /// With its line.
    pub default_backend: Option<(usize, String)>,
    balance: Option<&'static str>,
    consistent: bool,
    stick_on_source: bool,
    stick_expires: Option<Duration>,
    client: Option<Duration>,
    server: Option<Duration>,
    tunnel: Option<Duration>,
    check_timeout: Option<Duration>,
    http_check: Option<HttpCheck>,
    /// Lines of servers that want a PROXY header of version 2.
    introduced: Vec<usize>,
    /// Of servers; the first that is checked says how.
    checks: Vec<(usize, server::Checked)>,
    default_server: Vec<String>,
}

impl Proxy {
    /// Takes a section over.
    pub fn take(&mut self, section: &Section, notes: &mut Notes<'_>) {
        let head = &section.head;
        (self.line, self.kind, self.name) = (head.number, head.word(0).to_owned(), head.word(1).to_owned());
        if ["frontend", "listen"].contains(&head.word(0)) && head.words.len() > 2 {
            self.bind(head, 2, notes);
        }
        for line in &section.lines {
            self.set(line, notes);
        }
    }

    fn set(&mut self, line: &Line, notes: &mut Notes<'_>) {
        match (line.word(0), line.word(1)) {
            ("bind", _) => self.bind(line, 1, notes),
            ("server", _) => self.server(line, notes),
            ("default-server", _) => self.default_server = line.words.iter().skip(1).cloned().collect(),
            ("mode", mode) => self.http = mode == "http",
            ("balance", _) => self.balance(line, notes),
            ("hash-type", kind) => self.consistent = kind == "consistent",
            ("timeout", which) => self.timeout(which, line, notes),
            ("default_backend", name) => self.default_backend = Some((line.number, name.to_owned())),
            ("option", "httpchk") => self.http_check.get_or_insert_default().option(line, notes),
            ("option", kind) if keywords::OTHER_CHECKS.contains(&kind) => {
                // The last one counts.
                self.http_check = None;
                notes.extend_if(line.number, keywords::why_not(line));
            }
            ("http-check", _) => self.http_check.get_or_insert_default().rule(line, notes),
            ("stick-table", _) => {
                self.stick_expires = line.after("expire").and_then(server::time);
                if !matches!(line.after("type"), Some("ip" | "ipv6")) {
                    notes.add(line.number, "only the clients' addresses are remembered");
                }
            }
            ("stick", "on") if line.word(2) == "src" => self.stick_on_source = true,
            ("disabled", _) => notes.add(line.number, "not carried over: a service serves while it is in the config"),
            _ => notes.extend_if(line.number, keywords::why_not(line)),
        }
    }

    fn bind(&mut self, line: &Line, at: usize, notes: &mut Notes<'_>) {
        if line.has("ssl") {
            return notes.add(line.number, "TLS ends at the servers: this bind was left out");
        }
        if line.has("accept-proxy") {
            notes.add(line.number, "PROXY headers of clients are passed on to the servers as they are");
        }
        for place in line.word(at).split(',').filter(|place| !place.is_empty()) {
            match server::listens(place, line) {
                Ok(listens) => self.listens.extend(listens.into_iter().map(|listen| (line.number, listen))),
                Err(why) => notes.add(line.number, why),
            }
        }
    }

    fn server(&mut self, line: &Line, notes: &mut Notes<'_>) {
        let mut line = line.clone();
        // What the server says itself comes first, and the first counts.
        line.words.extend(self.default_server.iter().cloned());
        let Some((backend, checked)) = server::read(&line, notes) else { return };
        if server::PROXY_V2.iter().any(|word| line.has(word)) && !line.has("no-send-proxy-v2") {
            self.introduced.push(line.number);
        }
        self.checks.extend(checked.map(|checked| (line.number, checked)));
        self.servers.push(backend);
    }

    fn balance(&mut self, line: &Line, notes: &mut Notes<'_>) {
        self.balance = Some(match line.word(1) {
            "leastconn" => "wlc",
            "source" => "sh",
            "first" => {
                notes.add(
                    line.number,
                    "`fo` comes near it: the greatest weight gets everything, the next when it is full",
                );
                "fo"
            }
            word if word.starts_with("random") => "twos",
            "roundrobin" | "static-rr" => "wrr",
            _ => {
                notes.add(
                    line.number,
                    "it looks into HTTP or payload, which an L4 gateway does not: `wrr` in its place",
                );
                "wrr"
            }
        });
    }

    fn timeout(&mut self, which: &str, line: &Line, notes: &mut Notes<'_>) {
        let time = server::time(line.word(2));
        match which {
            "client" => self.client = time,
            "server" => self.server = time,
            "tunnel" => self.tunnel = time,
            "check" => self.check_timeout = time,
            "connect" | "queue" => {
                notes.add(line.number, "clients connect to the servers themselves, and no one queues");
            }
            "client-fin" | "server-fin" => notes.add(line.number, "see `tcp_fin_wait` in [timeouts], for all services"),
            _ => notes.add(line.number, "about HTTP: nothing looks into it"),
        }
    }

    /// Sluicegate's word.
    pub fn scheduler(&self) -> &'static str {
        match self.balance {
            Some("sh") if self.consistent => "mh",
            // HAProxy's own.
            None if self.http || !self.servers.is_empty() => "wrr",
            other => other.unwrap_or("wrr"),
        }
    }

    /// `stick on src` with its table's `expire`.
    pub fn persistence(&self) -> Option<(Duration, Option<u8>)> {
        let time = self.stick_expires.unwrap_or(Duration::from_hours(24));
        self.stick_on_source.then_some((time, None))
    }

    /// Whether backends get a PROXY header: all of them, or none.
    pub fn proxy_protocol(&self, notes: &mut Notes<'_>) -> bool {
        let all = self.introduced.len() == self.servers.len();
        for line in self.introduced.iter().filter(|_| !all) {
            notes.add(
                *line,
                "all backends of a service get PROXY headers, or none: none, since not all servers have this",
            );
        }
        all && !self.servers.is_empty()
    }

    /// How long a connection may be idle: HAProxy ends it when either side was silent for so long.
    pub fn idle(&self, back: &Proxy) -> Option<Duration> {
        let tunnel = back.tunnel.or(self.tunnel);
        tunnel.or_else(|| [self.client, back.server].into_iter().flatten().min())
    }

    /// The check of its servers, if any is checked.
    pub fn check(&self, notes: &mut Notes<'_>) -> Option<Check> {
        let (_, first) = self.checks.first()?;
        for (line, other) in &self.checks {
            if other != first {
                notes.add(*line, "all backends of a service are checked in the same way: as the first that is checked");
            }
        }
        if self.checks.len() < self.servers.len() {
            notes.add(self.line, "all backends of a service are checked, or none: those without `check` are too");
        }
        let mut check = Check {
            kind: "tcp",
            port: first.port,
            interval: first.interval,
            timeout: self.check_timeout,
            rise: first.rise,
            fall: first.fall,
            ..Check::default()
        };
        if let Some(http) = &self.http_check {
            http.put(first.tls, &mut check);
        }
        Some(check)
    }
}
