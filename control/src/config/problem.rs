//! What is wrong with a config, and where.

use std::fmt;

use serde::Serialize;

/// Whether a [`Problem`] stops the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The config is refused.
    Error,
    /// The config is odd but works.
    Warning,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Error or warning.
    pub severity: Severity,
    /// The key, e.g. `service[0].backend[1].weight`; empty for the file as a whole.
    pub field: String,
    /// What is wrong, in one line.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Where it stands in the file.
    #[serde(flatten)]
    pub place: Option<Place>,
}

/// A place in a config file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The file's path.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// The text of the line.
    #[serde(skip)]
    pub text: String,
    /// How many characters of the line are meant, at least 1.
    #[serde(skip)]
    pub width: usize,
}

impl Problem {
    /// Where and what, without the remedy: `file:line:col: error: message`.
    pub fn headline(&self) -> String {
        let place = self.place.as_ref().map(|place| format!("{}:{}:{}: ", place.file, place.line, place.column));
        format!("{}{}: {}", place.unwrap_or_default(), self.severity.name(), self.message)
    }
}

impl fmt::Display for Problem {
    /// All of it in one line, as logs want it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.headline())?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, " ({hint})"))
    }
}

impl Severity {
    /// `error` or `warning`.
    pub const fn name(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}
