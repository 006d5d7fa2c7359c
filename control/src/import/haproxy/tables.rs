//! `stick-table` and `stick on src`.

use std::time::Duration;

use super::proxy::Proxy;
use super::server::time;
use super::words::Line;
use crate::config::persistence::CLIENTS;
use crate::import::draft::Persistence;
use crate::import::notes::Notes;

/// For tables that say nothing of `expire`.
const FOREVER: Duration = Duration::from_hours(24);

/// A table of a section.
#[derive(Debug, Clone)]
pub struct Table {
    line: usize,
    expires: Option<Duration>,
    /// How many clients it holds.
    size: Option<i64>,
}

/// `stick on src`
#[derive(Debug, Clone)]
pub struct Stick {
    line: usize,
    /// Whose table remembers; `None`: the section's own.
    table: Option<String>,
}

impl Table {
    /// `stick-table type ip size 200k expire 30m …`
    pub fn read(line: &Line, notes: &mut Notes<'_>) -> Table {
        if !matches!(line.after("type"), Some("ip" | "ipv6")) {
            notes.add(line.number, "only the clients' addresses are remembered");
        }
        if line.after("peers").is_some() {
            notes.add(line.number, "`peers`: gateways do not tell each other what they remember");
        }
        Table {
            line: line.number,
            expires: line.after("expire").and_then(time),
            size: line.after("size").and_then(size),
        }
    }

    fn time(&self, notes: &mut Notes<'_>) -> Duration {
        self.expires.unwrap_or_else(|| {
            notes.add(
                self.line,
                "without `expire` clients stay for ever there: here for 1d after their last new connection",
            );
            FOREVER
        })
    }

    fn clients(&self, notes: &mut Notes<'_>) -> Option<u32> {
        let size = self.size?;
        let clients = size.clamp(*CLIENTS.start(), *CLIENTS.end());
        if clients != size {
            notes.add(self.line, format!("there is room for {clients} clients"));
        }
        u32::try_from(clients).ok()
    }
}

impl Stick {
    /// `stick on src [table NAME] [if …]`
    pub fn read(line: &Line, notes: &mut Notes<'_>) -> Stick {
        if line.words.iter().skip(3).any(|word| word == "if" || word == "unless") {
            notes.add(line.number, "its condition is not carried over: `persistence` is for all clients");
        }
        Stick { line: line.number, table: line.after("table").map(str::to_owned) }
    }
}

/// `200k`; its units are powers of 1024.
fn size(text: &str) -> Option<i64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "" => 1,
        "k" | "K" => 1 << 10,
        "m" | "M" => 1 << 20,
        "g" | "G" => 1 << 30,
        _ => return None,
    };
    number.parse::<i64>().ok()?.checked_mul(factor)
}

/// How a section's clients are remembered. The table may be another section's.
pub fn persistence(proxy: &Proxy, all: &[Proxy], notes: &mut Notes<'_>) -> Option<Persistence> {
    let stick = proxy.stick.as_ref()?;
    let (owner, table) = match &stick.table {
        // A frontend may have the name of its backend.
        Some(owner) => (owner, all.iter().filter(|other| other.name == *owner).find_map(|other| other.table.as_ref())),
        None => (&proxy.name, proxy.table.as_ref()),
    };
    let Some(table) = table else {
        notes.add(stick.line, "there is no such table");
        return Some(Persistence { time: FOREVER, ..Persistence::default() });
    };
    Some(Persistence {
        time: table.time(notes),
        prefix: None,
        clients: table.clients(notes),
        group: Some(owner.clone()),
    })
}
