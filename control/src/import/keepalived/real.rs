//! Real servers, and what a service says for all of them.

use super::check::{self, Found};
use super::tree::Statement;
use super::{Draft, server_address};
use crate::import::draft::Backend;
use crate::import::notes::Notes;

/// keepalived's, where nobody says how a real server is reached.
const DEFAULT_KIND: &str = "NAT";

/// How a real server is checked.
#[derive(Default)]
pub struct Checked {
    /// It has checks, whether or not one is carried over.
    asked: bool,
    /// The first that is.
    found: Option<Found>,
}

impl Draft {
    /// How the service's backends are reached: the virtual server says it, else the first real one.
    pub fn kind_with(&self, reals: &[&Statement]) -> String {
        let first = || Some(reals.first()?.find("lvs_method")?.word(1).to_owned());
        self.kind.clone().or_else(first).unwrap_or_else(|| DEFAULT_KIND.to_owned())
    }

    /// Takes one over, of a service whose backends are reached in this way.
    pub fn real_server(&mut self, real: &Statement, kind: &str, notes: &mut Notes<'_>) {
        let method = real.find("lvs_method");
        let own = method.map(|method| method.word(1)).or(self.kind.as_deref()).unwrap_or(DEFAULT_KIND);
        if !own.eq_ignore_ascii_case(kind) {
            let line = method.map_or(real.line, |method| method.line);
            notes.add(line, "left out: all backends of a service are reached in one way");
            self.service.lost += 1;
            return;
        }
        let mut backend =
            Backend { line: real.line, address: server_address(real), weight: self.weight, ..Backend::default() };
        let mut defaults = self.check.clone();
        for statement in real.block.iter().filter(|statement| !check::is_check(statement)) {
            match statement.keyword() {
                "weight" => backend.weight = statement.number(1).unwrap_or(1),
                "uthreshold" => backend.most = statement.number(1),
                "lthreshold" => {
                    notes.add(statement.line, "a backend is full at its maximum, and only then");
                }
                "inhibit_on_failure" | "lvs_method" => {}
                "notify_up" | "notify_down" => {
                    notes.add(statement.line, "no programs are started: watch the log or `sluicegate_backend_up`");
                }
                _ if defaults.set(statement, notes) => {}
                _ => notes.add(statement.line, "not known to Sluicegate"),
            }
        }
        self.checks.push((real.line, checked(real, &defaults, notes)));
        self.service.backends.push(backend);
    }

    /// The check is the service's: the first real server with one like it says which.
    pub fn agree(&mut self, notes: &mut Notes<'_>) {
        let line = self.service.line;
        let Some(first) = self.checks.iter().find_map(|(_, checked)| checked.found.as_ref()) else {
            if self.checks.iter().any(|(_, checked)| checked.asked) {
                notes.add(line, "its backends are not checked: none of their checks could be carried over");
            }
            return;
        };
        for (line, checked) in &self.checks {
            if checked.found.as_ref().map(|found| &found.check) != Some(&first.check) {
                let why =
                    "all backends of a service are checked in the same way: as the first whose check is carried over";
                notes.add(*line, why);
            }
        }
        first.note_repeats(line, notes);
        self.service.check = Some(first.check.clone());
    }
}

fn checked(real: &Statement, defaults: &check::Defaults, notes: &mut Notes<'_>) -> Checked {
    let mut checked = Checked::default();
    for statement in real.block.iter().filter(|statement| check::is_check(statement)) {
        checked.asked = true;
        match check::read(statement, defaults, real.word(1), notes) {
            Some(_) if checked.found.is_some() => {
                notes.add(statement.line, "a service has one check: the first counts");
            }
            Some(found) => checked.found = Some(found),
            None => {}
        }
    }
    checked
}
