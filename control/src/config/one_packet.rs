//! `one_packet`: UDP datagrams that are scheduled one by one.

use datapath::service::SchedulerKind;
use wire::Protocol;

use super::report::Complaint;
use super::{Listen, Settings};

/// The key.
pub const KEY: &str = "one_packet";

/// All that is wrong with it in a service that listens there, with these settings.
pub fn faults(listens: &[Listen], settings: &Settings) -> Vec<Complaint> {
    let scheduler = settings.scheduler;
    if !listens.is_empty() && listens.iter().all(|listen| listen.protocol != Protocol::Udp) {
        let hint = "it is for UDP: a TCP connection is always a flow";
        let message = "`one_packet` means nothing to a service that does not listen on UDP";
        return vec![Complaint::hinted(message, hint)];
    }
    let mut faults = Vec::new();
    if settings.proxy_protocol {
        let hint = "the header stands in front of the first datagram of a flow: leave one of the two out";
        faults.push(Complaint::hinted("`one_packet` and `proxy_protocol` do not go together", hint));
    }
    if counts_connections(scheduler) {
        let message = format!("the scheduler `{scheduler}` counts connections, and with `one_packet` there are none");
        faults.push(Complaint::hinted(message, "use rr, wrr, sh, dh, mh or fo"));
    }
    faults
}

/// The first of them, for callers that want one.
pub fn fault(listens: &[Listen], settings: &Settings) -> Option<Complaint> {
    faults(listens, settings).into_iter().next()
}

fn counts_connections(scheduler: SchedulerKind) -> bool {
    !matches!(
        scheduler,
        SchedulerKind::RoundRobin
            | SchedulerKind::WeightedRoundRobin
            | SchedulerKind::SourceHash
            | SchedulerKind::DestinationHash
            | SchedulerKind::Maglev
            | SchedulerKind::Failover
    )
}
