//! haproxy.cfg as sections of lines of words.

/// A line's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its number, from 1.
    pub number: usize,
    /// The first says what it is.
    pub words: Vec<String>,
}

/// `frontend www`, and what stands below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// Its head.
    pub head: Line,
    /// Its lines.
    pub lines: Vec<Line>,
}

const SECTIONS: &[&str] = &[
    "global",
    "defaults",
    "frontend",
    "backend",
    "listen",
    "userlist",
    "peers",
    "mailers",
    "resolvers",
    "program",
    "cache",
    "http-errors",
    "ring",
    "log-forward",
    "fcgi-app",
    "crt-store",
    "traces",
];

impl Line {
    /// A word, or nothing.
    pub fn word(&self, at: usize) -> &str {
        self.words.get(at).map_or("", String::as_str)
    }

    /// The words from there on, with spaces between.
    pub fn rest(&self, from: usize) -> String {
        self.words.iter().skip(from).cloned().collect::<Vec<_>>().join(" ")
    }

    /// What follows a word.
    pub fn after(&self, word: &str) -> Option<&str> {
        let at = self.words.iter().position(|found| found == word)?;
        self.words.get(at + 1).map(String::as_str)
    }
}

/// The sections, and the lines before the first.
pub fn sections(text: &str) -> (Vec<Line>, Vec<Section>) {
    let (mut before, mut sections) = (Vec::new(), Vec::<Section>::new());
    for (at, text) in text.lines().enumerate() {
        let line = Line { number: at + 1, words: words(text) };
        if line.words.is_empty() {
            continue;
        }
        if SECTIONS.contains(&line.word(0)) {
            sections.push(Section { head: line, lines: Vec::new() });
        } else if let Some(section) = sections.last_mut() {
            section.lines.push(line);
        } else {
            before.push(line);
        }
    }
    (before, sections)
}

/// Quotes and backslashes as HAProxy takes them; a `#` begins a comment.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\\', None | Some('"')) => {
                let escaped = match chars.next() {
                    Some('n') => '\n',
                    Some('r') => '\r',
                    Some('t') => '\t',
                    Some(other) => other,
                    None => break,
                };
                word.get_or_insert_default().push(escaped);
            }
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, Some(open)) if c == open => quote = None,
            ('#', None) => break,
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_escapes_and_comments() {
        assert_eq!(words(r#"a  "b c" 'd "e"' f\ g # h"#), ["a", "b c", "d \"e\"", "f g"]);
        assert_eq!(
            words(r"option httpchk GET /x HTTP/1.1\r\nHost:\ www"),
            ["option", "httpchk", "GET", "/x", "HTTP/1.1\r\nHost: www"]
        );
        assert_eq!(words("  # only this"), Vec::<String>::new());
        assert_eq!(words("\"open"), ["open"]);
    }
}
