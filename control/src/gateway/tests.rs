//! Tables from made-up kernels.

use std::net::{IpAddr, Ipv4Addr};

use datapath::service::{Generation, Hop, InterfaceIndex, Path as Way, Snapshot};
use wire::MacAddr;

use super::First;
use super::compile::{self, Compiled, taken_by_kernel};
use super::resolve::OverlayMacs;
use super::testing::{self, NODE_MAC, TUN};
use crate::catalog::Catalog;
use crate::config::{Config, parse};
use crate::kernel::{KernelView, Link, LocalAddress, Path, ReplyPart, ReplyRule};

const NODE: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 11);
const PLAIN: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 12);
const VIP: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const SELF: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 1);
const TASK: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 11);

const SERVICES: &str = r#"
[[service]]
name = "web"
listen = ["198.18.0.1:8080/tcp", "198.18.0.1:8080/udp"]
[[service.backend]]
address = "10.0.0.11:8000"
vtep = "198.18.1.11"
[[service.backend]]
address = "198.18.1.12:80"
"#;

fn config(interfaces: &str, gateway: &str) -> Config {
    testing::config(interfaces, gateway, SERVICES)
}

const XDP: &str =
    "[[interface]]\nname = \"front\"\ndriver = \"af_xdp\"\n[[interface]]\nname = \"eth0\"\ndriver = \"af_xdp\"";

fn link(index: u32, name: &str) -> (u32, Link) {
    let mac = MacAddr([2, 0, 0, 0, 1, index as u8]);
    (index, Link { index, name: name.to_owned(), mac, mtu: 1500, up: true, is_bond: false })
}

fn on_link(link: u32, mac: Option<MacAddr>) -> Path {
    Path::Link { link, next_hop: NODE.into(), mac, source: Some(SELF.into()) }
}

/// `eth0` is link 2, `eth1` is link 3; the machine is 198.18.1.1.
fn view(paths: &[(Ipv4Addr, Path)]) -> KernelView {
    KernelView {
        links: [link(2, "eth0"), link(3, "eth1"), link(4, "front")].into(),
        addresses: [LocalAddress { address: SELF.into(), prefix_len: 24, link: 2 }].into(),
        paths: paths.iter().map(|(address, path)| ((*address).into(), path.clone())).collect(),
    }
}

fn compiled(config: &Config, view: &KernelView) -> Compiled {
    let catalog = Catalog::from_config(config, 1);
    compile::compile(config, &catalog, view, &OverlayMacs::new(), Generation(1))
}

fn ways(compiled: &Compiled) -> Vec<Way> {
    compiled.tables.services[0].backends.iter().map(|backend| backend.path.clone()).collect()
}

fn problems(compiled: &Compiled) -> Vec<&str> {
    compiled.findings.problems.iter().map(String::as_str).collect()
}

#[test]
fn over_af_xdp_a_hop_is_an_interface_and_a_mac() {
    let config = config(XDP, "");
    let to_node = on_link(2, Some(NODE_MAC));
    let compiled = compiled(&config, &view(&[(NODE, to_node.clone()), (PLAIN, to_node)]));
    let hop = Hop::Ethernet { interface: InterfaceIndex(1), mac: NODE_MAC };
    let overlay = Way::Overlay { vni: compiled.tables.overlays[0].vni, vtep: NODE, mac: MacAddr::docker(TASK), hop };
    assert_eq!(ways(&compiled), [overlay, Way::Plain { snat: vec![SELF], hop }]);
    assert_eq!(problems(&compiled), [""; 0]);
    assert_eq!(compiled.findings.asked, [NODE, PLAIN].map(IpAddr::V4).into());
    let interface = &compiled.tables.interfaces[1];
    assert_eq!((interface.name.as_str(), interface.mac.0[5], interface.mtu, interface.up), ("eth0", 2, 1500, true));
}

#[test]
fn what_is_unreachable_is_said_in_one_sentence() {
    let config = config(XDP, "");
    let no_route = Path::NoRoute("no route to 198.18.1.12".to_owned());
    let compiled = compiled(&config, &view(&[(NODE, on_link(3, None)), (PLAIN, no_route)]));
    assert!(ways(&compiled).iter().all(|way| way.hop() == Hop::Unresolved));
    assert_eq!(
        problems(&compiled),
        [
            "backend 198.18.1.12: no route to 198.18.1.12",
            "vtep 198.18.1.11: the route leaves by eth1, which is no [[interface]]",
        ]
    );
    let compiled = super::tests::compiled(&config, &view(&[(NODE, on_link(2, None)), (PLAIN, Path::Local)]));
    assert_eq!(
        problems(&compiled),
        [
            "backend 198.18.1.12: it is an address of this machine",
            "vtep 198.18.1.11: no ARP answer from 198.18.1.11 on eth0",
        ]
    );
}

/// A slip in the config, or an address that was taken away.
#[test]
fn a_vtep_that_is_not_this_machine_s_is_said_while_it_is_so() {
    let config = config(XDP, "");
    let to_node = on_link(2, Some(NODE_MAC));
    let mut view = view(&[(NODE, to_node.clone()), (PLAIN, to_node)]);
    assert_eq!(problems(&compiled(&config, &view)), [""; 0]);
    view.addresses.clear();
    let said = "overlay.vtep 198.18.1.1 is no address of this machine: nodes will not find it by ARP";
    assert_eq!(problems(&compiled(&config, &view)), [said]);
}

/// The first ids of those that cannot be reached.
fn lost(compiled: &Compiled) -> Vec<u32> {
    compiled.findings.lost.iter().map(|id| id.0).collect()
}

/// One that was just added is not called so before the kernel had its say.
#[test]
fn who_is_unreachable_the_kernel_has_said() {
    let config = config(XDP, "");
    let no_route = Path::NoRoute("no route to 198.18.1.12".to_owned());
    assert_eq!(lost(&compiled(&config, &KernelView::default())), [0; 0]);
    assert_eq!(lost(&compiled(&config, &view(&[(PLAIN, no_route.clone())]))), [2]);
    assert_eq!(lost(&compiled(&config, &view(&[(NODE, on_link(2, None)), (PLAIN, no_route)]))), [1, 2]);
    let both = view(&[(NODE, on_link(2, Some(NODE_MAC))), (PLAIN, on_link(2, Some(NODE_MAC)))]);
    assert_eq!(lost(&compiled(&config, &both)), [0; 0]);
}

/// Whoever is not asked about is forgotten by the next view, and would be asked about again for ever.
#[test]
fn a_direct_backend_behind_a_router_is_still_asked_about() {
    let mut config = config(XDP, "");
    config.services[0].settings.direct = true;
    config.services[0].backends.retain(|backend| backend.vtep.is_none());
    let compiled = compiled(&config, &view(&[(PLAIN, on_link(2, Some(NODE_MAC)))]));
    let wanted = format!("backend {PLAIN}: it is behind {NODE}: a direct backend must be on the link");
    assert_eq!(problems(&compiled), [wanted]);
    assert_eq!((lost(&compiled).len(), compiled.findings.asked), (1, [PLAIN.into()].into()));
}

#[test]
fn before_the_kernel_was_asked_nothing_is_wrong_yet() {
    let compiled = compiled(&config(XDP, ""), &KernelView::default());
    assert!(ways(&compiled).iter().all(|way| way.hop() == Hop::Unresolved));
    assert_eq!(problems(&compiled), [""; 0]);
    assert_eq!(ways(&compiled)[1], Way::Plain { snat: vec![VIP], hop: Hop::Unresolved });
}

#[test]
fn over_tun_the_kernel_routes_and_its_source_is_ours() {
    let config = config(TUN, "");
    let compiled = compiled(&config, &view(&[(NODE, on_link(3, None)), (PLAIN, on_link(2, None))]));
    assert!(ways(&compiled).iter().all(|way| way.hop() == Hop::Kernel));
    assert_eq!(ways(&compiled)[1], Way::Plain { snat: vec![SELF], hop: Hop::Kernel });
    assert_eq!(problems(&compiled), [""; 0]);
}

/// Answers to the machine's own address need rules, those to another address need a route, VIPs always do.
#[test]
fn over_tun_answers_are_led_to_the_device() {
    let ports = 1024..=32767;
    let wants = |gateway| {
        let (config, view) = (config(TUN, gateway), view(&[(NODE, on_link(3, None)), (PLAIN, on_link(2, None))]));
        compile::TunWants::of(&compiled(&config, &view).rules, &view, &ports)
    };
    let own = wants("");
    assert_eq!(own.addresses, [VIP.into()].into());
    let rule = |protocol, part| ReplyRule { backend: PLAIN.into(), snat: SELF.into(), protocol, part };
    let answers = ReplyPart::Answers { port: 80, ports: (1024, 32767) };
    let expected =
        [rule(6, answers), rule(17, answers), rule(17, ReplyPart::WithPorts), rule(17, ReplyPart::Fragments)];
    assert_eq!(own.replies, expected.into());
    let foreign = wants("snat = [\"198.18.1.77\"]");
    assert_eq!(foreign.addresses, [VIP, Ipv4Addr::new(198, 18, 1, 77)].map(IpAddr::V4).into());
    assert!(foreign.replies.is_empty());
}

#[test]
fn a_configured_source_and_a_learned_mac_come_first() {
    let config = config(XDP, "snat = [\"198.18.1.77\", \"198.18.1.78\"]");
    let catalog = Catalog::from_config(&config, 1);
    let learned = OverlayMacs::from([(TASK, MacAddr([2, 9, 9, 9, 9, 9]))]);
    let view = view(&[(PLAIN, on_link(2, Some(NODE_MAC)))]);
    let compiled = compile::compile(&config, &catalog, &view, &learned, Generation(1));
    let Way::Overlay { mac, .. } = ways(&compiled)[0] else { panic!("{:?}", ways(&compiled)) };
    assert_eq!(mac, MacAddr([2, 9, 9, 9, 9, 9]));
    let Way::Plain { snat, .. } = &ways(&compiled)[1] else { panic!("{:?}", ways(&compiled)) };
    assert_eq!(snat, &[Ipv4Addr::new(198, 18, 1, 77), Ipv4Addr::new(198, 18, 1, 78)]);
}

#[test]
fn the_filter_takes_the_vips_our_overlay_and_answers_of_plain_backends() {
    let to_node = on_link(2, Some(NODE_MAC));
    let compiled = compiled(&config(XDP, ""), &view(&[(NODE, to_node.clone()), (PLAIN, to_node)]));
    let filter = compiled.rules.to_filter(&(1024..=32767));
    let listens: Vec<_> = filter.listens.iter().map(|l| (l.address, l.ports.clone(), l.protocol)).collect();
    assert_eq!(listens, [(VIP.into(), 8080..=8080, 6), (VIP.into(), 8080..=8080, 17)]);
    let overlay = &filter.overlays[0];
    assert_eq!((overlay.vtep, overlay.port, overlay.vni), (SELF, 4789, 4096));
    assert_eq!(overlay.addresses, [Ipv4Addr::new(10, 0, 0, 3)]);
    let plain: Vec<_> = filter.plain.iter().map(|p| (p.backend, p.port, p.protocol)).collect();
    assert_eq!(plain, [(PLAIN.into(), 80, 6), (PLAIN.into(), 80, 17)]);
    assert_eq!((filter.snat[0].address, filter.snat[0].ports.clone()), (SELF.into(), 1024..=32767));
    assert_eq!((filter.overlays.len(), filter.snat.len()), (1, 1));
}

#[test]
fn while_workers_change_tables_the_filter_takes_what_either_needs() {
    let both = config(XDP, "");
    let mut less = both.clone();
    less.services[0].listens.pop();
    less.services[0].backends.pop();
    let before = compiled(&both, &view(&[])).rules;
    let after = compiled(&less, &view(&[])).rules;
    assert_ne!(before, after);
    assert_eq!(before.union(&after), before);
    assert_eq!(after.union(&before), before);
}

#[test]
fn the_same_ways_need_no_new_table() {
    let config = config(XDP, "");
    let here = view(&[(NODE, on_link(2, Some(NODE_MAC)))]);
    let mut elsewhere = here.clone();
    let address = LocalAddress { address: Ipv4Addr::LOCALHOST.into(), prefix_len: 8, link: 1 };
    elsewhere.addresses.insert(address);
    let tables = Snapshot::build(compiled(&config, &here).tables).unwrap();
    assert!(tables.leads_as(&compiled(&config, &elsewhere).tables));
    let moved = view(&[(NODE, on_link(2, Some(MacAddr([2, 0, 0, 0, 0, 0x22]))))]);
    assert!(!tables.leads_as(&compiled(&config, &moved).tables));
    let mut down = here.clone();
    down.links.get_mut(&2).unwrap().up = false;
    assert!(!tables.leads_as(&compiled(&config, &down).tables));
}

/// The swarm's overlay is not known yet at the start; services of the file do not wait for it.
#[test]
fn the_documented_example_can_be_started() {
    let (_, behind) = include_str!("../../../docs/config.md").split_once("```toml\n").unwrap();
    let (example, _) = behind.split_once("```").unwrap();
    let config =
        parse("gw.toml", example.as_bytes(), &[0, 1]).map_err(|problems| problems[0].to_string()).unwrap().config;
    assert!(config.swarm.is_some());
    let compiled = compiled(&config, &view(&[(NODE, on_link(2, Some(NODE_MAC)))]));
    let Way::Overlay { vni, .. } = ways(&compiled)[0] else { panic!("{:?}", ways(&compiled)) };
    assert_eq!((compiled.tables.overlays.len(), vni), (1, compiled.tables.overlays[0].vni));
    assert_eq!(compiled.tables.services[0].backends[0].weight, 1);
    First::split(compiled).unwrap();
}

#[test]
fn over_tun_a_vip_must_not_be_the_machines_own() {
    let mut here = view(&[]);
    here.addresses.insert(LocalAddress { address: VIP.into(), prefix_len: 32, link: 3 });
    let taken = |interfaces| {
        let config = config(interfaces, "");
        taken_by_kernel(&config, &Catalog::from_config(&config, 1), &here)
    };
    assert_eq!(taken(TUN), [(VIP.into(), "eth1".to_owned())]);
    assert_eq!(taken(XDP), []);
}
