//! What all pages have in common: where and when, tables, the part that is written by hand.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

/// From this heading on, a page is written by hand, and that is kept when the page is made anew.
const BY_HAND: &str = "## Reading it";

/// Where and when something was measured.
#[derive(Clone, Debug)]
pub struct Place {
    /// Day.
    pub date: String,
    /// What was run.
    pub commit: String,
    /// On what.
    pub machine: String,
    /// Runnable processes over the last minute: what else the machine had to do.
    pub load: String,
}

impl Place {
    /// Here and now.
    #[must_use]
    pub fn here() -> Self {
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Self {
            date: said_by("date", &["-u", "+%F"]),
            commit: ::tests::origin::commit().unwrap_or_default(),
            machine: machine(),
            load: load.split(' ').next().unwrap_or_default().to_owned(),
        }
    }

    /// The first lines of a page.
    #[must_use]
    pub fn head(&self, title: &str, command: &str) -> String {
        let Place { date, commit, machine, load } = self;
        format!(
            "# {title}, {date}\n\nMade by `{command}` from commit {commit}. {machine}; load average {load} at the end. \
             Median [lowest–highest].\n\n"
        )
    }
}

fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let of = |key: &str| {
        let line = info.lines().find(|line| line.starts_with(key));
        line.and_then(|line| line.split_once(": ")).map_or("?", |(_, value)| value).to_owned()
    };
    let cores = info.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "{} (family {}, model {}), {cores} CPUs, Linux {}",
        of("model name"),
        of("cpu family"),
        of("model\t"),
        kernel.trim()
    )
}

fn said_by(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

/// The command line of this program, as it is called from the root of the tree.
#[must_use]
pub fn command(program: &str) -> String {
    let words = std::env::args().skip(1);
    std::iter::once(format!("./target/release/{program}")).chain(words).collect::<Vec<_>>().join(" ")
}

/// Where pages stand: in the documents, or, of a quick run or a part of one, beside the other results.
#[must_use]
pub fn dir(partial: bool) -> PathBuf {
    if partial { crate::results::dir() } else { Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/benchmarks") }
}

/// Writes the page `name`.md into `dir`, above what somebody has written there by hand.
///
/// # Errors
/// The disk says no.
pub fn write(dir: &Path, name: &str, page: &str) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let path = dir.join(format!("{name}.md"));
    let old = fs::read_to_string(&path).unwrap_or_default();
    let by_hand = old.find(BY_HAND).map_or("", |at| &old[at..]);
    fs::write(&path, format!("{}\n\n{by_hand}", page.trim_end()).trim_end().to_owned() + "\n")?;
    println!("{}", path.display());
    Ok(())
}

/// A table: names of columns, then rows. The first column is text, the others are numbers.
#[must_use]
pub fn table<S: AsRef<str>>(head: &[S], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let titles: Vec<&str> = head.iter().map(AsRef::as_ref).collect();
    let mut out = format!("| {} |\n|---|{}\n", titles.join(" | "), "---:|".repeat(titles.len().saturating_sub(1)));
    for row in rows {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "| {} |", row.join(" | "));
    }
    out + "\n"
}

/// With commas.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([1, 999, 1_000, 4_000_000].map(grouped), ["1", "999", "1,000", "4,000,000"]);
    }

    #[test]
    fn what_was_written_by_hand_stays() {
        let dir = crate::results::target().join(format!("tmp/sheet-{}", std::process::id()));
        write(&dir, "page", "# One\n\nold\n").unwrap();
        let path = dir.join("page.md");
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, "# One\n\nold\n");
        fs::write(&path, text + "\n## Reading it\n\nby hand\n").unwrap();
        write(&dir, "page", "# One\n\nnew\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "# One\n\nnew\n\n## Reading it\n\nby hand\n");
        fs::remove_dir_all(dir).unwrap();
    }
}
