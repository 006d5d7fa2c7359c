//! `option httpchk` and `http-check`.

use super::connect::Connect;
use super::words::Line;
use crate::import::draft::Check;
use crate::import::notes::Notes;

const ONE: &str = "checks send one GET and look at its answer";
/// HAProxy asks for a status of its own only while no rule says what to expect.
const ANY_STATUS: &str = "100-599";

/// What they say.
#[derive(Debug, Clone, Default)]
pub struct HttpCheck {
    /// `option httpchk`: without it, the rules mean nothing.
    asked: Option<Request>,
    /// `http-check send`, which comes first.
    sent: Request,
    /// `http-check connect`
    connect: Option<Connect>,
    /// The section that is read has one already; and another, behind which rules are about a further request.
    connects: bool,
    goes_on: bool,
    status: Option<String>,
    body: Option<String>,
}

/// Parts of a request.
#[derive(Debug, Clone, Default)]
struct Request {
    line: usize,
    method: Option<String>,
    path: Option<String>,
    host: Option<String>,
}

impl HttpCheck {
    /// `option httpchk [METHOD] [URI [VERSION…]]`
    pub fn option(&mut self, line: &Line, notes: &mut Notes<'_>) {
        let words: Vec<&str> = line.words.iter().skip(2).map(String::as_str).collect();
        let (method, uri) = match words[..] {
            [] => (None, None),
            [uri] => (None, Some(uri)),
            [method, uri, ..] => (Some(method), Some(uri)),
        };
        let host = match words[..] {
            [_, _, _, host] if !host.contains(':') => Some(host.to_owned()),
            _ => host(&words.get(2..).unwrap_or_default().join(" "), line, notes),
        };
        let (method, path) = (method.map(str::to_owned), uri.map(str::to_owned));
        self.asked = Some(Request { line: line.number, method, path, host });
    }

    /// Another `option` took its place.
    pub fn forget(&mut self) {
        self.asked = None;
    }

    /// Whether it is HTTP that is asked.
    pub fn is_asked(&self) -> bool {
        self.asked.is_some()
    }

    /// Another section's rules come.
    pub fn begin(&mut self) {
        (self.connects, self.goes_on) = (false, false);
    }

    /// `http-check connect …`, `http-check send …`, `http-check expect …`
    pub fn rule(&mut self, line: &Line, notes: &mut Notes<'_>) {
        let connects = line.word(1) == "connect";
        self.goes_on |= connects && self.connects;
        match line.word(1) {
            _ if self.goes_on => notes.add(line.number, ONE),
            "connect" => {
                self.connects = true;
                self.connect = Some(Connect::read(line));
            }
            "send" => self.send(line, notes),
            "expect" => self.expect(line, notes),
            "disable-on-404" => notes.add(line.number, "not carried over: 404 fails a check"),
            "comment" => {}
            _ => notes.add(line.number, ONE),
        }
    }

    fn send(&mut self, line: &Line, notes: &mut Notes<'_>) {
        self.sent.line = line.number;
        let mut words = line.words.iter().skip(2);
        while let Some(word) = words.next() {
            let value = words.next().cloned().unwrap_or_default();
            match word.as_str() {
                "meth" => self.sent.method = Some(value),
                "uri" => self.sent.path = Some(value),
                "hdr" => {
                    let text = words.next().cloned().unwrap_or_default();
                    if value.eq_ignore_ascii_case("host") {
                        self.sent.host = Some(text);
                    } else {
                        note_header(&value, line, notes);
                    }
                }
                "ver" | "comment" => {}
                _ => notes.add(line.number, "checks send a GET with a path and a host, which are plain text"),
            }
        }
    }

    fn expect(&mut self, line: &Line, notes: &mut Notes<'_>) {
        const BEFORE: [&str; 8] = [
            "min-recv",
            "comment",
            "ok-status",
            "error-status",
            "tout-status",
            "on-success",
            "on-error",
            "status-code",
        ];
        let mut at = 2;
        while BEFORE.contains(&line.word(at)) {
            at += 2;
        }
        match line.word(at) {
            "status" => self.status = Some(line.word(at + 1).to_owned()),
            "string" => self.body = Some(line.rest(at + 1)),
            _ => notes.add(line.number, "a check expects a `status`, and a `body` that contains a text"),
        }
    }

    /// What `http-check send` says comes before what `option httpchk` says.
    fn requests(&self) -> impl Iterator<Item = &Request> {
        [Some(&self.sent), self.asked.as_ref()].into_iter().flatten()
    }

    fn host(&self) -> Option<&str> {
        self.requests().find_map(|request| request.host.as_deref())
    }

    /// Why it can't be asked of the server with this address, and the line that is to blame.
    pub fn fault(&self, server: &str) -> Option<(usize, String)> {
        self.connect.as_ref().filter(|_| self.is_asked())?.fault(server, self.host())
    }

    /// Makes the check one of HTTP, over TLS if the server's line says so and nothing else.
    pub fn put(&self, tls: bool, check: &mut Check, notes: &mut Notes<'_>) {
        let line = self.asked.as_ref().map_or(self.sent.line, |asked| asked.line);
        let method = self.requests().find_map(|request| Some((request.line, request.method.as_deref()?)));
        let (method_line, method) = method.unwrap_or((line, "OPTIONS"));
        if method != "GET" {
            notes.add(method_line, format!("checks send GET, not {method}"));
        }
        let path = self.requests().find_map(|request| Some((request.line, request.path.as_deref()?)));
        if let Some((line, path)) = path.filter(|(_, path)| !path.starts_with('/')) {
            notes.add(line, format!("checks ask for a path: / in the place of {path}"));
        }
        let tls = self.connect.as_ref().map_or(tls, |connect| connect.tls(tls));
        check.kind = if tls { "https" } else { "http" };
        check.port = self.connect.as_ref().and_then(|connect| connect.port).or(check.port);
        check.path = path.map(|(_, path)| path.to_owned()).filter(|path| path.starts_with('/'));
        let name = || self.connect.as_ref()?.name.as_deref();
        check.host = self.host().or_else(name).map(str::to_owned);
        let any = self.body.as_ref().map(|_| ANY_STATUS.to_owned());
        check.status = self.status.clone().or(any);
        check.body.clone_from(&self.body);
    }
}

fn note_header(name: &str, line: &Line, notes: &mut Notes<'_>) {
    notes.add(line.number, format!("of the headers checks send only `Host`: `{name}` was left out"));
}

/// `HTTP/1.1\r\nHost: www`
fn host(headers: &str, line: &Line, notes: &mut Notes<'_>) -> Option<String> {
    let mut host = None;
    for (name, value) in headers.split(['\r', '\n']).filter_map(|header| header.split_once(':')) {
        let (name, value) = (name.trim(), value.trim());
        if !name.eq_ignore_ascii_case("host") {
            note_header(name, line, notes);
        } else if !value.is_empty() {
            host = Some(value.to_owned());
        }
    }
    host
}
