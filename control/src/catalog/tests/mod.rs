//! Ids, counters and turns across reloads and edits; the refusals; the tables that come out.

mod compiled;
mod edits;
mod from_swarm;
mod reloads;
mod remembered;

use std::net::{IpAddr, Ipv4Addr};

use datapath::service::{Hop, Interface};
use wire::MacAddr;

use crate::catalog::{Catalog, Resolve};
use crate::config::{BackendConfig, Config, ServiceConfig, Settings, parse};
use crate::swarm::{Wanted, WantedTask};

const OVERLAY: &str = "[[interface]]\nname = \"eth0\"\n[overlay]\nvni = 4096\nvtep = \"198.18.1.1\"\n\
                       address = \"10.0.0.3/24\"\nsnat = \"10.0.0.4\"\n";

pub fn config(services: &str) -> Config {
    let text = format!("{OVERLAY}{services}");
    parse("gw.toml", text.as_bytes(), &[0]).map_err(|problems| problems[0].to_string()).unwrap().config
}

/// A service on port 80 of VIP `198.18.0.<vip>` with plain backends `192.0.2.<n>:80`.
fn service(name: &str, vip: u8, backends: &[u8]) -> String {
    let table = |n| format!("[[service.backend]]\naddress = \"192.0.2.{n}:80\"\n");
    let tables = backends.iter().map(table).collect::<Vec<_>>().concat();
    format!("[[service]]\nname = \"{name}\"\nlisten = \"198.18.0.{vip}:80\"\n{tables}")
}

fn backend(text: &str, vtep: Option<&str>) -> BackendConfig {
    BackendConfig::new(text.parse().unwrap(), vtep.map(|vtep| vtep.parse().unwrap()), 1)
}

fn ids(catalog: &Catalog, service: &str) -> Vec<u32> {
    catalog.service(service).unwrap().backends.iter().map(|backend| backend.id.0).collect()
}

/// A kernel that knows one node.
struct OneNode;

impl Resolve for OneNode {
    fn hop(&self, address: IpAddr) -> Hop {
        if address == IpAddr::from([198, 18, 1, 11]) { Hop::Kernel } else { Hop::Unresolved }
    }
    fn direct_hop(&self, address: IpAddr) -> Hop {
        self.hop(address)
    }
    fn plain_snat(&self, backend: IpAddr, vip: IpAddr) -> Vec<IpAddr> {
        let own = [IpAddr::from([198, 18, 1, 1]), IpAddr::from([0x2001, 0xdb8, 1, 0, 0, 0, 0, 1]), vip];
        own.into_iter().filter(|source| source.is_ipv4() == backend.is_ipv4()).collect()
    }
    fn overlay_mac(&self, address: Ipv4Addr) -> MacAddr {
        MacAddr::docker(address)
    }
    fn interfaces(&self) -> Vec<Interface> {
        vec![Interface { name: "eth0".to_owned(), mac: MacAddr([2; 6]), mtu: 1500, up: true }]
    }
}

fn wanted(key: &str, name: &str, port: u16, tasks: &[(&str, &str, u16)]) -> Wanted {
    let listen = crate::config::value::listen(&format!("198.18.0.1:{port}/tcp")).unwrap();
    let service = ServiceConfig {
        name: name.to_owned(),
        listens: vec![listen],
        settings: Settings::default(),
        check: None,
        backends: Vec::new(),
    };
    let task = |(id, address, weight): &(&str, &str, u16)| WantedTask {
        id: (*id).to_owned(),
        backend: BackendConfig { weight: *weight, ..backend(address, Some("198.18.1.11")) },
    };
    Wanted { key: key.to_owned(), service, tasks: tasks.iter().map(task).collect() }
}
