//! Which flow a packet belongs to, and what its addresses are.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::range::{Addresses, Ports};

/// In which order flows take turns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// One after the other.
    InTurn,
    /// Every flow once a round, in an order that jumps all over memory, the same in each round.
    #[default]
    Random,
}

/// The client's side of a flow, and the port that it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The client.
    pub client: Ipv4Addr,
    /// Its port.
    pub client_port: u16,
    /// The service's port.
    pub port: u16,
}

/// The space of flows of a stream.
#[derive(Clone, Debug)]
pub struct Space {
    /// Client addresses.
    pub clients: Addresses,
    /// Client ports.
    pub client_ports: Ports,
    /// Service ports.
    pub ports: Ports,
}

impl Space {
    /// How many flows there can be.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.clients.count().saturating_mul(self.client_ports.count()).saturating_mul(self.ports.count())
    }

    /// The `index`-th flow: service ports change fastest, then clients, then their ports, so that few flows already spread.
    #[must_use]
    pub fn endpoint(&self, index: u64) -> Endpoint {
        let (ports, clients) = (self.ports.count(), self.clients.count());
        Endpoint {
            port: self.ports.nth(index % ports),
            client: self.clients.nth(index / ports % clients),
            client_port: self.client_ports.nth(index / ports / clients),
        }
    }

    /// Which flow this is; the inverse of [`Space::endpoint`].
    #[must_use]
    pub fn index(&self, endpoint: &Endpoint) -> Option<u64> {
        let port = self.ports.position(endpoint.port)?;
        let client = self.clients.position(endpoint.client)?;
        let client_port = self.client_ports.position(endpoint.client_port)?;
        Some((client_port * self.clients.count() + client) * self.ports.count() + port)
    }
}

/// From the number of a packet to the number of its flow. Packets `n` and `n + flows` are of the same flow, so that a packet's
/// place inside its flow is `n / flows`: the receiver needs no more than the number to judge order.
#[derive(Clone, Copy, Debug)]
pub struct Rotation {
    flows: u64,
    step: u64,
}

impl Rotation {
    /// A rotation of so many flows.
    #[must_use]
    pub fn new(flows: u64, order: Order) -> Rotation {
        let flows = flows.max(1);
        let step = match order {
            Order::InTurn => 1,
            // Near the golden ratio of the whole, and prime to it: consecutive packets are far from one another.
            Order::Random => {
                let near = (flows as f64 * 0.618_033_988_75) as u64;
                (near.max(1)..=flows).find(|step| gcd(*step, flows) == 1).unwrap_or(1)
            }
        };
        Rotation { flows, step }
    }

    /// How many flows.
    #[must_use]
    pub fn flows(&self) -> u64 {
        self.flows
    }

    /// The flow of packet `number`.
    #[must_use]
    pub fn flow(&self, number: u64) -> u64 {
        (u128::from(number % self.flows) * u128::from(self.step) % u128::from(self.flows)) as u64
    }

    /// The place of packet `number` within its flow, and a slot for that flow.
    #[must_use]
    pub fn place(&self, number: u64) -> (u64, usize) {
        (number / self.flows, (number % self.flows) as usize)
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_round_visits_every_flow_once() {
        for flows in [1, 2, 7, 1000, 65_536] {
            for order in [Order::InTurn, Order::Random] {
                let rotation = Rotation::new(flows, order);
                let first: Vec<u64> = (0..flows).map(|n| rotation.flow(n)).collect();
                assert_eq!(first.iter().collect::<HashSet<_>>().len() as u64, flows);
                assert!((0..flows).all(|n| rotation.flow(n + flows) == first[n as usize]));
                assert_eq!(rotation.place(flows + 1), if flows == 1 { (2, 0) } else { (1, 1) });
            }
        }
    }

    #[test]
    fn neighbours_in_time_are_far_in_memory() {
        let rotation = Rotation::new(1_000_000, Order::Random);
        let far = (0..1000).filter(|n| rotation.flow(*n).abs_diff(rotation.flow(n + 1)) > 1000).count();
        assert_eq!(far, 1000);
    }

    #[test]
    fn endpoints_are_all_different_and_found_again() {
        let space = Space {
            clients: "10.0.0.1-10.0.0.3".to_owned().try_into().unwrap(),
            client_ports: "5000-5004".to_owned().try_into().unwrap(),
            ports: "80-81".to_owned().try_into().unwrap(),
        };
        assert_eq!(space.size(), 30);
        let all: HashSet<Endpoint> = (0..30).map(|index| space.endpoint(index)).collect();
        assert_eq!(all.len(), 30);
        assert!((0..30).all(|index| space.index(&space.endpoint(index)) == Some(index)));
    }
}
