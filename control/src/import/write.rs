//! From drafts to the text of a config that passes `check`.

mod backends;
mod check;
mod names;
mod remaining;
mod settings;

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::draft::{Service, Site, bracketed};
use super::notes::Notes;
use crate::config::rules::overlap;
use crate::config::value::{listen, show_listen};
use crate::config::{Listen, Severity, parse};
use names::Names;
use remaining::{is_all, remaining};

/// Addresses of nobody (RFC 5737, RFC 3849) where the file says "any".
const PLACEHOLDER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const PLACEHOLDER_OF_SIX: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

/// The config, and how many services it has.
pub fn config(site: &Site, notes: &mut Notes<'_>) -> (String, usize) {
    let head = head(site, notes);
    let mut shaper = Shaper { vips: site.vips.clone(), ..Shaper::default() };
    shaper.named = shaper.named(site);
    let tables: Vec<Table> = site.services.iter().filter_map(|service| shaper.shape(service, notes)).collect();
    let kept = passing(&head, &tables, notes);
    if kept.is_empty() {
        return (String::new(), 0);
    }
    (format!("{head}{}", kept.concat()), kept.len())
}

fn head(site: &Site, notes: &mut Notes<'_>) -> String {
    let known: Vec<&String> = site.interfaces.iter().filter(|name| is_interface(name)).collect();
    let mut head =
        String::from("# Where packets come in: towards the clients, and towards the backends if that is another.\n");
    if known.is_empty() {
        notes.add(0, "the file names no interface: `eth0` stands for it, put yours");
        head.push_str("[[interface]]\nname = \"eth0\"\n");
    }
    for name in known {
        let _ = write!(head, "[[interface]]\nname = {}\n", quoted(name));
    }
    head
}

fn is_interface(name: &str) -> bool {
    let text = format!("[[interface]]\nname = {}\n", quoted(name));
    parse("imported", text.as_bytes(), &[0]).is_ok()
}

/// A service as it is written.
struct Table {
    line: usize,
    /// All before the check.
    settings: String,
    /// The check, and what means nothing without one.
    check: String,
    backends: String,
}

impl Table {
    fn text(&self) -> String {
        format!("{}{}{}", self.settings, self.check, self.backends)
    }

    fn unchecked(&self) -> String {
        format!("{}{}", self.settings, self.backends)
    }
}

/// The services with which the config passes `check`; the others are noted.
fn passing(head: &str, tables: &[Table], notes: &mut Notes<'_>) -> Vec<String> {
    let fault = |tables: &str| {
        let text = format!("{head}{tables}");
        parse("imported", text.as_bytes(), &[0]).err().map(|problems| {
            let error = problems.iter().find(|problem| problem.severity == Severity::Error);
            error.map(|problem| problem.message.clone()).unwrap_or_default()
        })
    };
    let mut kept: Vec<String> = tables.iter().map(Table::text).collect();
    if fault(&kept.concat()).is_none() {
        return kept;
    }
    kept.clear();
    for table in tables {
        match fault(&table.text()) {
            None => kept.push(table.text()),
            // A service without a check is better than none.
            Some(why) if fault(&table.unchecked()).is_none() => {
                notes.add(table.line, format!("its check was left out: {why}"));
                kept.push(table.unchecked());
            }
            Some(why) => notes.add(table.line, format!("the service was left out: {why}")),
        }
    }
    // They do not stand together: more than readers are able to make of a file.
    if let Some(why) = fault(&kept.concat()) {
        notes.add(0, why);
        kept.clear();
    }
    kept
}

/// Makes services fit each other.
#[derive(Default)]
struct Shaper {
    vips: Vec<IpAddr>,
    names: Names,
    groups: Names,
    listens: Vec<Listen>,
    /// Wherever some service of the file listens: what asks for all ports gets the others.
    named: Vec<Listen>,
}

impl Shaper {
    fn named(&self, site: &Site) -> Vec<Listen> {
        let texts = site.services.iter().flat_map(|service| &service.listens);
        texts.filter_map(|(_, text)| listen(&self.place(text).0).ok()).collect()
    }

    fn shape(&mut self, service: &Service, notes: &mut Notes<'_>) -> Option<Table> {
        let listens = self.listens(service, notes);
        if listens.is_empty() {
            notes.add(service.line, "the service was left out: nothing that it listens on could be carried over");
            return None;
        }
        let backends = backends::kept(service, &listens, notes);
        if let Some(why) = backends::too_few(service, &backends) {
            notes.add(service.line, format!("the service was left out: {why}"));
            return None;
        }
        let mut out = format!("\n[[service]]\nname = {}\nlisten = ", quoted(&self.names.unique(&service.name)));
        let texts: Vec<String> = listens.iter().map(|listen| quoted(&show_listen(listen))).collect();
        let _ = match &texts[..] {
            [one] => writeln!(out, "{one}"),
            several => writeln!(out, "[{}]", several.join(", ")),
        };
        let group = service.persistence.as_ref().and_then(|persistence| persistence.group.as_ref());
        let group = group.map(|owner| self.groups.same_for(owner));
        settings::write(service, &listens, group.as_deref(), notes, &mut out);
        let check = check::text(service, &listens, &backends, notes);
        self.listens.extend(listens);
        let backends = backends.into_iter().map(|(address, backend)| backends::text(address, backend)).collect();
        Some(Table { line: service.line, settings: out, check, backends })
    }

    fn listens(&self, service: &Service, notes: &mut Notes<'_>) -> Vec<Listen> {
        let mut kept: Vec<Listen> = Vec::new();
        for (line, text) in &service.listens {
            let (place, placeholder) = self.place(text);
            if let Some(placeholder) = placeholder {
                let why = format!("a service has a VIP of its own: {placeholder} stands for it, give yours with --vip");
                notes.add(*line, why);
            }
            let wanted = match listen(&place) {
                Err(complaint) => {
                    notes.add(*line, complaint.message);
                    continue;
                }
                Ok(listen) => listen,
            };
            let pieces = if is_all(&wanted) { remaining(&wanted, &self.named) } else { vec![wanted.clone()] };
            let taken = |piece: &Listen| self.listens.iter().chain(&kept).any(|other| overlap(other, piece));
            if pieces.is_empty() || pieces.iter().any(taken) {
                notes.add(*line, format!("`{}` is taken by what stands above", show_listen(&wanted)));
            } else {
                kept.extend(pieces);
            }
        }
        kept
    }

    /// Where "any" is the VIP of its family: if none was given, a placeholder, which is to be noted.
    fn place(&self, text: &str) -> (String, Option<IpAddr>) {
        let (placeholder, rest): (IpAddr, &str) = match (text.strip_prefix('*'), text.strip_prefix("[*]")) {
            (Some(rest), _) => (PLACEHOLDER.into(), rest),
            (_, Some(rest)) => (PLACEHOLDER_OF_SIX.into(), rest),
            _ => return (text.to_owned(), None),
        };
        let given = self.vips.iter().find(|vip| vip.is_ipv6() == placeholder.is_ipv6());
        let address = bracketed(&given.unwrap_or(&placeholder).to_string());
        (format!("{address}{rest}"), given.is_none().then_some(placeholder))
    }
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}
