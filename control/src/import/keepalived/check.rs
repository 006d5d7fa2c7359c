//! Health checks of real servers.

use std::time::Duration;

use super::tree::Statement;
use crate::import::draft::Check;
use crate::import::notes::Notes;

/// keepalived's own: seconds from one check to the next.
const DELAY_LOOP: Duration = Duration::from_mins(1);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What holds for all checks of a virtual server, or of a real one.
#[derive(Debug, Clone, Default)]
pub struct Defaults {
    interval: Option<Duration>,
    timeout: Option<Duration>,
    retries: Option<u32>,
    host: Option<String>,
}

impl Defaults {
    /// Takes a statement over; false: it is about something else.
    pub fn set(&mut self, statement: &Statement) -> bool {
        match statement.keyword() {
            "delay_loop" => self.interval = seconds(statement),
            "connect_timeout" => self.timeout = seconds(statement),
            "retry" | "nb_get_retry" => self.retries = statement.number(1),
            "virtualhost" => self.host = Some(statement.word(1).to_owned()),
            "delay_before_retry" | "warmup" => {}
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

/// The check, if Sluicegate has one like it.
pub fn read(statement: &Statement, defaults: &Defaults, notes: &mut Notes<'_>) -> Option<Check> {
    let kind = match statement.keyword() {
        "HTTP_GET" => "http",
        "SSL_GET" => "https",
        "TCP_CHECK" => "tcp",
        "UDP_CHECK" => "udp",
        "SMTP_CHECK" => {
            notes.add(statement.line, "no SMTP is spoken: whether a connection is accepted is checked instead");
            "tcp"
        }
        _ => {
            notes.add(statement.line, "there is no such check: tcp, http, https, udp");
            return None;
        }
    };
    let (mut defaults, mut check) = (defaults.clone(), Check { kind, ..Check::default() });
    for inner in &statement.block {
        match inner.keyword() {
            "connect_port" => check.port = inner.number(1),
            "url" => url(inner, &mut check, notes),
            _ if defaults.set(inner) => {}
            _ => notes.add(inner.line, "not known to Sluicegate's checks"),
        }
    }
    check.interval = Some(defaults.interval.unwrap_or(DELAY_LOOP));
    check.timeout = Some(defaults.timeout.unwrap_or(CONNECT_TIMEOUT).min(check.interval.unwrap_or(DELAY_LOOP)));
    // keepalived asks again so often before it believes a failure.
    check.fall = Some(defaults.retries.unwrap_or(1).saturating_add(1));
    check.rise = Some(1);
    check.host = check.host.or(defaults.host).filter(|_| kind.starts_with("http"));
    if kind.starts_with("http") && check.status.is_none() {
        check.status = Some("200-299".to_owned());
    }
    Some(check)
}

fn url(url: &Statement, check: &mut Check, notes: &mut Notes<'_>) {
    if check.path.is_some() {
        return notes.add(url.line, "one path is asked for: the first counts");
    }
    // Also `url { path / status_code 200 }` on one line.
    let flat: Vec<&str> = url.block.iter().flat_map(|inner| inner.words.iter().map(String::as_str)).collect();
    let value = |key: &str| flat.iter().position(|word| *word == key).and_then(|at| flat.get(at + 1)).copied();
    check.path = Some(value("path").unwrap_or("/").to_owned());
    check.host = value("virtualhost").map(str::to_owned);
    check.status = value("status_code").map(|status| status.replace(' ', ","));
    for inner in &url.block {
        match inner.keyword() {
            "digest" => {
                notes.add(inner.line, "an MD5 is not taken: set `digest` to what `curl -s URL | sha256sum` prints");
            }
            "regex" | "regex_no_match" | "regex_options" => {
                notes.add(inner.line, "no regular expressions: `body` is a text that must occur");
            }
            "path" | "status_code" | "virtualhost" => {}
            _ => notes.add(inner.line, "not known to Sluicegate's checks"),
        }
    }
}
