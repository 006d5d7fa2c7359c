//! The overlay networks that are served, as the managers show them, and the gateway's own place in each.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::client::{ApiError, Connection, Engine};
use super::groups::Served;
use super::model::{Info, Network, Swarm};
use super::overlay::{self, Own};
use crate::config::{OverlayConfig, OverlaySeed, SwarmConfig};

/// How often networks, port and membership are looked at again.
const REFRESH: Duration = Duration::from_secs(5);

/// What was learned of the networks. The first is the main one.
pub struct Fabric {
    joined: Vec<Joined>,
    /// Networks that are wanted, but not there, or cannot be read; a sentence each.
    missing: Vec<String>,
    port: u16,
    /// Whether this machine is in the swarm.
    pub member: bool,
    asked_at: Duration,
    stale: bool,
}

struct Joined {
    network: Network,
    seed: OverlaySeed,
    own: Option<Own>,
}

impl Fabric {
    /// Asks for all of it. `before` is what was known: a member's engine may be silent now.
    pub async fn ask(
        manager: &mut Connection,
        engine: &Engine,
        config: &SwarmConfig,
        before: Option<&Fabric>,
        is_local: &(dyn Fn(Ipv4Addr) -> bool + Sync),
        now: Duration,
    ) -> Result<Fabric, ApiError> {
        // First, for a manager that is just starting refuses this, and shows as networks only those of its own engine.
        let port = manager.read::<Swarm>("/swarm").await?.data_path_port;
        let (networks, missing) = manager.read_list::<Network>("/networks", "network").await?;
        let chosen = overlay::choose(&networks, config.network.as_deref());
        let chosen = chosen.map_err(|why| ApiError::Nonsense(manager.name().to_owned(), why))?;
        let main = verbose(manager, &chosen.id).await?;
        let (member, own) = match config.member {
            Some(false) => (false, None),
            asked => {
                let (was_member, known) =
                    before.map_or((false, None), |before| (before.member, before.place_in(&main)));
                match membership(engine, &main, asked, is_local).await {
                    None => (was_member, known),
                    Some((member, place)) => (member, place.or(known.filter(|_| member))),
                }
            }
        };
        let vtep = config.overlay.vtep.or(own.map(|own| own.vtep));
        let main = Joined { network: main, seed: config.overlay.clone(), own };
        let mut fabric = Fabric { joined: vec![main], missing, port, member, asked_at: now, stale: false };
        for more in &config.more {
            match overlay::choose(&networks, Some(&more.network)) {
                Ok(chosen) => {
                    let network = verbose(manager, &chosen.id).await?;
                    let seed = OverlaySeed { vtep, ..more.overlay.clone() };
                    fabric.joined.push(Joined { network, seed, own: None });
                }
                Err(why) => fabric.missing.push(why),
            }
        }
        Ok(fabric)
    }

    /// Whether it is time to look again.
    pub fn is_stale(&self, now: Duration) -> bool {
        self.stale || now.saturating_sub(self.asked_at) >= REFRESH
    }

    /// Something has happened since.
    pub fn forget(&mut self) {
        self.stale = true;
    }

    /// The name of the main network.
    pub fn main(&self) -> &str {
        self.joined.first().map_or("", |main| main.network.name.as_str())
    }

    /// Our own place, if this is still the main network: one that was made again under its name is another.
    fn place_in(&self, network: &Network) -> Option<Own> {
        self.joined.first().filter(|main| main.network.id == network.id)?.own
    }

    /// The networks themselves.
    pub fn networks(&self) -> impl Iterator<Item = &Network> {
        self.joined.iter().map(|joined| &joined.network)
    }

    /// Asks a network again for what the engines tell each other of its tasks.
    pub async fn refresh(&mut self, at: usize, manager: &mut Connection) -> Result<(), ApiError> {
        if let Some(joined) = self.joined.get_mut(at) {
            joined.network = verbose(manager, &joined.network.id).await?;
        }
        Ok(())
    }

    /// What is served, and why not.
    pub fn served(&self) -> Vec<Served<'_>> {
        let mut served: Vec<Served<'_>> = Vec::new();
        for Joined { network, seed, own } in &self.joined {
            let overlay = overlay::overlay(network, self.port, seed, *own);
            let overlay = overlay.and_then(|overlay| apart(&overlay, &served).map(|()| overlay));
            served.push(Served::new(network, overlay));
        }
        served
    }

    /// Networks that are wanted, but not there, or cannot be read, and addresses that have no place in theirs; a sentence each.
    pub fn missing(&self) -> Vec<String> {
        let unused = self.joined.iter().flat_map(|Joined { network, seed, own }| {
            let overlay = overlay::overlay(network, self.port, seed, *own);
            overlay.map_or_else(|_| Vec::new(), |overlay| overlay::unused_snat(&network.name, seed, &overlay))
        });
        self.missing.iter().cloned().chain(unused).collect()
    }

    /// Whether both come to the same.
    pub fn is_like(&self, other: &Fabric) -> bool {
        self.served() == other.served() && self.missing == other.missing
    }
}

/// Backends are told apart by their addresses.
fn apart(overlay: &OverlayConfig, others: &[Served<'_>]) -> Result<(), String> {
    let meets = |other: &&Served<'_>| {
        let theirs = other.overlay.as_ref();
        theirs.is_ok_and(|theirs| theirs.contains(overlay.address) || overlay.contains(theirs.address))
    };
    match others.iter().find(meets) {
        Some(other) => Err(format!("the subnet of {} meets that of network {}", overlay.address, other.name)),
        None => Ok(()),
    }
}

async fn verbose(manager: &mut Connection, id: &str) -> Result<Network, ApiError> {
    manager.read(&format!("/networks/{id}?verbose=true")).await
}

/// What this machine's own engine says; `None` is no news: there is none, it does not answer now, or it is on its way into the
/// swarm, or back. A member's place may not be shown, or not yet.
async fn membership(
    engine: &Engine,
    network: &Network,
    asked: Option<bool>,
    is_local: &(dyn Fn(Ipv4Addr) -> bool + Sync),
) -> Option<(bool, Option<Own>)> {
    let mut own = engine.connect().await.ok()?;
    let info: Info = own.read("/info").await.ok()?;
    match info.swarm.local_node_state.as_str() {
        "active" => {}
        "inactive" => return Some((false, None)),
        // `pending`, `error` and `locked` come and go while its node starts, or looks for a manager.
        _ => return None,
    }
    // An engine that is reached over the network, or over a socket from elsewhere, is not this machine's.
    if asked != Some(true) && !is_local(info.swarm.node_addr.parse().ok()?) {
        return Some((false, None));
    }
    let place = verbose(&mut own, &network.id).await.ok().as_ref().and_then(overlay::own_place);
    Some((true, place))
}
