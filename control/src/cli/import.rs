//! `import`: the config goes to the output, what could not be carried over to standard error.

use std::io::{Read as _, Write};
use std::net::IpAddr;
use std::path::Path;

use super::Failed;
use super::check::count;
use super::output::Output;
use crate::import::{Format, Imported, import as read, recognise};

/// More is no config file.
const LARGEST_BYTES: u64 = 1 << 20;

/// Reads the file and writes the config.
///
/// # Errors
/// When the file can't be read or understood, or nothing of it could be carried over.
pub fn import(
    path: &Path,
    format: Option<Format>,
    vips: &[IpAddr],
    output: &mut Output<'_>,
    errors: &mut dyn Write,
) -> Result<u8, Failed> {
    let text = load(path)?;
    let name = if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() };
    let Some(format) = format.or_else(|| recognise(&text)) else {
        let hint = "say what it is with --format haproxy, keepalived or ipvsadm";
        return Err(Failed::Wrong(format!("error: {name} is not understood\n  help: {hint}\n")));
    };
    let imported = read(&text, format, vips);
    let code = if imported.services == 0 { 2 } else { 0 };
    match write(&imported, &name, output, errors) {
        // A reader that has seen enough has no config for that.
        Err(Failed::BrokenPipe) => Ok(code),
        other => other.map(|()| code),
    }
}

fn write(imported: &Imported, name: &str, output: &mut Output<'_>, errors: &mut dyn Write) -> Result<(), Failed> {
    output.print(imported, |imported| imported.config.clone())?;
    if !output.json {
        errors.write_all(notes(imported, name).as_bytes())?;
    }
    Ok(())
}

fn load(path: &Path) -> Result<String, Failed> {
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(LARGEST_BYTES + 1).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(LARGEST_BYTES + 1).read_to_end(&mut bytes))
    };
    read.map_err(|error| Failed::Wrong(format!("error: cannot read {}: {error}\n", path.display())))?;
    if bytes.len() as u64 > LARGEST_BYTES {
        let hint = "import it in parts";
        return Err(Failed::Wrong(format!("error: {} is larger than 1 MiB\n  help: {hint}\n", path.display())));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn notes(imported: &Imported, name: &str) -> String {
    let lines = imported.notes.iter().map(|note| match note.line {
        0 => format!("{name}: {}\n", note.why),
        line => format!("{name}:{line}: `{}`: {}\n", note.text, note.why),
    });
    let lines: String = lines.collect();
    format!("{lines}{} carried over, {}\n", count(imported.services, "service"), count(imported.notes.len(), "note"))
}
