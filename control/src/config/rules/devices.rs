//! What a file's interfaces leave impossible.

use std::collections::BTreeSet;

use super::super::report::{Complaint, Report};
use super::super::service::ServiceDraft;
use super::super::{Driver, InterfaceConfig};
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
    let listens = services.iter().flat_map(|service| &service.listens);
    let (six, four): (Vec<_>, Vec<_>) = listens.partition(|listen| listen.value.address.is_ipv6());
    for (family, listens) in [("IPv4", four), ("IPv6", six)] {
        let mut seen = BTreeSet::new();
        let is_over = |seen: &BTreeSet<_>| seen.len() > sys::FILTER_LISTENS;
        let first = listens.iter().find(|listen| {
            seen.insert((listen.value.address, listen.value.protocol as u8));
            is_over(&seen)
        });
        if let Some(listen) = first {
            let most = sys::FILTER_LISTENS;
            let message = format!("this is one more than the {most} VIPs of {family} that the XDP filter has room for");
            let hint = "one that listens on TCP and UDP counts twice: serve the rest over another gateway, or all over \
                        driver = \"tun\"";
            report.error(&listen.at, Complaint::hinted(message, hint));
        }
    }
}
