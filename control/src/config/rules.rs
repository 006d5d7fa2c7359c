//! What must hold between the parts: listens that don't collide, backends that fit the overlay. The file and the API
//! share these.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wire::Protocol;

use super::check::CheckDraft;
use super::persistence::Persistence;
use super::report::{At, Complaint, Report};
use super::service::{BackendDraft, ServiceDraft};
use super::value::show_listen;
use super::{BackendConfig, Listen, OverlayConfig, Settings, one_packet, passive, state_times};

/// The overlay as far as it is known.
#[derive(Debug, Clone, Copy)]
pub enum Overlay<'a> {
    /// There is no `[overlay]`.
    Absent,
    /// There is one, but with errors of its own.
    Broken,
    /// Only the swarm can say what it is, and it has not spoken yet.
    Swarms,
    /// There is one, or several. Their subnets do not meet.
    Known(&'a [OverlayConfig]),
}

/// Whether some packet could belong to both.
pub fn overlap(a: &Listen, b: &Listen) -> bool {
    a.address == b.address
        && a.protocol == b.protocol
        && a.ports.start() <= b.ports.end()
        && b.ports.start() <= a.ports.end()
}

/// An address that a host may have in the subnet of `of`.
pub fn host_in_subnet(address: Ipv4Addr, of: Ipv4Addr, bits: u8) -> Result<(), Complaint> {
    let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
    let network = of.to_bits() & mask;
    // Words only where something is wrong: this is asked for every backend of every table.
    let complaint = |what: &str| {
        let message = format!("`{address}` is {what} {}/{bits}", Ipv4Addr::from_bits(network));
        let hint = format!("addresses go from {} to {}", Ipv4Addr::from_bits(network + 1), last(network, mask));
        Err(Complaint::hinted(message, hint))
    };
    if address.to_bits() & mask != network {
        return complaint("outside the overlay's subnet");
    }
    if address.to_bits() == network || address.to_bits() == network | !mask {
        return complaint("not a host's address in");
    }
    Ok(())
}

fn last(network: u32, mask: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits((network | !mask).saturating_sub(1))
}

/// What is wrong between a backend and the overlay: the key at fault and the complaint.
pub fn backend_faults(backend: &BackendConfig, overlay: Overlay<'_>) -> Vec<(&'static str, Complaint)> {
    let Some(vtep) = backend.vtep else { return plain_faults(backend) };
    match overlay {
        Overlay::Broken => Vec::new(),
        Overlay::Absent => {
            let hint = "add [overlay] with vni, vtep and address, or leave `vtep` out to route plainly";
            vec![("vtep", Complaint::hinted("the backend has a `vtep`, but there is no [overlay]", hint))]
        }
        Overlay::Swarms => {
            let hint = "give `vtep` and `address` in [overlay]: what the file serves does not wait for the swarm; or leave \
                        `vtep` out here to route plainly";
            vec![("vtep", Complaint::hinted("the backend has a `vtep`, but [overlay] is left to the swarm", hint))]
        }
        Overlay::Known(overlays) => {
            let ip = match backend.address.ip {
                IpAddr::V4(ip) => ip,
                IpAddr::V6(ip) => return vec![("address", six_in_overlay(ip))],
            };
            let overlay = overlays.iter().find(|overlay| overlay.contains(ip)).or(overlays.first());
            overlay.map(|overlay| overlay_faults(ip, vtep, overlay)).unwrap_or_default()
        }
    }
}

fn six_in_overlay(ip: Ipv6Addr) -> Complaint {
    let hint = "a VIP in IPv6 reaches it there too; or leave `vtep` out to route to the IPv6 address plainly";
    Complaint::hinted(format!("`{ip}` can't be in the overlay, which is IPv4: give the task's overlay address"), hint)
}

fn plain_faults(backend: &BackendConfig) -> Vec<(&'static str, Complaint)> {
    if backend.mac.is_none() {
        return Vec::new();
    }
    let hint = "add `vtep`, or leave `mac` out: the kernel finds the MAC of plainly routed backends";
    vec![("mac", Complaint::hinted("`mac` is the address in the overlay, but the backend has no `vtep`", hint))]
}

fn overlay_faults(ip: Ipv4Addr, vtep: Ipv4Addr, overlay: &OverlayConfig) -> Vec<(&'static str, Complaint)> {
    let mut faults = Vec::new();
    if vtep == overlay.vtep {
        let hint = "give the underlay address of the node that runs the task";
        faults.push(("vtep", Complaint::hinted(format!("`{vtep}` is the gateway's own VTEP"), hint)));
    }
    if overlay.has(ip) {
        let hint = "give the task's overlay address";
        faults.push(("address", Complaint::hinted(format!("`{ip}` is the gateway's own overlay address"), hint)));
    } else if let Err(complaint) = host_in_subnet(ip, overlay.address, overlay.prefix_bits) {
        faults.push(("address", complaint));
    }
    faults
}

/// What is wrong between a listen and the overlay.
pub fn listen_fault(listen: &Listen, overlay: Overlay<'_>) -> Option<Complaint> {
    let Overlay::Known([overlay, ..]) = overlay else { return None };
    let tunnel = Listen { address: overlay.vtep.into(), ports: overlay.port..=overlay.port, protocol: Protocol::Udp };
    overlap(listen, &tunnel).then(|| {
        let message = format!("`{}` takes the overlay's own tunnel port", show_listen(listen));
        Complaint::hinted(message, format!("leave {} to [overlay]", show_listen(&tunnel)))
    })
}

/// What is wrong between a direct service's listens and a backend: nothing is translated, so family and port stay.
pub fn direct_fault(listens: &[Listen], backend: &BackendConfig) -> Option<Complaint> {
    let ip = backend.address.ip;
    if let Some(other) = listens.iter().find(|listen| listen.address.is_ipv6() != ip.is_ipv6()) {
        let message = format!("a direct service can't lead {} to {ip}", show_listen(other));
        let hint = "the task gets the packet as the client sent it: make a service for each of IPv4 and IPv6, the \
                    second without `direct` if its backends have only IPv4";
        return Some(Complaint::hinted(message, hint));
    }
    let port = backend.address.port?.get();
    let other = listens.iter().find(|listen| listen.ports != (port..=port))?;
    let message = format!("a direct service can't lead {} to port {port}", show_listen(other));
    let hint =
        "the task gets the packet as the client sent it: listen on the target port, or leave the backend's port out";
    Some(Complaint::hinted(message, hint))
}

/// What is wrong with `proxy_protocol` in a service with these settings.
pub fn proxy_fault(settings: &Settings) -> Option<Complaint> {
    let hint = "leave `proxy_protocol` out: a direct service's backends see the clients' addresses anyway";
    let message = "a direct service's packets stay as they are: no PROXY header can go in front";
    (settings.proxy_protocol && settings.direct).then(|| Complaint::hinted(message, hint))
}

/// All rules over the services of a file or a request.
pub fn check_services(services: &[ServiceDraft], overlay: Overlay<'_>, report: &mut Report) {
    let mut names: Vec<&str> = Vec::new();
    let mut listens: Vec<(&Listen, String)> = Vec::new();
    let mut groups = Vec::new();
    for service in services {
        let name = service.name.as_ref().map_or("?", |name| name.value.as_str());
        if let Some(at) = service.name.as_ref().map(|name| &name.at).filter(|_| names.contains(&name)) {
            let message = format!("there are two services with the name `{name}`");
            report.error(at, Complaint::hinted(message, "names are unique: rename one of them"));
        }
        names.push(name);
        for listen in &service.listens {
            let taken = listens.iter().find(|(other, _)| overlap(&listen.value, other));
            if let Some((other, owner)) = taken {
                report.error(&listen.at, taken_by(&listen.value, other, owner));
            } else if let Some(complaint) = listen_fault(&listen.value, overlay) {
                report.error(&listen.at, complaint);
            }
            listens.push((&listen.value, name.to_owned()));
        }
        check_backends(service, overlay, report);
        check_direct(service, report);
        check_persistence(service, &mut groups, report);
        check_life(service, report);
        check_protection(service, report);
        check_check(service, report);
    }
}

fn check_direct(service: &ServiceDraft, report: &mut Report) {
    let Some(config) = service.finish().filter(|config| config.settings.direct) else { return };
    if let Some(complaint) = proxy_fault(&config.settings) {
        report.error(service.place_of("proxy_protocol"), complaint);
    }
    for draft in &service.backends {
        if let Some(complaint) = draft.finish().and_then(|backend| direct_fault(&config.listens, &backend)) {
            report.error(place_of(draft, "address"), complaint);
        }
    }
}

/// `groups` are the services of groups so far.
fn check_persistence(service: &ServiceDraft, groups: &mut Vec<(String, Persistence)>, report: &mut Report) {
    let Some(config) = service.finish() else { return };
    let wanted = config.settings.persistence;
    let of_others = || groups.iter().find_map(|(name, other)| wanted.group_fault(name, other));
    let fault = wanted.fault().or_else(|| of_others().map(|complaint| ("persistence_group", complaint)));
    if let Some((key, complaint)) = fault {
        report.error(service.place_of(key), complaint);
    }
    groups.push((config.name, wanted));
}

fn check_life(service: &ServiceDraft, report: &mut Report) {
    let Some(config) = service.finish() else { return };
    if let Some(complaint) = config.settings.timeouts.fault(&config.listens) {
        report.error(service.place_of(state_times::KEY), complaint);
    }
    if let Some(complaint) = config.settings.one_packet_fault(&config.listens) {
        report.error(service.place_of(one_packet::KEY), complaint);
    }
    if let Some(complaint) = config.settings.passive.and_then(|passive| passive.fault(&config.listens)) {
        report.error(service.place_of(passive::KEY), complaint);
    }
    let fault = config.settings.life.fault(config.settings.scheduler, service.check.is_some());
    if let Some((key, complaint)) = fault {
        report.error(service.place_of(key), complaint);
    }
}

fn check_protection(service: &ServiceDraft, report: &mut Report) {
    let fault =
        service.finish().and_then(|config| config.settings.protection.fault(config.settings.direct, &config.listens));
    if let Some((key, complaint)) = fault {
        report.error(service.place_of(key), complaint);
    }
}

/// The complaint about a listen that another service has.
pub fn taken_by(listen: &Listen, other: &Listen, owner: &str) -> Complaint {
    let message = format!("`{}` is taken: service `{owner}` listens on {}", show_listen(listen), show_listen(other));
    Complaint::hinted(message, "each VIP, port and protocol belongs to one service")
}

fn check_backends(service: &ServiceDraft, overlay: Overlay<'_>, report: &mut Report) {
    let mut seen = Vec::new();
    for draft in &service.backends {
        let Some(backend) = draft.finish() else { continue };
        for (key, complaint) in backend_faults(&backend, overlay) {
            report.error(place_of(draft, key), complaint);
        }
        if seen.contains(&backend.address) {
            let message = format!("backend `{}` is in this service twice", backend.address);
            report.error(
                place_of(draft, "address"),
                Complaint::hinted(message, "use `weight` to give it a larger share"),
            );
        }
        seen.push(backend.address);
    }
    warn_idle(service, report);
}

/// What is wrong between a service and the check of its backends.
fn check_check(service: &ServiceDraft, report: &mut Report) {
    let Some(CheckDraft { at, check: Some(check) }) = &service.check else { return };
    let listens: Vec<Listen> = service.listens.iter().map(|listen| listen.value.clone()).collect();
    let backends = service.backends.iter().filter_map(|draft| Some(draft.address.as_ref()?.value));
    if let Some(complaint) = check.fault(&listens, backends) {
        report.error(at, complaint);
    }
}

fn place_of<'a>(draft: &'a BackendDraft, key: &str) -> &'a At {
    let found = match key {
        "vtep" => draft.vtep.as_ref().map(|vtep| &vtep.at),
        "mac" => draft.mac.as_ref().map(|mac| &mac.at),
        _ => draft.address.as_ref().map(|address| &address.at),
    };
    found.unwrap_or(&draft.at)
}

/// A service that can serve nobody works, but hardly as it was meant.
fn warn_idle(service: &ServiceDraft, report: &mut Report) {
    let Some(name) = &service.name else { return };
    let complaint = if service.backends.is_empty() {
        Complaint::hinted(format!("service `{}` has no backends", name.value), "new connections to it are refused")
    } else if service.backends.iter().all(|backend| backend.weight == Some(0)) {
        let message = format!("all backends of service `{}` have weight 0", name.value);
        Complaint::hinted(message, "weight 0 drains: new connections to it are refused")
    } else {
        return;
    };
    report.warn(&name.at, complaint);
}
