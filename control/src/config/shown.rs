//! What the API shows beside the config: who sends back what was shown need not take it out first.

use super::node::Value;
use super::section::Section;

/// Of a service.
pub const OF_SERVICE: [&str; 3] = ["protection", "remembered_clients", "evicted_clients"];

/// Of a backend, but for [`CHECK`].
pub const OF_BACKEND: [&str; 12] = [
    "service",
    "forward",
    "state",
    "resting",
    "ejections",
    "active_connections",
    "inactive_connections",
    "connections",
    "packets_in",
    "packets_out",
    "bytes_in",
    "bytes_out",
];

/// What the checks of a backend found. How it is checked is said of its service, by the same word: that is not ignored here.
pub const CHECK: &str = "check";

/// Lets all of it stand in a backend.
pub fn ignore_of_backend(section: &mut Section<'_>) {
    section.ignore(&OF_BACKEND);
    if section.peek(CHECK).is_none_or(is_result) {
        section.ignore(&[CHECK]);
    }
}

fn is_result(check: &Value) -> bool {
    match check {
        Value::Null => true,
        Value::Table(entries) => entries.iter().any(|entry| entry.key == "passed_total"),
        _ => false,
    }
}
