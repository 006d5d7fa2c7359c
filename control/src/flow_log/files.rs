//! The files of a log: the one that is written, and those that logrotate has moved away, maybe packed by gzip.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

const GZIP: [u8; 2] = [0x1f, 0x8b];
/// How names of packed files end. Only gzip can be read here, but of the others must be said that they were not.
const PACKED: [&str; 6] = ["gz", "bz2", "xz", "zst", "lz4", "lzma"];

/// The log and all that was rotated away from it, in no order.
///
/// # Errors
/// The directory cannot be read.
pub fn files(log: &Path) -> io::Result<Vec<PathBuf>> {
    let Some(name) = log.file_name().and_then(|name| name.to_str()) else { return Ok(vec![log.to_owned()]) };
    let directory = log.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        names.extend(entry?.file_name().to_str().filter(|found| is_of(found, name)).map(str::to_owned));
    }
    // While one is being packed, both are there, and the packed one is not whole.
    let is_half_done = |found: &String| unpacked(found).is_some_and(|whole| names.iter().any(|name| name == whole));
    let rotated = names.iter().filter(|found| !is_half_done(found)).map(|found| log.with_file_name(found));
    let rotated: Vec<PathBuf> = rotated.collect();
    // Nobody writes at the moment between the moving away and the opening of a new one.
    Ok(if rotated.is_empty() { vec![log.to_owned()] } else { rotated })
}

/// Whether it is the log, or named as logrotate does: `.1`, `.2.gz`; with `dateext` `-20261121`, `-20261121.gz`, or a date in
/// another format.
fn is_of(found: &str, log: &str) -> bool {
    let Some(behind) = found.strip_prefix(log) else { return false };
    let mark = unpacked(behind).unwrap_or(behind);
    let is_mark = |mark: &str| {
        mark.starts_with(|c: char| c.is_ascii_digit()) && mark.chars().all(|c| c.is_ascii_digit() || "-._T".contains(c))
    };
    behind.is_empty() || mark.strip_prefix(['.', '-']).is_some_and(is_mark)
}

/// What the file was called before it was packed.
fn unpacked(name: &str) -> Option<&str> {
    let (whole, ending) = name.rsplit_once('.')?;
    PACKED.contains(&ending).then_some(whole)
}

/// The lines of a file. An end that was never written is an error behind them.
///
/// # Errors
/// It cannot be opened.
pub fn lines(path: &Path) -> io::Result<impl Iterator<Item = io::Result<String>>> {
    let mut file = BufReader::new(File::open(path)?);
    let is_packed = file.fill_buf()?.starts_with(&GZIP);
    let text: Box<dyn BufRead> =
        if is_packed { Box::new(BufReader::new(MultiGzDecoder::new(file))) } else { Box::new(file) };
    let no_text = |_| io::Error::new(io::ErrorKind::InvalidData, "it is neither text nor packed by gzip");
    Ok(text.split(b'\n').map(move |line| String::from_utf8(line?).map_err(no_text)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::tempdir::Directory;

    #[test]
    fn names_as_logrotate_gives_them() {
        let good =
            ["", ".1", ".30", ".2.gz", "-20261121", "-20261121.gz", "-2026-11-21_14.xz", ".2026-11-21T14-1795269909"];
        for behind in good {
            assert!(is_of(&format!("flows.jsonl{behind}"), "flows.jsonl"), "{behind}");
        }
        for other in
            ["flows.jsonl.", "flows.jsonl.bak", "flows.jsonl.gz", "flows.jsonl-", "flows.jsonl.1.bak", "flows.jsonl1"]
        {
            assert!(!is_of(other, "flows.jsonl"), "{other}");
        }
        assert!(!is_of("other.jsonl.1", "flows.jsonl"));
    }

    #[test]
    fn what_is_being_packed_is_read_once() {
        let directory = Directory::new();
        for name in ["log", "log.1", "log.1.gz", "log.2.gz", "log.old", "catalog.1"] {
            std::fs::write(directory.path.join(name), "").unwrap();
        }
        let mut found = files(&directory.path.join("log")).unwrap();
        found.sort();
        assert_eq!(found, ["log", "log.1", "log.2.gz"].map(|name| directory.path.join(name)));
        let older = directory.path.join("log.2.gz");
        assert_eq!(files(&older).unwrap(), [older], "by its own name it is alone");
    }
}
