//! `traffic VERB …`: servers and clients for the end-to-end tests. Results are JSON on standard output.
#![forbid(unsafe_code)]

use clap::{Parser, Subcommand};
use serde::Serialize;
use std::net::{SocketAddr, SocketAddrV4};
use std::process::ExitCode;
use tests::traffic::{
    connections, flood, fragments, frames, hold, idle, load, requests, servers, stay, steady, task, udp,
};
use tests::{Failure, Outcome};

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Holds a queue of an interface with an `AF_XDP` socket.
    HoldQueue(hold::Hold),
    /// Sends every datagram back.
    UdpEcho { listen: SocketAddr },
    /// Sends every datagram back from the address that it went to.
    UdpEchoEverywhere { port: u16 },
    /// Sends every byte back.
    TcpEcho { listen: SocketAddr },
    /// Sends datagrams of all sizes and compares what comes back.
    Udp(udp::Exchange),
    /// Says who it is and who asks, over HTTP and UDP, until SIGTERM: what runs in containers.
    Task { listen: SocketAddrV4 },
    /// One request after another until told to stop.
    Requests(requests::Requests),
    /// Opens many connections and makes one request on each.
    Connections(connections::Load),
    /// As many exchanges as will go in a given time.
    Load(load::Load),
    /// Opens many connections and keeps them, idle.
    Crowd(load::Crowd),
    /// Goes to and fro on one connection and measures the gaps.
    Steady(steady::Steady),
    /// Listens to one task until it ends.
    Stay(stay::Stay),
    /// Connects, says a thing or some, then waits for the end without a word.
    Idle(idle::Idle),
    /// Sends one datagram in fragments of any order and waits for the echo.
    Fragments(fragments::Fragments),
    /// Sends the raw frames of a file, as they are and damaged.
    Frames(frames::Frames),
    /// Sends SYNs with forged sources until a file appears.
    Flood(flood::Flood),
}

fn main() -> ExitCode {
    match run(Arguments::parse().verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("traffic: {failure:?}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> Outcome {
    match verb {
        Verb::HoldQueue(hold) => hold.run(),
        Verb::UdpEcho { listen } => servers::udp_echo(listen),
        Verb::UdpEchoEverywhere { port } => servers::udp_echo_everywhere(port),
        Verb::TcpEcho { listen } => servers::tcp_echo(listen),
        Verb::Task { listen } => task::serve(listen),
        Verb::Requests(requests) => print(&requests.run()),
        Verb::Udp(exchange) => print(&exchange.run()?),
        Verb::Connections(load) => print(&load.run()),
        Verb::Load(load) => print(&load.run()?),
        Verb::Crowd(crowd) => crowd.run(),
        Verb::Steady(steady) => print(&steady.run()?),
        Verb::Stay(stay) => print(&stay.run()?),
        Verb::Idle(idle) => print(&idle.run()?),
        Verb::Fragments(fragments) => print(&fragments.run()?),
        Verb::Frames(frames) => print(&frames.run()?),
        Verb::Flood(flood) => print(&flood.run()?),
    }
}

fn print(report: &impl Serialize) -> Outcome {
    println!("{}", serde_json::to_string(report).map_err(Failure::from)?);
    Ok(())
}
