//! Persistence: a client's new flows go to the backend that its last one went to, whatever the scheduler.

use super::{Memory, Request, has_room, is_eligible, schedule};
use crate::service::{Backend, Home, Hop, Moment, Persistence, VirtualService};
use crate::verdict::DropReason;

/// The client's backend while that may take new flows; else what the scheduler says, which is then the client's.
///
/// Out of line, so that services without persistence do not pay for it.
#[cold]
#[inline(never)]
pub(super) fn pick(persistence: &Persistence, request: &Request<'_>, memory: &mut Memory) -> Result<usize, DropReason> {
    let (service, clients) = (request.service, &persistence.clients);
    let client = persistence.client(request.client);
    let moment = Moment { now: request.now, time: persistence.time };
    let seen = clients.recall(client, moment);
    if let Some(home) = seen
        && let Some(position) = position(service, persistence, home)
    {
        clients.settle(client, seen, home, moment);
        return Ok(position);
    }
    let scheduled = schedule(request, memory)?;
    let Some(backend) = service.backends.get(scheduled).filter(|backend| !backend.sorry) else {
        return Ok(scheduled);
    };
    let wanted = Home { address: backend.address, port: backend.port };
    let home = clients.settle(client, seen, wanted, moment);
    if home == wanted {
        return Ok(scheduled);
    }
    Ok(position(service, persistence, home).unwrap_or(scheduled))
}

/// Where the remembered backend stands, if it may take new flows.
fn position(service: &VirtualService, persistence: &Persistence, home: Home) -> Option<usize> {
    let at_address = |backend: &Backend| backend.address == home.address;
    let is_it = |backend: &Backend| at_address(backend) && backend.port == home.port;
    let exact = service.backends.iter().position(is_it);
    if exact.is_some() || !persistence.grouped {
        return exact.filter(|position| service.backends.get(*position).is_some_and(is_able));
    }
    service.backends.iter().position(|backend| at_address(backend) && is_able(backend))
}

fn is_able(backend: &Backend) -> bool {
    is_eligible(backend) && has_room(backend) && backend.path.hop() != Hop::Unresolved
}

#[cfg(test)]
mod tests {
    use std::num::{NonZeroU16, NonZeroU32};
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::SchedulerKind;
    use super::super::testing::Scene;
    use super::*;
    use crate::service::{Clients, Path};

    const TIME: Duration = Duration::from_mins(5);

    fn persistence(prefix: u8, grouped: bool) -> Persistence {
        Persistence { time: TIME, prefix, prefix_six: 128, grouped, clients: Arc::new(Clients::new(1024)) }
    }

    /// A round-robin service whose clients stay.
    fn scene(weights: &[u16]) -> Scene {
        let mut scene = Scene::new(SchedulerKind::RoundRobin, weights);
        scene.service.persistence = Some(persistence(32, false));
        scene
    }

    #[test]
    fn a_client_stays_whatever_the_scheduler() {
        for kind in SchedulerKind::ALL {
            let mut scene = Scene::new(*kind, &[3; 4]);
            scene.service.persistence = Some(persistence(32, false));
            let first: Vec<_> = (0..40).map(|client| scene.ask(client).unwrap()).collect();
            let again: Vec<_> = (0..40).map(|client| scene.ask(client).unwrap()).collect();
            assert_eq!(first, again, "{kind}");
        }
    }

    #[test]
    fn its_time_starts_anew_with_each_flow() {
        let mut scene = scene(&[1, 1]);
        assert_eq!(scene.ask(7), Ok(0));
        for _ in 0..5 {
            scene.now += Duration::from_millis(299_999);
            assert_eq!(scene.ask(7), Ok(0));
        }
        scene.now += TIME;
        assert_eq!(scene.ask(7), Ok(1), "scheduled anew, and it was the other's turn");
        assert_eq!(scene.ask(7), Ok(1), "which is remembered");
    }

    #[test]
    fn a_changed_time_counts_at_once() {
        let mut scene = scene(&[1, 1]);
        assert_eq!(scene.ask(7), Ok(0));
        scene.now += Duration::from_secs(10);
        let Some(persistence) = &mut scene.service.persistence else { panic!() };
        persistence.time = Duration::from_secs(10);
        assert_eq!(scene.ask(7), Ok(1));
    }

    #[test]
    fn who_may_have_no_new_flows_releases_its_clients() {
        let releases: [fn(&mut Backend); 4] = [
            |backend| backend.weight = 0,
            |backend| backend.max_connections = NonZeroU32::new(1),
            |backend| backend.address = std::net::Ipv4Addr::new(10, 0, 0, 99),
            |backend| {
                let Path::Overlay { hop, .. } = &mut backend.path else { panic!() };
                *hop = Hop::Unresolved;
            },
        ];
        for (n, release) in releases.into_iter().enumerate() {
            let mut scene = scene(&[1, 1]);
            assert_eq!(scene.ask(7), Ok(0));
            scene.set_flows(0, 1);
            release(&mut scene.service.backends[0]);
            scene.refresh();
            assert_eq!(scene.ask(7), Ok(1), "{n}");
            let Path::Overlay { hop, .. } = scene.service.backends[1].path else { panic!() };
            let Path::Overlay { hop: other, .. } = &mut scene.service.backends[0].path else { panic!() };
            *other = hop;
            scene.set_weight(0, 1);
            scene.service.backends[0].max_connections = None;
            scene.refresh();
            assert_eq!([scene.ask(7), scene.ask(7)], [Ok(1); 2], "{n}: it stays with the new one");
        }
    }

    #[test]
    fn clients_of_a_prefix_are_one() {
        let mut scene = scene(&[1, 1]);
        scene.service.persistence = Some(persistence(24, false));
        assert_eq!([1, 2, 200].map(|client| scene.ask(client)), [Ok(0); 3]);
        assert_eq!([256, 300].map(|client| scene.ask(client)), [Ok(1); 2]);
    }

    #[test]
    fn a_sorry_backend_keeps_nobody() {
        let mut scene = scene(&[0, 1]);
        scene.service.backends[1].sorry = true;
        scene.refresh();
        assert_eq!(scene.ask(7), Ok(1));
        scene.set_weight(0, 1);
        scene.refresh();
        assert_eq!(scene.ask(7), Ok(0));
    }

    #[test]
    fn nobody_left_is_said() {
        assert_eq!(scene(&[0, 0]).ask(7), Err(DropReason::NoBackend));
    }

    /// Two tasks of one node: the port tells them apart.
    #[test]
    fn one_address_may_have_several_backends() {
        for grouped in [false, true] {
            let mut web = scene(&[1, 1]);
            web.service.persistence = Some(persistence(32, grouped));
            web.service.backends[1].address = web.service.backends[0].address;
            web.service.backends[1].port = NonZeroU16::new(8001);
            assert_eq!([7, 8, 7, 8].map(|client| web.ask(client)), [0, 1, 0, 1].map(Ok), "{grouped}");
            web.set_weight(0, 0);
            web.refresh();
            assert_eq!([web.ask(7), web.ask(7)], [Ok(1); 2], "{grouped}");
        }
    }

    #[test]
    fn services_of_a_group_share_addresses_whatever_the_port() {
        let mut http = scene(&[1, 1]);
        http.service.persistence = Some(persistence(32, true));
        let mut https = scene(&[1, 1]);
        https.service.persistence = http.service.persistence.clone();
        https.service.backends.reverse();
        https.refresh();
        https.service.backends.iter_mut().for_each(|backend| backend.port = NonZeroU16::new(443));
        assert_eq!([http.ask(7), http.ask(8)], [Ok(0), Ok(1)]);
        assert_eq!([https.ask(7), https.ask(8)], [Ok(1), Ok(0)]);
        assert_eq!([http.ask(7), http.ask(8)], [Ok(0), Ok(1)]);
        https.set_weight(1, 0);
        https.refresh();
        assert_eq!([https.ask(7), http.ask(7)], [Ok(0), Ok(1)], "what one service has to change counts for all");
    }
}
