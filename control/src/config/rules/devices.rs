//! What a file's interfaces leave impossible.

use std::collections::BTreeSet;

use super::super::report::{Complaint, Report};
use super::super::service::ServiceDraft;
use super::super::{Driver, InterfaceConfig, Listen};
use super::file::place_of;

/// What of the services no packet can reach over these interfaces.
pub fn check_devices(services: &[ServiceDraft], interfaces: &[InterfaceConfig], report: &mut Report) {
    let has = |driver| interfaces.iter().any(|interface| interface.driver == driver);
    if has(Driver::AfXdp) {
        check_room(services, report);
    } else if has(Driver::Tun) {
        check_direct(services, report);
    }
}

/// The kernel, which sends what leaves a TUN device, goes by the VIP: it finds no backend on the link.
fn check_direct(services: &[ServiceDraft], report: &mut Report) {
    for service in services.iter().filter(|service| service.settings().direct) {
        for draft in service.backends.iter().filter(|draft| draft.vtep.is_none()) {
            let hint = "give it a `vtep`, serve it over driver = \"af_xdp\", or leave `direct` out";
            let message = "over TUN a direct service can't reach a backend without `vtep`";
            report.error(place_of(draft, "address"), Complaint::hinted(message, hint));
        }
    }
}

/// The XDP filter has a place for each VIP and protocol.
fn check_room(services: &[ServiceDraft], report: &mut Report) {
    let listens: Vec<_> = services.iter().flat_map(|service| &service.listens).collect();
    let values: Vec<_> = listens.iter().map(|listen| &listen.value).collect();
    for (at, complaint) in room_faults(&values) {
        report.error(&listens[at].at, complaint);
    }
}

/// Of each family the first listen, by its place in the row, for which the XDP filter has no room.
pub fn room_faults(listens: &[&Listen]) -> Vec<(usize, Complaint)> {
    let fault = |(family, is_six): (&str, bool)| {
        let mut seen = BTreeSet::new();
        let mut of_family = listens.iter().enumerate().filter(|(_, listen)| listen.address.is_ipv6() == is_six);
        let (at, _) = of_family.find(|(_, listen)| {
            seen.insert((listen.address, listen.protocol as u8));
            seen.len() > sys::FILTER_LISTENS
        })?;
        let most = sys::FILTER_LISTENS;
        let message = format!("this is one more than the {most} VIPs of {family} that the XDP filter has room for");
        let hint = "one that listens on TCP and UDP counts twice: serve the rest over another gateway, or all over \
                    driver = \"tun\"";
        Some((at, Complaint::hinted(message, hint)))
    };
    [("IPv4", false), ("IPv6", true)].into_iter().filter_map(fault).collect()
}
