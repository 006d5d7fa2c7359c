//! What else a service may say of its flows and backends, on the command line: in words the gateway judges.

use clap::Args;
use serde_json::{Map, Value, json};

use super::args::checked;
use crate::config::state_times;

/// A state and its time.
type Assignment = (String, Option<String>);

/// Settings in tables of their own.
#[derive(Debug, Args)]
pub struct CareChange {
    /// How long flows in a state may be idle, e.g. `tcp_syn_sent=5s,udp=3s`; `udp=default`: as [timeouts] says
    #[arg(long, value_name = "STATE=TIME", value_delimiter = ',', value_parser = checked(state_times::assignment))]
    pub timeouts: Vec<Assignment>,
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
        body
    }
}
