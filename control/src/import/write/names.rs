//! Names that a config may have, each once.

const LONGEST: usize = 63;

/// Those that are taken, each with what it was made of.
#[derive(Debug, Default)]
pub struct Names(Vec<(String, String)>);

impl Names {
    /// One that nobody has yet.
    pub fn unique(&mut self, wanted: &str) -> String {
        let stem = clean(wanted);
        let (mut name, mut number) = (stem.clone(), 2);
        while self.0.iter().any(|(_, taken)| *taken == name) {
            let tail = format!("-{number}");
            name = stem.chars().take(LONGEST - tail.len()).collect::<String>() + &tail;
            number += 1;
        }
        self.0.push((wanted.to_owned(), name.clone()));
        name
    }

    /// The one that it got before, if it did.
    pub fn same_for(&mut self, wanted: &str) -> String {
        let known = self.0.iter().find(|(of, _)| of == wanted).map(|(_, name)| name.clone());
        known.unwrap_or_else(|| self.unique(wanted))
    }
}

/// Of letters that names may have.
fn clean(wanted: &str) -> String {
    let fits = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let clean: String = wanted.chars().map(fits).skip_while(|c| !c.is_ascii_alphanumeric()).take(LONGEST).collect();
    if clean.is_empty() { "service".to_owned() } else { clean }
}
