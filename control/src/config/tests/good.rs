//! What a valid file comes to.

use std::net::Ipv4Addr;
use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use datapath::service::SchedulerKind;
use wire::{MacAddr, Protocol};

use super::super::{
    ClientPersistence, DEFAULT_API, Driver, Endpoint, Listen, Mode, MoreOverlay, OverlaySeed, Settings, ShortcutMode,
    load,
};
use super::{BASE, CPUS, FULL, OVERLAY, parse_text, rendered};

#[test]
fn every_key_is_read() {
    let config = parse_text(FULL).unwrap().config;
    assert_eq!(config.gateway.flows, 2_000_000);
    assert_eq!(config.gateway.api, Path::new("/run/other/api.sock"));
    assert_eq!(config.gateway.metrics, Some("127.0.0.1:9180".parse().unwrap()));
    assert_eq!(config.gateway.snat, [Ipv4Addr::new(198, 18, 1, 1), Ipv4Addr::new(198, 18, 1, 2)]);
    assert_eq!(config.gateway.shortcuts, ShortcutMode::Never);
    assert_eq!(config.interfaces[0].mode, Mode::Copy);
    assert_eq!(config.interfaces[0].queues, Some(vec![0, 1]));
    assert_eq!(config.interfaces[1].driver, Driver::Tun);
    let overlay = config.overlay.unwrap();
    assert_eq!((overlay.vni.get(), overlay.port, overlay.mtu, overlay.prefix_bits), (4096, 4790, 1400, 24));
    assert_eq!(overlay.addresses(), [3, 4, 5].map(|last| Ipv4Addr::new(10, 0, 0, last)));
    assert_eq!(overlay.mac, MacAddr([0x02, 0x42, 0x0a, 0, 0, 9]));
}

#[test]
fn services_are_read_in_order() {
    let services = parse_text(FULL).unwrap().config.services;
    let vip = Ipv4Addr::new(198, 18, 0, 1).into();
    let tcp = |port| Listen { address: vip, ports: port..=port, protocol: Protocol::Tcp };
    assert_eq!(services[0].listens, [tcp(8080), tcp(8443)]);
    assert_eq!(services[0].settings.scheduler, SchedulerKind::RoundRobin);
    assert!(!services[0].settings.rewrite_timestamps);
    assert_eq!(services[0].backends[0].address.to_string(), "10.0.0.11:8000");
    assert_eq!(services[0].backends[0].mac, Some(MacAddr([0x02, 0x42, 0x0a, 0, 0, 0x0b])));
    assert_eq!(services[0].backends.iter().map(|backend| backend.weight).collect::<Vec<_>>(), [3, 0]);
    let limits =
        services[0].backends.iter().map(|backend| (backend.max_connections.map(NonZeroU32::get), backend.sorry));
    assert_eq!(limits.collect::<Vec<_>>(), [(None, false), (Some(500), true)]);
    assert_eq!(services[1].listens, [Listen { address: vip, ports: 8000..=8010, protocol: Protocol::Udp }]);
    assert_eq!((services[0].settings.direct, services[0].settings.timeout), (false, None));
    let persistence = ClientPersistence {
        time: Some(Duration::from_mins(5)),
        prefix: Some(24),
        prefix_of_six: None,
        clients: Some(10_000),
        group: Some("shop".to_owned()),
    };
    let timeout = Some(Duration::from_secs(90));
    let asked = Settings { direct: true, timeout, persistence, ..Settings::default() };
    assert_eq!(services[1].settings, asked);
    assert_eq!(services[1].backends[0].address.port, None);
    assert_eq!((services[1].backends[0].vtep, services[1].backends[0].weight), (None, 1));
}

#[test]
fn what_is_left_out_has_its_default() {
    let config = parse_text(&format!("{BASE}{OVERLAY}")).unwrap().config;
    assert_eq!(config.gateway.cpus, CPUS);
    assert_eq!(config.gateway.flows, 1_000_000);
    assert_eq!(config.gateway.api, Path::new(DEFAULT_API));
    assert_eq!(config.gateway.metrics, None);
    assert_eq!(config.gateway.shortcuts, ShortcutMode::Auto);
    assert_eq!((config.interfaces[0].driver, config.interfaces[0].mode), (Driver::AfXdp, Mode::Auto));
    assert_eq!(config.interfaces[0].queues, None);
    let overlay = config.overlay.unwrap();
    assert_eq!((overlay.port, overlay.mtu), (4789, 1450));
    assert_eq!(overlay.mac, MacAddr([0x02, 0x42, 10, 0, 0, 3]));
}

#[test]
fn shortcuts_are_one_of_three() {
    let all = [("auto", ShortcutMode::Auto), ("always", ShortcutMode::Always), ("never", ShortcutMode::Never)];
    for (word, mode) in all {
        let loaded = parse_text(&format!("{BASE}[gateway]\nshortcuts = \"{word}\"\n")).unwrap();
        assert_eq!((loaded.config.gateway.shortcuts, loaded.warnings), (mode, vec![]), "{word}");
    }
}

/// `always` where none can be is a warning; one interface that may have some is enough, and the rest is nobody's fault.
#[test]
fn shortcuts_without_an_interface_are_a_warning() {
    let gateway = "[gateway]\nshortcuts = \"always\"\n";
    let tun = "[[interface]]\nname = \"sg0\"\ndriver = \"tun\"\n";
    let generic = "[[interface]]\nname = \"eth1\"\nmode = \"generic\"\n";
    assert_words!(rendered(&format!("{gateway}{tun}")));
    assert_eq!(rendered(&format!("{gateway}{tun}{generic}")), "");
    assert_eq!(rendered(&format!("{gateway}{tun}{BASE}")), "");
    for word in ["auto", "never"] {
        assert_eq!(rendered(&format!("[gateway]\nshortcuts = \"{word}\"\n{tun}")), "");
    }
}

#[test]
fn ipv6_stands_beside_ipv4() {
    let text = format!(
        "{BASE}{OVERLAY}[gateway]\nsnat = [\"198.18.1.1\", \"2001:db8:1::1\"]\n[[service]]\nname = \"web\"\n\
         listen = [\"198.18.0.1:80\", \"[2001:db8::1]:80\", \"[2001:db8::1]:8000-8010/udp\"]\n\
         persistence = \"5m\"\npersistence_prefix_ipv6 = 56\n\
         [[service.backend]]\naddress = \"10.0.0.11:8000\"\nvtep = \"198.18.1.11\"\n\
         [[service.backend]]\naddress = \"[2001:db8:1::11]:8000\"\n\
         [[service.backend]]\naddress = \"2001:db8:1::12\"\n"
    );
    let config = parse_text(&text).unwrap().config;
    assert_eq!(
        config.gateway.snat.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["198.18.1.1", "2001:db8:1::1"]
    );
    let service = &config.services[0];
    let listens: Vec<_> = service.listens.iter().map(ToString::to_string).collect();
    assert_eq!(listens, ["198.18.0.1:80/tcp", "[2001:db8::1]:80/tcp", "[2001:db8::1]:8000-8010/udp"]);
    let backends: Vec<_> = service.backends.iter().map(|backend| backend.address.to_string()).collect();
    assert_eq!(backends, ["10.0.0.11:8000", "[2001:db8:1::11]:8000", "2001:db8:1::12"]);
    let persistence = &service.settings.persistence;
    assert_eq!((persistence.prefix(), persistence.prefix_of_six()), (32, 56));
    let vips = "[swarm]\nvips = [\"198.18.0.1\", \"2001:db8::1\"]\n";
    assert_eq!(parse_text(&format!("{BASE}{vips}")).unwrap().config.swarm.unwrap().vips.len(), 2);
}

#[test]
fn odd_but_working_is_a_warning() {
    let listen = "listen = \"198.18.0.1:1\"";
    let text = format!(
        "{BASE}[[service]]\nname = \"empty\"\n{listen}\n[[service]]\nname = \"drained\"\nlisten = \"198.18.0.1:2\"\n\
         [[service.backend]]\naddress = \"192.0.2.1:80\"\nweight = 0\n"
    );
    assert!(parse_text(&text).is_ok());
    assert_words!(rendered(&text));
}

#[test]
fn a_file_that_is_not_there_is_one_problem() {
    let problems = load(Path::new("/nonexistent/gw.toml"), CPUS).unwrap_err();
    assert_eq!(problems.len(), 1);
    assert_eq!(
        problems[0].to_string(),
        "error: cannot read the config file /nonexistent/gw.toml: No such file or directory (os error 2) (name it with --config FILE)"
    );
}

const SWARM: &str = "[swarm]\nvips = [\"198.18.0.1\"]\n";

#[test]
fn a_swarm_may_have_more_overlays() {
    let more = "[[swarm.overlay]]\nnetwork = \"back\"\naddress = \"10.7.0.250/24\"\nmtu = 1400\n";
    let swarm = parse_text(&format!("{BASE}{SWARM}{more}")).unwrap().config.swarm.unwrap();
    let overlay =
        OverlaySeed { address: Some((Ipv4Addr::new(10, 7, 0, 250), 24)), mtu: Some(1400), ..OverlaySeed::default() };
    assert_eq!(swarm.more, [MoreOverlay { network: "back".to_owned(), overlay }]);
}

#[test]
fn a_swarm_alone_is_enough() {
    let loaded = parse_text(&format!("{BASE}{SWARM}")).unwrap();
    let swarm = loaded.config.swarm.unwrap();
    assert_eq!(swarm.endpoints[0].to_string(), "unix:///var/run/docker.sock");
    assert_eq!((swarm.engine.to_string().as_str(), swarm.member), ("unix:///var/run/docker.sock", None));
    assert!(loaded.config.overlay.is_none() && swarm.overlay == super::super::OverlaySeed::default());
}

#[test]
fn a_manager_may_have_ipv6() {
    let endpoints = "ca = \"/ca\"\ncert = \"/cert\"\nkey = \"/key\"\n\
                     endpoints = [\"tcp://[2001:db8::1]\", \"tcp://[2001:db8::2]:2377\", \"tcp://[::1]:1\", \"tcp://a:2376\"]\n";
    let swarm = parse_text(&format!("{BASE}{SWARM}{endpoints}")).unwrap().config.swarm.unwrap();
    let shown: Vec<_> = swarm.endpoints.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["tcp://[2001:db8::1]:2376", "tcp://[2001:db8::2]:2377", "tcp://[::1]:1", "tcp://a:2376"]);
    // What is connected to has no brackets, nor has the name in certificates.
    assert_eq!(swarm.endpoints[0], Endpoint::Tcp { host: "2001:db8::1".to_owned(), port: 2376 });
}
