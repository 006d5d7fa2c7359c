//! Who serves.

use std::fmt::Write as _;

use crate::config::value::backend_address;
use crate::config::{BackendAddress, Listen};
use crate::import::draft::{Backend, Service};
use crate::import::notes::Notes;

/// Those that a config may have, and no address twice.
pub fn kept<'a>(service: &'a Service, listens: &[Listen], notes: &mut Notes<'_>) -> Vec<(BackendAddress, &'a Backend)> {
    let mut kept: Vec<(BackendAddress, &Backend)> = Vec::new();
    for backend in &service.backends {
        let mut address = match backend_address(&backend.address) {
            Ok(address) => address,
            Err(complaint) => {
                let hint = complaint.hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
                notes.add(backend.line, format!("{}{hint}", complaint.message));
                continue;
            }
        };
        if let Some(port) = address.port.take_if(|_| service.direct)
            && listens.iter().any(|listen| listen.ports != (port.get()..=port.get()))
        {
            notes.add(
                backend.line,
                "its port was left out: with direct server return packets keep the VIP's port, as there",
            );
        }
        if kept.iter().any(|(other, _)| *other == address) {
            notes.add(backend.line, "left out: the service has this backend already");
            continue;
        }
        kept.push((address, backend));
    }
    kept
}

/// Why a service can't be with these alone.
pub fn too_few(service: &Service, kept: &[(BackendAddress, &Backend)]) -> Option<&'static str> {
    if kept.is_empty() {
        return Some("it has no backend that could be carried over");
    }
    // Sorry pages for everybody are worse than nothing, which is seen at once.
    let had_others = service.lost > 0 || service.backends.iter().any(|backend| !backend.sorry);
    let others_are_gone = kept.iter().all(|(_, backend)| backend.sorry);
    (had_others && others_are_gone).then_some("of its backends only sorry ones could be carried over")
}

/// One as it is written.
pub fn text(address: BackendAddress, backend: &Backend) -> String {
    let mut out = format!("[[service.backend]]\naddress = \"{address}\"\n");
    if backend.weight != 1 {
        let _ = writeln!(out, "weight = {}", backend.weight.min(65_535));
    }
    if let Some(most) = backend.most.filter(|most| *most > 0) {
        let _ = writeln!(out, "max_connections = {most}");
    }
    if backend.sorry {
        out.push_str("sorry = true\n");
    }
    out
}
