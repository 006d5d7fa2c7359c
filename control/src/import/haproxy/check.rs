//! `option httpchk` and `http-check`.

use super::words::Line;
use crate::import::draft::Check;
use crate::import::notes::Notes;

/// What they say.
#[derive(Debug, Clone, Default)]
pub struct HttpCheck {
    /// `option httpchk`: without it, the rules mean nothing.
    asked: Option<Request>,
    /// `http-check send`, which comes first.
    sent: Request,
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

    /// `http-check send …`, `http-check expect …`
    pub fn rule(&mut self, line: &Line, notes: &mut Notes<'_>) {
        match line.word(1) {
            "send" => self.send(line, notes),
            "expect" => self.expect(line, notes),
            "disable-on-404" => notes.add(line.number, "not carried over: 404 fails a check"),
            "comment" => {}
            _ => notes.add(line.number, "checks send one GET and look at its answer"),
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

    /// Makes the check one of HTTP.
    pub fn put(&self, tls: bool, check: &mut Check, notes: &mut Notes<'_>) {
        let requests = || [Some(&self.sent), self.asked.as_ref()].into_iter().flatten();
        let line = self.asked.as_ref().map_or(self.sent.line, |asked| asked.line);
        let method = requests().find_map(|request| Some((request.line, request.method.as_deref()?)));
        let (method_line, method) = method.unwrap_or((line, "OPTIONS"));
        if method != "GET" {
            notes.add(method_line, format!("checks send GET, not {method}"));
        }
        let path = requests().find_map(|request| Some((request.line, request.path.as_deref()?)));
        if let Some((line, path)) = path.filter(|(_, path)| !path.starts_with('/')) {
            notes.add(line, format!("checks ask for a path: / in the place of {path}"));
        }
        check.kind = if tls { "https" } else { "http" };
        check.path = path.map(|(_, path)| path.to_owned()).filter(|path| path.starts_with('/'));
        check.host = requests().find_map(|request| request.host.clone());
        check.status.clone_from(&self.status);
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
