//! The page `docs/benchmarks/rates-DATE.md`, its figure and its JSON file. What stands below the last heading, "Reading it", is
//! written by hand and kept when the page is made anew.

use std::fmt::{self, Write};
use std::fs;
use std::path::Path;

use ::tests::Outcome;
use ::tests::bars::escape;

use super::answer::{Found, SearchReport, trim};
use super::rates::{Case, Results, Through};
use super::report::Latency;
use super::units::{short, short_time};

const BY_HAND: &str = "## Reading it";
const METHOD: &str = include_str!("rates.md");
const BAR: f64 = 18.0;
const LABEL: f64 = 230.0;
const WIDTH: f64 = 380.0;
const COLOURS: [&str; 4] = ["#9aa5ad", "#c0532f", "#9aa5ad", "#c0532f"];

/// Writes page, figure and JSON of a run in which no search has failed: a page of failures would take the place of the day's good
/// one. `rates page` makes even that, if it is what somebody wants.
///
/// # Errors
/// Searches have failed, or the disk says no.
pub fn publish(results: &Results, dir: &Path) -> Outcome {
    results
        .check()
        .map_err(|failure| failure.during("no page is made of this run (`rates page` does it all the same)"))?;
    write(results, dir)
}

/// Writes page, figure and JSON into `dir`.
///
/// # Errors
/// The disk says no.
pub fn write(results: &Results, dir: &Path) -> Outcome {
    let name = format!("rates-{}", results.date);
    let path = dir.join(format!("{name}.md"));
    let old = fs::read_to_string(&path).unwrap_or_default();
    let by_hand = old.find(BY_HAND).map_or(BY_HAND, |at| &old[at..]);
    fs::create_dir_all(dir)?;
    fs::write(&path, page(results, &name)? + by_hand.trim_end() + "\n")?;
    fs::write(dir.join(format!("{name}.svg")), figure(results)?)?;
    fs::write(dir.join(format!("{name}.json")), serde_json::to_string_pretty(&short_form(results)?)? + "\n")?;
    println!("{}", path.display());
    Ok(())
}

/// Everything but the points of the curves, of which there are thousands.
fn short_form(results: &Results) -> Outcome<serde_json::Value> {
    fn strip(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::Object(map) => {
                map.remove("curve");
                map.values_mut().for_each(strip);
            }
            serde_json::Value::Array(list) => list.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut value = serde_json::to_value(results)?;
    strip(&mut value);
    Ok(value)
}

fn page(results: &Results, name: &str) -> Result<String, fmt::Error> {
    let mut out = String::new();
    let machine = &results.machine;
    writeln!(out, "# Highest rates without loss, {}\n", results.date)?;
    writeln!(
        out,
        "Made by `{}` from commit {}, in {:.0} s. {}, {} CPUs, Linux {}. Every number is in [{name}.json]({name}.json).\n",
        results.command, results.commit, results.seconds, machine.cpu, machine.cpus, machine.kernel
    )?;
    writeln!(out, "![non-drop rates]({name}.svg)\n")?;
    for through in Through::ALL {
        let cases: Vec<_> = results.cases.iter().filter(|case| case.through == through).collect();
        if !cases.is_empty() {
            writeln!(out, "## {}\n", capital(through.name()))?;
            table(&mut out, &cases)?;
        }
    }
    writeln!(out, "{METHOD}\n### Commands\n")?;
    for case in &results.cases {
        writeln!(out, "    {}", case.command)?;
    }
    writeln!(out)?;
    Ok(out)
}

fn table(out: &mut String, cases: &[&Case]) -> fmt::Result {
    writeln!(
        out,
        "| profile | loss accepted | unit | rate /s | fails at | bit/s, wire | bit/s, frames | p50 | p99 | trials | |"
    )?;
    writeln!(out, "|---|--:|---|--:|--:|--:|--:|--:|--:|--:|---|")?;
    for case in cases {
        match &case.search {
            None => writeln!(out, "| {} | | | failed: {} |", case.profile, case.failure.as_deref().unwrap_or("?"))?,
            Some(search) => search.found.iter().try_for_each(|found| line(out, case, search, found))?,
        }
    }
    writeln!(out)
}

fn line(out: &mut String, case: &Case, search: &SearchReport, found: &Found) -> fmt::Result {
    let bits = |bits: f64| if bits > 0.0 { short(bits) } else { "–".into() };
    let latency = |of: fn(&Latency) -> u64| {
        let all = found.streams.iter().filter_map(|stream| stream.latency.as_ref()).map(of).max();
        all.map_or("–".into(), short_time)
    };
    let mut remarks = Vec::new();
    if let Some(doubt) = found.doubt() {
        remarks.push(doubt);
    } else if found.rate <= 0.0 {
        remarks.push("every rate that was tried lost more".to_owned());
    } else if found.confirmed > 0.0 {
        remarks.push(format!("confirmed over {} s", trim(found.confirmed)));
    } else if found.unconfirmed {
        remarks.push("not confirmed".to_owned());
    }
    if !found.remark().is_empty() {
        remarks.push(found.remark().to_owned());
    }
    writeln!(
        out,
        "| {} | {} % | {} | **{}** | {} | {} | {} | {} | {} | {} | {} |",
        case.profile,
        trim(found.accepted * 100.0),
        search.unit,
        rate(found),
        found.above.map_or("–".into(), short),
        bits(found.line_bits),
        bits(found.frame_bits),
        latency(|latency| latency.p50),
        latency(|latency| latency.p99),
        search.trials.len(),
        remarks.join("; ")
    )
}

/// Nothing stands where trials contradict one another: that is no rate of 0.
fn rate(found: &Found) -> String {
    if found.doubt().is_some() { "–".into() } else { short(found.rate) }
}

/// A panel for each profile, a bar for each device; the thin part goes to the lowest rate that failed.
fn figure(results: &Results) -> Result<String, fmt::Error> {
    let mut files: Vec<&str> = results.cases.iter().map(|case| case.file.as_str()).collect();
    files.sort_unstable();
    files.dedup();
    let mut body = String::new();
    let mut y = 8.0;
    for file in files {
        let cases: Vec<_> = results.cases.iter().filter(|case| case.file == file).collect();
        let found = |case: &Case| case.search.as_ref().and_then(|search| search.found.first().cloned());
        let most =
            cases.iter().filter_map(|case| found(case)).map(|found| found.rate).fold(f64::MIN_POSITIVE, f64::max);
        let title = escape(cases.first().map_or("", |case| case.profile.as_str()));
        let unit = if cases.iter().filter_map(|case| case.search.as_ref()).any(|search| search.unit != "packets") {
            "connections"
        } else {
            "packets"
        };
        y += 22.0;
        writeln!(body, "<text x=\"6\" y=\"{y}\" font-weight=\"bold\">{title}, {unit} a second without loss</text>")?;
        y += 6.0;
        for case in cases {
            if let Some(found) = found(case) {
                bar(&mut body, y, case.through, &found, most)?;
                y += BAR;
            }
        }
        y += 6.0;
    }
    let (width, height) = (LABEL + WIDTH + 170.0, y + 8.0);
    Ok(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n{body}</svg>\n"
    ))
}

fn bar(out: &mut String, y: f64, through: Through, found: &Found, most: f64) -> fmt::Result {
    let at = |rate: f64| LABEL + WIDTH * (rate / most).min(1.0);
    let (middle, text) = (y + BAR / 2.0, y + BAR / 2.0 + 4.0);
    writeln!(out, "<text x=\"{}\" y=\"{text}\" text-anchor=\"end\">{}</text>", LABEL - 6.0, through.name())?;
    writeln!(
        out,
        "<rect x=\"{LABEL}\" y=\"{}\" width=\"{:.1}\" height=\"{}\" fill=\"{}\"/>",
        y + 2.0,
        at(found.rate) - LABEL,
        BAR - 4.0,
        COLOURS[through as usize]
    )?;
    let end = found.above.map_or(found.rate, |above| above.max(found.rate));
    writeln!(out, "<path d=\"M{:.1} {middle}H{:.1}\" stroke=\"black\"/>", at(found.rate), at(end))?;
    let more = if found.remark().is_empty() || found.rate <= 0.0 { "" } else { " or more" };
    writeln!(out, "<text x=\"{:.1}\" y=\"{text}\">{}{more}</text>", at(end) + 5.0, rate(found))
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generator::report::Machine;

    fn results(found: Option<Found>) -> Results {
        let failure = found.is_none().then(|| "no root".to_owned());
        let search = found.map(|found| SearchReport { found: vec![found], ..SearchReport::default() });
        let (file, profile, through) = ("64b".to_owned(), "64 B < 65 B".to_owned(), Through::Xdp);
        let case = Case { file, profile, through, command: String::new(), search, failure };
        let (date, machine) = ("2026-01-01".to_owned(), Machine::default());
        let command = "./target/release/rates --profiles 64b".to_owned();
        Results { date, command, commit: String::new(), machine, seconds: 1.0, cases: vec![case] }
    }

    #[test]
    fn failures_do_not_take_the_place_of_a_good_page() {
        let dir = std::env::temp_dir().join(format!("sluicegate-rates-{}", std::process::id()));
        publish(&results(Some(Found { rate: 777.0, ..Found::default() })), &dir).unwrap();
        let error = publish(&results(None), &dir).unwrap_err();
        let read =
            |extension: &str| fs::read_to_string(dir.join("rates-2026-01-01").with_extension(extension)).unwrap();
        let (page, figure) = (read("md"), read("svg"));
        fs::remove_dir_all(&dir).unwrap();
        assert!(error.reason().contains("1 of 1 searches failed: 64b through xdp: no root"), "{error:?}");
        assert!(page.contains("**777**") && !page.contains("failed:"), "{page}");
        assert!(page.contains("Made by `./target/release/rates --profiles 64b` from"), "{page}");
        assert!(figure.contains(">64 B &lt; 65 B, "), "{figure}");
    }

    #[test]
    fn no_rate_that_stands_is_not_published_as_0() {
        let found = Found { above: Some(218e3), passed: 250e3, unconfirmed: true, ..Found::default() };
        let page = page(&results(Some(found)), "x").unwrap();
        assert!(page.contains("| **–** | 218.0 k |"), "{page}");
        assert!(page.contains("| not confirmed: a trial passed 250.0 k/s, others failed at 218.0 k/s |"), "{page}");
        let page = super::page(&results(Some(Found::default())), "x").unwrap();
        assert!(page.contains("| **0** |") && page.contains("every rate that was tried lost more"), "{page}");
    }
}
