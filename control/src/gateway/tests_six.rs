//! Tables with IPv6 in them: surrogates inside, real addresses towards the kernel.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use datapath::ProbeKind;
use datapath::service::{Generation, Hop, InterfaceIndex, Path as Way};
use wire::MacAddr;

use super::compile::{self, Compiled, TunWants, taken_by_kernel};
use super::resolve::OverlayMacs;
use super::testing::{self, NODE_MAC, TUN};
use crate::catalog::Catalog;
use crate::config::Config;
use crate::kernel::{KernelView, Link, LocalAddress, Path, ReplyPart, ReplyRule};

const XDP: &str = "[[interface]]\nname = \"eth0\"";
const SERVICES: &str = r#"
[[service]]
name = "web"
listen = ["198.18.0.1:8080/tcp", "[2001:db8::1]:8080/tcp"]
[service.check]
type = "tcp"
[[service.backend]]
address = "10.0.0.11:8000"
vtep = "198.18.1.11"
[[service.backend]]
address = "198.18.1.12:80"
[[service.backend]]
address = "[2001:db8:1::12]:80"
"#;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The surrogate that is given as the nth.
fn surrogate(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(240, 0, 0, n)
}

fn config(interfaces: &str, gateway: &str) -> Config {
    testing::config(interfaces, gateway, SERVICES)
}

fn on_link(next_hop: &str, source: &str, mac: Option<MacAddr>) -> Path {
    Path::Link { link: 2, next_hop: ip(next_hop), mac, source: Some(ip(source)) }
}

/// `eth0` is link 2; the machine is `198.18.1.1` and `2001:db8:1::1`. The IPv6 backend is behind a router.
fn view(mac: Option<MacAddr>) -> KernelView {
    let eth0 = Link { index: 2, name: "eth0".to_owned(), mac: MacAddr([2; 6]), mtu: 1500, up: true, is_bond: false };
    let local = |address, prefix_len| LocalAddress { address: ip(address), prefix_len, link: 2 };
    KernelView {
        links: [(2, eth0)].into(),
        addresses: [local("198.18.1.1", 24), local("2001:db8:1::1", 64)].into(),
        paths: [
            (ip("198.18.1.11"), on_link("198.18.1.11", "198.18.1.1", mac)),
            (ip("198.18.1.12"), on_link("198.18.1.12", "198.18.1.1", mac)),
            (ip("2001:db8:1::12"), on_link("fe80::99", "2001:db8:1::1", mac)),
        ]
        .into(),
    }
}

fn compiled(config: &Config, view: &KernelView) -> Compiled {
    let catalog = Catalog::from_config(config, 1);
    compile::compile(config, &catalog, view, &OverlayMacs::new(), Generation(1))
}

#[test]
fn the_tables_have_surrogates_and_say_what_they_stand_for() {
    let compiled = compiled(&config(XDP, ""), &view(Some(NODE_MAC)));
    let service = &compiled.tables.services[0];
    let listens: Vec<_> = service.listens.iter().map(|listen| listen.address).collect();
    assert_eq!(listens, [Ipv4Addr::new(198, 18, 0, 1), surrogate(1)]);
    let hop = Hop::Ethernet { interface: InterfaceIndex(0), mac: NODE_MAC };
    assert_eq!(service.backends[1].path, Way::Plain { snat: vec![Ipv4Addr::new(198, 18, 1, 1)], hop });
    assert_eq!(service.backends[2].address, surrogate(3));
    assert_eq!(service.backends[2].path, Way::Plain { snat: vec![surrogate(2)], hop });
    let six: Vec<_> = compiled.tables.six.iter().map(|(real, surrogate)| (IpAddr::V6(*real), *surrogate)).collect();
    let expected = ["2001:db8::1", "2001:db8:1::1", "2001:db8:1::12"].map(ip).into_iter().zip((1..).map(surrogate));
    assert_eq!(six, expected.collect::<Vec<_>>());
    assert!(compiled.findings.problems.is_empty());
    let asked = ["198.18.1.11", "198.18.1.12", "2001:db8:1::12"].map(ip);
    assert_eq!(compiled.findings.asked, asked.into());
}

#[test]
fn the_filter_gets_real_addresses() {
    let compiled = compiled(&config(XDP, ""), &view(Some(NODE_MAC)));
    let filter = compiled.rules.to_filter(&(1024..=32767));
    let listens: BTreeSet<_> = filter.listens.iter().map(|listen| listen.address).collect();
    assert_eq!(listens, ["198.18.0.1", "2001:db8::1"].map(ip).into());
    let plain: BTreeSet<_> = filter.plain.iter().map(|plain| (plain.backend, plain.port)).collect();
    assert_eq!(plain, [(ip("198.18.1.12"), 80), (ip("2001:db8:1::12"), 80)].into());
    let snat: BTreeSet<_> = filter.snat.iter().map(|snat| snat.address).collect();
    assert_eq!(snat, ["198.18.1.1", "2001:db8:1::1"].map(ip).into());
}

#[test]
fn a_check_goes_to_the_surrogate_and_names_the_real_address() {
    let compiled = compiled(&config(XDP, ""), &view(Some(NODE_MAC)));
    let target = &compiled.targets[2];
    assert_eq!((target.kind, target.source), (ProbeKind::Plain, surrogate(2)));
    assert_eq!((*target.address.ip(), target.real.to_string()), (surrogate(3), "[2001:db8:1::12]:80".to_owned()));
    // An IPv6 header is longer.
    assert_eq!((compiled.targets[1].mtu, target.mtu), (1500, 1480));
}

#[test]
fn sources_are_of_the_backends_family() {
    let sources = |gateway: &str| {
        let compiled = compiled(&config(XDP, gateway), &view(Some(NODE_MAC)));
        let of = |n: usize| match &compiled.tables.services[0].backends[n].path {
            Way::Plain { snat, .. } => snat.clone(),
            Way::Overlay { .. } => Vec::new(),
        };
        let real = |n| match compiled.tables.six.iter().find(|(_, surrogate)| of(n).contains(surrogate)) {
            Some((real, _)) => vec![IpAddr::V6(*real)],
            None => of(n).into_iter().map(IpAddr::V4).collect(),
        };
        [real(1), real(2)]
    };
    let both = [vec![ip("198.18.1.77")], vec![ip("2001:db8:1::77")]];
    assert_eq!(sources("snat = [\"198.18.1.77\", \"2001:db8:1::77\"]"), both);
    // What is not said for a family is the kernel's choice.
    assert_eq!(sources("snat = \"198.18.1.77\""), [vec![ip("198.18.1.77")], vec![ip("2001:db8:1::1")]]);
    assert_eq!(sources("snat = \"2001:db8:1::77\""), [vec![ip("198.18.1.1")], vec![ip("2001:db8:1::77")]]);
}

#[test]
fn without_an_answer_or_a_source_it_is_said() {
    let silent = compiled(&config(XDP, ""), &view(None));
    let problems: Vec<_> = silent.findings.problems.iter().map(String::as_str).collect();
    assert!(problems.contains(&"backend 2001:db8:1::12: no neighbour discovery answer from fe80::99 on eth0"));
    assert_eq!(silent.tables.services[0].backends[2].path.hop(), Hop::Unresolved);

    let mut config = config(XDP, "");
    config.services[0].listens.pop();
    let mut view = view(Some(NODE_MAC));
    let Some(Path::Link { source, .. }) = view.paths.get_mut(&ip("2001:db8:1::12")) else { unreachable!() };
    *source = None;
    let sourceless = compiled(&config, &view);
    let problem = "backend 2001:db8:1::12: no source address of its family is known: give one with `snat` in [gateway]";
    assert_eq!(sourceless.findings.problems.iter().collect::<Vec<_>>(), [problem]);
    assert_eq!(sourceless.tables.services[0].backends[2].path.hop(), Hop::Unresolved);
    assert!(datapath::service::Snapshot::build(sourceless.tables).is_ok());
}

#[test]
fn over_tun_vips_and_answers_of_both_families_are_led_to_the_device() {
    let view = view(None);
    let compiled = compiled(&config(TUN, ""), &view);
    let wants = TunWants::of(&compiled.rules, &view, &(1024..=32767));
    assert_eq!(wants.addresses, ["198.18.0.1", "2001:db8::1"].map(ip).into());
    let part = ReplyPart::Answers { port: 80, ports: (1024, 32767) };
    let rule = |backend, snat| ReplyRule { backend: ip(backend), snat: ip(snat), protocol: 6, part };
    let rules = [rule("198.18.1.12", "198.18.1.1"), rule("2001:db8:1::12", "2001:db8:1::1")];
    assert_eq!(wants.replies, rules.into());
}

#[test]
fn over_tun_an_ipv6_vip_must_not_be_the_machines_own_either() {
    let mut here = view(None);
    here.addresses.insert(LocalAddress { address: ip("2001:db8::1"), prefix_len: 128, link: 2 });
    let config = config(TUN, "");
    let taken = taken_by_kernel(&config, &Catalog::from_config(&config, 1), &here);
    assert_eq!(taken, [(ip("2001:db8::1"), "eth0".to_owned())]);
}
