//! Standard output, as text or as JSON.

use std::io::{self, Write};

use serde::Serialize;

/// Where answers go.
pub struct Output<'a> {
    to: &'a mut dyn Write,
    /// `--json`
    pub json: bool,
}

impl<'a> Output<'a> {
    /// Writes there.
    pub fn new(to: &'a mut dyn Write, json: bool) -> Output<'a> {
        Output { to, json }
    }

    /// Prints the value as JSON, or else as `text` shows it.
    pub fn print<T: Serialize>(&mut self, value: &T, text: impl FnOnce(&T) -> String) -> io::Result<()> {
        if self.json {
            serde_json::to_writer_pretty(&mut *self.to, value)?;
            self.to.write_all(b"\n")?;
        } else {
            self.to.write_all(text(value).as_bytes())?;
        }
        self.to.flush()
    }

    /// Prints the value as JSON on a line of its own: one of many.
    pub fn print_line<T: Serialize>(&mut self, value: &T) -> io::Result<()> {
        serde_json::to_writer(&mut *self.to, value)?;
        self.to.write_all(b"\n")?;
        self.to.flush()
    }

    /// Prints text as it is.
    pub fn text(&mut self, text: &str) -> io::Result<()> {
        self.to.write_all(text.as_bytes())?;
        self.to.flush()
    }
}
