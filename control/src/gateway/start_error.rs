//! Why the gateway cannot start: one error, with its place in the config and the remedy.

use std::fmt;

/// One clear error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartError {
    /// The place in the config, e.g. `[[interface]] "eth0"`.
    pub place: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

impl StartError {
    /// An error with its place and its remedy.
    pub fn new(place: impl Into<String>, message: impl fmt::Display, hint: impl Into<String>) -> StartError {
        StartError { place: place.into(), message: message.to_string(), hint: hint.into() }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)?;
        if self.hint.is_empty() { Ok(()) } else { write!(f, "\n  help: {}", self.hint) }
    }
}

impl std::error::Error for StartError {}
