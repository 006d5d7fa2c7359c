//! What `ipvsadm -S` prints: a line `-A` for each service, a line `-a` for each of its servers.

#[cfg(test)]
mod tests;

use std::time::Duration;

use super::draft::{Backend, Persistence, Service, Site, ipvs_scheduler, prefix};
use super::notes::Notes;

/// IPVS's when `-p` says no time.
const DEFAULT_PERSISTENCE: Duration = Duration::from_mins(5);
/// Names that ipvsadm prints without `-n`.
const PORTS: &[(&str, u16)] = &[
    ("ftp", 21),
    ("ssh", 22),
    ("smtp", 25),
    ("domain", 53),
    ("http", 80),
    ("pop3", 110),
    ("ntp", 123),
    ("imap2", 143),
    ("imap", 143),
    ("ldap", 389),
    ("https", 443),
    ("submission", 587),
    ("ldaps", 636),
    ("imaps", 993),
    ("pop3s", 995),
    ("mysql", 3306),
    ("postgresql", 5432),
    ("http-alt", 8080),
];

/// Options that nothing follows; a line may begin with the program's name.
const FLAGS: &[&str] = &["ipvsadm", "-A", "-a", "-m", "-g", "-i", "-o", "-6"];
const OF_SERVICES: &[&str] = &["ipvsadm", "-A", "-t", "-u", "-s", "-p", "-M", "-b", "-o", "--pe"];
const OF_SERVERS: &[&str] = &["ipvsadm", "-a", "-t", "-u", "-r", "-m", "-g", "-w", "-x", "-y"];

/// Options of a line, with what follows each.
struct Line<'a> {
    number: usize,
    options: Vec<(&'a str, &'a str)>,
}

/// Reads it.
pub fn read(text: &str, site: &mut Site, notes: &mut Notes<'_>) {
    let lines = text.lines().enumerate().map(|(at, text)| Line::of(at + 1, text));
    let mut left_out = Vec::new();
    for line in lines.filter(|line| !line.options.is_empty()) {
        if line.has("-A") {
            match service(&line, notes) {
                Some(service) => site.services.push(service),
                None => left_out.extend(line.place()),
            }
        } else if line.has("-a") {
            server(&line, site, &left_out, notes);
        } else {
            notes.add(line.number, "neither a service (-A) nor a server (-a)");
        }
    }
}

/// The short name of an option.
fn short(option: &str) -> &str {
    match option {
        "--add-service" => "-A",
        "--add-server" => "-a",
        "--tcp-service" => "-t",
        "--udp-service" => "-u",
        "--fwmark-service" => "-f",
        "--scheduler" => "-s",
        "--persistent" => "-p",
        "--netmask" => "-M",
        "--real-server" => "-r",
        "--masquerading" => "-m",
        "--gatewaying" => "-g",
        "--ipip" => "-i",
        "--weight" => "-w",
        "--u-threshold" => "-x",
        "--l-threshold" => "-y",
        "--sched-flags" => "-b",
        "--ops" => "-o",
        other => other,
    }
}

impl<'a> Line<'a> {
    fn of(number: usize, text: &'a str) -> Line<'a> {
        let text = text.split('#').next().unwrap_or_default();
        let mut options: Vec<(&str, &str)> = Vec::new();
        let words = text.split_whitespace().flat_map(|word| match word.split_once('=') {
            Some((option, value)) if option.starts_with("--") => vec![option, value],
            _ => vec![word],
        });
        for word in words {
            match options.last_mut() {
                Some((option, value)) if !word.starts_with('-') && value.is_empty() && !FLAGS.contains(option) => {
                    *value = word;
                }
                _ => options.push((short(word), "")),
            }
        }
        Line { number, options }
    }

    fn has(&self, option: &str) -> bool {
        self.value(option).is_some()
    }

    fn value(&self, option: &str) -> Option<&'a str> {
        self.options.iter().find(|(name, _)| *name == option).map(|(_, value)| *value)
    }

    fn note_others(&self, known: &[&str], notes: &mut Notes<'_>) {
        for (option, _) in self.options.iter().filter(|(option, _)| !known.contains(option)) {
            notes.add(self.number, format!("`{option}` is not known to Sluicegate"));
        }
    }

    /// `-t ADDRESS`, `-u ADDRESS`, or another kind of service.
    fn place(&self) -> Option<(&'a str, &'a str)> {
        self.options.iter().find(|(name, _)| ["-t", "-u", "-f", "--sctp-service"].contains(name)).copied()
    }
}

fn service(line: &Line<'_>, notes: &mut Notes<'_>) -> Option<Service> {
    let (kind, place) = line.place()?;
    let protocol = match kind {
        "-t" => "tcp",
        "-u" => "udp",
        "-f" => {
            let why = "a firewall mark stands for packets that other rules chose: listen on their ports, with a \
                       `persistence_group` if they belong together";
            notes.add(line.number, why);
            return None;
        }
        _ => {
            notes.add(line.number, "Sluicegate carries TCP and UDP only");
            return None;
        }
    };
    let scheduler = line.value("-s").unwrap_or("wlc");
    if ipvs_scheduler(scheduler).is_none() {
        notes.add(line.number, format!("there is no scheduler `{scheduler}`: `wlc` in its place"));
    }
    line.note_others(OF_SERVICES, notes);
    for (option, why) in [
        ("-b", "scheduler flags are not carried over"),
        ("--pe", "persistence engines look into packets: not carried over"),
    ] {
        if line.has(option) {
            notes.add(line.number, why);
        }
    }
    Some(Service {
        line: line.number,
        name: format!("{protocol}-{place}"),
        listens: vec![(line.number, format!("{}/{protocol}", listen_place(place)))],
        scheduler: ipvs_scheduler(scheduler).or(Some("wlc")),
        persistence: persistence(line, notes),
        one_packet: line.has("-o").then_some(line.number),
        ..Service::default()
    })
}

fn persistence(line: &Line<'_>, notes: &mut Notes<'_>) -> Option<Persistence> {
    let time = line.value("-p")?.parse().map_or(DEFAULT_PERSISTENCE, Duration::from_secs);
    let prefix = line.value("-M").and_then(|mask| {
        let bits = prefix(mask);
        if bits.is_none() {
            notes.add(line.number, format!("`{mask}` is no netmask: each client counts for itself"));
        }
        bits
    });
    Some(Persistence { time, prefix, ..Persistence::default() })
}

/// With a port in numbers. Port 0 is all of them.
fn listen_place(place: &str) -> String {
    match place.rsplit_once(':') {
        Some((address, "0")) => format!("{address}:1-65535"),
        Some((address, port)) => format!("{address}:{}", port_number(port)),
        None => place.to_owned(),
    }
}

fn port_number(port: &str) -> String {
    PORTS.iter().find(|(name, _)| *name == port).map_or_else(|| port.to_owned(), |(_, number)| number.to_string())
}

fn server(line: &Line<'_>, site: &mut Site, left_out: &[(&str, &str)], notes: &mut Notes<'_>) {
    let Some(place) = line.place() else { return notes.add(line.number, "it does not say which service") };
    let protocol = if place.0 == "-u" { "udp" } else { "tcp" };
    let name = format!("{protocol}-{}", place.1);
    let service = site.services.iter_mut().find(|service| service.name == name);
    let Some(service) = service.filter(|_| !left_out.contains(&place)) else {
        return notes.add(line.number, "its service was not carried over");
    };
    if line.has("-i") {
        return notes.add(line.number, "Sluicegate makes no IPIP tunnels: use -g (direct) or -m (masquerading)");
    }
    let direct = line.has("-g") || !line.has("-m");
    if service.backends.is_empty() {
        service.direct = direct;
    } else if service.direct != direct {
        return notes
            .add(line.number, "all backends of a service are reached in one way: this one differs from the first");
    }
    if line.has("-y") {
        notes
            .add(line.number, "a lower threshold is not carried over: a backend is full at its maximum, and only then");
    }
    line.note_others(OF_SERVERS, notes);
    let address = line.value("-r").unwrap_or_default();
    let address = match address.rsplit_once(':') {
        Some((ip, "0")) => ip.to_owned(),
        Some((ip, port)) => format!("{ip}:{}", port_number(port)),
        None => address.to_owned(),
    };
    service.backends.push(Backend {
        line: line.number,
        address,
        weight: line.value("-w").and_then(|weight| weight.parse().ok()).unwrap_or(1),
        most: line.value("-x").and_then(|most| most.parse().ok()),
        sorry: false,
    });
}
