//! `[[interface]]`

use super::report::{At, Complaint, Report};
use super::section::Section;
use super::{Driver, InterfaceConfig, Mode, value};

const DRIVERS: &[(&str, Driver)] = &[("af_xdp", Driver::AfXdp), ("tun", Driver::Tun)];
const MODES: &[(&str, Mode)] =
    &[("auto", Mode::Auto), ("zero-copy", Mode::ZeroCopy), ("copy", Mode::Copy), ("generic", Mode::Generic)];
/// The kernel's `IFNAMSIZ`, without the zero at the end.
const LONGEST_NAME: usize = 15;

/// Reads all interfaces and complains about names that come twice, and about none at all.
pub fn read_all(file: &mut Section<'_>, report: &mut Report) -> Vec<InterfaceConfig> {
    let mut interfaces: Vec<InterfaceConfig> = Vec::new();
    let items = file.list("interface", report);
    let none = Complaint::hinted("there is no [[interface]]", "e.g. [[interface]] name = \"eth0\" driver = \"af_xdp\"");
    if file.has("interface") {
        file.refuse_empty("interface", none, report);
    } else {
        report.missing(&At::root(), none);
    }
    for (node, at) in items {
        let Some(section) = Section::open(node, at, report) else { continue };
        let Some(interface) = read(section, &interfaces, report) else { continue };
        interfaces.push(interface);
    }
    interfaces
}

fn read(mut section: Section<'_>, before: &[InterfaceConfig], report: &mut Report) -> Option<InterfaceConfig> {
    section.require("name", "\"eth0\"", report);
    let name = section.text("name", report, interface_name);
    if let Some(name) = name.as_ref().filter(|name| before.iter().any(|other| other.name == name.value)) {
        let message = format!("interface `{}` is named twice", name.value);
        report.error(&name.at, Complaint::hinted(message, "give each interface one [[interface]]"));
    }
    let driver = section.text("driver", report, |text| value::word("driver", text, DRIVERS));
    let mode = section.text("mode", report, |text| value::word("mode", text, MODES));
    let is_tun = driver.as_ref().is_some_and(|driver| driver.value == Driver::Tun);
    let queues = section.has("queues").then(|| read_queues(&mut section, report));
    for key in ["mode", "queues"] {
        if let Some(found) = section.find(key).filter(|_| is_tun) {
            let hint = "remove the key, or use driver = \"af_xdp\"";
            report.error(&found.at, Complaint::hinted(format!("`{key}` means nothing to a TUN device"), hint));
        }
    }
    section.close(report);
    Some(InterfaceConfig {
        name: name?.value,
        driver: driver.map_or(Driver::AfXdp, |driver| driver.value),
        mode: mode.map_or(Mode::Auto, |mode| mode.value),
        queues,
    })
}

fn interface_name(text: &str) -> Result<String, Complaint> {
    if text.len() > LONGEST_NAME {
        let message = format!("`{text}` has {} bytes", text.len());
        return Err(Complaint::hinted(message, format!("Linux takes at most {LONGEST_NAME} in an interface's name")));
    }
    let odd = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    if text.is_empty() || text == "." || text == ".." || text.contains(odd) {
        let message = format!("`{}` can't be an interface's name", text.escape_debug());
        return Err(Complaint::hinted(message, "`ip link` lists the interfaces"));
    }
    Ok(text.to_owned())
}

fn read_queues(section: &mut Section<'_>, report: &mut Report) -> Vec<u32> {
    let mut queues = Vec::new();
    let items = section.list("queues", report);
    let empty = Complaint::hinted("`queues` is empty", "leave the key out to serve all queues");
    section.refuse_empty("queues", empty, report);
    for (node, at) in items {
        let found = super::report::Located { value: &node.value, at };
        let Some(queue) = super::section::integer::<u32>(found, 0..=i64::from(sys::FILTER_QUEUES) - 1, report) else {
            continue;
        };
        let number = queue.value;
        if queues.contains(&number) {
            report.error(&queue.at, Complaint::hinted(format!("queue {number} is listed twice"), "remove one of them"));
        } else {
            queues.push(number);
        }
    }
    queues
}
