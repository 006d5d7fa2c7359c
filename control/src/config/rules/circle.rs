//! A backend that is a VIP of this gateway: what is sent there comes back, and is sent there again.

use super::{BackendConfig, Complaint, Listen, show_listen};

/// What is wrong with a backend of a service that listens on `of`, where the gateway listens so; each with its service's name.
/// A direct service's packets go by the backend's MAC address: nothing of this holds for them.
pub fn circle_fault<'a>(
    backend: &BackendConfig,
    of: &[Listen],
    listens: impl IntoIterator<Item = (&'a Listen, &'a str)>,
) -> Option<Complaint> {
    let (listen, owner) = listens.into_iter().find(|(listen, _)| leads_to(backend, of, listen))?;
    let message = format!(
        "backend `{}` is this gateway itself: service `{owner}` listens on {}",
        backend.address,
        show_listen(listen)
    );
    Some(Complaint::hinted(message, "packets would go round in a circle: give the server's own address, not a VIP"))
}

/// Whether packets to the backend come to the listen.
fn leads_to(backend: &BackendConfig, of: &[Listen], listen: &Listen) -> bool {
    let asked_for = |own: &Listen| match backend.address.port {
        Some(port) => listen.ports.contains(&port.get()),
        None => own.ports.start() <= listen.ports.end() && listen.ports.start() <= own.ports.end(),
    };
    backend.vtep.is_none()
        && backend.address.ip == listen.address
        && of.iter().any(|own| own.protocol == listen.protocol && asked_for(own))
}
