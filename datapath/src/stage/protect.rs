//! Before a flow is opened: may this client, now?

use std::net::IpAddr;
use std::time::Duration;

use conntrack::State;
use wire::FiveTuple;

use crate::core::Core;
use crate::service::{Snapshot, VirtualService};
use crate::verdict::DropReason;

impl Core {
    /// Whether the lists let the client in. Who is kept out hears nothing, as from a firewall that drops.
    pub(crate) fn let_in(
        &self,
        tables: &Snapshot,
        service: &VirtualService,
        key: &FiveTuple,
    ) -> Result<(), DropReason> {
        self.let_source_in(service, self.real_address(tables, key.src))
    }

    /// As [`Core::let_in`], by the client's real address.
    pub(crate) fn let_source_in(&self, service: &VirtualService, source: IpAddr) -> Result<(), DropReason> {
        if service.protection.lets_in(source) {
            return Ok(());
        }
        if let Some(guard) = service.protection.guard.worker(self.index) {
            guard.denied.add(1);
        }
        Err(DropReason::Denied)
    }

    /// Whether one more flow is within the rates. The source's comes first: one that comes too often uses up nothing of
    /// what all have together. Nor does it lose a token of its own for what all have used up: that is looked at before.
    pub(crate) fn within_rates(
        &self,
        tables: &Snapshot,
        service: &VirtualService,
        key: &FiveTuple,
        now: Duration,
    ) -> Result<(), DropReason> {
        let protection = &service.protection;
        let guard = &protection.guard;
        let worker = guard.worker(self.index);
        let is_spent = protection.rate.is_some_and(|rate| !guard.has(rate, now));
        if let Some(rate) = protection.rate_per_source {
            let source = self.real_address(tables, key.src);
            let has = if is_spent { guard.has_of(source, rate, now) } else { guard.take_of(source, rate, now) };
            if !has {
                worker.inspect(|worker| worker.over_rate_per_source.add(1));
                return Err(DropReason::OverRatePerSource);
            }
        }
        // Another worker may have taken the last one since.
        if let Some(rate) = protection.rate
            && (is_spent || !guard.take(rate, now))
        {
            worker.inspect(|worker| worker.over_rate.add(1));
            return Err(DropReason::OverRate);
        }
        Ok(())
    }

    /// Keeps the number of half-open flows of a service, over a flow's step from one state to the next; `None` is before
    /// its first one, or after its last.
    pub(crate) fn count_half_open(&self, service: &VirtualService, before: Option<State>, after: Option<State>) {
        let change = i64::from(after.is_some_and(is_half_open)) - i64::from(before.is_some_and(is_half_open));
        if change != 0
            && let Some(worker) = service.protection.guard.worker(self.index)
        {
            worker.half_open(change);
        }
    }

    /// As [`Core::count_half_open`], where only the backend is known.
    pub(crate) fn end_half_open(&self, tables: &Snapshot, flow: &conntrack::Flow) {
        if is_half_open(flow.state())
            && let Some(target) = tables.backend_or_retired(crate::service::BackendId(flow.backend_id))
        {
            self.count_half_open(target.service, Some(flow.state()), None);
        }
    }
}

/// The client may not be who it says: it has not answered yet.
fn is_half_open(state: State) -> bool {
    matches!(state, State::SynSent | State::SynReceived | State::SynSent2)
}
