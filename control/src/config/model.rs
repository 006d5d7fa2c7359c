//! What a valid config says.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::{NonZeroU16, NonZeroU32};
use std::path::PathBuf;
use std::str::FromStr;

use conntrack::Timeouts;
use vxlan::Vni;
use wire::MacAddr;

use super::check::CheckConfig;
use super::{FlowLogConfig, Listen, Settings, address, value};

/// A whole config file, valid.
#[derive(Debug, Clone)]
pub struct Config {
    /// `[gateway]`
    pub gateway: GatewayConfig,
    /// `[timeouts]`
    pub timeouts: Timeouts,
    /// `[flow_log]`
    pub flow_log: Option<FlowLogConfig>,
    /// `[[interface]]`
    pub interfaces: Vec<InterfaceConfig>,
    /// `[overlay]`
    pub overlay: Option<OverlayConfig>,
    /// `[swarm]`
    pub swarm: Option<SwarmConfig>,
    /// `[[service]]`
    pub services: Vec<ServiceConfig>,
}

/// `[swarm]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwarmConfig {
    /// Managers, tried in order.
    pub endpoints: Vec<Endpoint>,
    /// This machine's own engine, for a member.
    pub engine: Endpoint,
    /// Certificates for `tcp://`.
    pub tls: Option<TlsConfig>,
    /// Where published ports are served.
    pub vips: Vec<IpAddr>,
    /// Whether this machine is in the swarm; `None`: find out.
    pub member: Option<bool>,
    /// The overlay network that is served; `None`: the one for published ports.
    pub network: Option<String>,
    /// What `[overlay]` says.
    pub overlay: OverlaySeed,
    /// `[[swarm.overlay]]`
    pub more: Vec<MoreOverlay>,
}

/// `[[swarm.overlay]]`: a network that is served beside the main one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MoreOverlay {
    /// Its name.
    pub network: String,
    /// Our place in it.
    pub overlay: OverlaySeed,
}

/// Where a Docker engine listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// `unix:///var/run/docker.sock`
    Unix(PathBuf),
    /// `tcp://manager:2376`
    Tcp {
        /// Name or address; IPv6 without brackets.
        host: String,
        /// 2376 with TLS.
        port: u16,
    },
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Unix(path) => write!(f, "unix://{}", path.display()),
            Endpoint::Tcp { host, port } if host.contains(':') => write!(f, "tcp://[{host}]:{port}"),
            Endpoint::Tcp { host, port } => write!(f, "tcp://{host}:{port}"),
        }
    }
}

/// Files in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// Who signs the managers' certificates.
    pub ca: PathBuf,
    /// Our own certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// `[overlay]` as far as it says something: with `[swarm]` the rest comes from the swarm.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OverlaySeed {
    /// The overlay's number.
    pub vni: Option<Vni>,
    /// The UDP port of VXLAN.
    pub port: Option<u16>,
    /// The gateway's underlay address.
    pub vtep: Option<Ipv4Addr>,
    /// The gateway's overlay address and the subnet's prefix length.
    pub address: Option<(Ipv4Addr, u8)>,
    /// More source addresses.
    pub snat: Vec<Ipv4Addr>,
    /// The gateway's MAC address in the overlay.
    pub mac: Option<MacAddr>,
    /// The overlay's MTU.
    pub mtu: Option<u16>,
}

/// `[gateway]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayConfig {
    /// One pinned worker per CPU.
    pub cpus: Vec<usize>,
    /// Capacity of the flow tables, all workers together.
    pub flows: usize,
    /// The API's socket.
    pub api: PathBuf,
    /// Where Prometheus may ask.
    pub metrics: Option<SocketAddr>,
    /// Source addresses for backends without a VTEP; empty: the kernel's choice for the route.
    pub snat: Vec<IpAddr>,
    /// Whether the XDP program may send packets of established flows on by itself.
    pub shortcuts: ShortcutMode,
}

/// Whether flows are lent to the XDP program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShortcutMode {
    /// `"auto"`: where the kernel says that the interfaces send redirected packets.
    Auto,
    /// `"always"`: also where it does not tell.
    Always,
    /// `"never"`
    Never,
}

/// `[[interface]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceConfig {
    /// The interface, or the TUN device to make.
    pub name: String,
    /// AF_XDP or TUN.
    pub driver: Driver,
    /// How AF_XDP attaches.
    pub mode: Mode,
    /// The queues to serve; `None`: all.
    pub queues: Option<Vec<u32>>,
}

/// How packets come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// `"af_xdp"`
    AfXdp,
    /// `"tun"`
    Tun,
}

/// How AF_XDP attaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// `"auto"`: the best that the driver has.
    Auto,
    /// `"zero-copy"`
    ZeroCopy,
    /// `"copy"`: the driver's own XDP, frames are copied.
    Copy,
    /// `"generic"`: the kernel's XDP for any driver.
    Generic,
}

/// `[overlay]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverlayConfig {
    /// The overlay's number.
    pub vni: Vni,
    /// The UDP port of VXLAN.
    pub port: u16,
    /// The gateway's underlay address.
    pub vtep: Ipv4Addr,
    /// The gateway's overlay address.
    pub address: Ipv4Addr,
    /// The prefix length of the overlay's subnet.
    pub prefix_bits: u8,
    /// More source addresses beside `address`.
    pub snat: Vec<Ipv4Addr>,
    /// The gateway's MAC address in the overlay.
    pub mac: MacAddr,
    /// The overlay's MTU.
    pub mtu: u16,
}

impl OverlayConfig {
    /// Whether the address lies in the overlay's subnet.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix_bits)).unwrap_or(0);
        (address.to_bits() ^ self.address.to_bits()) & mask == 0
    }

    /// Whether the address is one of the gateway's own.
    pub fn has(&self, address: Ipv4Addr) -> bool {
        self.address == address || self.snat.contains(&address)
    }

    /// All source addresses that tasks may see, `address` first.
    pub fn addresses(&self) -> Vec<Ipv4Addr> {
        std::iter::once(self.address).chain(self.snat.iter().copied()).collect()
    }
}

/// `[[service]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceConfig {
    /// Unique.
    pub name: String,
    /// `VIP:port/protocol`, one or more.
    pub listens: Vec<Listen>,
    /// The rest of its keys.
    pub settings: Settings,
    /// `[service.check]`
    pub check: Option<CheckConfig>,
    /// `[[service.backend]]`
    pub backends: Vec<BackendConfig>,
}

/// `[[service.backend]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendConfig {
    /// Address and target port.
    pub address: BackendAddress,
    /// The node that runs it; `None`: plain routing.
    pub vtep: Option<Ipv4Addr>,
    /// Its MAC address in the overlay; `None`: Docker's, or what ARP says.
    pub mac: Option<MacAddr>,
    /// Its share; 0 drains.
    pub weight: u16,
    /// At most so many connections at a time.
    pub max_connections: Option<NonZeroU32>,
    /// Serves only when no other backend is left.
    pub sorry: bool,
}

impl BackendConfig {
    /// A backend with all the rest as by default.
    pub fn new(address: BackendAddress, vtep: Option<Ipv4Addr>, weight: u16) -> BackendConfig {
        BackendConfig { address, vtep, mac: None, weight, max_connections: None, sorry: false }
    }

    /// Where its packets go first: its node, or itself.
    pub fn underlay(&self) -> IpAddr {
        self.vtep.map_or(self.address.ip, IpAddr::V4)
    }
}

/// Where a backend is: `10.0.0.11:8000`, or `10.0.0.11` to keep the port that the client asked for; IPv6 stands in
/// brackets before a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendAddress {
    /// Its address.
    pub ip: IpAddr,
    /// Its port; `None`: the port that the client asked for.
    pub port: Option<NonZeroU16>,
}

impl fmt::Display for BackendAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", address::bracketed(self.ip)),
            None => self.ip.fmt(f),
        }
    }
}

impl FromStr for BackendAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        value::backend_address(text).map_err(|complaint| complaint.message)
    }
}
