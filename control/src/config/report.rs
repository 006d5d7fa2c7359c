//! Collecting what is wrong while a config or a request's body is read.

use std::ops::Range;

use super::Severity;
use crate::printable::printable;

/// Where a value stands: its key for people and programs, its bytes in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At {
    /// `service[0].backend[1].weight`
    pub field: String,
    /// Bytes of the text.
    pub span: Range<usize>,
}

impl At {
    /// The text as a whole.
    pub fn root() -> At {
        At { field: String::new(), span: 0..0 }
    }

    /// A key of the table that stands here.
    pub fn key(&self, key: &str, span: Range<usize>) -> At {
        let field = if self.field.is_empty() { key.to_owned() } else { format!("{}.{key}", self.field) };
        At { field, span }
    }

    /// An item of the list that stands here.
    pub fn index(&self, index: usize, span: Range<usize>) -> At {
        At { field: format!("{}[{index}]", self.field), span }
    }
}

/// A value and its place.
#[derive(Debug, Clone)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Its place.
    pub at: At,
}

/// What is wrong with a value, before anyone knows where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Complaint {
    /// A complaint with a remedy.
    pub fn hinted(message: impl Into<String>, hint: impl Into<String>) -> Complaint {
        Complaint { message: message.into(), hint: Some(hint.into()) }
    }
}

/// The key at fault, and the complaint.
pub type Fault = (&'static str, Complaint);

/// A complaint in its place.
#[derive(Debug, Clone)]
pub struct Finding {
    /// Error or warning.
    pub severity: Severity,
    /// Where.
    pub at: At,
    /// What.
    pub complaint: Complaint,
    /// The key is not there at all: after a syntax error that says nothing.
    pub missing: bool,
}

/// All that was found.
#[derive(Debug, Default)]
pub struct Report {
    /// In the order of finding.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Something that must be put right.
    pub fn error(&mut self, at: &At, complaint: Complaint) {
        self.add(Severity::Error, at, complaint, false);
    }

    /// A key that must be there.
    pub fn missing(&mut self, at: &At, complaint: Complaint) {
        self.add(Severity::Error, at, complaint, true);
    }

    /// Something odd.
    pub fn warn(&mut self, at: &At, complaint: Complaint) {
        self.add(Severity::Warning, at, complaint, false);
    }

    /// Complaints repeat what the file says, and are printed and logged.
    fn add(&mut self, severity: Severity, at: &At, complaint: Complaint, missing: bool) {
        let Complaint { message, hint } = complaint;
        let complaint = Complaint { message: printable(&message), hint: hint.map(|hint| printable(&hint)) };
        self.findings.push(Finding { severity, at: at.clone(), complaint, missing });
    }

    /// The value, or a complaint about it.
    pub fn check<T>(&mut self, at: &At, result: Result<T, Complaint>) -> Option<T> {
        result.map_err(|complaint| self.error(at, complaint)).ok()
    }

    /// Where the errors stand that came after the first `before` findings.
    pub fn errors_since(&self, before: usize) -> impl Iterator<Item = &At> {
        let later = self.findings.iter().skip(before);
        later.filter(|finding| finding.severity == Severity::Error).map(|finding| &finding.at)
    }

    /// Whether anything must be put right.
    pub fn has_errors(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Error)
    }
}

/// The known word that was probably meant.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let limit = (word.chars().count() / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= limit && *distance < candidate.len())
        .min()
        .map(|(_, candidate)| candidate)
}

/// "did you mean", or else all that is known.
pub fn suggest(word: &str, known: &[&str]) -> String {
    match nearest(word, known.iter().copied()) {
        Some(candidate) => format!("did you mean `{candidate}`?"),
        None => format!("known: {}", known.join(", ")),
    }
}
