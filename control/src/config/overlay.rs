//! `[overlay]`

use std::net::Ipv4Addr;

use vxlan::Vni;
use wire::MacAddr;

use super::report::{Complaint, Located, Report};
use super::section::Section;
use super::{OverlayConfig, OverlaySeed, gateway, rules, value};

const LARGEST_VNI: i64 = (1 << 24) - 1;
/// The VNI that a swarm gives to its first network.
const FIRST_VNI: u32 = 4096;
const DEFAULT_MTU: u16 = 1_450;
/// RFC 791: what every host takes; 65,535 without the 50 bytes of VXLAN.
const MTUS: std::ops::RangeInclusive<i64> = 576..=65_485;

/// Reads the table; `None` when anything in it that others rely on is wrong. With `[swarm]`, the swarm knows the rest.
pub fn read(mut section: Section<'_>, with_swarm: bool, report: &mut Report) -> Option<OverlaySeed> {
    if !with_swarm {
        section.require("vni", "4096", report);
        section.require("vtep", "\"198.18.1.1\"", report);
        section.require("address", "\"10.0.0.3/24\"", report);
    }
    let errors = report.findings.len();
    let vni = section.integer::<u32>("vni", 1..=LARGEST_VNI, report).and_then(|vni| Vni::try_from(vni.value).ok());
    let port = section.integer("port", 1..=65_535, report);
    let vtep = section.text("vtep", report, value::ipv4_host);
    let seed = OverlaySeed {
        vni,
        port: port.map(|port| port.value),
        vtep: vtep.map(|vtep| vtep.value),
        ..read_place(section, report)
    };
    (report.findings.len() == errors).then_some(seed)
}

/// Reads the rest of a table: what differs from network to network.
pub fn read_place(mut section: Section<'_>, report: &mut Report) -> OverlaySeed {
    let address = section.text("address", report, value::subnet);
    let snat = section.texts("snat", report, value::ipv4_host);
    let mac = section.text("mac", report, value::mac);
    let mtu = section.integer("mtu", MTUS, report);
    section.close(report);
    let address = address.and_then(|address| check_address(&address, report));
    let snat = match address {
        Some((address, bits)) => check_snat(snat, address, bits, report),
        None => gateway::distinct(snat, report),
    };
    OverlaySeed {
        address,
        snat,
        mac: mac.map(|mac| mac.value),
        mtu: mtu.map(|mtu| mtu.value),
        ..OverlaySeed::default()
    }
}

/// The overlay as the file alone describes it, if it does. A swarm's first network has this VNI.
pub fn complete(seed: &OverlaySeed, with_swarm: bool) -> Option<OverlayConfig> {
    let first = if with_swarm { Vni::try_from(FIRST_VNI).ok() } else { None };
    let (address, prefix_bits) = seed.address?;
    Some(OverlayConfig {
        vni: seed.vni.or(first)?,
        port: seed.port.unwrap_or(vxlan::PORT),
        vtep: seed.vtep?,
        address,
        prefix_bits,
        snat: seed.snat.clone(),
        mac: seed.mac.unwrap_or_else(|| MacAddr::docker(address)),
        mtu: seed.mtu.unwrap_or(DEFAULT_MTU),
    })
}

fn check_address(found: &Located<(Ipv4Addr, u8)>, report: &mut Report) -> Option<(Ipv4Addr, u8)> {
    let (address, bits) = found.value;
    report.check(&found.at, rules::host_in_subnet(address, address, bits))?;
    Some((address, bits))
}

fn check_snat(snat: Vec<Located<Ipv4Addr>>, address: Ipv4Addr, bits: u8, report: &mut Report) -> Vec<Ipv4Addr> {
    let mut good = Vec::new();
    for source in snat {
        if source.value == address {
            let hint = "`address` is used already; list only further ones";
            report.error(&source.at, Complaint::hinted(format!("`{address}` is `address` itself"), hint));
        } else if report.check(&source.at, rules::host_in_subnet(source.value, address, bits)).is_some() {
            good.push(source);
        }
    }
    gateway::distinct(good, report)
}
