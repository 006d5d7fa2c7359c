//! What the command line may say.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args, Parser, Subcommand};
use wire::MacAddr;

use super::checks::CheckChange;
use crate::config::protection::RateLimit;
use crate::config::report::Complaint;
use crate::config::{BackendAddress, DEFAULT_API, persistence, protection, settings, value};
use crate::flow_log;
use crate::import::Format;

/// A userspace L4 ingress gateway.
#[derive(Debug, Parser)]
#[command(name = "sluicegate", version, arg_required_else_help = true)]
pub struct Arguments {
    /// The gateway's API socket [default: /run/sluicegate/api.sock]
    #[arg(long, global = true, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    pub verb: Verb,
}

impl Arguments {
    /// The socket of the gateway that is asked.
    pub fn socket(&self) -> &Path {
        self.socket.as_deref().unwrap_or(Path::new(DEFAULT_API))
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run the gateway in the foreground until SIGTERM or SIGINT
    Run {
        /// The config file
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Check a config file and report every error
    Check {
        /// The config file
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Write a config for what another balancer's config says, and list what can't be carried over
    Import {
        /// haproxy.cfg, keepalived.conf or what `ipvsadm -Sn` prints; `-`: standard input
        file: PathBuf,
        /// Whose file it is; left out: seen from what it says
        #[arg(long, value_name = "FORMAT")]
        format: Option<Format>,
        /// The address that clients connect to, where the file says any (`bind *:80`); one for IPv4, one for IPv6
        #[arg(long, value_name = "ADDRESS", value_parser = checked(value::host))]
        vip: Vec<IpAddr>,
    },
    #[command(flatten)]
    Ask(Question),
}

/// What a running gateway is asked.
#[derive(Debug, Subcommand)]
pub enum Question {
    /// Devices and their mode, workers, generations, table occupancy, build
    Status,
    /// Whether this gateway can serve: exit code 0, or 1 and a line for each fault; answers within 2 s
    Health,
    /// Services: list, show, add, set, remove
    #[command(subcommand, visible_alias = "services")]
    Service(ServiceVerb),
    /// Backends of services: list, add, set, drain, remove
    #[command(subcommand, visible_alias = "backends")]
    Backend(BackendVerb),
    /// Flows: list, count, who
    #[command(subcommand, visible_alias = "flows")]
    Flow(FlowVerb),
    /// Packets, bytes, every drop reason, per worker and in all
    Counters {
        /// Print again every second, with rates
        #[arg(short, long)]
        watch: bool,
    },
    /// Read the config file again
    Reload,
}

/// `service …`
#[derive(Debug, Subcommand)]
pub enum ServiceVerb {
    /// All services with their backends
    #[command(visible_alias = "ls")]
    List,
    /// One service
    Show {
        /// The service
        name: String,
    },
    /// A new service
    Add {
        /// The service
        #[arg(value_parser = checked(value::service_name))]
        name: String,
        #[command(flatten)]
        listen: Listens,
        #[command(flatten)]
        change: Box<ServiceChange>,
        #[command(flatten)]
        check: Box<CheckChange>,
    },
    /// Change a service
    #[command(group = ArgGroup::new("what").required(true).multiple(true).args(["listen", "scheduler", "timestamps", "direct", "proxy_protocol", "timeout", "slow_start", "on_down", "drain_deadline", "persistence", "persistence_prefix", "persistence_clients", "persistence_group", "timeouts", "one_packet", "passive", "passive_failures", "passive_window", "passive_ejection", "passive_floor", "persistence_prefix_ipv6", "allow", "deny", "rate", "rate_burst", "rate_per_source", "rate_per_source_burst", "syn_cookies", "half_open", "check", "no_check"]))]
    Set {
        /// The service
        name: String,
        #[command(flatten)]
        listen: MaybeListens,
        #[command(flatten)]
        change: Box<ServiceChange>,
        #[command(flatten)]
        check: Box<CheckChange>,
        /// Check its backends no more: all are up
        #[arg(long, conflicts_with = "check", help_heading = "Health checks")]
        no_check: bool,
    },
    /// Take a service away; its flows are ended
    #[command(visible_alias = "rm")]
    Remove {
        /// The service
        name: String,
    },
}

/// Where a new service listens.
#[derive(Debug, Args)]
pub struct Listens {
    /// VIP:port/protocol, e.g. 198.18.0.1:8080/tcp; ports may be a range; may be given several times
    #[arg(short, long, required = true, value_name = "LISTEN", value_delimiter = ',', value_parser = checked(listen))]
    pub listen: Vec<String>,
}

/// Where a service shall listen from now on.
#[derive(Debug, Args)]
pub struct MaybeListens {
    /// VIP:port/protocol in place of the old ones; may be given several times
    #[arg(short, long, value_name = "LISTEN", value_delimiter = ',', value_parser = checked(listen))]
    pub listen: Vec<String>,
}

/// What a service has beside its listens.
#[derive(Debug, Args)]
pub struct ServiceChange {
    /// How a backend is picked, e.g. rr
    #[arg(short, long, value_name = "SCHEDULER", value_parser = checked(scheduler))]
    pub scheduler: Option<String>,
    /// TCP timestamps towards the tasks: from one clock, or as the clients sent them
    #[arg(long, value_parser = ["rewrite", "keep"])]
    pub timestamps: Option<String>,
    /// Direct server return: backends get the clients' packets as they are, and answer around the gateway
    #[arg(long, value_name = "BOOL")]
    pub direct: Option<bool>,
    /// Backends get a PROXY protocol header (version 2) in front of what a client sends
    #[arg(long, value_name = "BOOL")]
    pub proxy_protocol: Option<bool>,
    /// How long open connections and UDP flows may be idle, e.g. 10m; `default`: as `[timeouts]` says
    #[arg(long, value_name = "TIME", value_parser = checked(timeout))]
    pub timeout: Option<String>,
    /// A backend that comes up gets its whole weight only after so long, e.g. 30s; `default`: at once
    #[arg(long, value_name = "TIME", value_parser = checked(timeout))]
    pub slow_start: Option<String>,
    /// What becomes of the connections of a backend whose checks failed
    #[arg(long, value_parser = ["keep", "reset"])]
    pub on_down: Option<String>,
    /// How long a drained backend keeps its connections, e.g. 5m; `default`: to their end
    #[arg(long, value_name = "TIME", value_parser = checked(timeout))]
    pub drain_deadline: Option<String>,
    /// How long a client's new flows go to the backend of its last one, e.g. 5m; `default`: not at all
    #[arg(long, value_name = "TIME", value_parser = checked(or_default(|text| value::duration(text).and_then(persistence::time).map(value::show_duration))))]
    pub persistence: Option<String>,
    /// Clients whose IPv4 addresses agree in so many bits count as one
    #[arg(long, value_name = "BITS", value_parser = checked(or_default(persistence::prefix)))]
    pub persistence_prefix: Option<String>,
    /// Clients whose IPv6 addresses agree in so many bits count as one
    #[arg(long, value_name = "BITS", value_parser = checked(or_default(persistence::prefix_of_six)))]
    pub persistence_prefix_ipv6: Option<String>,
    /// How many clients there is room for
    #[arg(long, value_name = "N", value_parser = checked(or_default(persistence::clients)))]
    pub persistence_clients: Option<String>,
    /// Services with the same group share their clients
    #[arg(long, value_name = "NAME", value_parser = checked(or_default(persistence::group_name)))]
    pub persistence_group: Option<String>,
    #[command(flatten)]
    pub care: super::care::CareChange,
    #[command(flatten)]
    pub protection: ProtectionChange,
}

/// Who may open flows, and how many.
#[derive(Debug, Args)]
#[command(next_help_heading = "Protection")]
pub struct ProtectionChange {
    /// Who may open flows: prefixes with commas, e.g. `198.18.0.0/16,2001:db8::/32`, in place of the old ones; `default`: everybody
    #[arg(long, value_name = "PREFIXES", value_parser = checked(or_default(prefixes)))]
    pub allow: Option<String>,
    /// Who may not, even if allowed; `default`: nobody
    #[arg(long, value_name = "PREFIXES", value_parser = checked(or_default(prefixes)))]
    pub deny: Option<String>,
    /// New flows of all sources together, e.g. 1000/s; `default`: any number
    #[arg(long, value_name = "RATE", value_parser = checked(or_default(rate)))]
    pub rate: Option<String>,
    /// How many of them at once; `default`: what a second brings
    #[arg(long, value_name = "N", value_parser = checked(or_default(protection::burst)))]
    pub rate_burst: Option<String>,
    /// New flows of each source, e.g. 20/s; `default`: any number
    #[arg(long, value_name = "RATE", value_parser = checked(or_default(rate)))]
    pub rate_per_source: Option<String>,
    /// How many of them at once; `default`: what a second brings, at least 5
    #[arg(long, value_name = "N", value_parser = checked(or_default(protection::burst)))]
    pub rate_per_source_burst: Option<String>,
    /// When SYNs are answered by cookies
    #[arg(long, value_parser = ["auto", "always", "never"])]
    pub syn_cookies: Option<String>,
    /// How many half-open connections are too many, for `auto`; `default`: 4096
    #[arg(long, value_name = "N", value_parser = checked(or_default(protection::half_open)))]
    pub half_open: Option<String>,
}

/// `backend …`
#[derive(Debug, Subcommand)]
pub enum BackendVerb {
    /// Backends of one service or of all, with what they have carried
    #[command(visible_alias = "ls")]
    List {
        /// Only this service
        service: Option<String>,
    },
    /// A new backend
    Add {
        #[command(flatten)]
        place: BackendPlace,
        #[command(flatten)]
        change: BackendChange,
    },
    /// Change a backend
    #[command(group = ArgGroup::new("what").required(true).multiple(true).args(["weight", "vtep", "mac", "max_connections", "sorry"]))]
    Set {
        #[command(flatten)]
        place: BackendPlace,
        #[command(flatten)]
        change: BackendChange,
    },
    /// Weight 0: open connections go on, no new ones
    Drain {
        #[command(flatten)]
        place: BackendPlace,
    },
    /// Take a backend away; its flows are ended
    #[command(visible_alias = "rm")]
    Remove {
        #[command(flatten)]
        place: BackendPlace,
    },
}

/// Which backend.
#[derive(Debug, Args)]
pub struct BackendPlace {
    /// The service
    pub service: String,
    /// The backend, address:port, or the address alone to keep the port that the client asked for
    #[arg(value_parser = checked(value::backend_address))]
    pub address: BackendAddress,
}

/// What a backend has.
#[derive(Debug, Args)]
pub struct BackendChange {
    /// Its share; 0 drains
    #[arg(short, long)]
    pub weight: Option<u16>,
    /// The underlay address of the node that runs it; a new backend without one, or `none`: plain routing
    #[arg(long, value_parser = or_none(value::ipv4_host))]
    pub vtep: Option<OrNone<Ipv4Addr>>,
    /// Its MAC address in the overlay; `none`: as Docker makes it, or as ARP finds it
    #[arg(long, value_parser = or_none(value::mac))]
    pub mac: Option<OrNone<MacAddr>>,
    /// At most so many connections at a time; `none`: any number
    #[arg(long, value_name = "NUMBER", value_parser = or_none(maximum))]
    pub max_connections: Option<OrNone<NonZeroU32>>,
    /// Whether it serves only when no other backend is left
    #[arg(long, value_name = "BOOL")]
    pub sorry: Option<bool>,
}

/// A value, or that there shall be none.
#[derive(Debug, Clone, Copy)]
pub struct OrNone<T>(pub Option<T>);

/// As `parse` reads it, or `none`.
fn or_none<T>(
    parse: impl Fn(&str) -> Result<T, Complaint> + Clone,
) -> impl Fn(&str) -> Result<OrNone<T>, String> + Clone {
    checked(move |text| if text == "none" { Ok(OrNone(None)) } else { parse(text).map(|value| OrNone(Some(value))) })
}

fn maximum(text: &str) -> Result<NonZeroU32, Complaint> {
    let message = || format!("`{text}` is not a number from 1 on, nor `none`");
    text.parse().map_err(|_| Complaint { message: message(), hint: None })
}

/// `flow …`
#[derive(Debug, Subcommand)]
pub enum FlowVerb {
    /// Flows with their addresses and state
    #[command(visible_alias = "ls")]
    List {
        /// Only this service
        #[arg(long, value_name = "NAME")]
        service: Option<String>,
        /// At most so many
        #[arg(short = 'n', long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        limit: u32,
    },
    /// How many flows there are, and how many there can be
    Count,
    /// Whose flow it was that a backend saw from this address: looks into the flow log
    Who {
        /// What the backend saw, e.g. 10.0.0.3:41312
        #[arg(value_name = "ADDRESS:PORT", value_parser = checked(address_and_port))]
        address: SocketAddr,
        /// When, in UTC: 2026-11-21T14:05:09Z, or 14:05 for today, at any moment of that second or minute; left out: ever
        #[arg(long, value_name = "TIME", value_parser = checked(flow_log::who::moment))]
        at: Option<flow_log::who::Span>,
        /// The log, or an older one, packed by gzip or not; what was rotated away from it is read, too; left out: the gateway's
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
}

/// The config's own understanding of a value, with its hint, as clap wants it.
pub fn checked<T>(parse: impl Fn(&str) -> Result<T, Complaint> + Clone) -> impl Fn(&str) -> Result<T, String> + Clone {
    move |text| {
        parse(text).map_err(|complaint| match complaint.hint {
            Some(hint) => format!("{} ({hint})", complaint.message),
            None => complaint.message,
        })
    }
}

fn address_and_port(text: &str) -> Result<SocketAddr, Complaint> {
    let complaint = || Complaint::hinted(format!("`{text}` is no address with a port"), "e.g. 10.0.0.3:41312");
    text.parse().map_err(|_| complaint())
}

fn listen(text: &str) -> Result<String, Complaint> {
    value::listen(text).map(|listen| value::show_listen(&listen))
}

/// Says that a setting is to be the gateway's own again.
pub const DEFAULT: &str = "default";

/// As `parse` reads it, or `default`; written as the API takes it.
fn or_default<T: ToString>(
    parse: impl Fn(&str) -> Result<T, Complaint> + Clone,
) -> impl Fn(&str) -> Result<String, Complaint> + Clone {
    move |text| if text == DEFAULT { Ok(text.to_owned()) } else { parse(text).map(|value| value.to_string()) }
}

fn rate(text: &str) -> Result<String, Complaint> {
    protection::rate_limit(text).map(RateLimit::show)
}

fn prefixes(text: &str) -> Result<String, Complaint> {
    let prefixes = protection::prefix_list(text)?;
    Ok(prefixes.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
}

fn timeout(text: &str) -> Result<String, Complaint> {
    if text == DEFAULT {
        return Ok(text.to_owned());
    }
    value::duration(text).and_then(settings::timeout).map(value::show_duration)
}

fn scheduler(text: &str) -> Result<String, Complaint> {
    value::scheduler(text).map(|scheduler| scheduler.to_string())
}
