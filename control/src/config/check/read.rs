//! Reads `[service.check]`, and the same thing in the bodies of API requests.

use std::num::NonZeroU16;
use std::time::Duration;

use super::{CheckConfig, CheckKind, HttpCheck, StatusSet, UdpCheck};
use crate::config::node::{Node, Value};
use crate::config::report::{At, Complaint, Located, Report};
use crate::config::section::{Section, wrong_type};
use crate::config::value;

const TYPES: &[(&str, &str)] = &[("tcp", "tcp"), ("http", "http"), ("https", "https"), ("udp", "udp")];

/// Keys that only some types have.
const OF_TYPE: &[(&str, &[&str])] = &[
    ("path", &["http", "https"]),
    ("host", &["http", "https"]),
    ("status", &["http", "https"]),
    ("body", &["http", "https"]),
    ("digest", &["http", "https"]),
    ("send", &["udp"]),
    ("expect", &["udp"]),
];

const DEFAULT_INTERVAL: Duration = Duration::from_secs(2);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);
const SHORTEST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_hours(24);
/// Passed or failed checks in a row.
const ROWS: std::ops::RangeInclusive<i64> = 1..=1000;
const LONGEST_TEXT: usize = 1024;

/// A check that was read, and where it stands.
#[derive(Debug, Clone)]
pub struct CheckDraft {
    /// Its table.
    pub at: At,
    /// The check; `None` is JSON's null.
    pub check: Option<CheckConfig>,
}

/// Reads a check.
pub fn read(node: &Node, at: At, report: &mut Report) -> Option<CheckDraft> {
    if matches!(node.value, Value::Null) {
        return Some(CheckDraft { at, check: None });
    }
    let mut section = Section::open(node, at.clone(), report)?;
    section.require("type", "\"tcp\", \"http\", \"https\" or \"udp\"", report);
    let word = section.text("type", report, |text| value::word("type", text, TYPES)).map(|word| word.value);
    let port = section.integer::<u16>("port", 1..=65_535, report).and_then(|port| NonZeroU16::new(port.value));
    let (interval, timeout) = times(&mut section, report);
    let rise = section.integer("rise", ROWS, report).map_or(2, |rise| rise.value);
    let fall = section.integer("fall", ROWS, report).map_or(3, |fall| fall.value);
    let http = http(&mut section, word == Some("https"), report);
    let udp = udp(&mut section, report);
    if let Some(word) = word {
        refuse_others_keys(&mut section, word, report);
    }
    section.close(report);
    let kind = match word? {
        "udp" => CheckKind::Udp(udp),
        "http" | "https" => CheckKind::Http(http),
        _ => CheckKind::Tcp,
    };
    Some(CheckDraft { at, check: Some(CheckConfig { kind, port, interval, timeout, rise, fall }) })
}

fn times(section: &mut Section<'_>, report: &mut Report) -> (Duration, Duration) {
    let interval = duration(section, "interval", report);
    let timeout = duration(section, "timeout", report);
    let every = interval.as_ref().map_or(DEFAULT_INTERVAL, |interval| interval.value);
    let is_misread = interval.is_none() && section.has("interval");
    if let Some(timeout) = &timeout
        && timeout.value > every
        && !is_misread
    {
        let (long, short) = (value::show_duration(timeout.value), value::show_duration(every));
        let message = format!("`timeout` {long} is longer than `interval` {short}");
        let hint = format!("at most \"{short}\": one check is over before the next begins");
        report.error(&timeout.at, Complaint::hinted(message, hint));
    }
    (every, timeout.map_or(DEFAULT_TIMEOUT.min(every), |timeout| timeout.value))
}

/// Text with a unit, or seconds.
fn duration(section: &mut Section<'_>, key: &'static str, report: &mut Report) -> Option<Located<Duration>> {
    let Located { value, at } = section.find(key)?;
    let read = match value {
        Value::Text(text) => value::duration(text),
        Value::Integer(seconds) => Ok(Duration::from_secs(u64::try_from(*seconds).unwrap_or(0))),
        other => Err(wrong_type(&at, "a duration", other)),
    };
    let in_range = read.and_then(|duration| {
        if (SHORTEST..=LONGEST).contains(&duration) {
            return Ok(duration);
        }
        Err(Complaint::hinted(format!("`{key}` is out of range"), "from \"50ms\" to \"24h\""))
    });
    let value = report.check(&at, in_range)?;
    Some(Located { value, at })
}

fn http(section: &mut Section<'_>, tls: bool, report: &mut Report) -> HttpCheck {
    let path = section.text("path", report, path);
    let host = section.text("host", report, host);
    let status = match section.find("status") {
        Some(Located { value: Value::Integer(number), at }) => report.check(&at, StatusSet::parse(&number.to_string())),
        Some(Located { value: value @ Value::List(_), at }) => {
            let complaint = wrong_type(&at, "a string", value);
            report.error(&at, Complaint::hinted(complaint.message, "one text with commas, e.g. \"200,301-302\""));
            None
        }
        _ => section.text("status", report, StatusSet::parse).map(|status| status.value),
    };
    let body = section.text("body", report, |text| short("body", text).map(|()| text.to_owned()));
    let digest = section.text("digest", report, digest);
    HttpCheck {
        tls,
        path: path.map_or_else(|| "/".to_owned(), |path| path.value),
        host: host.map(|host| host.value),
        status: status.unwrap_or_default(),
        body: body.map(|body| body.value),
        digest: digest.map(|digest| digest.value),
    }
}

fn udp(section: &mut Section<'_>, report: &mut Report) -> UdpCheck {
    let bytes = |text: &str| unescape(text);
    let send = section.text("send", report, bytes);
    let expect = section.text("expect", report, |text| short("expect", text).and_then(|()| unescape(text)));
    UdpCheck { send: send.map(|send| send.value).unwrap_or_default(), expect: expect.map(|expect| expect.value) }
}

fn refuse_others_keys(section: &mut Section<'_>, word: &str, report: &mut Report) {
    for (key, types) in OF_TYPE {
        if let Some(found) = section.find(key)
            && !types.contains(&word)
        {
            let message = format!("`{key}` has no meaning in a check of type `{word}`");
            let hint = format!("it belongs to type {}; leave it out", types.join(" and "));
            report.error(&found.at, Complaint::hinted(message, hint));
        }
    }
}

/// What stands in a request line.
fn path(text: &str) -> Result<String, Complaint> {
    if !text.starts_with('/') {
        return Err(Complaint::hinted(format!("the path `{text}` does not start with /"), "e.g. \"/healthz\""));
    }
    visible("path", text)
}

fn host(text: &str) -> Result<String, Complaint> {
    if text.contains('/') {
        return Err(Complaint::hinted(
            format!("`{text}` is not a host"),
            "a name or address, e.g. \"www.example.org\"",
        ));
    }
    visible("host", text)
}

/// One word of visible ASCII: it goes into a request as it is.
fn visible(key: &str, text: &str) -> Result<String, Complaint> {
    short(key, text)?;
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(text.to_owned());
    }
    let hint = "visible ASCII without spaces; write others as %20 and so on";
    Err(Complaint::hinted(format!("`{key}` has characters that can't stand in a request"), hint))
}

fn short(key: &str, text: &str) -> Result<(), Complaint> {
    if text.is_empty() {
        return Err(Complaint::hinted(format!("`{key}` is empty"), "leave it out"));
    }
    if text.len() > LONGEST_TEXT {
        return Err(Complaint::hinted(format!("`{key}` is too long"), format!("at most {LONGEST_TEXT} bytes")));
    }
    Ok(())
}

fn digest(text: &str) -> Result<[u8; 32], Complaint> {
    let pairs: Option<Vec<u8>> = text.as_bytes().chunks(2).map(hex_pair).collect();
    pairs.and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| {
        let hint = match text.len() {
            32 => "MD5, as keepalived's digests, is not taken: curl -s URL | sha256sum",
            _ => "64 hexadecimal digits, as curl -s URL | sha256sum prints them",
        };
        Complaint::hinted("`digest` is not a SHA-256", hint)
    })
}

fn hex_pair(pair: &[u8]) -> Option<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    match pair {
        [high, low] => Some((digit(high)? << 4 | digit(low)?) as u8),
        _ => None,
    }
}

/// Text with `\xHH`, `\r`, `\n`, `\t`, `\0` and `\\`.
///
/// # Errors
/// An escape that is none of these.
pub fn unescape(text: &str) -> Result<Vec<u8>, Complaint> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let (byte, taken) = match (*first, behind) {
            (b'\\', [b'x', high, low, ..]) => (hex_pair(&[*high, *low]), 3),
            (b'\\', [letter, ..]) => (simple_escape(*letter), 1),
            (b'\\', []) => (None, 0),
            (plain, _) => (Some(plain), 0),
        };
        bytes.push(byte.ok_or_else(|| {
            let hint = r"\xHH for any byte, \r, \n, \t, \0, \\; in TOML write such text in single quotes";
            Complaint::hinted(format!("`{text}` has an escape that is none"), hint)
        })?);
        rest = behind.get(taken..).unwrap_or_default();
    }
    if bytes.len() > LONGEST_TEXT {
        return Err(Complaint::hinted("the payload is too long", format!("at most {LONGEST_TEXT} bytes")));
    }
    Ok(bytes)
}

fn simple_escape(letter: u8) -> Option<u8> {
    match letter {
        b'r' => Some(b'\r'),
        b'n' => Some(b'\n'),
        b't' => Some(b'\t'),
        b'0' => Some(0),
        b'\\' => Some(b'\\'),
        _ => None,
    }
}
