//! What is not TOML at all. The parser goes on behind such a place, but what it makes of the rest of the line is guesswork:
//! of each line only the first complaint is worth reading.

use toml::de::Error;

use super::report::{At, Complaint, Report};
use super::value;

/// Keys that are true or false.
const SWITCHES: &[&str] = &["direct", "proxy_protocol", "one_packet", "passive", "sorry"];

/// Adds the parser's complaints and takes away those findings that only follow from them.
pub fn merge(text: &str, errors: &[Error], report: &mut Report) {
    let mut lines: Vec<usize> = Vec::new();
    let mut found = Report::default();
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        let line = line_of(text, span.start);
        if !lines.contains(&line) {
            lines.push(line);
            found.error(&At { field: String::new(), span }, complaint(error, line_text(text, line)));
        }
    }
    report.findings.retain(|finding| !finding.missing && !lines.contains(&line_of(text, finding.at.span.start)));
    report.findings.append(&mut found.findings);
}

fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

fn line_text(text: &str, line: usize) -> &str {
    text.split('\n').nth(line).unwrap_or_default()
}

fn complaint(error: &Error, line: &str) -> Complaint {
    let message = error.message().trim_end().replace('\n', ", ");
    let hint = match bare_text(line) {
        _ if message.contains("duplicate key") => "each key stands once in its table: remove one".to_owned(),
        Some((key, value)) if SWITCHES.contains(&key) => switch(key, value),
        Some((key, value)) => format!("text and addresses stand in quotes: {key} = \"{value}\""),
        None => "TOML is `key = value`, strings in \"quotes\", tables in [brackets]".to_owned(),
    };
    Complaint::hinted(message, hint)
}

/// `direct = yes`
fn switch(key: &str, value: &str) -> String {
    match value.to_lowercase().as_str() {
        "yes" | "on" | "true" => format!("write {key} = true"),
        "no" | "off" | "false" => format!("write {key} = false"),
        _ => format!("true or false, without quotes: {key} = true"),
    }
}

/// `vtep = 198.18.1.1`: a value that should have been a string.
fn bare_text(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once('=')?;
    let (key, value) = (key.trim(), value.split('#').next()?.trim());
    let is_bare = !value.is_empty() && !value.starts_with(['"', '\'', '[', '{']) && !value.contains('"');
    let is_text = value.contains(['.', ':', '/', '-']) || value.starts_with(|c: char| c.is_alphabetic());
    let is_text = is_text || value::duration(value).is_ok();
    (is_bare && is_text).then_some((key, value))
}
