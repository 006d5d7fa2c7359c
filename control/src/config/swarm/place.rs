//! The gateway's place in the swarm's networks, as far as the file alone says something of it.

use super::super::report::{At, Complaint, Located, Report};
use super::super::rules::host_in_subnet;
use super::super::{Driver, InterfaceConfig, MoreOverlay, OverlaySeed};

/// Each network is served once, and no two have an address in common. The file's prefix lengths may be wrong: the swarm's count.
pub fn check_networks(
    main: Option<&Located<String>>,
    overlay: Option<&OverlaySeed>,
    more: &[Located<MoreOverlay>],
    report: &mut Report,
) {
    for (number, Located { value: one, at }) in more.iter().enumerate() {
        let before = &more[..number];
        let mut names = before.iter().map(|other| &other.value.network).chain(main.map(|main| &main.value));
        if names.any(|name| *name == one.network) {
            let message = format!("network `{}` is served already", one.network);
            report.error(at, Complaint::hinted(message, "name each network once: remove one of them"));
            continue;
        }
        let mut places = before.iter().map(|other| &other.value.overlay).chain(overlay);
        if let Some((address, bits)) = places.find_map(|other| other.address.filter(|_| meet(&one.overlay, other))) {
            let message = format!("the subnet of `{}` meets that of {address}/{bits}", one.network);
            let hint = "if the swarm's do too, only the first of them is served: docker network inspect shows them";
            report.warn(at, Complaint::hinted(message, hint));
        }
    }
}

fn meet(one: &OverlaySeed, other: &OverlaySeed) -> bool {
    let (Some((a, a_bits)), Some((b, b_bits))) = (one.address, other.address) else { return false };
    host_in_subnet(a, b, b_bits.min(a_bits)).is_ok()
}

/// Without a place in an overlay, only ports that nodes publish themselves are served, and what the file says. `member` is what
/// the file says of it, `more` whether it names further overlays.
pub fn warn_unserved(
    at: &At,
    member: Option<bool>,
    overlay: &OverlaySeed,
    more: bool,
    interfaces: &[InterfaceConfig],
    report: &mut Report,
) {
    let tun = interfaces.iter().any(|interface| interface.driver == Driver::Tun);
    let (vtep, address) = (overlay.vtep.is_some(), overlay.address.is_some());
    let why = match member {
        Some(true) if tun => "over TUN a member of the swarm has no overlay, whose port is its kernel's",
        Some(false) if !vtep || !(address || more) => "who is no member has no place in the swarm's overlay",
        _ if tun && !(vtep && address) => {
            "over TUN the overlay's socket is opened at the start, and nothing says where"
        }
        _ => return,
    };
    let remedy =
        if member == Some(true) { "use driver = \"af_xdp\"" } else { "give `vtep` and `address` in [overlay]" };
    report.warn(at, Complaint::hinted(why, format!("of the swarm only ports of mode=host are served: {remedy}")));
}
