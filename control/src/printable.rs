//! What others wrote may hold anything, and terminals and logs obey control characters.

/// The text without them.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
