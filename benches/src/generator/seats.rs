//! Where what is tested has put each flow: a task, and the port that the gateway speaks from. Both stay as long as the flow is used.

use std::net::Ipv4Addr;

use super::flows::Endpoint;
use super::network::{GATEWAY_OVERLAY, TASKS, VIP, VTEPS};
use super::view::View;

/// Which end of the way a packet has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A task's.
    Task,
    /// A client's.
    Client,
}

/// Compares addresses and ports with what they should be.
#[derive(Debug)]
pub struct Seats {
    /// By flow: one more than the task, and the gateway's port; zero: not seen yet. Empty: not compared.
    taken: Vec<u32>,
}

impl Seats {
    /// For so many flows; `kept` when each is used often enough that none is forgotten on the way.
    #[must_use]
    pub fn new(flows: u64, kept: bool) -> Seats {
        Seats { taken: vec![0; if kept { flows as usize } else { 0 }] }
    }

    /// Whether a packet of this flow (`slot` among all) is where it belongs, and comes from whom it should.
    pub fn are_right(&mut self, frame: &[u8], view: &View, flow: &Endpoint, slot: usize, end: End) -> bool {
        let (Some((source, target)), Some(ports)) = (view.addresses(frame), view.ports(frame)) else { return false };
        let client = (flow.client, flow.client_port);
        match end {
            End::Client => ((source, ports.0), (target, ports.1)) == ((VIP, flow.port), client),
            // Something that only forwards.
            End::Task if !view.tunnelled => ((source, ports.0), (target, ports.1)) == (client, (VIP, flow.port)),
            End::Task => {
                source == GATEWAY_OVERLAY
                    && ports.1 == flow.port
                    && task(frame, target).is_some_and(|task| self.keep(slot, (task + 1) << 16 | u32::from(ports.0)))
            }
        }
    }

    fn keep(&mut self, slot: usize, seat: u32) -> bool {
        match self.taken.get_mut(slot) {
            Some(taken) if *taken == 0 => *taken = seat,
            Some(taken) => return *taken == seat,
            None => {}
        }
        true
    }
}

/// Which task an inner address is of, if the tunnel leads to that task's node.
#[must_use]
pub fn task(frame: &[u8], inner: Ipv4Addr) -> Option<u32> {
    let index = TASKS.iter().position(|task| *task == inner)?;
    let outer = frame.get(30..)?.first_chunk::<4>()?;
    (Ipv4Addr::from(*outer) == VTEPS[index]).then_some(index as u32)
}
