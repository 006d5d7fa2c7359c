//! Health checks of real servers.

use std::net::IpAddr;
use std::slice;
use std::time::Duration;

use super::tree::Statement;
use crate::config::value::show_duration;
use crate::import::draft::Check;
use crate::import::notes::Notes;

/// keepalived's own: seconds from one check to the next.
const DELAY_LOOP: Duration = Duration::from_mins(1);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// From a check that failed to the next try.
const REPEAT: Duration = Duration::from_secs(1);
const REPEAT_OF_HTTP: Duration = Duration::from_secs(3);

/// What holds for all checks of a virtual server, or of a real one.
#[derive(Debug, Clone, Default)]
pub struct Defaults {
    interval: Option<Duration>,
    timeout: Option<Duration>,
    retries: Option<u32>,
    repeat: Option<Duration>,
    host: Option<String>,
}

impl Defaults {
    /// Takes a statement over; false: it is about something else.
    pub fn set(&mut self, statement: &Statement, notes: &mut Notes<'_>) -> bool {
        match statement.keyword() {
            "delay_loop" => self.interval = seconds(statement),
            "connect_timeout" => self.timeout = seconds(statement),
            "retry" | "nb_get_retry" => self.retries = statement.number(1),
            "virtualhost" => self.host = Some(statement.word(1).to_owned()),
            "delay_before_retry" => {
                self.repeat = seconds(statement);
                notes.add(statement.line, "not carried over: a check that failed is repeated after its `interval`");
            }
            // The first check comes at a random moment anyway.
            "warmup" => {}
            _ => return false,
        }
        true
    }
}

/// `10`, `2.5`
fn seconds(statement: &Statement) -> Option<Duration> {
    let number: f64 = statement.number(1)?;
    Duration::try_from_secs_f64(number).ok()
}

/// A check that Sluicegate has.
#[derive(Debug, Clone)]
pub struct Found {
    /// Itself.
    pub check: Check,
    /// How soon keepalived asks again after a failure.
    repeat: Duration,
}

impl Found {
    /// keepalived hurries after a failure; here checks come at their interval, and it takes longer until a backend is out.
    pub fn note_repeats(&self, line: usize, notes: &mut Notes<'_>) {
        let (interval, fall) = (self.check.interval.unwrap_or(DELAY_LOOP), self.check.fall.unwrap_or(1));
        if fall < 2 || self.repeat >= interval {
            return;
        }
        let here = interval.saturating_mul(fall);
        let there = interval.saturating_add(self.repeat.saturating_mul(fall - 1));
        let why = format!(
            "a backend that fails is out after up to {}, there up to {}, where a failure is followed up after {}: set `interval` and `fall`",
            show_duration(here),
            show_duration(there),
            show_duration(self.repeat)
        );
        notes.add(line, why);
    }
}

const KINDS: &[&str] = &[
    "HTTP_GET",
    "SSL_GET",
    "TCP_CHECK",
    "UDP_CHECK",
    "SMTP_CHECK",
    "DNS_CHECK",
    "MISC_CHECK",
    "PING_CHECK",
    "BFD_CHECK",
    "FILE_CHECK",
];

/// Whether the statement is a checker.
pub fn is_check(statement: &Statement) -> bool {
    KINDS.contains(&statement.keyword())
}

/// The check of the real server with this address, if Sluicegate has one like it.
pub fn read(statement: &Statement, defaults: &Defaults, own: &str, notes: &mut Notes<'_>) -> Option<Found> {
    let kind = kind(statement, notes)?;
    let (mut defaults, mut check) = (defaults.clone(), Check { kind, ..Check::default() });
    for inner in statement.block.iter().flat_map(|inner| places(statement, inner)) {
        match inner.keyword() {
            "connect_ip" if is_another(inner.word(1), own) => {
                let why = "`connect_ip`: no check asks another machine: the server counts as one without a check";
                notes.add(inner.line, why);
                return None;
            }
            "connect_ip" => {}
            "connect_port" => check.port = inner.number(1),
            "url" if kind.starts_with("http") => url(inner, &mut check, notes),
            "payload" if kind == "udp" => check.send = bytes(inner, notes),
            "require_reply" if kind == "udp" => check.expect = bytes(inner, notes),
            _ if defaults.set(inner, notes) => {}
            _ => notes.add(inner.line, "not known to Sluicegate's checks"),
        }
    }
    check.interval = Some(defaults.interval.unwrap_or(DELAY_LOOP));
    check.timeout = Some(defaults.timeout.unwrap_or(CONNECT_TIMEOUT));
    // keepalived asks again so often before it believes a failure.
    check.fall = Some(defaults.retries.unwrap_or(1).saturating_add(1));
    check.rise = Some(1);
    check.host = check.host.or(defaults.host).filter(|_| kind.starts_with("http"));
    if kind.starts_with("http") && check.status.is_none() {
        check.status = Some("200-299".to_owned());
    }
    let repeat = if kind.starts_with("http") { REPEAT_OF_HTTP } else { REPEAT };
    Some(Found { check, repeat: defaults.repeat.unwrap_or(repeat) })
}

/// SMTP's says in a block of its own where it connects.
fn places<'a>(check: &Statement, inner: &'a Statement) -> &'a [Statement] {
    if check.keyword() == "SMTP_CHECK" && inner.keyword() == "host" { &inner.block } else { slice::from_ref(inner) }
}

fn is_another(address: &str, own: &str) -> bool {
    let parsed = |text: &str| text.parse::<IpAddr>().ok();
    parsed(address) != parsed(own)
}

fn kind(statement: &Statement, notes: &mut Notes<'_>) -> Option<&'static str> {
    Some(match statement.keyword() {
        "HTTP_GET" => "http",
        "SSL_GET" => "https",
        "TCP_CHECK" => "tcp",
        "UDP_CHECK" if statement.find("require_reply").is_none() => {
            let why = "left out: silence passes there, and fails a check of type `udp`, which wants an answer";
            notes.add(statement.line, why);
            return None;
        }
        "UDP_CHECK" => "udp",
        "SMTP_CHECK" => {
            notes.add(statement.line, "no SMTP is spoken: whether a connection is accepted is checked instead");
            "tcp"
        }
        _ => {
            notes.add(statement.line, "there is no such check: tcp, http, https, udp");
            return None;
        }
    })
}

/// `payload 0a0b 0C`: bytes as the config writes them.
fn bytes(statement: &Statement, notes: &mut Notes<'_>) -> Option<String> {
    let digits: String = statement.words.iter().skip(1).map(String::as_str).collect();
    if digits.is_empty() {
        return None;
    }
    if !digits.len().is_multiple_of(2) || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        notes.add(statement.line, "left out: not pairs of hexadecimal digits, of which every one counts");
        return None;
    }
    let digits = digits.as_bytes().chunks(2).map(|pair| format!("\\x{}", String::from_utf8_lossy(pair)));
    Some(digits.collect())
}

/// What may stand in a `url`, which may have one line for all of it: `url { path / status_code 200 }`.
const OF_URL: [&str; 8] =
    ["path", "digest", "status_code", "virtualhost", "regex", "regex_no_match", "regex_options", "regex_min_offset"];

fn url(url: &Statement, check: &mut Check, notes: &mut Notes<'_>) {
    if check.path.is_some() {
        return notes.add(url.line, "one path is asked for: the first counts");
    }
    check.path = Some("/".to_owned());
    for inner in &url.block {
        let mut words = inner.words.iter().map(String::as_str).peekable();
        while let Some(key) = words.next() {
            let mut values = Vec::new();
            while let Some(value) = words.next_if(|word| !OF_URL.contains(word)) {
                values.push(value);
            }
            match (key, values.first()) {
                ("path", Some(path)) => check.path = Some((*path).to_owned()),
                ("virtualhost", Some(host)) => check.host = Some((*host).to_owned()),
                ("status_code", Some(_)) => check.status = Some(values.join(",")),
                ("digest", _) => {
                    notes.add(inner.line, "an MD5 is not taken: set `digest` to what `curl -s URL | sha256sum` prints");
                }
                ("regex" | "regex_no_match" | "regex_options" | "regex_min_offset", _) => {
                    notes.add(inner.line, "no regular expressions: `body` is a text that must occur");
                }
                _ => notes.add(inner.line, "not known to Sluicegate's checks"),
            }
        }
    }
}
