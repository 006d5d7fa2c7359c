//! Why the gateway cannot start: one error, with its place in the config and the remedy.

use std::fmt;

/// The remedy where nothing that an operator has done can be the cause.
pub const DEFECT: &str = "this is a defect of Sluicegate: please report it with the log";

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
    /// An error with its place and its remedy, which no error is without.
    pub fn new(place: impl Into<String>, message: impl fmt::Display, hint: impl Into<String>) -> StartError {
        let error = StartError { place: place.into(), message: message.to_string(), hint: hint.into() };
        debug_assert!(!error.hint.is_empty(), "no remedy: {error}");
        error
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}\n  help: {}", self.place, self.message, self.hint)
    }
}

impl std::error::Error for StartError {}
