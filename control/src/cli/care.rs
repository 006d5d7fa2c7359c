//! What else a service may say of its flows and backends, on the command line: in words the gateway judges.

use clap::Args;
use serde_json::{Map, Value, json};

use super::args::checked;
use crate::config::passive::{self, Passive};
use crate::config::{one_packet, state_times};

/// A state and its time.
type Assignment = (String, Option<String>);

/// Settings in tables of their own.
#[derive(Debug, Args)]
pub struct CareChange {
    /// How long flows in a state may be idle, e.g. `tcp_syn_sent=5s,udp=3s`; `udp=default`: as `[timeouts]` says
    #[arg(long, value_name = "STATE=TIME", value_delimiter = ',', value_parser = checked(state_times::assignment))]
    pub timeouts: Vec<Assignment>,
    /// Schedule each UDP datagram on its own: no flows, e.g. for DNS
    #[arg(long, value_name = "BOOL")]
    pub one_packet: Option<bool>,
    /// Whether backends rest that do not take the clients' connections; `default`: no, and yes for the swarm's
    #[arg(long, value_parser = ["true", "false", "default"])]
    pub passive: Option<String>,
    /// So many connections in a row must fail
    #[arg(long, value_name = "N", conflicts_with = "passive")]
    pub passive_failures: Option<u32>,
    /// Failures further apart do not count together, e.g. 10s
    #[arg(long, value_name = "TIME", conflicts_with = "passive")]
    pub passive_window: Option<String>,
    /// How long a backend rests at first, e.g. 5s
    #[arg(long, value_name = "TIME", conflicts_with = "passive")]
    pub passive_ejection: Option<String>,
    /// So many backends must be left, else none rests
    #[arg(long, value_name = "N", conflicts_with = "passive")]
    pub passive_floor: Option<u32>,
}

impl CareChange {
    /// Their keys, as the API takes them.
    pub fn body(&self) -> Map<String, Value> {
        let mut body = Map::new();
        if !self.timeouts.is_empty() {
            let times: Map<String, Value> =
                self.timeouts.iter().map(|(state, time)| (state.clone(), json!(time))).collect();
            body.insert(state_times::KEY.to_owned(), times.into());
        }
        if let Some(one_packet) = self.one_packet {
            body.insert(one_packet::KEY.to_owned(), json!(one_packet));
        }
        let keys = [
            ("failures", self.passive_failures.map(|number| json!(number))),
            ("window", self.passive_window.as_ref().map(|time| json!(time))),
            ("ejection", self.passive_ejection.as_ref().map(|time| json!(time))),
            ("floor", self.passive_floor.map(|number| json!(number))),
        ];
        body.extend(Passive::body(self.passive.as_deref(), keys).map(|value| (passive::KEY.to_owned(), value)));
        body
    }
}
