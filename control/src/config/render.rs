//! From findings to what people read: `file:line:col: error: …`, the line, a mark under it, the remedy.

use std::fmt::Write as _;
use std::ops::Range;

use super::report::Finding;
use super::{Place, Problem};

/// The finding with its place in the file, in lines and columns.
pub fn problem(finding: Finding, file: &str, text: &str) -> Problem {
    Problem {
        severity: finding.severity,
        field: finding.at.field,
        message: finding.complaint.message,
        hint: finding.complaint.hint,
        place: Some(place(file, text, finding.at.span)),
    }
}

/// Lines and columns of a span. It may lie anywhere: what is outside the text counts as its end.
fn place(file: &str, text: &str, span: Range<usize>) -> Place {
    let start = floor(text, span.start);
    let end = floor(text, span.end.max(span.start));
    let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
    let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
    let marked = &text[start..end.min(line_end).max(start)];
    Place {
        file: file.to_owned(),
        line: text[..start].matches('\n').count() + 1,
        column: text[line_start..start].chars().count() + 1,
        text: text[line_start..line_end].trim_end().to_owned(),
        width: marked.trim_end().chars().count().max(1),
    }
}

/// The nearest place at or before `at` that lies between two characters.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// The problem as a compiler would print it, ending with a line break.
pub fn render(problem: &Problem) -> String {
    let mut out = problem.headline() + "\n";
    if let Some(place) = problem.place.as_ref().filter(|place| !place.text.is_empty()) {
        let number = place.line.to_string();
        let gutter = " ".repeat(number.len());
        // Tabs stay tabs under tabs, so that the mark stands where the eye expects it.
        let lead: String =
            place.text.chars().take(place.column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let _ = writeln!(out, " {number} | {}", printable(&place.text));
        let _ = writeln!(out, " {gutter} | {lead}{}", "^".repeat(place.width));
    }
    if let Some(hint) = &problem.hint {
        let _ = writeln!(out, "  help: {hint}");
    }
    out
}

/// Terminals obey control characters; a config file must not speak to them.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}
