//! `[gateway]`

use std::fmt::Display;
use std::path::PathBuf;

use super::report::{At, Complaint, Located, Report};
use super::section::{Section, integer};
use super::{Driver, GatewayConfig, InterfaceConfig, ShortcutMode, value};

const SHORTCUTS: &[(&str, ShortcutMode)] =
    &[("auto", ShortcutMode::Auto), ("always", ShortcutMode::Always), ("never", ShortcutMode::Never)];
/// Where the API listens unless the config says otherwise.
pub const DEFAULT_API: &str = "/run/sluicegate/api.sock";
const DEFAULT_FLOWS: usize = 1_000_000;
/// A quarter of a billion flows is 32 GB: more is a slip of the finger.
const MOST_FLOWS: i64 = 1 << 28;
/// `sockaddr_un` has no room for more.
const LONGEST_API_PATH: usize = 107;

/// The defaults, for a file without `[gateway]`.
pub fn default(cpus: &[usize]) -> GatewayConfig {
    GatewayConfig {
        cpus: cpus.to_vec(),
        flows: DEFAULT_FLOWS,
        api: PathBuf::from(DEFAULT_API),
        metrics: None,
        snat: Vec::new(),
        shortcuts: ShortcutMode::Auto,
    }
}

/// Reads the table. `cpus` are those that the process may use.
pub fn read(
    mut section: Section<'_>,
    cpus: &[usize],
    interfaces: &[InterfaceConfig],
    report: &mut Report,
) -> GatewayConfig {
    let mut config = default(cpus);
    if section.has("cpus") {
        config.cpus = read_cpus(&mut section, cpus, report);
    }
    if let Some(flows) = section.integer("flows", 1..=MOST_FLOWS, report) {
        config.flows = flows.value;
        if config.flows < config.cpus.len() {
            let message =
                format!("`flows` is {}, less than one for each of {} workers", flows.value, config.cpus.len());
            report.error(&flows.at, Complaint::hinted(message, format!("the default is {DEFAULT_FLOWS}")));
        }
    }
    if let Some(api) = section.text("api", report, api_path) {
        config.api = api.value;
    }
    config.metrics = section.text("metrics", report, value::socket).map(|metrics| metrics.value);
    config.snat = distinct(section.texts("snat", report, value::host), report);
    if let Some(shortcuts) = section.text("shortcuts", report, |text| value::word("choice", text, SHORTCUTS)) {
        config.shortcuts = shortcuts.value;
        warn_impossible(&shortcuts, interfaces, report);
    }
    section.close(report);
    config
}

/// Who wants shortcuts always, and has no interface that takes any, works, but hardly as it was meant.
fn warn_impossible(shortcuts: &Located<ShortcutMode>, interfaces: &[InterfaceConfig], report: &mut Report) {
    let takes = |interface: &InterfaceConfig| interface.driver == Driver::AfXdp;
    if shortcuts.value == ShortcutMode::Always && !interfaces.is_empty() && !interfaces.iter().any(takes) {
        let hint = "they need XDP, which TUN devices go without: leave the key out";
        report.warn(&shortcuts.at, Complaint::hinted("there are no shortcuts over any [[interface]]", hint));
    }
}

fn read_cpus(section: &mut Section<'_>, allowed: &[usize], report: &mut Report) -> Vec<usize> {
    let mut cpus = Vec::new();
    let items = section.list("cpus", report);
    let empty = Complaint::hinted("`cpus` is empty: there would be no worker", "leave the key out to use all CPUs");
    section.refuse_empty("cpus", empty, report);
    for (node, at) in items {
        let found = Located { value: &node.value, at };
        let Some(cpu) = integer::<usize>(found, 0..=65_535, report) else { continue };
        let number = cpu.value;
        let complaint = if cpus.contains(&number) {
            Some(Complaint::hinted(format!("CPU {number} is listed twice"), "one worker per CPU"))
        } else if allowed.contains(&number) {
            None
        } else {
            let hint = format!("this process may use {}", list_numbers(allowed));
            Some(Complaint::hinted(format!("CPU {number} is not available"), hint))
        };
        match complaint {
            Some(complaint) => report.error(&cpu.at, complaint),
            None => cpus.push(number),
        }
    }
    cpus
}

fn list_numbers(numbers: &[usize]) -> String {
    let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    format!("CPU {}", numbers.join(", "))
}

fn api_path(text: &str) -> Result<PathBuf, Complaint> {
    if !text.starts_with('/') || text.ends_with('/') || text.contains('\0') {
        let hint = format!("the absolute path of a socket, e.g. \"{DEFAULT_API}\"");
        return Err(Complaint::hinted(format!("`{}` is not an absolute path", text.escape_debug()), hint));
    }
    if text.len() > LONGEST_API_PATH {
        let message = format!("the socket's path has {} bytes", text.len());
        return Err(Complaint::hinted(message, format!("unix sockets take at most {LONGEST_API_PATH}")));
    }
    Ok(PathBuf::from(text))
}

/// The addresses, with a complaint about each that comes again.
pub fn distinct<A: PartialEq + Display>(addresses: Vec<Located<A>>, report: &mut Report) -> Vec<A> {
    let mut seen = Vec::new();
    for address in addresses {
        if seen.contains(&address.value) {
            twice(&address.at, &address.value, report);
        } else {
            seen.push(address.value);
        }
    }
    seen
}

fn twice(at: &At, address: &impl Display, report: &mut Report) {
    report.error(at, Complaint::hinted(format!("`{address}` is listed twice"), "remove one of them"));
}
