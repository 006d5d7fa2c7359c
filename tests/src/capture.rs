//! Looks at frames with tcpdump.

use crate::Outcome;
use crate::namespace::{Namespace, Process};
use std::time::Duration;

/// A running tcpdump.
pub struct Capture(Process);

impl Capture {
    /// Starts it and waits until it sees frames. It ends by itself after `count` of them.
    ///
    /// # Errors
    /// tcpdump did not start.
    pub fn start(namespace: &Namespace, interface: &str, count: usize, filter: &str) -> Outcome<Capture> {
        let count = count.to_string();
        let label = format!("tcpdump-{interface}");
        let args = ["-n", "-l", "-v", "-e", "--immediate-mode", "-i", interface, "-c", &count, filter];
        let mut process = namespace.spawn(&label, "tcpdump", args)?;
        process.wait_for_line("tcpdump: listening on", Duration::from_secs(10))?;
        Ok(Capture(process))
    }

    /// Waits until it has seen all the frames that it waits for, and gives its text.
    ///
    /// # Errors
    /// Not within `limit`.
    pub fn finish(&mut self, limit: Duration) -> Outcome<String> {
        let name = self.0.log();
        self.0.finish(limit).map_err(|failure| failure.during(&format!("capture so far:\n{name}")))
    }

    /// What it has seen so far.
    #[must_use]
    pub fn text(&self) -> String {
        self.0.log()
    }
}
