//! Services that have their servers, or what they remember of clients, from the same section.

use super::proxy::Proxy;
use crate::import::draft::Service;
use crate::import::notes::Notes;

/// A table that only one service remembers in is its own: no group.
pub fn part_groups_of_one(services: &mut [Service]) {
    let group = |service: &Service| service.persistence.as_ref().and_then(|persistence| persistence.group.clone());
    let all: Vec<String> = services.iter().filter_map(group).collect();
    for persistence in services.iter_mut().filter_map(|service| service.persistence.as_mut()) {
        persistence.group.take_if(|owner| all.iter().filter(|other| *other == owner).count() < 2);
    }
}

/// HAProxy counts a server's connections for all frontends together. `with_servers` are the sections that services have theirs from.
pub fn note_maxima(with_servers: &[&Proxy], notes: &mut Notes<'_>) {
    for proxy in with_servers.iter().filter(|proxy| has_maxima(proxy)) {
        let count = with_servers.iter().filter(|other| other.line == proxy.line).count();
        if count > 1 {
            let why = format!(
                "{count} services lead here, and each counts `max_connections` for itself: divide it, or listen on all in one service"
            );
            notes.add(proxy.line, why);
        }
    }
}

fn has_maxima(proxy: &Proxy) -> bool {
    proxy.servers.iter().any(|server| server.backend.most.is_some_and(|most| most > 0))
}
