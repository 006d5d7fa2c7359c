//! Files that this process opens.

use std::fs::{File, OpenOptions};
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::os;

/// Opens a file to write at its end, and makes it where there is none. A pipe that nobody reads is an error, and one that is
/// full refuses what is written, instead of a wait without end.
///
/// # Errors
/// As [`OpenOptions::open`]; `ENXIO` for a pipe without reader.
pub fn open_to_append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).custom_flags(libc::O_NONBLOCK).open(path)
}

/// Lets the process have as many files open as its hard limit says: each worker takes up to 69, and the soft limit is usually
/// 1,024, for the sake of programs that use `select`. Gives the limit.
///
/// # Errors
/// The kernel refuses.
pub fn raise_open_files() -> io::Result<u64> {
    let mut limit = MaybeUninit::<libc::rlimit>::zeroed();
    // SAFETY: the kernel writes one limit.
    os::check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, limit.as_mut_ptr()) })?;
    // SAFETY: zeroed, then written by the kernel; integers.
    let mut limit = unsafe { limit.assume_init() };
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the kernel reads one limit.
    os::check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })?;
    Ok(limit.rlim_cur)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn a_pipe_that_nobody_reads_is_not_waited_for() {
        let path = std::env::temp_dir().join(format!("sluicegate-pipe-{}", std::process::id()));
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        let opened = open_to_append(&path);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(opened.unwrap_err().raw_os_error(), Some(libc::ENXIO));
    }

    #[test]
    fn the_hard_limit_is_the_soft_one() {
        let limit = raise_open_files().unwrap();
        let shown = std::fs::read_to_string("/proc/self/limits").unwrap();
        let line = shown.lines().find(|line| line.starts_with("Max open files")).unwrap();
        let numbers: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        assert_eq!(numbers, [limit, limit]);
    }
}
