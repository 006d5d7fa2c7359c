//! Following the kernel: one task that reads what events have put out of date, and keeps the
//! neighbours in use fresh.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use futures::StreamExt;
use futures::channel::mpsc::UnboundedReceiver;
use netlink_packet_route::RouteNetlinkMessage;
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::{Handle, MulticastGroup};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use wire::MacAddr;

use super::read::{self, Neighbours};
use super::{KernelError, KernelView, Path};

/// Events come in flocks (a link that goes down takes its addresses and routes along): wait for the
/// rest before reading.
const SETTLE: Duration = Duration::from_millis(20);
/// How often neighbours without an answer are asked for again.
const POKE_MISSING: Duration = Duration::from_millis(500);
/// Every how many of those ticks all neighbours in use are confirmed and all tables are read anew:
/// 10 s, well below the kernel's 30 s of trust in an answer.
const POKE_ALL_TICKS: u32 = 20;

type Events = UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, rtnetlink::sys::SocketAddr)>;

/// The connection to the kernel. Dropping it ends the following.
#[derive(Debug)]
pub struct Kernel {
    handle: Handle,
    wanted: watch::Sender<BTreeSet<IpAddr>>,
    view: watch::Receiver<KernelView>,
    upheavals: watch::Receiver<()>,
}

impl Kernel {
    /// Connects, reads links and addresses, and follows them from then on. Wants a tokio runtime.
    pub async fn open() -> Result<Kernel, KernelError> {
        let failed = |error| KernelError::new("open a netlink socket", error);
        let (connection, handle, _) = rtnetlink::new_connection().map_err(failed)?;
        tokio::spawn(connection);
        // Events have a socket of their own, so that a flood of them cannot cost us an answer.
        let (connection, _, events) = rtnetlink::new_multicast_connection(&[
            MulticastGroup::Link,
            MulticastGroup::Neigh,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv4Rule,
            MulticastGroup::Ipv6Ifaddr,
            MulticastGroup::Ipv6Route,
            MulticastGroup::Ipv6Rule,
        ])
        .map_err(failed)?;
        tokio::spawn(connection);
        let (wanted, wanted_here) = watch::channel(BTreeSet::new());
        let mut follower = Follower::new(handle.clone(), wanted_here);
        follower.read(Stale::ALL).await?;
        let (view, upheavals) = (follower.published.subscribe(), follower.upheavals.subscribe());
        tokio::spawn(follower.run(events));
        Ok(Kernel { handle, wanted, view, upheavals })
    }

    /// Follows the ways to exactly these addresses; the view shows them a moment later.
    pub fn follow(&self, addresses: BTreeSet<IpAddr>) {
        self.wanted.send_if_modified(|wanted| {
            let changed = *wanted != addresses;
            *wanted = addresses;
            changed
        });
    }

    /// What the kernel knows, and news of it.
    pub fn view(&self) -> watch::Receiver<KernelView> {
        self.view.clone()
    }

    /// Told whenever routes of ours may have gone without being seen: some link or address has changed, be it for a moment that no
    /// view shows, and every ten seconds.
    pub fn upheavals(&self) -> watch::Receiver<()> {
        self.upheavals.clone()
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }
}

/// What must be read anew.
#[derive(Debug, Clone, Copy, Default)]
struct Stale {
    links: bool,
    routes: bool,
    neighbours: bool,
}

impl Stale {
    const ALL: Stale = Stale { links: true, routes: true, neighbours: true };

    fn any(self) -> bool {
        self.links || self.routes || self.neighbours
    }

    fn covers(self, other: Stale) -> bool {
        self.links >= other.links && self.routes >= other.routes && self.neighbours >= other.neighbours
    }

    /// What either of them wants.
    fn with(self, other: Stale) -> Stale {
        Stale {
            links: self.links || other.links,
            routes: self.routes || other.routes,
            neighbours: self.neighbours || other.neighbours,
        }
    }
}

struct Follower {
    handle: Handle,
    wanted: watch::Receiver<BTreeSet<IpAddr>>,
    view: KernelView,
    /// What the kernel would send to.
    confirmed: Neighbours,
    /// What we send to: an answer is believed until it is replaced or found to be dead, also while the
    /// kernel asks anew.
    believed: HashMap<(u32, IpAddr), MacAddr>,
    published: watch::Sender<KernelView>,
    upheavals: watch::Sender<()>,
    ticks: u32,
}

impl Follower {
    fn new(handle: Handle, wanted: watch::Receiver<BTreeSet<IpAddr>>) -> Follower {
        Follower {
            handle,
            wanted,
            view: KernelView::default(),
            confirmed: Neighbours::default(),
            believed: HashMap::new(),
            published: watch::channel(KernelView::default()).0,
            upheavals: watch::channel(()).0,
            ticks: 0,
        }
    }

    async fn run(mut self, mut events: Events) {
        let mut tick = tokio::time::interval(POKE_MISSING);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // What could not be read is tried again at the next tick.
        let mut owed = Stale::default();
        loop {
            let stale = tokio::select! {
                event = events.next() => match event {
                    Some((message, _)) => self.after_event(&message),
                    None => return tracing::error!("the kernel closed the netlink socket"),
                },
                changed = self.wanted.changed() => match changed {
                    Ok(()) => Stale { routes: true, neighbours: true, ..Stale::default() },
                    Err(_) => return,
                },
                _ = tick.tick() => owed.with(self.tick().await),
            };
            if stale.any() {
                let stale = self.settle(&mut events, stale).await;
                let outcome = self.read(stale).await;
                if outcome.is_ok() && stale.covers(owed) {
                    owed = Stale::default();
                }
                if let Err(error) = outcome {
                    if !owed.any() {
                        tracing::warn!("the view of the kernel's network state is out of date: {error}");
                    }
                    owed = owed.with(stale);
                }
            }
        }
    }

    /// Takes the events that follow within a moment, too.
    async fn settle(&self, events: &mut Events, mut stale: Stale) -> Stale {
        tokio::time::sleep(SETTLE).await;
        while let Ok((message, _)) = events.try_recv() {
            stale = stale.with(self.after_event(&message));
        }
        stale
    }

    fn after_event(&self, message: &NetlinkMessage<RouteNetlinkMessage>) -> Stale {
        use RouteNetlinkMessage as M;
        let NetlinkPayload::InnerMessage(inner) = &message.payload else {
            // Overrun: events were lost.
            return Stale::ALL;
        };
        match inner {
            M::NewLink(_) | M::DelLink(_) | M::NewAddress(_) | M::DelAddress(_) => Stale::ALL,
            M::NewRoute(_) | M::DelRoute(_) | M::NewRule(_) | M::DelRule(_) => {
                Stale { routes: true, ..Stale::default() }
            }
            M::NewNeighbour(neighbour) | M::DelNeighbour(neighbour) => {
                let address = read::neighbour_address(neighbour);
                let ours = address.is_some_and(|address| self.is_next_hop(address));
                Stale { neighbours: ours, ..Stale::default() }
            }
            _ => Stale::default(),
        }
    }

    fn is_next_hop(&self, address: IpAddr) -> bool {
        let is_it = |path: &Path| matches!(path, Path::Link { next_hop, .. } if *next_hop == address);
        self.view.paths.values().any(is_it)
    }

    async fn tick(&mut self) -> Stale {
        self.ticks += 1;
        let all = self.ticks.is_multiple_of(POKE_ALL_TICKS);
        self.poke(all).await;
        if all { Stale::ALL } else { Stale::default() }
    }

    /// Asks the kernel to resolve what is unresolved, or to confirm all next hops.
    async fn poke(&self, all: bool) {
        for (link, next_hop) in hops_to_ask_for(&self.view.paths, &self.confirmed, all) {
            if let Err(error) = read::poke(&self.handle, link, next_hop).await {
                tracing::debug!("{error}");
            }
        }
    }

    async fn read(&mut self, stale: Stale) -> Result<(), KernelError> {
        if stale.links {
            self.view.links = read::links(&self.handle).await?;
            self.view.addresses = read::addresses(&self.handle).await?;
        }
        if stale.routes {
            self.read_paths().await;
        }
        // A new path may have a next hop whose neighbour entry was of no interest before.
        self.confirmed = read::neighbours(&self.handle).await?;
        let unconfirmed = self.join_neighbours();
        self.publish();
        if stale.links {
            self.upheavals.send_replace(());
        }
        if unconfirmed && (stale.routes || stale.neighbours) {
            self.poke(false).await;
        }
        Ok(())
    }

    async fn read_paths(&mut self) {
        let wanted = self.wanted.borrow_and_update().clone();
        let mut paths = BTreeMap::new();
        for address in wanted {
            paths.insert(address, read::path(&self.handle, address).await);
        }
        self.view.paths = paths;
    }

    /// Fills in the Ethernet addresses; gives whether one wants confirmation.
    fn join_neighbours(&mut self) -> bool {
        let mut unconfirmed = false;
        let mut believed = HashMap::new();
        for path in self.view.paths.values_mut() {
            let Path::Link { link, next_hop, mac, .. } = path else { continue };
            let hop = (*link, *next_hop);
            let confirmed = self.confirmed.valid.get(&hop);
            let before = self.believed.get(&hop).filter(|_| !self.confirmed.failed.contains(&hop));
            *mac = confirmed.or(before).copied();
            unconfirmed |= confirmed.is_none();
            believed.extend(mac.map(|mac| (hop, mac)));
        }
        self.believed = believed;
        unconfirmed
    }

    fn publish(&self) {
        self.published.send_if_modified(|published| {
            let changed = *published != self.view;
            if changed {
                published.clone_from(&self.view);
            }
            changed
        });
    }
}

/// The next hops that are to be resolved or, all of them, confirmed; never those that somebody has written down.
pub(super) fn hops_to_ask_for(
    paths: &BTreeMap<IpAddr, Path>,
    known: &Neighbours,
    all: bool,
) -> BTreeSet<(u32, IpAddr)> {
    let hops = paths.values().filter_map(|path| match path {
        Path::Link { link, next_hop, .. } => Some((*link, *next_hop)),
        Path::Local | Path::NoRoute(_) => None,
    });
    hops.filter(|hop| !known.fixed.contains(hop) && (all || !known.valid.contains_key(hop))).collect()
}
