//! The command line: `run` and `check` work on a file, all else asks a running gateway over its socket.

mod args;
mod ask;
mod care;
mod check;
mod checks;
mod client;
mod import;
mod output;
mod show;
mod table;
mod who;

#[cfg(test)]
mod documented;
#[cfg(test)]
mod tests;

use std::io::ErrorKind;
use std::process::ExitCode;

use clap::Parser;

use args::{Arguments, Verb};
use output::Output;

/// Why a verb failed: what to print, and the exit code that CONTRACT.md promises.
#[derive(Debug)]
pub enum Failed {
    /// 1: it could not be done.
    AtRunTime(String),
    /// 2: the usage or the config is wrong.
    Wrong(String),
    /// Nobody reads our output any more, e.g. `sluicegate flow list | head`: no reason to complain.
    BrokenPipe,
}

impl From<std::io::Error> for Failed {
    fn from(error: std::io::Error) -> Failed {
        match error.kind() {
            ErrorKind::BrokenPipe => Failed::BrokenPipe,
            _ => Failed::AtRunTime(format!("error: cannot write the output: {error}\n")),
        }
    }
}

/// The program.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut stdout = std::io::stdout();
    let mut output = Output::new(&mut stdout, arguments.json);
    let outcome = match &arguments.verb {
        Verb::Run { config } => return crate::run::run(config, arguments.socket.as_deref()),
        Verb::Check { config } => check::check(config, &sys::allowed_cpus(), &mut output, &mut std::io::stderr()),
        Verb::Import { file, format, vip } => import::import(file, *format, vip, &mut output, &mut std::io::stderr()),
        Verb::Ask(question) => ask::ask(question, arguments.socket(), &mut output, &mut std::io::stderr()),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(Failed::BrokenPipe) => ExitCode::SUCCESS,
        Err(Failed::AtRunTime(message)) => complain(&message, 1),
        Err(Failed::Wrong(message)) => complain(&message, 2),
    }
}

fn complain(message: &str, code: u8) -> ExitCode {
    use std::io::Write as _;
    // If standard error is closed too, the exit code still tells.
    let _ = std::io::stderr().write_all(message.as_bytes());
    ExitCode::from(code)
}
