//! Names that a config may have, each once.

const LONGEST: usize = 63;

/// Those that are taken.
#[derive(Debug, Default)]
pub struct Names(Vec<String>);

impl Names {
    /// One that nobody has yet.
    pub fn unique(&mut self, wanted: &str) -> String {
        let stem = clean(wanted);
        let (mut name, mut number) = (stem.clone(), 2);
        while self.0.contains(&name) {
            let tail = format!("-{number}");
            name = stem.chars().take(LONGEST - tail.len()).collect::<String>() + &tail;
            number += 1;
        }
        self.0.push(name.clone());
        name
    }
}

/// Of letters that names may have.
fn clean(wanted: &str) -> String {
    let fits = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let clean: String = wanted.chars().map(fits).skip_while(|c| !c.is_ascii_alphanumeric()).take(LONGEST).collect();
    if clean.is_empty() { "service".to_owned() } else { clean }
}
