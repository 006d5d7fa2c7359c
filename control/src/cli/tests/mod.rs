//! What each verb prints, asked of a fake gateway over a real socket.

mod changed;
mod files;
mod line;
mod refused;
mod shown;
mod watched;

use std::path::Path;

use clap::Parser;

use crate::cli::args::{Arguments, Verb};
use crate::cli::output::Output;
use crate::cli::{Failed, ask, check, import};

/// Exit code, standard output and standard error of a command line, with the socket left out.
fn run(socket: &Path, line: &str) -> (u8, String, String) {
    let words = std::iter::once("sluicegate").chain(line.split_whitespace());
    let arguments = match Arguments::try_parse_from(words) {
        Ok(arguments) => arguments,
        Err(error) => return (u8::try_from(error.exit_code()).unwrap(), String::new(), error.to_string()),
    };
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let mut output = Output::new(&mut stdout, arguments.json);
    let outcome = match &arguments.verb {
        Verb::Ask(question) => ask::ask(question, socket, &mut output, &mut stderr),
        Verb::Check { config } => check::check(config, &[0, 1], &mut output, &mut stderr),
        Verb::Import { file, format, vip } => import::import(file, *format, vip, &mut output, &mut stderr),
        Verb::Run { .. } => panic!("that would run"),
    };
    let text = |bytes| String::from_utf8(bytes).unwrap();
    match outcome {
        Ok(code) => (code, text(stdout), text(stderr)),
        Err(Failed::AtRunTime(message)) => (1, text(stdout), message),
        Err(Failed::Wrong(message)) => (2, text(stdout), message),
        Err(Failed::BrokenPipe) => panic!("nobody broke a pipe"),
    }
}

/// The lines, and what each of them gave.
fn transcript(socket: &Path, lines: &[&str]) -> String {
    let show = |line: &&str| {
        let (code, out, err) = run(socket, line);
        let place = socket.display().to_string();
        let directory = socket.parent().unwrap().display().to_string();
        let text = format!("{out}{err}").replace(&place, "SOCKET").replace(&directory, "DIR");
        format!("$ sluicegate {}\n{text}[{code}]\n", line.replace(&directory, "DIR"))
    };
    lines.iter().map(show).collect::<Vec<_>>().join("\n")
}
