//! What must hold between the parts: listens that don't collide, backends that fit the overlay. The file and the API
//! share these.

mod circle;
mod devices;
mod file;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wire::Protocol;

pub use circle::circle_fault;
pub use devices::{check_devices, room_faults};
pub use file::check_services;

use super::report::{Complaint, Fault};
use super::value::show_listen;
use super::{BackendConfig, Listen, OverlayConfig, Settings};

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
pub fn backend_faults(backend: &BackendConfig, overlay: Overlay<'_>) -> Vec<Fault> {
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

fn plain_faults(backend: &BackendConfig) -> Vec<Fault> {
    if backend.mac.is_none() {
        return Vec::new();
    }
    let hint = "add `vtep`, or leave `mac` out: the kernel finds the MAC of plainly routed backends";
    vec![("mac", Complaint::hinted("`mac` is the address in the overlay, but the backend has no `vtep`", hint))]
}

fn overlay_faults(ip: Ipv4Addr, vtep: Ipv4Addr, overlay: &OverlayConfig) -> Vec<Fault> {
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
pub fn direct_faults(listens: &[Listen], backend: &BackendConfig) -> Vec<Complaint> {
    let ip = backend.address.ip;
    let of_other_family = listens.iter().filter(|listen| listen.address.is_ipv6() != ip.is_ipv6());
    let family = several(of_other_family).map(|others| {
        let hint = "the task gets the packet as the client sent it: make a service for each of IPv4 and IPv6, the \
                    second without `direct` if its backends have only IPv4";
        Complaint::hinted(format!("a direct service can't lead {others} to {ip}"), hint)
    });
    let port = backend.address.port.and_then(|port| {
        let port = port.get();
        let others = several(listens.iter().filter(|listen| listen.ports != (port..=port)))?;
        let hint = "the task gets the packet as the client sent it: listen on the target port, or leave the backend's \
                    port out";
        Some(Complaint::hinted(format!("a direct service can't lead {others} to port {port}"), hint))
    });
    family.into_iter().chain(port).collect()
}

/// The first of them, for callers that want one.
pub fn direct_fault(listens: &[Listen], backend: &BackendConfig) -> Option<Complaint> {
    direct_faults(listens, backend).into_iter().next()
}

/// `198.18.0.1:80/tcp and 2 more`
fn several<'a>(mut listens: impl Iterator<Item = &'a Listen>) -> Option<String> {
    let first = show_listen(listens.next()?);
    Some(match listens.count() {
        0 => first,
        more => format!("{first} and {more} more"),
    })
}

/// What is wrong with `proxy_protocol` in a service with these settings.
pub fn proxy_fault(settings: &Settings) -> Option<Complaint> {
    let hint = "leave `proxy_protocol` out: a direct service's backends see the clients' addresses anyway";
    let message = "a direct service's packets stay as they are: no PROXY header can go in front";
    (settings.proxy_protocol && settings.direct).then(|| Complaint::hinted(message, hint))
}

/// The complaint about a listen that stands in the list already.
pub fn said_twice(listen: &Listen, before: &[Listen]) -> Option<Complaint> {
    let other = before.iter().find(|other| overlap(listen, other))?;
    let message = if other == listen {
        format!("`{}` is in this list twice", show_listen(listen))
    } else {
        format!("`{}` is in this list already: {}", show_listen(listen), show_listen(other))
    };
    Some(Complaint::hinted(message, "each VIP, port and protocol stands in it once"))
}

/// The complaint about a listen that another service has.
pub fn taken_by(listen: &Listen, other: &Listen, owner: &str) -> Complaint {
    let message = format!("`{}` is taken: service `{owner}` listens on {}", show_listen(listen), show_listen(other));
    Complaint::hinted(message, "each VIP, port and protocol belongs to one service")
}
