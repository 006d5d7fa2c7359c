//! Which worker serves which queue, and how large its packet memory is.

use datapath::service::InterfaceIndex;
use sys::{JoinedLimits, XdpMode};

use super::TUN_MTU;
use crate::config::{Config, Driver, InterfaceConfig};
use crate::gateway::StartError;
use crate::kernel::KernelView;

/// A queue of an `AF_XDP` interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queue {
    /// Which `[[interface]]`.
    pub interface: InterfaceIndex,
    /// Its number on the interface.
    pub queue: u32,
}

/// Deals queues out: queue q goes to worker q modulo `workers`, so that a flow whose two directions hash to the same
/// queue number on two interfaces stays with one worker.
pub fn deal(queues: &[Queue], workers: usize) -> Vec<Vec<Queue>> {
    let mut hands = vec![Vec::new(); workers];
    for queue in queues {
        hands[queue.queue as usize % workers].push(*queue);
    }
    hands
}

/// What to say when some workers are without a queue. Flows and ports are dealt in equal shares to all, and over `AF_XDP` a worker uses its
/// share for what comes by its queues only.
pub fn idle_workers(hands: &[Vec<Queue>]) -> Option<String> {
    let (all, busy) = (hands.len(), hands.iter().filter(|hand| !hand.is_empty()).count());
    (busy < all).then(|| {
        let plural = if busy == 1 { "" } else { "s" };
        format!(
            "only {busy} of {all} workers have a queue, so that only {busy}/{all} of `flows` and of the SNAT ports can be used; list {busy} CPU{plural}, \
             or give the interfaces {all} queues (`ethtool -L`)"
        )
    })
}

/// The queues of an interface that are to be served, out of `count` that it has.
pub fn queues(interface: InterfaceIndex, config: &InterfaceConfig, count: u32) -> Result<Vec<Queue>, StartError> {
    let wanted = config.queues.clone().unwrap_or_else(|| (0..count).collect());
    if let Some(missing) = wanted.iter().find(|queue| **queue >= count) {
        return Err(StartError::new(
            place(config),
            format!("there is no queue {missing}"),
            format!("it has {count}, numbered from 0; see `ethtool -l {}`", config.name),
        ));
    }
    Ok(wanted.into_iter().map(|queue| Queue { interface, queue }).collect())
}

/// Whether sockets that share their memory have to copy, by each one's mode and whether its driver lacks zero-copy.
pub fn must_copy(mut sockets: impl Iterator<Item = (XdpMode, bool)>) -> bool {
    sockets.any(|(mode, lacks)| match mode {
        XdpMode::Copy | XdpMode::Generic => true,
        XdpMode::Auto => lacks,
        XdpMode::ZeroCopy => false,
    })
}

/// How an interface is named in errors.
pub fn place(config: &InterfaceConfig) -> String {
    format!("[[interface]] {:?}", config.name)
}

/// What a frame must hold in front of the packet, and the Ethernet header.
const FRONT_BYTES: usize = sys::DEFAULT_HEADROOM + wire::ETHERNET_LEN;
/// The frame sizes that `AF_XDP` knows.
const FRAME_SIZES: [usize; 2] = [2048, 4096];

/// What any host takes (RFC 791).
const LEAST_MTU: usize = 576;

/// The smallest frame that holds a packet of any of these interfaces. The MTU of a TUN device, which is set later, fits any.
pub fn frame_size(interfaces: &[InterfaceConfig], view: &KernelView) -> Result<usize, StartError> {
    let mut frame_size = FRAME_SIZES[0];
    for interface in interfaces.iter().filter(|interface| interface.driver == Driver::AfXdp) {
        let Some(link) = view.link_named(&interface.name) else { continue };
        let needed = link.mtu as usize + FRONT_BYTES;
        let Some(fits) = FRAME_SIZES.into_iter().find(|size| *size >= needed) else {
            let most = FRAME_SIZES[1] - FRONT_BYTES;
            let message = format!("its MTU of {} does not fit a frame", link.mtu);
            let hint = format!("ip link set {} mtu {most} (or less)", interface.name);
            return Err(StartError::new(place(interface), message, hint));
        };
        frame_size = frame_size.max(fits);
    }
    Ok(frame_size)
}

/// How long packets of each interface are that are not joined, and into what the others are cut until their flow is lent: what fits every
/// interface and a tunnel through it, for the pieces may leave by any.
pub fn joined_limits(config: &Config, view: &KernelView) -> Vec<JoinedLimits> {
    let mtu = |interface: &InterfaceConfig| match interface.driver {
        Driver::AfXdp => view.link_named(&interface.name).map_or(LEAST_MTU, |link| link.mtu as usize),
        // It is not there yet, or has what its last user has set.
        Driver::Tun => TUN_MTU as usize,
    };
    let shortest = config.interfaces.iter().map(mtu).min().unwrap_or(LEAST_MTU);
    let inner = config.overlay.as_ref().map_or(usize::MAX, |overlay| overlay.mtu.into());
    let piece = inner.min(shortest.saturating_sub(vxlan::OVERHEAD)).max(LEAST_MTU);
    // A swarm's own is not known yet.
    let tunnel_port = Some(config.overlay.as_ref().map_or(vxlan::PORT, |overlay| overlay.port));
    config.interfaces.iter().map(|one| JoinedLimits { longest: mtu(one), piece, tunnel_port }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Mode;
    use crate::kernel::Link;

    fn interface(name: &str, queues: Option<Vec<u32>>) -> InterfaceConfig {
        InterfaceConfig { name: name.to_owned(), driver: Driver::AfXdp, mode: Mode::Auto, queues }
    }

    fn view(name: &str, mtu: u32) -> KernelView {
        let link =
            Link { index: 2, name: name.to_owned(), mac: wire::MacAddr::default(), mtu, up: true, is_bond: false };
        KernelView { links: [(2, link)].into(), ..KernelView::default() }
    }

    #[test]
    fn queues_are_dealt_by_their_number() {
        let both: Vec<_> = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
            .map(|(interface, queue)| Queue { interface: InterfaceIndex(interface), queue })
            .into();
        let hands = deal(&both, 2);
        assert_eq!(hands[0], [both[0], both[2], both[3]]);
        assert_eq!(hands[1], [both[1], both[4]]);
        assert_eq!(deal(&both, 8)[5], []);
        assert_eq!(idle_workers(&deal(&both, 3)), None);
        assert!(
            idle_workers(&deal(&both, 8)).unwrap().starts_with("only 3 of 8 workers have a queue, so that only 3/8 ")
        );
        assert!(idle_workers(&deal(&both[..1], 2)).unwrap().contains("list 1 CPU, or"));
    }

    #[test]
    fn one_socket_that_must_copy_makes_all_that_may_choose_copy() {
        use XdpMode::{Auto, Copy, Generic, ZeroCopy};
        let must_copy = |sockets: &[(XdpMode, bool)]| must_copy(sockets.iter().copied());
        assert!(!must_copy(&[(Auto, false), (Auto, false)]));
        assert!(must_copy(&[(Auto, false), (Auto, true)]), "the second's driver has no zero-copy");
        assert!(must_copy(&[(Auto, false), (Generic, true)]));
        assert!(must_copy(&[(Copy, false), (Auto, false)]));
        assert!(!must_copy(&[(ZeroCopy, true), (Auto, false)]), "it will be told that it cannot");
    }

    #[test]
    fn only_queues_that_exist_can_be_asked_for() {
        let index = InterfaceIndex(0);
        assert_eq!(queues(index, &interface("eth0", None), 3).unwrap().len(), 3);
        assert_eq!(queues(index, &interface("eth0", Some(vec![2])), 3).unwrap()[0].queue, 2);
        let error = queues(index, &interface("eth0", Some(vec![0, 3])), 3).unwrap_err();
        assert_eq!(error.place, "[[interface]] \"eth0\"");
        assert_eq!(error.message, "there is no queue 3");
    }

    #[test]
    fn pieces_of_joined_packets_fit_every_interface_and_a_tunnel() {
        let text = "[[interface]]\nname = \"eth0\"\n[[interface]]\nname = \"eth1\"\n";
        let overlay =
            "[overlay]\nvni = 4096\nvtep = \"198.18.1.1\"\naddress = \"10.0.0.3/24\"\nport = 4790\nmtu = 1300\n";
        let mut links = view("eth0", 1500).links;
        links.extend(view("eth1", 3000).links.into_values().map(|link| (3, Link { index: 3, ..link })));
        let view = KernelView { links, ..KernelView::default() };
        let limits = |text: &str| {
            let config = crate::config::parse("gw.toml", text.as_bytes(), &[0]).unwrap().config;
            let limits = joined_limits(&config, &view);
            [limits[0], limits[1]].map(|one| (one.longest, one.piece, one.tunnel_port))
        };
        assert_eq!(limits(text), [(1500, 1450, Some(4789)), (3000, 1450, Some(4789))]);
        assert_eq!(limits(&format!("{text}{overlay}")), [(1500, 1300, Some(4790)), (3000, 1300, Some(4790))]);
        let tun = "[[interface]]\nname = \"sg0\"\ndriver = \"tun\"\n";
        assert_eq!(limits(&format!("{text}{tun}")), limits(text), "it is made later");
    }

    #[test]
    fn frames_hold_the_longest_packet_behind_the_headroom() {
        let eth0 = [interface("eth0", None)];
        assert_eq!(frame_size(&eth0, &view("eth0", 1500)).unwrap(), 2048);
        assert_eq!(frame_size(&eth0, &view("eth0", 2048 - 256 - 14)).unwrap(), 2048);
        assert_eq!(frame_size(&eth0, &view("eth0", 2048 - 256 - 13)).unwrap(), 4096);
        assert!(frame_size(&eth0, &view("eth0", 9000)).unwrap_err().message.contains("9000"));
        assert_eq!(frame_size(&eth0, &view("other", 9000)).unwrap(), 2048);
        let tun = [InterfaceConfig { driver: Driver::Tun, ..interface("sg0", None) }];
        assert_eq!(frame_size(&tun, &view("sg0", 9000)).unwrap(), 2048, "a persistent one: it gets another MTU");
    }
}
