//! The rules over all services of a file. Each complaint stands where its key does.

use std::collections::HashMap;
use std::net::IpAddr;

use super::super::check::CheckDraft;
use super::super::persistence::Persistence;
use super::super::report::{At, Complaint, Fault, Report};
use super::super::service::{BackendDraft, ServiceDraft};
use super::super::{Listen, one_packet, passive};
use super::{Overlay, backend_faults, circle_fault, direct_faults, listen_fault, overlap, proxy_fault, taken_by};

/// Keys that are judged by another: where that could not be read, nothing can be said of them.
const RESTS_ON: &[(&str, &str)] = &[
    ("persistence_prefix", "persistence"),
    ("persistence_prefix_ipv6", "persistence"),
    ("persistence_clients", "persistence"),
    ("persistence_group", "persistence"),
    ("rate_burst", "rate"),
    ("rate_per_source_burst", "rate_per_source"),
    ("slow_start", "scheduler"),
    ("on_down", "check"),
];

/// All rules over the services of a file.
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
            let taken = taken.map(|(other, owner)| taken_by(&listen.value, other, owner));
            for complaint in taken.into_iter().chain(listen_fault(&listen.value, overlay)) {
                report.error(&listen.at, complaint);
            }
            listens.push((&listen.value, name.to_owned()));
        }
        check_backends(service, overlay, report);
        check_direct(service, report);
        check_persistence(service, name, &mut groups, report);
        check_settings(service, report);
        check_check(service, report);
    }
    check_circles(services, &listens, report);
}

/// `listens` are those of all services, with their names.
fn check_circles(services: &[ServiceDraft], listens: &[(&Listen, String)], report: &mut Report) {
    let mut by_address: HashMap<IpAddr, Vec<(&Listen, &str)>> = HashMap::new();
    for (listen, owner) in listens {
        by_address.entry(listen.address).or_default().push((listen, owner));
    }
    for service in services.iter().filter(|service| !service.settings().direct) {
        let own: Vec<Listen> = service.listens.iter().map(|listen| listen.value.clone()).collect();
        for draft in &service.backends {
            let Some(backend) = draft.finish() else { continue };
            let there = by_address.get(&backend.address.ip).into_iter().flatten().copied();
            if let Some(complaint) = circle_fault(&backend, &own, there) {
                report.error(place_of(draft, "address"), complaint);
            }
        }
    }
}

/// Says what is wrong with a service's keys, as far as that can be judged.
fn complain(service: &ServiceDraft, faults: impl IntoIterator<Item = Fault>, report: &mut Report) {
    for (key, complaint) in faults {
        let at = service.place_of(key);
        match RESTS_ON.iter().find(|(of, _)| *of == key) {
            Some((_, on)) if service.is_misread(on) => {}
            // What it rests on may stand in a line that is no TOML.
            Some(_) => report.missing(at, complaint),
            None => report.error(at, complaint),
        }
    }
}

/// Where the service listens; nowhere, as far as anyone knows, if one of them could not be read.
fn listens_of(service: &ServiceDraft) -> Vec<Listen> {
    if service.is_misread("listen") {
        return Vec::new();
    }
    service.listens.iter().map(|listen| listen.value.clone()).collect()
}

fn check_direct(service: &ServiceDraft, report: &mut Report) {
    let settings = service.settings();
    if !settings.direct {
        return;
    }
    complain(service, proxy_fault(&settings).map(|complaint| ("proxy_protocol", complaint)), report);
    let listens: Vec<Listen> = service.listens.iter().map(|listen| listen.value.clone()).collect();
    for draft in &service.backends {
        for complaint in draft.finish().map(|backend| direct_faults(&listens, &backend)).unwrap_or_default() {
            report.error(place_of(draft, "address"), complaint);
        }
    }
}

/// `groups` are the services of groups so far.
fn check_persistence(service: &ServiceDraft, name: &str, groups: &mut Vec<(String, Persistence)>, report: &mut Report) {
    let wanted = service.settings().persistence;
    let faults = wanted.faults();
    if !faults.is_empty() {
        // What it would say of a group, it does not say.
        return complain(service, faults, report);
    }
    let of_others = groups.iter().find_map(|(name, other)| wanted.group_fault(name, other));
    complain(service, of_others.map(|complaint| ("persistence_group", complaint)), report);
    groups.push((name.to_owned(), wanted));
}

/// What must hold between the keys of a service.
fn check_settings(service: &ServiceDraft, report: &mut Report) {
    let (settings, listens) = (service.settings(), listens_of(service));
    complain(service, settings.timeouts.faults(&listens), report);
    let one_packet = settings.one_packet_faults(&listens).into_iter();
    complain(service, one_packet.map(|complaint| (one_packet::KEY, complaint)), report);
    let passive = settings.passive.and_then(|passive| passive.fault(&listens));
    complain(service, passive.map(|complaint| (passive::KEY, complaint)), report);
    complain(service, settings.life.faults(settings.scheduler, service.check.is_some()), report);
    complain(service, settings.protection.faults(settings.direct, &listens), report);
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
    let listens = listens_of(service);
    if listens.is_empty() {
        return;
    }
    let backends = service.backends.iter().filter_map(|draft| Some(draft.address.as_ref()?.value));
    for complaint in check.faults(&listens, backends) {
        report.error(at, complaint);
    }
}

/// Where a backend's key stands; else the backend.
pub(super) fn place_of<'a>(draft: &'a BackendDraft, key: &str) -> &'a At {
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
    if service.is_misread("backend") {
        return;
    }
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
