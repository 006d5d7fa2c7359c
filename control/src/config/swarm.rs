//! `[swarm]`

mod place;

use std::net::Ipv6Addr;
use std::path::PathBuf;

use super::node::Node;
use super::report::{At, Complaint, Located, Report};
use super::section::Section;
use super::{
    Endpoint, InterfaceConfig, MoreOverlay, OverlaySeed, SwarmConfig, TlsConfig, address, gateway, overlay, value,
};

/// Where Docker listens unless it was told otherwise.
const DEFAULT_ENGINE: &str = "/var/run/docker.sock";
/// Docker's port with TLS.
const TLS_PORT: u16 = 2376;
const MEMBER: &[(&str, Option<bool>)] = &[("auto", None), ("yes", Some(true)), ("no", Some(false))];

/// Reads the table; `None` when something that others rely on is wrong. `overlay` is `None` when that is wrong itself.
pub fn read(
    mut section: Section<'_>,
    overlay: Option<OverlaySeed>,
    interfaces: &[InterfaceConfig],
    report: &mut Report,
) -> Option<SwarmConfig> {
    section.require("vips", "[\"198.18.0.1\"]", report);
    let empty = Complaint::hinted("`vips` is empty: published ports would be served nowhere", "e.g. [\"198.18.0.1\"]");
    section.refuse_empty("vips", empty, report);
    let endpoints: Vec<_> = section.texts("endpoints", report, endpoint);
    let engine = section.text("engine", report, endpoint);
    let vips = gateway::distinct(section.texts("vips", report, value::host), report);
    let member = section.text("member", report, |text| value::word("choice", text, MEMBER));
    let network = section.text("network", report, network_name);
    let files = ["ca", "cert", "key"].map(|key| section.text(key, report, file));
    let tls = tls(files, &section, report);
    let plain = endpoints.iter().chain(&engine).find(|found| matches!(found.value, Endpoint::Tcp { .. }));
    if let Some(found) = plain.filter(|_| tls.is_none() && !section.has("ca")) {
        let hint = "who may speak to a manager rules the swarm: make certificates and set ca, cert and key";
        report.warn(&found.at, Complaint::hinted(format!("`{}` without TLS", found.value), hint));
    }
    let items = section.list("overlay", report);
    let more: Vec<_> = items.into_iter().filter_map(|(node, at)| more_overlay(node, at, report)).collect();
    place::check_networks(network.as_ref(), overlay.as_ref(), &more, report);
    if let Some(overlay) = &overlay {
        let at = member.as_ref().map_or(&section.at, |member| &member.at);
        let said = member.as_ref().and_then(|member| member.value);
        place::warn_unserved(at, said, overlay, !more.is_empty(), interfaces, report);
    }
    let more = more.into_iter().map(|found| found.value).collect();
    section.close(report);
    let default = Endpoint::Unix(PathBuf::from(DEFAULT_ENGINE));
    let endpoints: Vec<_> = endpoints.into_iter().map(|endpoint| endpoint.value).collect();
    if vips.is_empty() {
        return None;
    }
    Some(SwarmConfig {
        endpoints: if endpoints.is_empty() { vec![default.clone()] } else { endpoints },
        engine: engine.map_or(default, |engine| engine.value),
        tls,
        vips,
        member: member.and_then(|member| member.value),
        network: network.map(|network| network.value),
        overlay: overlay.unwrap_or_default(),
        more,
    })
}

/// Its place is that of its network's name.
fn more_overlay(node: &Node, at: At, report: &mut Report) -> Option<Located<MoreOverlay>> {
    let mut section = Section::open(node, at, report)?;
    section.require("network", "\"back\"", report);
    section.require("address", "\"10.7.0.250/24\"", report);
    let network = section.text("network", report, network_name);
    let overlay = overlay::read_place(section, report);
    overlay.address?;
    let Located { value: network, at } = network?;
    Some(Located { value: MoreOverlay { network, overlay }, at })
}

fn tls(files: [Option<Located<PathBuf>>; 3], section: &Section<'_>, report: &mut Report) -> Option<TlsConfig> {
    match files {
        [Some(ca), Some(cert), Some(key)] => Some(TlsConfig { ca: ca.value, cert: cert.value, key: key.value }),
        [None, None, None] => None,
        _ => {
            let hint = "ca says who signs the managers' certificates, cert and key are the gateway's own";
            report.error(&section.at, Complaint::hinted("`ca`, `cert` and `key` belong together", hint));
            None
        }
    }
}

fn file(text: &str) -> Result<PathBuf, Complaint> {
    if text.starts_with('/') && !text.contains('\0') {
        return Ok(PathBuf::from(text));
    }
    let hint = "e.g. \"/etc/sluicegate/ca.pem\"";
    Err(Complaint::hinted(format!("`{}` is not the absolute path of a file", text.escape_debug()), hint))
}

fn network_name(text: &str) -> Result<String, Complaint> {
    let odd = |c: char| c.is_whitespace() || c.is_control() || c == '/';
    if text.is_empty() || text.contains(odd) {
        let message = format!("`{}` can't be a network's name", text.escape_debug());
        return Err(Complaint::hinted(message, "docker network ls"));
    }
    Ok(text.to_owned())
}

/// `unix:///var/run/docker.sock`, `tcp://manager:2376`, `tcp://[2001:db8::1]:2376`
fn endpoint(text: &str) -> Result<Endpoint, Complaint> {
    let wrong = || {
        let message = format!("`{}` is not the address of a Docker engine", text.escape_debug());
        Complaint::hinted(
            message,
            "e.g. \"unix:///var/run/docker.sock\", \"tcp://manager:2376\" or \"tcp://[2001:db8::1]:2376\"",
        )
    };
    if let Some(path) = text.strip_prefix("unix://") {
        return file(path).map(Endpoint::Unix).map_err(|_| wrong());
    }
    let place = text.strip_prefix("tcp://").ok_or_else(wrong)?;
    let (host, port) = address::split(place);
    let port = match port {
        Some(port) => address::port(port)?.get(),
        None => TLS_PORT,
    };
    Ok(Endpoint::Tcp { host: engine_host(host).ok_or_else(wrong)?, port })
}

/// A name, an IPv4 address, or an IPv6 address in brackets; without them.
fn engine_host(text: &str) -> Option<String> {
    if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inner.parse().ok().map(|address: Ipv6Addr| address.to_string());
    }
    let odd = |c: char| !c.is_ascii_alphanumeric() && !"-._".contains(c);
    (!text.is_empty() && !text.contains(odd)).then(|| text.to_owned())
}
