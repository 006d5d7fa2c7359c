//! `sluicegate`: the gateway's one binary. It runs the gateway, checks its config, and talks to a running one.
#![forbid(unsafe_code)]

#[cfg(test)]
#[macro_use]
mod words;

mod api;
mod catalog;
mod check;
mod cli;
mod config;
mod devices;
mod flow_log;
mod gateway;
mod import;
mod kernel;
mod metrics;
mod operations;
mod printable;
mod run;
mod seats;
mod swarm;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
