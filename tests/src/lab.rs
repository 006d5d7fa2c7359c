//! A lab owns a set of network namespaces, and a reaper that removes them whatever happens to this process.

use crate::namespace::Namespace;
use crate::{Failure, Outcome, ensure};
use std::cell::RefCell;
use std::fs;
use std::io::Write;
use std::os::unix::process::{CommandExt, parent_id};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How much of each log a failed test shows.
const LOG_TAIL_LINES: usize = 40;

static NEXT: AtomicU32 = AtomicU32::new(0);

thread_local! {
    static LAST_LOGS: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Namespaces and files under one prefix; dropping it removes them all.
pub struct Lab {
    prefix: String,
    dir: PathBuf,
    reaper: Child,
}

impl Lab {
    /// Makes the directory and starts the reaper; no namespace exists yet.
    ///
    /// # Errors
    /// Not root, or the directory or the reaper could not be made.
    pub fn new() -> Outcome<Lab> {
        ensure!(is_root(), "the lab makes network namespaces: run it as root");
        exit_with_parent();
        let prefix = format!("sg{}x{}", base36(std::process::id()), base36(NEXT.fetch_add(1, Ordering::Relaxed)));
        let dir = std::env::temp_dir().join(format!("sluicegate-lab-{prefix}"));
        fs::create_dir_all(&dir)?;
        let reaper = Command::new("/bin/sh")
            .args(["-c", include_str!("reaper.sh"), "reaper", &prefix])
            .arg(&dir)
            .stdin(Stdio::piped())
            .process_group(0) // Ctrl-C in the terminal must not reach it
            .spawn()?;
        Ok(Lab { prefix, dir, reaper })
    }

    /// Makes a namespace with its loopback up.
    ///
    /// # Errors
    /// What `ip` said.
    pub fn namespace(&self, short: &str) -> Outcome<Namespace> {
        Namespace::create(&self.prefix, short, &self.dir)
    }

    /// Where configs, logs and served files of this lab lie.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What all its namespaces' names begin with.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        LAST_LOGS.with_borrow_mut(|logs| *logs = log_tails(&self.dir));
        if let Some(mut pipe) = self.reaper.stdin.take() {
            // If the reaper is gone nobody can be told: the namespaces' names will show it.
            let _ = pipe.write_all(b"done\n");
        }
        let _ = self.reaper.wait();
    }
}

/// The ends of all logs of the lab that this thread dropped last, for the report of a failed scenario.
#[must_use]
pub fn last_logs() -> String {
    LAST_LOGS.with_borrow_mut(std::mem::take)
}

/// Whether this process may make namespaces.
#[must_use]
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn log_tails(dir: &Path) -> String {
    let Ok(entries) = fs::read_dir(dir) else { return String::new() };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let mut out = String::new();
    for path in paths.iter().filter(|path| path.extension().is_some_and(|ext| ext == "log")) {
        let text = String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
        let lines: Vec<_> = text.lines().collect();
        if lines.is_empty() {
            continue;
        }
        let tail = &lines[lines.len().saturating_sub(LOG_TAIL_LINES)..];
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        out += &[&format!("--- {name} (last {} of {} lines)", tail.len(), lines.len()), tail.join("\n").as_str(), ""]
            .join("\n");
    }
    out
}

/// `make` that is told to stop stops cargo, but cargo does not stop the tests: they watch their parent themselves.
/// The reapers see this process end and clean up.
fn exit_with_parent() {
    static WATCH: Once = Once::new();
    WATCH.call_once(|| {
        let parent = parent_id();
        std::thread::spawn(move || {
            while parent_id() == parent {
                std::thread::sleep(Duration::from_millis(200));
            }
            std::process::exit(1);
        });
    });
}

fn base36(mut number: u32) -> String {
    let mut digits = Vec::new();
    loop {
        digits.extend(char::from_digit(number % 36, 36));
        number /= 36;
        if number == 0 {
            return digits.iter().rev().collect();
        }
    }
}

/// Runs a command to its end and gives its standard output.
///
/// # Errors
/// It could not be started, or ended with another code than 0: then with all that it printed.
pub fn run(command: &mut Command) -> Outcome<String> {
    let output = command.output().map_err(|error| Failure::new(format!("{command:?}: {error}")))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "{command:?}: {}\n{stdout}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(stdout)
}
