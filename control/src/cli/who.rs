//! `flow who`: answered from the log, not by the gateway.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::Failed;
use super::client::Client;
use super::output::Output;
use super::table::Table;
use crate::flow_log::who::{Answer, Found, Span, search};
use crate::operations::Status;

/// Looks for the flows, and prints them. 1 when there is none.
///
/// # Errors
/// The gateway cannot be asked for its log, or a file of the log cannot be read: what the others say is printed.
pub fn who(
    address: SocketAddr,
    at: Option<&Span>,
    file: Option<&Path>,
    client: &Client<'_>,
    output: &mut Output<'_>,
) -> Result<u8, Failed> {
    let path = match file {
        Some(file) => file.to_owned(),
        None => log_of(client)?,
    };
    let Answer { found, unread } = search(&path, address, at);
    let trouble: String = unread.iter().flat_map(|why| ["error: ", why, "\n"]).collect();
    // Where something could not be read, nobody knows that it was nobody.
    if trouble.is_empty() || !found.is_empty() {
        output.print(&found, |found| if found.is_empty() { "nobody\n".to_owned() } else { show(found) })?;
    }
    if trouble.is_empty() { Ok(u8::from(found.is_empty())) } else { Err(Failed::AtRunTime(trouble)) }
}

fn log_of(client: &Client<'_>) -> Result<PathBuf, Failed> {
    let log = client.get::<Status>("/v1/status")?.flow_log;
    let none =
        "error: the gateway keeps no flow log\n  help: add [flow_log] to its config, or name a log with --file\n";
    log.map(PathBuf::from).ok_or_else(|| Failed::AtRunTime(none.to_owned()))
}

fn show(found: &[Found]) -> String {
    let mut table = Table::new(&["Opened", "Closed", "Proto", "Client", "Vip", "Backend", "Service"]);
    for flow in found {
        table.row([
            flow.opened.clone(),
            flow.closed.clone().unwrap_or_else(|| "-".to_owned()),
            flow.protocol.to_uppercase(),
            flow.client.to_string(),
            flow.vip.to_string(),
            flow.backend.to_string(),
            flow.service.clone(),
        ]);
    }
    table.render("")
}
