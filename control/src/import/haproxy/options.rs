//! The options behind a `bind`, `server` or `default-server`. Each takes one word more or none, and the last one counts.

use std::str::FromStr;

use super::words::Line;
use crate::import::notes::Notes;

/// An option where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Its line.
    pub line: usize,
    /// Its word.
    pub name: String,
    /// The word behind it, if it takes one.
    pub argument: String,
}

/// Options that have something in common.
#[derive(Debug, Clone, Copy)]
pub struct Group {
    /// Whether a word behind it belongs to it.
    pub takes_one: bool,
    /// Why it is not carried over, or how; `None`: nothing is lost.
    pub why: Option<&'static str>,
    /// Their words.
    pub names: &'static [&'static str],
}

/// What stands behind a line's own words, or behind several lines'.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options(Vec<Choice>);

/// The group of an option; `set-proxy-v2-tlv-fmt(0x20)` has its own argument in its word.
fn group_of<'a>(groups: &'a [Group], name: &str) -> Option<&'a Group> {
    let stem = name.split('(').next().unwrap_or_default();
    groups.iter().find(|group| group.names.contains(&stem))
}

impl Options {
    /// Those of a line, from this word on: what stands before may be a name that sounds like an option.
    pub fn read(line: &Line, from: usize, groups: &[Group]) -> Options {
        let mut words = line.words.iter().skip(from);
        let mut choices = Vec::new();
        while let Some(name) = words.next() {
            let takes_one = group_of(groups, name).is_some_and(|group| group.takes_one);
            let argument = if takes_one { words.next().cloned().unwrap_or_default() } else { String::new() };
            choices.push(Choice { line: line.number, name: name.clone(), argument });
        }
        Options(choices)
    }

    /// With those that come later.
    pub fn then(&self, later: Options) -> Options {
        Options(self.0.iter().cloned().chain(later.0).collect())
    }

    /// The last of these words.
    pub fn last(&self, names: &[&str]) -> Option<&Choice> {
        self.0.iter().rev().find(|choice| names.contains(&choice.name.as_str()))
    }

    /// Where it stands, if nothing behind it takes it back.
    pub fn on(&self, name: &str) -> Option<&Choice> {
        let opposite = if name == "disabled" { "enabled".to_owned() } else { format!("no-{name}") };
        self.last(&[name, &opposite]).filter(|last| last.name == name)
    }

    /// Its argument, if it can be read.
    pub fn value<T: FromStr>(&self, name: &str) -> Option<T> {
        self.last(&[name])?.argument.parse().ok()
    }

    /// Names what counts and is not carried over.
    pub fn note(&self, groups: &[Group], notes: &mut Notes<'_>) {
        for choice in self.0.iter().filter(|choice| self.on(&choice.name) == Some(choice)) {
            match group_of(groups, &choice.name) {
                None => notes.add(choice.line, format!("`{}` is not known to Sluicegate", choice.name)),
                Some(Group { why: Some(why), .. }) => notes.add(choice.line, format!("`{}`: {why}", choice.name)),
                Some(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUPS: &[Group] = &[
        Group { takes_one: false, why: None, names: &["check", "no-check", "disabled", "enabled"] },
        Group { takes_one: true, why: None, names: &["port", "set"] },
    ];

    fn read(words: &str) -> Options {
        Options::read(&Line { number: 1, words: words.split(' ').map(str::to_owned).collect() }, 1, GROUPS)
    }

    #[test]
    fn arguments_are_no_options() {
        let options = read("check port check");
        assert_eq!((options.on("check"), options.last(&["port"]).unwrap().argument.as_str()), (None, "check"));
        assert_eq!(read("x set(0x20) check").on("check"), None);
        assert_eq!(read("x port").value::<u16>("port"), None);
    }

    #[test]
    fn the_last_one_counts() {
        assert!(read("x check no-check check").on("check").is_some());
        assert!(read("x check").then(read("x no-check")).on("check").is_none());
        assert!(read("x disabled enabled").on("disabled").is_none());
        assert_eq!(read("x port 1 port 2").value::<u16>("port"), Some(2));
    }
}
