//! `check`: what is wrong with a config file, all at once.

use std::io::{self, Write};
use std::path::Path;

use super::Failed;
use super::output::Output;
use crate::config::{Problem, Severity, load, render};

/// Checks a file. Problems go to `errors` as a compiler prints them, or with `--json` to the output as a list.
///
/// # Errors
/// When nothing could be written. A wrong config is no error here, but exit code 2.
pub fn check(path: &Path, cpus: &[usize], output: &mut Output<'_>, errors: &mut dyn Write) -> Result<u8, Failed> {
    let (problems, summary, code) = match load(path, cpus) {
        Ok(loaded) => {
            let services = &loaded.config.services;
            let backends = services.iter().map(|service| service.backends.len()).sum();
            (loaded.warnings, format!("ok: {}, {}\n", count(services.len(), "service"), count(backends, "backend")), 0)
        }
        Err(problems) => {
            let wrong = problems.iter().filter(|problem| problem.severity == Severity::Error).count();
            let summary = format!("{}: {}\n", path.display(), count(wrong, "error"));
            (problems, summary, 2)
        }
    };
    match write(&problems, &summary, code, output, errors) {
        // A reader that has seen enough does not make the config right.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(code),
        other => Ok(other.map(|()| code)?),
    }
}

fn write(
    problems: &[Problem],
    summary: &str,
    code: u8,
    output: &mut Output<'_>,
    errors: &mut dyn Write,
) -> io::Result<()> {
    if output.json {
        return output.print(&problems, |_| String::new());
    }
    let text: String = problems.iter().map(render).collect();
    errors.write_all(text.as_bytes())?;
    if code == 0 { output.text(summary) } else { errors.write_all(summary.as_bytes()) }
}

/// `1 service`, `2 services`.
pub fn count(number: usize, of: &str) -> String {
    format!("{number} {of}{}", if number == 1 { "" } else { "s" })
}
