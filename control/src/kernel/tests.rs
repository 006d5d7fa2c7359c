//! Against a real kernel, in namespaces of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;
use wire::MacAddr;

use super::follow::hops_to_ask_for;
use super::namespace::{Peer, in_namespace, ip};
use super::*;

const NODE: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 1, 11));
const ABSENT: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 1, 12));
const FAR: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 5));
const SELF: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 1, 1));
const FIRST_MAC: &str = "02:00:00:00:00:11";
const SECOND_MAC: &str = "02:00:00:00:00:22";

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn node() -> Peer {
    let peer = Peer::on_veth("gw0", "node0");
    ip("link set gw0 mtu 1400");
    ip("addr add 198.18.1.1/24 dev gw0");
    ip("link set gw0 up");
    peer.ip(&format!("link set node0 address {FIRST_MAC}"));
    peer.ip("addr add 198.18.1.11/24 dev node0");
    peer.ip("link set node0 up");
    peer
}

async fn until(view: &mut watch::Receiver<KernelView>, what: &str, is: impl Fn(&KernelView) -> bool) {
    let seen = timeout(Duration::from_secs(5), view.wait_for(|view| is(view))).await.map(drop);
    assert!(seen.is_ok(), "not seen: {what}; the view is {:#?}", view.borrow());
}

fn mac_of(view: &KernelView, address: IpAddr) -> Option<MacAddr> {
    match view.paths.get(&address) {
        Some(Path::Link { mac, .. }) => *mac,
        _ => None,
    }
}

fn unreachable(view: &KernelView, address: IpAddr) -> bool {
    matches!(view.paths.get(&address), Some(Path::NoRoute(_)))
}

fn mac(text: &str) -> Option<MacAddr> {
    text.parse().ok()
}

#[test]
fn links_routes_and_neighbours_are_followed() {
    in_namespace("kernel::tests::links_routes_and_neighbours_are_followed", || {
        let peer = node();
        block_on(follow_everything(&peer));
    });
}

async fn follow_everything(peer: &Peer) {
    let kernel = Kernel::open().await.unwrap();
    let mut view = kernel.view();
    let link = view.borrow().link_named("gw0").unwrap().clone();
    assert_eq!((link.mtu, link.up), (1400, true));
    assert_eq!(view.borrow().owner_of(SELF).as_deref(), Some("gw0"));

    kernel.follow([NODE, ABSENT, FAR, SELF].into());
    until(&mut view, "the node's MAC", |view| mac_of(view, NODE) == mac(FIRST_MAC)).await;
    let now = view.borrow().clone();
    assert_eq!(now.paths[&SELF], Path::Local);
    assert_eq!(now.paths[&FAR], Path::NoRoute(format!("no route to {FAR}")));
    let path = Path::Link { link: link.index, next_hop: ABSENT, mac: None, source: Some(SELF) };
    assert_eq!(now.paths[&ABSENT], path);
    assert_eq!(now.unresolved(&[NODE, ABSENT].into()).collect::<Vec<_>>(), [ABSENT]);

    ip(&format!("route add 203.0.113.0/24 via {NODE}"));
    until(&mut view, "the route through the node", |view| mac_of(view, FAR) == mac(FIRST_MAC)).await;

    peer.ip(&format!("link set node0 address {SECOND_MAC}"));
    ip(&format!("neigh del {NODE} dev gw0"));
    until(&mut view, "the new MAC", |view| mac_of(view, NODE) == mac(SECOND_MAC)).await;

    ip("link set gw0 down");
    until(&mut view, "the link down", |view| {
        !view.link_named("gw0").unwrap().up && unreachable(view, NODE) && unreachable(view, FAR)
    })
    .await;
    ip("link set gw0 up");
    until(&mut view, "the link up", |view| view.link_named("gw0").unwrap().up && mac_of(view, NODE) == mac(SECOND_MAC))
        .await;

    ip("link set gw0 mtu 1300");
    until(&mut view, "the MTU", |view| view.link_named("gw0").unwrap().mtu == 1300).await;
}

#[test]
fn a_change_is_seen_within_a_tenth_of_a_second() {
    in_namespace("kernel::tests::a_change_is_seen_within_a_tenth_of_a_second", || {
        let _peer = node();
        block_on(async {
            let kernel = Kernel::open().await.unwrap();
            let mut view = kernel.view();
            kernel.follow([NODE].into());
            until(&mut view, "the node's MAC", |view| mac_of(view, NODE) == mac(FIRST_MAC)).await;
            ip(&format!("neigh replace {NODE} lladdr {SECOND_MAC} dev gw0 nud permanent"));
            let before = sys::clock::now();
            until(&mut view, "the new MAC", |view| mac_of(view, NODE) == mac(SECOND_MAC)).await;
            let took = sys::clock::now().saturating_sub(before);
            assert!(took < Duration::from_millis(100), "{took:?}");
        });
    });
}

#[test]
fn an_answer_is_believed_while_the_kernel_asks_anew() {
    in_namespace("kernel::tests::an_answer_is_believed_while_the_kernel_asks_anew", || {
        let peer = node();
        block_on(async {
            let kernel = Kernel::open().await.unwrap();
            let mut view = kernel.view();
            kernel.follow([NODE].into());
            until(&mut view, "the node's MAC", |view| mac_of(view, NODE) == mac(FIRST_MAC)).await;
            // The node falls silent: until the kernel has given up on it (3 s), its old MAC serves.
            peer.ip("link set node0 arp off");
            ip(&format!("neigh del {NODE} dev gw0"));
            tokio::time::sleep(Duration::from_millis(500)).await;
            assert_eq!(mac_of(&view.borrow(), NODE), mac(FIRST_MAC));
            until(&mut view, "no MAC any more", |view| mac_of(view, NODE).is_none()).await;
            peer.ip("link set node0 arp on");
            until(&mut view, "the MAC again", |view| mac_of(view, NODE) == mac(FIRST_MAC)).await;
        });
    });
}

#[test]
fn a_poke_has_a_stale_neighbour_confirmed() {
    in_namespace("kernel::tests::a_poke_has_a_stale_neighbour_confirmed", || {
        let _peer = node();
        block_on(async {
            let kernel = Kernel::open().await.unwrap();
            let link = kernel.view().borrow().link_named("gw0").unwrap().index;
            ip(&format!("neigh replace {NODE} lladdr {FIRST_MAC} dev gw0 nud stale"));
            read::poke(kernel.handle(), link, NODE).await.unwrap();
            let state = ip(&format!("neigh show {NODE}"));
            // DELAY: the kernel will probe within 5 s. The address is as it was.
            assert!(state.contains("DELAY") && state.contains(FIRST_MAC), "{state}");
        });
    });
}

/// An operator has written the MAC down: asking would make it one that must be learned, and that nobody may answer for.
#[test]
fn a_permanent_neighbour_is_left_alone() {
    in_namespace("kernel::tests::a_permanent_neighbour_is_left_alone", || {
        let _peer = node();
        block_on(async {
            let kernel = Kernel::open().await.unwrap();
            let handle = kernel.handle();
            let paths = BTreeMap::from([(NODE, read::path(handle, NODE).await)]);
            for (state, asked) in [("permanent", false), ("noarp", false), ("stale", true)] {
                ip(&format!("neigh replace {NODE} lladdr {FIRST_MAC} dev gw0 nud {state}"));
                let known = read::neighbours(handle).await.unwrap();
                assert_eq!(!hops_to_ask_for(&paths, &known, true).is_empty(), asked, "{state}");
                // The kernel has its own for groups.
                let of_node = known.valid.iter().find(|((_, address), _)| *address == NODE);
                assert_eq!(of_node.map(|(_, mac)| *mac), mac(FIRST_MAC), "{state}");
                assert!(hops_to_ask_for(&paths, &known, false).is_empty(), "{state}: its MAC is known");
            }
        });
    });
}

#[test]
fn routes_to_a_tun_device_come_and_go() {
    in_namespace("kernel::tests::routes_to_a_tun_device_come_and_go", || {
        ip("tuntap add dev sg0 mode tun");
        block_on(async {
            let kernel = Kernel::open().await.unwrap();
            let link = kernel.set_up("sg0", 1300).await.unwrap();
            assert!(ip("link show sg0").contains("mtu 1300"));
            let (one, two) = (IpAddr::from([198, 18, 0, 1]), IpAddr::from([198, 18, 0, 2]));
            let mut present = BTreeSet::new();
            kernel.set_routes(link, &mut present, &[one].into()).await.unwrap();
            assert_eq!(ip("route show").split_whitespace().collect::<Vec<_>>()[..3], ["198.18.0.1", "dev", "sg0"]);
            kernel.set_routes(link, &mut present, &[two].into()).await.unwrap();
            assert_eq!(ip("route show").split_whitespace().next(), Some("198.18.0.2"));
            assert_eq!(ip("route show").lines().count(), 1);
            assert_eq!(present, [two].into());
            let error = kernel.set_up("sg1", 1300).await.unwrap_err();
            assert!(error.to_string().starts_with("switch on \"sg1\": "), "{error}");
        });
    });
}

#[test]
fn forwarding_can_be_switched_on() {
    in_namespace("kernel::tests::forwarding_can_be_switched_on", || {
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
        assert!(!ip_forward().unwrap());
        switch_on_ip_forward().unwrap();
        assert!(ip_forward().unwrap());
        assert!(local_port_range().unwrap().contains(&40000));
    });
}

const NODE_SIX: &str = "2001:db8:1::11";
const SELF_SIX: &str = "2001:db8:1::1";

/// As [`node`], with IPv6 on both ends. No duplicate addresses are looked for, so that they serve at once.
fn node_of_six() -> Peer {
    let peer = node();
    ip(&format!("addr add {SELF_SIX}/64 dev gw0 nodad"));
    peer.ip(&format!("addr add {NODE_SIX}/64 dev node0 nodad"));
    peer
}

fn six(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn ipv6_routes_and_neighbours_are_followed() {
    in_namespace("kernel::tests::ipv6_routes_and_neighbours_are_followed", || {
        let peer = node_of_six();
        block_on(follow_six(&peer));
    });
}

async fn follow_six(peer: &Peer) {
    let kernel = Kernel::open().await.unwrap();
    let mut view = kernel.view();
    let link = view.borrow().link_named("gw0").unwrap().index;
    assert_eq!(view.borrow().owner_of(six(SELF_SIX)).as_deref(), Some("gw0"));
    let (node, far, own) = (six(NODE_SIX), six("2001:db8:ffff::5"), six(SELF_SIX));
    kernel.follow([node, far, own].into());
    until(&mut view, "the node's MAC", |view| mac_of(view, node) == mac(FIRST_MAC)).await;
    let now = view.borrow().clone();
    let path = Path::Link { link, next_hop: node, mac: mac(FIRST_MAC), source: Some(own) };
    assert_eq!((&now.paths[&node], &now.paths[&own]), (&path, &Path::Local));
    assert_eq!(now.paths[&far], Path::NoRoute(format!("no route to {far}")));

    // Behind a router that is known by its link-local address, as routers are.
    let router = peer.ip("-6 addr show dev node0 scope link");
    let router = router.split_whitespace().skip_while(|word| *word != "inet6").nth(1).unwrap();
    let router = router.split('/').next().unwrap();
    ip(&format!("-6 route add 2001:db8:ffff::/48 via {router} dev gw0"));
    until(&mut view, "the route through the router", |view| mac_of(view, far) == mac(FIRST_MAC)).await;
    assert!(matches!(&view.borrow().paths[&far], Path::Link { next_hop, source, .. }
        if *next_hop == six(router) && *source == Some(own)));

    peer.ip(&format!("link set node0 address {SECOND_MAC}"));
    ip(&format!("-6 neigh del {NODE_SIX} dev gw0"));
    until(&mut view, "the new MAC", |view| mac_of(view, node) == mac(SECOND_MAC)).await;

    // IPv4 by way of an IPv6 neighbour (RFC 5549).
    ip(&format!("route add 203.0.113.0/24 via inet6 {NODE_SIX} dev gw0"));
    kernel.follow([FAR].into());
    until(&mut view, "IPv4 behind IPv6", |view| mac_of(view, FAR) == mac(SECOND_MAC)).await;
}

#[test]
fn ipv6_routes_and_rules_to_a_tun_device_come_and_go() {
    in_namespace("kernel::tests::ipv6_routes_and_rules_to_a_tun_device_come_and_go", || {
        ip("tuntap add dev sg0 mode tun");
        block_on(async {
            let kernel = Kernel::open().await.unwrap();
            let link = kernel.set_up("sg0", 1500).await.unwrap();
            let vip = six("2001:db8::1");
            let mut present = BTreeSet::new();
            kernel.set_routes(link, &mut present, &[vip].into()).await.unwrap();
            assert!(ip("-6 route show dev sg0").contains("2001:db8::1"));
            lead_answers(&kernel, link).await;
            kernel.set_routes(link, &mut present, &BTreeSet::new()).await.unwrap();
            assert!(!ip("-6 route show dev sg0").contains("2001:db8::1"));
        });
    });
}

/// Programs that look after a machine's network, systemd-networkd among them, remove the rules that are not the kernel's. Without that of
/// the table `local` the machine does not know its own addresses.
#[test]
fn rules_are_as_the_kernel_s_own_and_nobody_loses_the_table_local() {
    in_namespace("kernel::tests::rules_are_as_the_kernel_s_own_and_nobody_loses_the_table_local", || {
        ip("tuntap add dev sg0 mode tun");
        block_on(async {
            let kernel = Kernel::open().await.unwrap();
            let link = kernel.set_up("sg0", 1500).await.unwrap();
            let part = ReplyPart::Answers { port: 80, ports: (1024, 32767) };
            let rule = ReplyRule { backend: NODE, snat: SELF, protocol: 6, part };
            let before = ip("-d rule show");
            // A gateway that was killed while it moved the rule has left it twice.
            ip("rule add pref 0 table local");
            kernel.prepare_reply_rules(link, Family::V4).await.unwrap();
            kernel.set_reply_rules(link, &mut BTreeSet::new(), &[rule].into()).await.unwrap();
            let shown = ip("-d rule show");
            assert!(shown.lines().all(|line| line.ends_with("proto kernel") && !line.starts_with("0:")), "{shown}");
            assert!(shown.contains("20:\tfrom all lookup local"), "{shown}");
            ip("rule del pref 20");
            kernel.prepare_reply_rules(link, Family::V4).await.unwrap();
            assert_eq!(ip("-d rule show"), shown);
            kernel.clear_reply_rules(link, &[link].into(), Family::V4).await.unwrap();
            assert_eq!(ip("-d rule show"), before);
        });
    });
}

async fn lead_answers(kernel: &Kernel, link: u32) {
    let part = ReplyPart::Answers { port: 80, ports: (1024, 32767) };
    let rule = ReplyRule { backend: six(NODE_SIX), snat: six(SELF_SIX), protocol: 6, part };
    let mut rules = BTreeSet::new();
    let (four, before) = (ip("rule show"), ip("-6 rule show"));
    kernel.prepare_reply_rules(link, Family::V6).await.unwrap();
    kernel.set_reply_rules(link, &mut rules, &[rule].into()).await.unwrap();
    let shown = ip("-6 rule show");
    let ours = "17:\tfrom 2001:db8:1::11 to 2001:db8:1::1 ipproto tcp sport 80 dport 1024-32767 lookup";
    assert!(shown.contains(ours) && shown.contains("20:\tfrom all lookup local"), "{shown}");
    assert!(!shown.contains("\n0:") && !shown.starts_with("0:"), "{shown}");
    assert!(ip("-6 route show table all").contains("default dev sg0 table"));
    kernel.set_reply_rules(link, &mut rules, &BTreeSet::new()).await.unwrap();
    kernel.clear_reply_rules(link, &[link].into(), Family::V6).await.unwrap();
    assert_eq!((ip("rule show"), ip("-6 rule show")), (four, before));
}

#[test]
fn a_router_goes_on_to_hear_routers() {
    in_namespace("kernel::tests::a_router_goes_on_to_hear_routers", || {
        let _peer = node();
        let value = |key: &str| std::fs::read_to_string(format!("/proc/sys/net/ipv6/conf/{key}")).unwrap();
        std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "0").unwrap();
        std::fs::write("/proc/sys/net/ipv6/conf/gw0/accept_ra", "1").unwrap();
        assert!(forward_six().unwrap());
        assert_eq!((value("all/forwarding").trim(), value("gw0/accept_ra").trim()), ("1", "2"));
        assert!(!forward_six().unwrap());
    });
}
