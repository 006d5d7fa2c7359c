//! The labels `sluicegate.check` (the type) and `sluicegate.check.…` (the other keys of `[service.check]`), read by the same
//! code as the file.

use std::collections::BTreeMap;

use super::labels::{PREFIX, printable, printable_sentence};
use crate::config::check;
use crate::config::node::{Entry, Node, Value};
use crate::config::passive::{self, Passive};
use crate::config::report::{At, Report};
use crate::config::{CheckConfig, Severity};

/// Keys that are numbers; all others are text.
const NUMBERS: &[&str] = &["port", "rise", "fall", "failures", "floor"];

/// The key of a check that a label stands for: `type` for the label `sluicegate.check`.
pub fn key_of(name: &str) -> Option<&str> {
    match name.strip_prefix(PREFIX)?.strip_prefix("check")? {
        "" => Some("type"),
        rest => rest.strip_prefix('.'),
    }
}

/// Whether a label belongs to one of the tables that are read here.
pub fn is_table(name: &str) -> bool {
    key_of(name).is_some() || passive_key(name).is_some()
}

/// `""` for the label `sluicegate.passive`, else the key of the table.
fn passive_key(name: &str) -> Option<&str> {
    let rest = name.strip_prefix(PREFIX)?.strip_prefix(passive::KEY)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('.') }
}

/// How the labels want backends watched; if something is wrong with it, as usual.
pub fn passive(labels: &BTreeMap<String, String>) -> (Option<Passive>, Vec<String>) {
    let found: Vec<(&str, &str)> =
        labels.iter().filter_map(|(name, text)| Some((passive_key(name)?, text.trim()))).collect();
    if found.is_empty() {
        return (None, Vec::new());
    }
    let switch = found.iter().find(|(key, _)| key.is_empty()).map(|(_, text)| *text);
    let entries: Vec<Entry> =
        found.iter().filter(|(key, _)| !key.is_empty()).map(|(key, text)| entry(key, text)).collect();
    let value = match switch {
        Some("false") => Value::Boolean(false),
        Some("true") | None => Value::Table(entries),
        Some(other) => Value::Text(other.to_owned()),
    };
    let mut report = Report::default();
    let root = At { field: passive::KEY.to_owned(), span: 0..0 };
    let read = passive::read_value(&Node { span: 0..0, value }, root, &mut report);
    let complaints = complaints(&report);
    let read = read.filter(|_| complaints.is_empty());
    let needless = entries_beside_no(switch, &found);
    (read, complaints.into_iter().chain(needless).collect())
}

/// A sentence for each key of the table that means nothing since nobody is watched.
fn entries_beside_no(switch: Option<&str>, found: &[(&str, &str)]) -> Vec<String> {
    let keys = found.iter().filter(|(key, _)| switch == Some("false") && !key.is_empty());
    let sentence = |(key, _): &(&str, &str)| {
        let (table, key) = (passive::KEY, printable(key));
        format!("label {PREFIX}{table}.{key}: means nothing beside {PREFIX}{table}=false")
    };
    keys.map(sentence).collect()
}

/// The check that the labels ask for. If something is wrong with it, it counts as a whole for nothing.
pub fn read(labels: &BTreeMap<String, String>) -> (Option<CheckConfig>, Vec<String>) {
    let entries: Vec<Entry> =
        labels.iter().filter_map(|(name, text)| Some(entry(key_of(name)?, text.trim()))).collect();
    if entries.is_empty() {
        return (None, Vec::new());
    }
    let mut report = Report::default();
    let root = At { field: "check".to_owned(), span: 0..0 };
    let draft = check::read(&Node { span: 0..0, value: Value::Table(entries) }, root, &mut report);
    let complaints = complaints(&report);
    let check = draft.and_then(|draft| draft.check).filter(|_| complaints.is_empty());
    (check, complaints)
}

/// A sentence for each error.
fn complaints(report: &Report) -> Vec<String> {
    let findings = report.findings.iter().filter(|finding| finding.severity == Severity::Error);
    findings
        .map(|finding| {
            let field = finding.at.field.strip_suffix(".type").unwrap_or(&finding.at.field);
            let hint = finding.complaint.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
            printable_sentence(&format!("label {PREFIX}{field}: {}{hint}", finding.complaint.message))
        })
        .collect()
}

fn entry(key: &str, text: &str) -> Entry {
    let number = text.parse().ok().filter(|_| NUMBERS.contains(&key));
    let value = number.map_or_else(|| Value::Text(text.to_owned()), Value::Integer);
    Entry { key: key.to_owned(), key_span: 0..0, node: Node { span: 0..0, value } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(labels: &[(&str, &str)]) -> (Option<CheckConfig>, Vec<String>) {
        read(&labels.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect())
    }

    #[test]
    fn the_keys_are_those_of_the_file() {
        assert_eq!(read_all(&[("sluicegate.weight", "3"), ("sluicegate.checked", "x")]), (None, vec![]));
        let (check, complaints) = read_all(&[
            ("sluicegate.check", "http"),
            ("sluicegate.check.path", "/healthz"),
            ("sluicegate.check.interval", "5s"),
            ("sluicegate.check.status", "200"),
            ("sluicegate.check.fall", "2"),
            ("sluicegate.check.port", "9000"),
        ]);
        assert_eq!(complaints, [""; 0]);
        let json = check.unwrap().to_json();
        let wanted = serde_json::json!({"type": "http", "port": 9000, "interval": "5s", "timeout": "1s", "rise": 2,
            "fall": 2, "path": "/healthz", "status": "200"});
        assert_eq!(json, wanted);
    }

    #[test]
    fn what_means_nothing_beside_a_switch_is_said() {
        let labels = [("sluicegate.passive", "false"), ("sluicegate.passive.failuers", "5")];
        let labels = labels.map(|(name, text)| (name.to_owned(), text.to_owned())).into();
        let wrong = "label sluicegate.passive.failuers: means nothing beside sluicegate.passive=false";
        assert_eq!(passive(&labels), (Some(Passive::OFF), vec![wrong.to_owned()]));
    }

    #[test]
    fn what_is_wrong_is_said_and_nothing_of_it_counts() {
        let complaints = |labels: &[(&str, &str)]| {
            let (check, complaints) = read_all(labels);
            assert_eq!(check, None);
            complaints.join("; ")
        };
        assert_eq!(
            complaints(&[("sluicegate.check", "htpt")]),
            "label sluicegate.check: unknown type `htpt` (did you mean `http`?)"
        );
        assert_eq!(
            complaints(&[("sluicegate.check", "tcp"), ("sluicegate.check.intervall", "1s\u{1b}")]),
            "label sluicegate.check.intervall: unknown key `intervall` (did you mean `interval`?)"
        );
        let none = complaints(&[("sluicegate.check.path", "/")]);
        assert!(none.starts_with("label sluicegate.check: missing key `type`"), "{none}");
        let many = complaints(&[("sluicegate.check", "tcp"), ("sluicegate.check.rise", "many")]);
        assert!(many.contains("`rise` must be an integer"), "{many}");
    }
}
