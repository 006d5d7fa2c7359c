//! One frontend, backend or listen.

use std::time::Duration;

use super::bind::Bind;
use super::check::HttpCheck;
use super::options::Options;
use super::server::Server;
use super::tables::{Stick, Table};
use super::words::{Line, Section};
use super::{alike, bind, keywords, known, server};
use crate::import::draft::Check;
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
    /// Where it listens.
    pub binds: Vec<Bind>,
    /// Its servers.
    pub servers: Vec<Server>,
    /// How many were left out that are no backups.
    pub lost: usize,
    /// Whom all go to whom no rule sends elsewhere, with its line.
    pub default_backend: Option<(usize, String)>,
    /// The line that says `disabled`.
    pub disabled: Option<usize>,
    /// `rate-limit sessions`, with its line.
    pub rate: Option<(usize, u32)>,
    /// `stick-table`
    pub table: Option<Table>,
    /// `stick on src`
    pub stick: Option<Stick>,
    /// The `use_backend` that says no condition.
    leads_all: Option<usize>,
    balance: Option<&'static str>,
    consistent: bool,
    client: Option<Duration>,
    server: Option<Duration>,
    tunnel: Option<Duration>,
    check_timeout: Option<Duration>,
    http_check: HttpCheck,
    /// Of all `default-server` lines so far.
    default_server: Options,
}

impl Proxy {
    /// Takes a section over.
    pub fn take(&mut self, section: &Section, notes: &mut Notes<'_>) {
        let head = &section.head;
        (self.line, self.kind, self.name) = (head.number, head.word(0).to_owned(), head.word(1).to_owned());
        let is_address = head.words.len() > 2 && head.word(2) != "from";
        if ["frontend", "listen"].contains(&head.word(0)) && is_address {
            self.binds.extend(bind::read(head, 2, notes));
        }
        self.http_check.begin();
        for line in &section.lines {
            self.set(line, notes);
        }
    }

    fn set(&mut self, line: &Line, notes: &mut Notes<'_>) {
        match (line.word(0), line.word(1)) {
            ("bind", _) => self.binds.extend(bind::read(line, 1, notes)),
            ("server", _) => self.server(line, notes),
            ("server-template", _) => {
                let options = self.default_server.then(Options::read(line, 4, known::SERVER));
                self.lost += usize::from(options.on("backup").is_none());
                notes.extend_if(line.number, keywords::why_not(line));
            }
            ("default-server", _) => {
                self.default_server = self.default_server.then(Options::read(line, 1, known::SERVER));
            }
            ("mode", mode) => self.http = mode == "http",
            ("balance", _) => self.balance(line, notes),
            ("hash-type", kind) => self.consistent = kind == "consistent",
            ("timeout", which) => self.timeout(which, line, notes),
            ("use_backend" | "default_backend", _) => self.lead(line, notes),
            ("option", "httpchk") => self.http_check.option(line, notes),
            ("option", kind) if keywords::OTHER_CHECKS.contains(&kind) => {
                // The last one counts.
                self.http_check.forget();
                notes.extend_if(line.number, keywords::why_not(line));
            }
            ("no", "option") if line.word(2) == "httpchk" => self.http_check.forget(),
            ("http-check", _) => self.http_check.rule(line, notes),
            ("stick-table", _) => self.table = Some(Table::read(line, notes)),
            ("stick", "on") if line.word(2) == "src" => self.stick = Some(Stick::read(line, notes)),
            ("rate-limit", "sessions") => self.rate(line, notes),
            ("disabled", _) => self.disabled = Some(line.number),
            ("enabled", _) => self.disabled = None,
            _ => notes.extend_if(line.number, keywords::why_not(line)),
        }
    }

    fn server(&mut self, line: &Line, notes: &mut Notes<'_>) {
        let options = self.default_server.then(Options::read(line, 3, known::SERVER));
        match server::read(line, &options, notes) {
            Some(server) => self.servers.push(server),
            None => self.lost += usize::from(options.on("backup").is_none()),
        }
    }

    /// `use_backend` without a condition is a `default_backend` that comes before what is said later, and before that one.
    fn lead(&mut self, line: &Line, notes: &mut Notes<'_>) {
        let is_default = line.word(0) == "default_backend";
        let leads_all = !is_default && line.words.len() == 2 && !line.word(1).contains("%[");
        if let Some(first) = self.leads_all {
            return notes.add(line.number, format!("it never counts: line {first} leads everybody to its backend"));
        }
        if !is_default && !leads_all {
            return notes.extend_if(line.number, keywords::why_not(line));
        }
        if leads_all {
            self.leads_all = Some(line.number);
            // That of `defaults` is for others too.
            let own = self.default_backend.as_ref().map(|(own, _)| *own).filter(|own| *own > self.line);
            if let Some(own) = own {
                notes.add(own, format!("it never counts: line {} leads everybody to its backend", line.number));
            }
        }
        self.default_backend = Some((line.number, line.word(1).to_owned()));
    }

    fn rate(&mut self, line: &Line, notes: &mut Notes<'_>) {
        // 0 is any number.
        self.rate = line.word(2).parse().ok().filter(|rate| *rate > 0).map(|rate| (line.number, rate));
        if self.rate.is_some() {
            notes.add(line.number, "who comes beyond `rate` is not answered: no one queues");
        }
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
            other => other.unwrap_or("wrr"),
        }
    }

    /// How long a connection may be idle: HAProxy ends it when either side was silent for so long.
    pub fn idle(&self, back: &Proxy) -> Option<Duration> {
        // A tunnel is the backend's affair.
        back.tunnel.or_else(|| [self.client, back.server].into_iter().flatten().min())
    }

    /// The check of its servers, if any is checked.
    pub fn check(&self, notes: &mut Notes<'_>) -> Option<Check> {
        alike::check(&self.servers, self.line, self.check_timeout, &self.http_check, notes)
    }
}
