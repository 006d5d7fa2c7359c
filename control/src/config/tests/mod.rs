//! Every validation, seen as the operator sees it.

mod documented;
mod edges;
mod good;
mod wrong;

use proptest::prelude::*;

use super::{Loaded, Problem, Severity, parse, render};

const CPUS: &[usize] = &[0, 1];

/// The smallest config that works, for tests to append to.
const BASE: &str = "[[interface]]\nname = \"eth0\"\n";

const OVERLAY: &str = "[overlay]\nvni = 4096\nvtep = \"198.18.1.1\"\naddress = \"10.0.0.3/24\"\n";

fn parse_text(text: &str) -> Result<Loaded, Vec<Problem>> {
    parse("gw.toml", text.as_bytes(), CPUS)
}

/// All problems as `check` prints them.
fn rendered(text: &str) -> String {
    let problems = match parse_text(text) {
        Ok(loaded) => loaded.warnings,
        Err(problems) => problems,
    };
    problems.iter().map(render).collect()
}

/// A title, and what is said about each text.
fn cases(cases: &[(&str, String)]) -> String {
    cases.iter().map(|(title, text)| format!("## {title}\n{}\n", rendered(text))).collect::<Vec<_>>().concat()
}

/// A valid file for mutations.
const FULL: &str = include_str!("full.toml");

proptest! {
    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        let _ = parse("gw.toml", &bytes, CPUS).map_err(|problems| problems.iter().map(render).collect::<String>());
    }

    #[test]
    fn no_text_of_toml_s_own_characters_panics(text in "[\\[\\]\"'=.,#{}a-z0-9:/ \n\t_-]{0,200}") {
        let _ = rendered(&text);
    }

    /// A slip of the finger in a valid file: still an answer, and every place lies in the file.
    #[test]
    fn no_mutation_of_a_valid_file_panics(at in 0..FULL.len(), cut in 0_usize..12, put in "\\PC{0,4}") {
        let mut bytes = FULL.as_bytes().to_vec();
        bytes.splice(at..(at + cut).min(FULL.len()), put.bytes());
        if let Err(problems) = parse("gw.toml", &bytes, CPUS) {
            prop_assert!(!problems.is_empty());
            let lines = String::from_utf8_lossy(&bytes).matches('\n').count() + 1;
            for problem in problems {
                // Whatever it is, there is something to do about it, and nothing that terminals obey.
                prop_assert!(problem.hint.is_some() || problem.severity == Severity::Warning, "{problem}");
                let shown = render(&problem);
                prop_assert!(!shown.contains(|c: char| c.is_control() && !"\n\t".contains(c)), "{shown:?}");
                let place = problem.place.unwrap();
                prop_assert!((1..=lines).contains(&place.line) && place.column >= 1);
            }
        }
    }
}
