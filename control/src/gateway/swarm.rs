//! The gateway's side of the swarm provider: takes over what the swarm wants, and remembers how it went.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Gateway;
use super::compile::has_tun;
use crate::catalog::Catalog;
use crate::config::OverlayConfig;
use crate::operations::{OverlayStatus, SwarmStatus};
use crate::swarm::{Follower, Place, Wishes};

/// What is known of the swarm.
#[derive(Debug, Default)]
pub struct SwarmState {
    wishes: Wishes,
    place: Place,
    /// What the gateway itself could not carry out.
    refusals: BTreeSet<String>,
    heard: Option<Duration>,
    errors: u64,
    last_error: Option<String>,
}

impl SwarmState {
    fn heard(&mut self) {
        self.heard = Some(sys::clock::now());
        if let Some(error) = self.last_error.take() {
            tracing::info!("the swarm's managers answer again; they did not: {error}");
        }
    }

    /// For `status`.
    pub fn status(&self) -> SwarmStatus {
        let overlays = self.wishes.overlays.iter().map(|(network, overlay)| OverlayStatus {
            network: network.clone(),
            vni: overlay.vni.get(),
            overlay_address: overlay.address,
        });
        let (main, more): (Vec<_>, Vec<_>) = overlays.partition(|overlay| overlay.network == self.place.network);
        SwarmStatus {
            endpoint: self.place.endpoint.clone(),
            member: self.place.member,
            network: self.place.network.clone(),
            vni: main.first().map(|overlay| overlay.vni),
            overlay_address: main.first().map(|overlay| overlay.overlay_address),
            more,
            age_seconds: self.heard.map(|heard| sys::clock::now().saturating_sub(heard).as_secs_f64()),
            errors: self.errors,
            last_error: self.last_error.clone(),
            services: self.wishes.services.len() as u64,
            tasks: self.wishes.services.iter().map(|wanted| wanted.tasks.len() as u64).sum(),
        }
    }

    /// What the operator should know.
    pub fn problems(&self) -> impl Iterator<Item = &String> {
        self.wishes.problems.iter().chain(&self.refusals)
    }

    /// The nodes' VTEPs.
    pub fn vteps(&self) -> &BTreeSet<Ipv4Addr> {
        &self.place.vteps
    }
}

impl Gateway {
    fn follow_swarm(&mut self, mut wishes: Wishes, place: Place) {
        let mut refusals = BTreeSet::new();
        // All overlays share one endpoint.
        if let Some((_, OverlayConfig { vtep, port, .. })) =
            wishes.overlays.first().filter(|(_, overlay)| !self.can_open(overlay))
        {
            refusals.insert(format!(
                "over TUN the overlay's socket is opened at the start: set overlay.vtep = {vtep} and overlay.port = {port} \
                 and restart; on a member of the swarm use af_xdp, its kernel has that port"
            ));
            wishes.overlays.clear();
        }
        let mut catalog = self.catalog.clone();
        refusals.extend(carry_out(&wishes, &mut catalog));
        if let Err(error) = self.adopt(catalog) {
            refusals.insert(format!("the swarm's services could not be taken over: {error}"));
        }
        let state = self.swarm.get_or_insert_default();
        let before: BTreeSet<String> = state.problems().cloned().collect();
        (state.wishes, state.place, state.refusals) = (wishes, place, refusals);
        for problem in state.problems().filter(|problem| !before.contains(*problem)) {
            tracing::warn!("swarm: {problem}");
        }
        state.heard();
        self.follow_addresses();
        tracing::debug!(generation = self.generation.0, "the swarm has changed");
    }

    /// Puts what the swarm wants into a catalog whose other services have changed: those come first.
    pub(super) fn follow_again(&mut self, catalog: &mut Catalog) {
        if let Some(state) = &mut self.swarm {
            state.refusals = carry_out(&state.wishes, catalog);
        }
    }

    /// Over TUN the socket for the overlay stands where the file said.
    fn can_open(&self, overlay: &OverlayConfig) -> bool {
        let open = self.config.overlay.as_ref();
        !has_tun(&self.config) || open.is_some_and(|open| open.vtep == overlay.vtep && open.port == overlay.port)
    }
}

/// Makes the catalog's services of the swarm what it wants; what cannot be so, in sentences.
fn carry_out(wishes: &Wishes, catalog: &mut Catalog) -> BTreeSet<String> {
    let wanted = wishes.services.iter().filter(|wanted| !wishes.overlays.is_empty() || wanted.is_plain());
    let wanted: Vec<_> = wanted.cloned().collect();
    let overlays: Vec<_> = wishes.overlays.iter().map(|(_, overlay)| overlay.clone()).collect();
    catalog.follow(&overlays, &wishes.peers, &wanted).into_iter().collect()
}

fn lock(gateway: &Mutex<Gateway>) -> MutexGuard<'_, Gateway> {
    gateway.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Follower for Mutex<Gateway> {
    fn follow(&self, wishes: Wishes, place: Place) {
        lock(self).follow_swarm(wishes, place);
    }

    fn heard(&self, endpoint: &str) {
        let mut gateway = lock(self);
        let state = gateway.swarm.get_or_insert_default();
        // Another manager may have taken over from the one that told the news.
        if state.place.endpoint != endpoint {
            endpoint.clone_into(&mut state.place.endpoint);
        }
        state.heard();
    }

    fn failed(&self, why: String) {
        let mut gateway = lock(self);
        let state = gateway.swarm.get_or_insert_default();
        state.errors += 1;
        if state.last_error.is_none() {
            tracing::warn!("the swarm's managers do not answer, what is known stays: {why}");
        }
        state.last_error = Some(why);
    }

    fn is_local(&self, address: Ipv4Addr) -> bool {
        lock(self).view.owner_of(address).is_some()
    }
}
