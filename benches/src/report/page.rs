//! The page itself.

use std::error::Error;
use std::fs;
use std::path::Path;

use tests::bars::{self, Layout};

use super::book::Book;
use super::sheet::{self, Place};
use super::{lines, plots, tables, targets};
use crate::callgrind::Profile;

const METHOD: &str = include_str!("method.md");
const WHERE: &str = include_str!("where.md");

/// Writes page and figures into `dir`.
///
/// # Errors
/// The disk says no.
pub fn write(book: &Book, profiles: &[Profile], dir: &Path) -> Result<(), Box<dyn Error>> {
    let name = format!("in-memory-{}", book.date.split(' ').next().unwrap_or_default());
    sheet::write(dir, &name, &page(book, profiles, &name)?)?;
    let all = book.lookup();
    fs::write(dir.join(format!("{name}.svg")), lines::svg(&plots::times(&all))?)?;
    fs::write(dir.join(format!("{name}-more.svg")), bars::svg(&plots::bars(&all), &Layout::PAIRS))?;
    Ok(())
}

/// The text.
///
/// # Errors
/// Never: it is written to a string.
pub fn page(book: &Book, profiles: &[Profile], name: &str) -> Result<String, std::fmt::Error> {
    let all = book.lookup();
    let Book { date, commit, machine, load, .. } = book.clone();
    let mut out = Place { date, commit, machine, load }.head("In memory", "make bench");
    out += METHOD;
    let mut section = |title: &str, text: &str| out.extend(["\n## ", title, "\n\n", text.trim_end(), "\n"]);
    section("Against the targets", &targets::targets(&all));
    section(
        "Nanoseconds per packet, 64 B, bursts of 64",
        &format!("![time by number of flows]({name}.svg)\n\n{}", tables::by_flows(&all)),
    );
    section("Other bursts and sizes", &tables::by_size(&all));
    section(
        "New flows and refused packets",
        &format!("{}\n![new flows, instructions, flow table]({name}-more.svg)", tables::new_and_refused(&all)),
    );
    section("Instructions per packet (1,000 flows)", &tables::instructions(&all));
    section("Flow table", &tables::flow_table(&all));
    section("A million open connections expire in a working gateway", &tables::flat(&all, "expiry/"));
    section("New tables: 10,000 services × 10 backends", &tables::flat(&all, "tables/"));
    section("New tables: all that control does", &tables::flat(&all, "control/"));
    section("Where the time goes", WHERE);
    for profile in profiles {
        out.extend(["\n", profile.markdown()?.trim_end(), "\n"]);
    }
    Ok(out)
}
