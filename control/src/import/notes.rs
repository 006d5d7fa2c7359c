//! What could not be carried over, and why.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::printable::printable;

/// Longer lines are cut in notes.
const LONGEST: usize = 100;
/// Reasons repeat words of the file, which may be long.
const LONGEST_REASON: usize = 400;

/// One line of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// Its number, from 1; 0 for the file as a whole.
    pub line: usize,
    /// What it says.
    pub text: String,
    /// Why it was not carried over, or how.
    pub why: String,
}

/// All of them, and the lines that they are about.
#[derive(Debug)]
pub struct Notes<'a> {
    lines: Vec<&'a str>,
    notes: Vec<Note>,
}

impl<'a> Notes<'a> {
    /// None yet.
    pub fn new(text: &'a str) -> Notes<'a> {
        Notes { lines: text.lines().collect(), notes: Vec::new() }
    }

    /// One more. `line` counts from 1.
    pub fn add(&mut self, line: usize, why: impl Into<String>) {
        let text = line.checked_sub(1).and_then(|at| self.lines.get(at)).map(|text| cut(text.trim(), LONGEST));
        let why = cut(&why.into(), LONGEST_REASON);
        self.notes.push(Note { line, text: text.unwrap_or_default(), why });
    }

    /// One more, if there is a reason for it.
    pub fn extend_if(&mut self, line: usize, why: Option<&str>) {
        if let Some(why) = why {
            self.add(line, why);
        }
    }

    /// In the order of the file.
    pub fn finish(mut self) -> Vec<Note> {
        self.notes.sort_by_key(|note| note.line);
        let mut said = BTreeSet::new();
        self.notes.retain(|note| said.insert((note.line, note.why.clone())));
        self.notes
    }
}

fn cut(text: &str, longest: usize) -> String {
    // Tabs between words are no harm, but their width is anybody's guess.
    let shown: String = text.chars().take(longest).map(|c| if c == '\t' { ' ' } else { c }).collect();
    printable(&shown) + if text.chars().nth(longest).is_some() { " …" } else { "" }
}
