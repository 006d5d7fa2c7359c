//! What went wrong in a lab or a scenario, in words.

use std::fmt;

/// The reason why a step failed. Any error converts into it, so that scenarios read as a list of steps with `?`.
pub struct Failure(String);

/// What a scenario returns.
pub type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// A failure with this explanation.
    pub fn new(reason: impl Into<String>) -> Self {
        Failure(reason.into())
    }

    /// Puts "what was tried" in front of the reason.
    #[must_use]
    pub fn during(self, step: &str) -> Self {
        Failure(format!("{step}: {}", self.0))
    }

    /// The explanation.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// `Failure` is no `std::error::Error` itself: that is what allows this blanket conversion.
impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure(error.to_string())
    }
}

/// Leaves the function with a [`Failure`] unless the condition holds.
#[macro_export]
macro_rules! ensure {
    ($condition:expr, $($reason:tt)+) => {
        if !$condition {
            return Err($crate::Failure::new(format!($($reason)+)));
        }
    };
}
