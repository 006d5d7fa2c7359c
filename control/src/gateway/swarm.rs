//! The gateway's side of the swarm provider: takes over what the swarm wants, and remembers how it went.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::compile::has_tun;
use super::{Gateway, PublishError, is_due};
use crate::catalog::Catalog;
use crate::config::OverlayConfig;
use crate::operations::{OverlayStatus, SwarmStatus};
use crate::swarm::{Follower, Place, Wanted, Wishes};

/// What is known of the swarm.
#[derive(Debug, Default)]
pub struct SwarmState {
    wishes: Wishes,
    place: Place,
    /// What the gateway itself could not carry out.
    refusals: BTreeSet<String>,
    /// What is wanted could not be put into the tables, and was tried last then.
    owed: Option<Duration>,
    heard: Option<Duration>,
    errors: u64,
    last_error: Option<String>,
}

impl SwarmState {
    /// Whether a manager has ever answered.
    pub(super) fn has_heard(&self) -> bool {
        self.heard.is_some()
    }

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
        let services: BTreeSet<_> = self.wishes.services.iter().map(Wanted::service_id).collect();
        let tasks = self.wishes.services.iter().flat_map(|wanted| &wanted.tasks);
        let tasks: BTreeSet<_> = tasks.map(|task| task.id.as_str()).collect();
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
            services: services.len() as u64,
            tasks: tasks.len() as u64,
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
    /// The swarm wants something else now.
    pub(super) fn follow_swarm(&mut self, mut wishes: Wishes, place: Place) {
        // All overlays share one endpoint.
        if let Some((_, OverlayConfig { vtep, port, .. })) =
            wishes.overlays.first().filter(|(_, overlay)| !self.can_open(overlay))
        {
            wishes.problems.insert(format!(
                "over TUN the overlay's socket is opened at the start: set overlay.vtep = {vtep} and overlay.port = {port} \
                 and restart; on a member of the swarm use af_xdp, its kernel has that port"
            ));
            wishes.overlays.clear();
        }
        let state = self.swarm.get_or_insert_default();
        for problem in wishes.problems.difference(&state.wishes.problems) {
            tracing::warn!("swarm: {problem}");
        }
        // A task that starts over and over somewhere is news, but nothing to make tables of.
        let is_carried_out = state.owed.is_none() && state.wishes.wants_as(&wishes);
        (state.wishes, state.place) = (wishes, place);
        state.heard();
        if !is_carried_out {
            self.carry_out_wishes();
        }
        self.follow_addresses();
        tracing::debug!(generation = self.generation.0, "the swarm has changed");
    }

    /// Puts what the swarm wants into the tables.
    fn carry_out_wishes(&mut self) {
        let mut catalog = self.catalog.clone();
        let Some(refusals) = self.add_wishes(&mut catalog) else { return };
        let adopted = self.adopt(catalog);
        self.settle_with_swarm(refusals, adopted);
    }

    /// Makes a catalog the one that counts in which the operator's services have changed: what the swarm wants may stand in
    /// its way no longer, or in theirs. The operator's change does not wait for what of the swarm's cannot be.
    pub(super) fn adopt_with_swarm(&mut self, catalog: Catalog) -> Result<(), PublishError> {
        let mut both = catalog.clone();
        let Some(refusals) = self.add_wishes(&mut both) else { return self.adopt(catalog) };
        let adopted = self.adopt(both);
        if adopted.is_err() {
            self.adopt(catalog)?;
        }
        self.settle_with_swarm(refusals, adopted);
        Ok(())
    }

    /// Tries again what could not be put into the tables.
    pub(super) fn follow_again(&mut self) {
        if self.swarm.as_ref().is_some_and(|state| state.owed.is_some()) {
            self.carry_out_wishes();
        }
    }

    /// The same when nothing tells that it could go well now.
    pub(super) fn follow_late(&mut self) {
        if self.swarm.as_ref().is_some_and(|state| state.owed.is_some_and(is_due)) {
            self.carry_out_wishes();
        }
    }

    /// Puts what the swarm wants into a catalog, behind the operator's services; what cannot be so, in sentences.
    fn add_wishes(&self, catalog: &mut Catalog) -> Option<BTreeSet<String>> {
        Some(carry_out(&self.swarm.as_ref()?.wishes, catalog))
    }

    fn settle_with_swarm(&mut self, mut refusals: BTreeSet<String>, adopted: Result<(), PublishError>) {
        let state = self.swarm.get_or_insert_default();
        state.owed = adopted.is_err().then(sys::clock::now);
        if let Err(error) = adopted {
            refusals.insert(format!("the swarm's services could not be taken over: {error}"));
        }
        for refusal in refusals.difference(&state.refusals) {
            tracing::warn!("swarm: {refusal}");
        }
        state.refusals = refusals;
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
