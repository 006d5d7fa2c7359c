//! Reading one table key by key; what was never asked for is unknown.

use std::ops::RangeInclusive;

use super::node::{Entry, Node, Value};
use super::report::{At, Complaint, Located, Report, suggest};

const TEXTS: &str = "a string or a list of strings";

/// A table that is being read.
pub struct Section<'a> {
    /// Its place.
    pub at: At,
    entries: &'a [Entry],
    known: Vec<&'static str>,
    ignored: Vec<&'static str>,
    /// Keys of another table, and what to do with them.
    elsewhere: (Vec<&'static str>, &'static str),
}

/// A value that was found.
pub type Found<'a> = Located<&'a Value>;

impl<'a> Section<'a> {
    /// The table that stands here; anything else is an error.
    pub fn open(node: &'a Node, at: At, report: &mut Report) -> Option<Section<'a>> {
        if let Value::Table(entries) = &node.value {
            return Some(Section {
                at,
                entries,
                known: Vec::new(),
                ignored: Vec::new(),
                elsewhere: Default::default(),
            });
        }
        report.error(&at, wrong_type(&at, "a table", &node.value));
        None
    }

    /// The table under a key.
    pub fn table(&mut self, key: &'static str, report: &mut Report) -> Option<Section<'a>> {
        self.known.push(key);
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        Section::open(&entry.node, self.at.key(key, entry.node.span.clone()), report)
    }

    /// Whatever stands under a key.
    pub fn node(&mut self, key: &'static str) -> Option<(&'a Node, At)> {
        self.known.push(key);
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        Some((&entry.node, self.at.key(key, entry.node.span.clone())))
    }

    /// The value of a key.
    pub fn find(&mut self, key: &'static str) -> Option<Found<'a>> {
        self.known.push(key);
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        Some(Located { value: &entry.node.value, at: self.at.key(key, entry.node.span.clone()) })
    }

    /// The value of a key, which stays unknown.
    pub fn peek(&self, key: &str) -> Option<&'a Value> {
        self.entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node.value)
    }

    /// What `read` makes of a key's value; the inner `None` is JSON's null, which takes it away.
    #[expect(clippy::option_option, reason = "a key that is not there is something else than null")]
    pub fn nullable<T>(
        &mut self,
        key: &'static str,
        report: &mut Report,
        read: impl FnOnce(Found<'a>, &mut Report) -> Option<T>,
    ) -> Option<Option<T>> {
        let found = self.find(key)?;
        if matches!(found.value, Value::Null) { Some(None) } else { read(found, report).map(Some) }
    }

    /// A key's string, as `parse` understands it.
    pub fn text<T>(
        &mut self,
        key: &'static str,
        report: &mut Report,
        parse: impl FnOnce(&str) -> Result<T, Complaint>,
    ) -> Option<Located<T>> {
        let found = self.find(key)?;
        text(found, report, parse)
    }

    /// A key's whole number within a range.
    pub fn integer<T: TryFrom<i64>>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<i64>,
        report: &mut Report,
    ) -> Option<Located<T>> {
        let found = self.find(key)?;
        integer(found, range, report)
    }

    /// A list's items; empty when the key is not there.
    pub fn list(&mut self, key: &'static str, report: &mut Report) -> Vec<(&'a Node, At)> {
        let Some(found) = self.find(key) else { return Vec::new() };
        let Value::List(items) = found.value else {
            report.error(&found.at, wrong_type(&found.at, "a list", found.value));
            return Vec::new();
        };
        items.iter().enumerate().map(|(i, node)| (node, found.at.index(i, node.span.clone()))).collect()
    }

    /// A list of strings, or one string.
    pub fn texts<T>(
        &mut self,
        key: &'static str,
        report: &mut Report,
        parse: impl Fn(&str) -> Result<T, Complaint>,
    ) -> Vec<Located<T>> {
        match self.find(key) {
            Some(found) if matches!(found.value, Value::List(_)) => {
                let items = self.list(key, report);
                let read = |(node, at): (&'a Node, At)| text(Located { value: &node.value, at }, report, &parse);
                items.into_iter().filter_map(read).collect()
            }
            Some(found) => text_or(found, TEXTS, report, parse).into_iter().collect(),
            None => Vec::new(),
        }
    }

    /// Whether a key stands in the table; it is then known.
    pub fn has(&mut self, key: &'static str) -> bool {
        self.find(key).is_some()
    }

    /// Complains when the key is not there. `example` is a value that it could have.
    pub fn require(&mut self, key: &'static str, example: &str, report: &mut Report) {
        if !self.has(key) {
            report.missing(&self.at, Complaint::hinted(format!("missing key `{key}`"), format!("e.g. {example}")));
        }
    }

    /// Complains when the key's list is there, but empty.
    pub fn refuse_empty(&mut self, key: &'static str, complaint: Complaint, report: &mut Report) {
        let empty = |found: &Found<'_>| matches!(found.value, Value::List(items) if items.is_empty());
        if let Some(found) = self.find(key).filter(empty) {
            report.error(&found.at, complaint);
        }
    }

    /// Lets these keys stand there, whatever they say. Nobody is advised to write them.
    pub fn ignore(&mut self, keys: &[&'static str]) {
        self.ignored.extend(keys);
    }

    /// Whoever writes one of these keys here is told where it belongs.
    pub fn elsewhere(&mut self, keys: &[&'static str], remedy: &'static str) {
        self.elsewhere = (keys.to_vec(), remedy);
    }

    /// The keys that were asked for.
    pub fn known(&self) -> &[&'static str] {
        &self.known
    }

    /// Complains about all keys that nobody asked for.
    pub fn close(mut self, report: &mut Report) {
        self.known.sort_unstable();
        self.known.dedup();
        let is_unknown = |entry: &&Entry| ![&self.known, &self.ignored].iter().any(|keys| keys.contains(&&*entry.key));
        for entry in self.entries.iter().filter(is_unknown) {
            let at = self.at.key(&entry.key, entry.key_span.clone());
            let (foreign, remedy) = &self.elsewhere;
            let hint = match foreign.iter().find(|key| **key == entry.key) {
                Some(key) => format!("`{key}` is a key of {remedy}"),
                None => suggest(&entry.key, &self.known),
            };
            report.error(&at, Complaint::hinted(format!("unknown key `{}`", entry.key), hint));
        }
    }
}

/// A string as `parse` understands it.
pub fn text<T>(
    found: Found<'_>,
    report: &mut Report,
    parse: impl FnOnce(&str) -> Result<T, Complaint>,
) -> Option<Located<T>> {
    text_or(found, "a string", report, parse)
}

fn text_or<T>(
    found: Found<'_>,
    wanted: &str,
    report: &mut Report,
    parse: impl FnOnce(&str) -> Result<T, Complaint>,
) -> Option<Located<T>> {
    let result = match found.value {
        Value::Text(text) => parse(text).map_err(|complaint| several(text, wanted, complaint)),
        other => Err(not_text(&found.at, wanted, other, parse)),
    };
    let value = report.check(&found.at, result)?;
    Some(Located { value, at: found.at })
}

/// What is no text, and would not be right in quotes either, is told what would.
fn not_text<T>(at: &At, wanted: &str, value: &Value, parse: impl FnOnce(&str) -> Result<T, Complaint>) -> Complaint {
    let complaint = wrong_type(at, wanted, value);
    let in_quotes = match value {
        Value::Integer(number) => number.to_string(),
        Value::Boolean(on) => on.to_string(),
        _ => return complaint,
    };
    match parse(&in_quotes) {
        Err(Complaint { hint: Some(hint), .. }) => Complaint { hint: Some(hint), ..complaint },
        _ => complaint,
    }
}

/// Who writes several into one string is shown the list.
fn several(text: &str, wanted: &str, complaint: Complaint) -> Complaint {
    if wanted != TEXTS || !text.contains(',') {
        return complaint;
    }
    let items: Vec<String> = text.split(',').map(|item| format!("\"{}\"", item.trim())).collect();
    Complaint::hinted(complaint.message, format!("several stand in a list: [{}]", items.join(", ")))
}

/// A whole number within a range. `T` has room for all of the range.
pub fn integer<T: TryFrom<i64>>(
    found: Found<'_>,
    range: RangeInclusive<i64>,
    report: &mut Report,
) -> Option<Located<T>> {
    let result = match found.value {
        Value::Integer(value) => {
            let fitting = Some(*value).filter(|value| range.contains(value)).and_then(|value| T::try_from(value).ok());
            fitting.ok_or_else(|| {
                let message = format!("`{}` is {value}, which is out of range", last_key(&found.at));
                Complaint::hinted(message, format!("from {} to {}", range.start(), range.end()))
            })
        }
        other => Err(wrong_type(&found.at, "an integer", other)),
    };
    let value = report.check(&found.at, result)?;
    Some(Located { value, at: found.at })
}

/// `weight` of `service[0].backend[1].weight`.
fn last_key(at: &At) -> &str {
    at.field.rsplit('.').next().unwrap_or(&at.field)
}

/// `service.check` of `service[0].check`: as a table's head is written.
fn header(at: &At) -> String {
    at.field.split('[').map(|part| part.split_once(']').map_or(part, |(_, behind)| behind)).collect()
}

/// The complaint about a value of the wrong kind.
pub fn wrong_type(at: &At, wanted: &str, value: &Value) -> Complaint {
    // What has no place came as JSON, which has other words.
    let is_json = at.span.is_empty();
    let name = match last_key(at) {
        "" => "this".to_owned(),
        key => format!("`{key}`"),
    };
    let in_words = |kind: &str| if is_json { kind.replace("a table", "an object") } else { kind.to_owned() };
    let message = format!("{name} must be {}, not {}", in_words(wanted), in_words(value.kind()));
    let hint = match value {
        Value::Text(text) if wanted == "an integer" && text.parse::<i64>().is_ok() => {
            Some(format!("write {text} without quotes"))
        }
        Value::Integer(number) if wanted == "a string" => Some(format!("write \"{number}\" with quotes")),
        Value::Table(_) if wanted == "a list" && !is_json => {
            Some(format!("write [[{}]] with two brackets", header(at)))
        }
        _ if wanted == "a table" && !is_json && at.field.ends_with(']') => {
            Some(format!("write [[{}]] for each, and its keys below", header(at)))
        }
        Value::List(_) if wanted == "a table" && !is_json => {
            Some(format!("write [{}] with one bracket, once", header(at)))
        }
        _ => None,
    };
    Complaint::hinted(message, hint.unwrap_or_else(|| remedy(at, wanted, is_json)))
}

/// What a value of that kind looks like.
fn remedy(at: &At, wanted: &str, is_json: bool) -> String {
    let example = match wanted {
        "a table" if is_json => "write { } around its keys",
        "a table" => return format!("write [{}], and its keys below", header(at)),
        "a boolean or a table" if is_json => "true, false, or an object of its keys",
        "a boolean or a table" => "true, false, or a table of its keys",
        "a boolean" => "true or false",
        "an integer" => "a whole number, e.g. 3",
        "a string" => "text in quotes",
        "a string or a list of strings" => "text in quotes, or several: [\"…\", \"…\"]",
        "a duration" => "a number of seconds, or text with a unit, e.g. \"30s\"",
        _ => "values in brackets: [ … ]",
    };
    example.to_owned()
}
