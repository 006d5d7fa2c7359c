//! `option httpchk` and `http-check`.

use super::words::Line;
use crate::import::draft::Check;
use crate::import::notes::Notes;

/// What they say.
#[derive(Debug, Clone, Default)]
pub struct HttpCheck {
    path: Option<String>,
    host: Option<String>,
    status: Option<String>,
    body: Option<String>,
}

impl HttpCheck {
    /// `option httpchk [METHOD] [URI [VERSION…]]`
    pub fn option(&mut self, line: &Line, notes: &mut Notes<'_>) {
        let words: Vec<&str> = line.words.iter().skip(2).map(String::as_str).collect();
        let (method, uri) = match words[..] {
            [] => ("OPTIONS", "/"),
            [uri] => ("OPTIONS", uri),
            [method, uri, ..] => (method, uri),
        };
        check_method(method, line, notes);
        self.path = Some(uri.to_owned());
        self.host = words.get(2..).and_then(|headers| host(&headers.join(" "))).or(self.host.take());
    }

    /// `http-check send …`, `http-check expect …`
    pub fn rule(&mut self, line: &Line, notes: &mut Notes<'_>) {
        match (line.word(1), line.word(2)) {
            ("send", _) => {
                if let Some(method) = line.after("meth") {
                    check_method(method, line, notes);
                }
                self.path = line.after("uri").map(str::to_owned).or(self.path.take());
                let is_host = line.after("hdr").is_some_and(|name| name.eq_ignore_ascii_case("host"));
                let value = line.words.iter().position(|word| word == "hdr").and_then(|at| line.words.get(at + 2));
                self.host = value.filter(|_| is_host).cloned().or(self.host.take());
            }
            ("expect", "status") => self.status = Some(line.word(3).to_owned()),
            ("expect", "string") => self.body = Some(line.rest(3)),
            ("expect", _) => notes.add(line.number, "a check expects a `status`, and a `body` that contains a text"),
            ("disable-on-404", _) => notes.add(line.number, "not carried over: 404 fails a check"),
            _ => notes.add(line.number, "checks send one GET and look at its answer"),
        }
    }

    /// Makes the check one of HTTP.
    pub fn put(&self, tls: bool, check: &mut Check) {
        check.kind = if tls { "https" } else { "http" };
        check.path.clone_from(&self.path);
        check.host.clone_from(&self.host);
        check.status.clone_from(&self.status);
        check.body.clone_from(&self.body);
    }
}

fn check_method(method: &str, line: &Line, notes: &mut Notes<'_>) {
    if method != "GET" {
        notes.add(line.number, format!("checks send GET, not {method}"));
    }
}

/// `HTTP/1.1\r\nHost: www`
fn host(headers: &str) -> Option<String> {
    let header = headers.split(['\r', '\n']).find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("host").then(|| value.trim().to_owned())
    });
    header.filter(|host| !host.is_empty())
}
