//! HTTP/1.0 as far as a check needs it: one GET; the status of the answer, and its body as it comes.

use std::net::SocketAddr;

use memchr::memmem;
use ring::digest::{Context, SHA256};

use crate::config::HttpCheck;
use crate::config::value::bracketed;

/// Head of an answer at most.
const LONGEST_HEAD: usize = 16_384;
const MOST_HEADERS: usize = 100;
/// Body at most, if it is looked at.
const LONGEST_BODY: u64 = 1 << 20;

/// Whether the check passed, and what is to be said about it.
pub type Verdict = (bool, String);

fn failed(what: impl Into<String>) -> Verdict {
    (false, what.into())
}

/// The request.
pub fn request(check: &HttpCheck, address: SocketAddr) -> Vec<u8> {
    let default_port = if check.tls { 443 } else { 80 };
    let of_address = || match address.port() {
        port if port == default_port => bracketed(address.ip()),
        _ => address.to_string(),
    };
    let host = check.host.clone().unwrap_or_else(of_address);
    let path = &check.path;
    format!("GET {path} HTTP/1.0\r\nHost: {host}\r\nUser-Agent: sluicegate-check\r\nAccept: */*\r\n\r\n").into_bytes()
}

/// Reads an answer piece by piece.
pub struct Reader {
    check: HttpCheck,
    head: Vec<u8>,
    body: Option<Body>,
}

/// A body that is looked at.
struct Body {
    status: u16,
    /// Bytes that are still to come, if the head said how many.
    left: Option<u64>,
    seen: u64,
    found: bool,
    /// The end of what came, where the wanted text may have begun.
    tail: Vec<u8>,
    digest: Context,
}

/// What a head says.
struct Head {
    len: usize,
    status: u16,
    content_length: Option<u64>,
    chunked: bool,
}

impl Reader {
    /// For an answer to this check.
    pub fn new(check: &HttpCheck) -> Reader {
        Reader { check: check.clone(), head: Vec::new(), body: None }
    }

    /// Takes a piece; the verdict if it is enough.
    pub fn feed(&mut self, bytes: &[u8]) -> Option<Verdict> {
        if self.body.is_some() {
            return self.feed_body(bytes);
        }
        self.head.extend_from_slice(bytes);
        let head = match read_head(&self.head) {
            Ok(Some(head)) => head,
            Ok(None) if self.head.len() > LONGEST_HEAD => return Some(failed("the answer's head is too long")),
            Ok(None) => return None,
            Err(()) => return Some(failed("the answer is not HTTP")),
        };
        let said = format!("HTTP status {}", head.status);
        if !self.check.status.contains(head.status) {
            return Some(failed(said));
        }
        if self.check.body.is_none() && self.check.digest.is_none() {
            return Some((true, said));
        }
        if head.chunked {
            return Some(failed("the body is chunked, although HTTP/1.0 was spoken"));
        }
        self.body = Some(Body::new(&head));
        let rest = self.head.split_off(head.len);
        self.feed_body(&rest)
    }

    /// The other side has closed: this was all.
    pub fn end(&mut self) -> Verdict {
        match self.body.take() {
            None => failed("the answer was cut off"),
            Some(Body { left: Some(1..), .. }) => failed("the body was cut off"),
            Some(body) => body.judge(&self.check),
        }
    }

    fn feed_body(&mut self, bytes: &[u8]) -> Option<Verdict> {
        let body = self.body.as_mut()?;
        body.take(bytes, self.check.body.as_deref());
        if body.seen > LONGEST_BODY {
            return Some(failed("the body is longer than 1 MiB"));
        }
        let is_enough = body.found && self.check.digest.is_none();
        if !is_enough && body.left != Some(0) {
            return None;
        }
        Some(self.body.take()?.judge(&self.check))
    }
}

impl Body {
    fn new(head: &Head) -> Body {
        Body {
            status: head.status,
            left: head.content_length,
            seen: 0,
            found: false,
            tail: Vec::new(),
            digest: Context::new(&SHA256),
        }
    }

    fn take(&mut self, bytes: &[u8], wanted: Option<&str>) {
        let len = self.left.map_or(bytes.len(), |left| bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX)));
        let bytes = bytes.get(..len).unwrap_or(bytes);
        self.left = self.left.map(|left| left - len as u64);
        self.seen += len as u64;
        self.digest.update(bytes);
        let Some(wanted) = wanted.filter(|_| !self.found) else { return };
        self.tail.extend_from_slice(bytes);
        self.found = memmem::find(&self.tail, wanted.as_bytes()).is_some();
        let spent = self.tail.len().saturating_sub(wanted.len().saturating_sub(1));
        self.tail.drain(..spent);
    }

    fn judge(self, check: &HttpCheck) -> Verdict {
        if let Some(wanted) = &check.body
            && !self.found
        {
            return failed(format!("HTTP status {}, the body lacks {wanted:?}", self.status));
        }
        if let Some(wanted) = &check.digest
            && self.digest.finish().as_ref() != wanted
        {
            return failed(format!("HTTP status {}, the body has another digest", self.status));
        }
        (true, format!("HTTP status {}", self.status))
    }
}

/// The head, once it is whole. An error: this is no HTTP.
fn read_head(bytes: &[u8]) -> Result<Option<Head>, ()> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(len) = response.parse(bytes).map_err(|_| ())? else { return Ok(None) };
    let value = |name: &str| {
        let header = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(header.value).ok()
    };
    Ok(Some(Head {
        len,
        status: response.code.ok_or(())?,
        content_length: value("content-length").and_then(|text| text.trim().parse().ok()),
        chunked: value("transfer-encoding").is_some_and(|text| text.to_ascii_lowercase().contains("chunked")),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::check::StatusSet;

    fn check() -> HttpCheck {
        HttpCheck {
            tls: false,
            path: "/healthz".to_owned(),
            host: None,
            status: StatusSet::default(),
            body: None,
            digest: None,
        }
    }

    /// The verdict on an answer, which must be the same however it is cut.
    fn verdict(check: &HttpCheck, answer: &str) -> Verdict {
        let play = |size: usize| {
            let mut reader = Reader::new(check);
            answer.as_bytes().chunks(size).find_map(|piece| reader.feed(piece)).unwrap_or_else(|| reader.end())
        };
        let whole = play(1 << 20);
        for size in [1, 2, 3, 7, 50] {
            assert_eq!(play(size), whole, "in pieces of {size}");
        }
        whole
    }

    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nall is well\n";

    #[test]
    fn what_is_asked() {
        let address = "10.0.0.11:8000".parse().unwrap();
        let text = |check| String::from_utf8(request(&check, address)).unwrap();
        assert_eq!(
            text(check()),
            "GET /healthz HTTP/1.0\r\nHost: 10.0.0.11:8000\r\nUser-Agent: sluicegate-check\r\nAccept: */*\r\n\r\n"
        );
        let named = HttpCheck { host: Some("www.example.org".to_owned()), ..check() };
        assert!(text(named).contains("\r\nHost: www.example.org\r\n"));
    }

    #[test]
    fn the_status_decides() {
        assert_eq!(verdict(&check(), OK), (true, "HTTP status 200".to_owned()));
        let broken = "HTTP/1.0 503 Service Unavailable\r\n\r\n";
        assert_eq!(verdict(&check(), broken), (false, "HTTP status 503".to_owned()));
        let odd = HttpCheck { status: StatusSet::parse("503").unwrap(), ..check() };
        assert!(verdict(&odd, broken).0);
        assert!(!verdict(&odd, OK).0);
    }

    #[test]
    fn the_body_decides() {
        let lacking = |text: &str, answer| verdict(&HttpCheck { body: Some(text.to_owned()), ..check() }, answer);
        assert_eq!(lacking("is well", OK), (true, "HTTP status 200".to_owned()));
        assert_eq!(lacking("ill", OK), (false, "HTTP status 200, the body lacks \"ill\"".to_owned()));
        // What follows the announced length is no body, nor is the head.
        let longer = format!("{OK}ill");
        assert!(!lacking("ill", &longer).0);
        assert!(!lacking("Content", OK).0);
        // Without a length, up to the end.
        assert!(lacking("aab", "HTTP/1.0 200 OK\r\n\r\naaaaab").0);
        assert_eq!(lacking("well!", &OK[..OK.len() - 3]), (false, "the body was cut off".to_owned()));
    }

    #[test]
    fn the_digest_decides() {
        let mut digest = [0; 32];
        digest.copy_from_slice(ring::digest::digest(&SHA256, b"all is well\n").as_ref());
        let same = HttpCheck { digest: Some(digest), ..check() };
        assert!(verdict(&same, OK).0);
        let more = "HTTP/1.0 200 OK\r\n\r\nall is well\n ";
        assert_eq!(verdict(&same, more), (false, "HTTP status 200, the body has another digest".to_owned()));
    }

    #[test]
    fn what_is_no_answer_fails() {
        let body = HttpCheck { body: Some("x".to_owned()), ..check() };
        let fails = |check: &HttpCheck, answer: &str| {
            let (passed, what) = verdict(check, answer);
            assert!(!passed, "{answer}");
            what
        };
        assert_eq!(fails(&check(), ""), "the answer was cut off");
        assert_eq!(fails(&check(), "HTTP/1.1 200 OK\r\n"), "the answer was cut off");
        assert_eq!(fails(&check(), "SSH-2.0-OpenSSH_9.2\r\n"), "the answer is not HTTP");
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n";
        assert_eq!(fails(&body, chunked), "the body is chunked, although HTTP/1.0 was spoken");
    }

    #[test]
    fn endless_answers_end() {
        let mut reader = Reader::new(&check());
        assert!(reader.feed(b"HTTP/1.1 200 OK\r\n").is_none());
        let line = format!("X-Long: {}\r\n", "y".repeat(1000));
        let verdict = (0..100).find_map(|_| reader.feed(line.as_bytes()));
        assert_eq!(verdict, Some(failed("the answer's head is too long")));
        let mut reader = Reader::new(&HttpCheck { body: Some("x".to_owned()), ..check() });
        assert!(reader.feed(b"HTTP/1.1 200 OK\r\n\r\n").is_none());
        let verdict = (0..2000).find_map(|_| reader.feed(&[b'y'; 1000]));
        assert_eq!(verdict, Some(failed("the body is longer than 1 MiB")));
    }

    proptest::proptest! {
        #[test]
        fn no_answer_panics(pieces: Vec<Vec<u8>>, length: u64, is_http: bool) {
            let check = HttpCheck { body: Some("xy".to_owned()), digest: Some([0; 32]), ..check() };
            let mut reader = Reader::new(&check);
            if is_http {
                reader.feed(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").as_bytes());
            }
            if !pieces.iter().any(|piece| reader.feed(piece).is_some()) {
                proptest::prop_assert!(!reader.end().0);
            }
        }
    }
}
