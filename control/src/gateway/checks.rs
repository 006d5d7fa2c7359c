//! Active health checks: which backends are to be asked, and what is made of what was found.

use std::net::{SocketAddr, SocketAddrV4};
use std::time::Duration;

use datapath::ProbeKind;
use datapath::service::{Backend, Hop, Path, Tables};

use super::Gateway;
use crate::catalog::{BackendEntry, Catalog, ServiceEntry};
use crate::check::{Change, Checks, Outcome, Target};

/// Where the kernel routes, as the TUN device does.
const USUAL_MTU: u16 = 1500;
/// By so much an IPv6 header is longer than one of IPv4.
const LONGER_IN_SIX: u16 = 20;

/// The backends of these tables, made of this catalog, that are to be checked.
pub fn targets(catalog: &Catalog, tables: &Tables) -> Vec<Target> {
    let services = catalog.services().iter().zip(&tables.services);
    let pairs = services.flat_map(|(entry, service)| {
        let backends = entry.backends.iter().zip(&service.backends);
        backends.filter_map(|(known, backend)| target(entry, known, backend, tables))
    });
    pairs.collect()
}

fn target(service: &ServiceEntry, entry: &BackendEntry, backend: &Backend, tables: &Tables) -> Option<Target> {
    let check = service.check.clone()?;
    let port = check.port_of(entry.config.address, &service.listens)?;
    let (kind, source, mtu) = match &backend.path {
        Path::Overlay { vni, .. } => {
            let overlay = tables.overlays.iter().find(|overlay| overlay.vni == *vni)?;
            (ProbeKind::Overlay, *overlay.addresses.first()?, overlay.mtu)
        }
        Path::Plain { snat, .. } => {
            let longer = if entry.config.address.ip.is_ipv6() { LONGER_IN_SIX } else { 0 };
            (ProbeKind::Plain, *snat.first()?, link_mtu(backend, tables).saturating_sub(longer))
        }
    };
    Some(Target {
        backend: entry.id,
        // Who listens on another port is another server, as for HAProxy.
        greeted: service.settings.proxy_protocol && check.port.is_none(),
        check,
        kind,
        source,
        address: SocketAddrV4::new(backend.address, port.get()),
        real: SocketAddr::new(entry.config.address.ip, port.get()),
        mtu: usize::from(mtu),
        reachable: backend.path.hop() != Hop::Unresolved,
    })
}

fn link_mtu(backend: &Backend, tables: &Tables) -> u16 {
    match backend.path.hop() {
        Hop::Ethernet { interface, .. } => {
            tables.interfaces.get(usize::from(interface.0)).map_or(USUAL_MTU, |interface| interface.mtu)
        }
        Hop::Kernel | Hop::Unresolved => USUAL_MTU,
    }
}

impl Gateway {
    /// Checks just these from now on.
    pub(super) fn check(&mut self, targets: Vec<Target>) {
        if self.checks.is_none() && !targets.is_empty() {
            match Checks::start(self.engine.probe_line()) {
                Ok(checks) => self.checks = Some(checks),
                Err(error) => tracing::error!("health checks cannot be started: {error}"),
            }
        }
        if let Some(checks) = &self.checks {
            checks.set(targets);
        }
    }

    /// Takes over what checks have found.
    pub(super) fn take_findings(&mut self) {
        let Some(checks) = &self.checks else { return };
        if checks.has_failed() && !self.checks_failed {
            tracing::error!("the thread of the health checks has failed: backends stay as they are");
            self.checks_failed = true;
        }
        let findings = checks.findings();
        if findings.is_empty() || !self.catalog.note(findings, say) {
            return;
        }
        self.publish_catalog("the state of backends has changed");
    }
}

/// One line for a change of state, and one when nobody is left.
fn say(service: &ServiceEntry, backend: &BackendEntry, outcome: &Outcome, change: Change) {
    let text = change_text(service, backend, outcome, change);
    if change.up {
        tracing::info!("{text}");
        return;
    }
    tracing::warn!("{text}");
    if service.backends.iter().all(|other| !other.health.is_up() || other.config.weight == 0) {
        tracing::warn!("service {} has no backend that is up: new connections are refused", service.name);
    }
}

fn change_text(service: &ServiceEntry, backend: &BackendEntry, outcome: &Outcome, change: Change) -> String {
    let (state, before, result) = if change.up { ("up", "down", "passed") } else { ("down", "up", "failed") };
    let (name, address, what) = (&service.name, backend.config.address, &outcome.what);
    let Change { lasted, checks, .. } = change;
    let lasted = show_lasted(lasted);
    format!("backend {name}/{address} is {state}: {what}, {checks} of {checks} checks {result}, was {before} {lasted}")
}

/// `12m`, `1h30m`: nobody needs the seconds of an hour.
fn show_lasted(lasted: Duration) -> String {
    let seconds = lasted.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => format!("{minutes}m"),
        (0, hours, minutes) => format!("{hours}h{minutes}m"),
        (days, hours, _) => format!("{days}d{hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_as_people_say_them() {
        let shown = [0, 59, 60, 3_599, 3_600, 5_430, 86_400, 180_000].map(|s| show_lasted(Duration::from_secs(s)));
        assert_eq!(shown, ["0s", "59s", "1m", "59m", "1h0m", "1h30m", "1d0h", "2d2h"]);
    }
}
