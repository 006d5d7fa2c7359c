//! IPv6 and what stands around the gateway: the kernel beside it, links with everything on them, checks, lists of sources.

use crate::changes::rows;
use crate::runner::{Load, Scenarios};
use crate::six::{WEB6, download, start};
use crate::stage::{LIMIT, Servers, WEB, all_answered, all_succeeded, curl, hash, traffic};
use nix::sys::signal::Signal;
use std::time::Duration;
use tests::clock::wait_until;
use tests::config::{Backend, Driver, Service};
use tests::gateway::{Gateway, base_config, task_service};
use tests::network::{Arms, Plan};
use tests::servers::{Nginx, start_tool};
use tests::{Outcome, ensure, six};

/// How long a wait may take before the test fails: the machine may have other things to do.
const PATIENCE: Duration = Duration::from_secs(10);

pub fn add(scenarios: &mut Scenarios) {
    scenarios.each_driver("ipv6_one_armed", Load::Light, one_armed);
    scenarios.each_driver("ipv6_kernel_traffic_is_undisturbed", Load::Light, kernel_traffic);
    scenarios.each_driver("ipv6_checks_of_plain_backends", Load::Light, checks);
    scenarios.each_driver("ipv6_sources_are_denied", Load::Light, denied);
    scenarios.each_driver("ipv6_networks_stay_with_their_backend", Load::Light, persistence);
    scenarios.each_driver("ipv6_proxy_header_names_the_client", Load::Light, proxy_header);
    scenarios.each_driver("ipv6_vip_on_the_clients_link", Load::Light, on_the_link);
    scenarios.af_xdp("ipv6_direct_server_on_the_link", Load::Light, direct);
}

fn one_armed(driver: Driver) -> Outcome {
    let stage = start(driver, Plan { clients: 2, ..Plan::new(Arms::One) }, |_| {})?;
    for client in &stage.network.clients {
        for target in [WEB6, WEB] {
            all_succeeded(
                &traffic(&client.namespace, &["connections", target, "--count", "200", "--at-once", "20"])?,
                200,
            )?;
        }
    }
    Ok(())
}

/// Neighbour discovery and all that is to or from the gateway's own addresses goes on, though they are those that plain
/// backends see.
fn kernel_traffic(driver: Driver) -> Outcome {
    let network = Plan { plain: 1, ..Plan::new(Arms::Two) }.build()?;
    six::enable(&network)?;
    let _web = Nginx::start_both(&network.plain[0].namespace, "P", 8000)?;
    let _echo = start_tool(&network.gateway, "udp-echo", "[::]:5353")?;
    let (front, back) = (six::GATEWAY.to_string(), six::GATEWAY_UNDERLAY.to_string());
    let mut pings = Vec::new();
    for (host, address) in [(network.client(), &front), (&network.plain[0].namespace, &back)] {
        pings.push(host.spawn("ping", "ping", ["-6", "-i", "0.02", "-W", "1", address])?);
    }
    let plain = six::plain(0).to_string();
    pings.push(network.gateway.spawn("ping", "ping", ["-6", "-i", "0.02", "-W", "1", &plain])?);
    let mut config = base_config(&network, driver);
    config.services =
        vec![Service::new("web", &format!("{WEB6}/tcp"), vec![Backend::new(format!("[{plain}]:8000"), None)])];
    for _ in 0..2 {
        let gateway = Gateway::start(&network, &config)?;
        all_succeeded(&traffic(network.client(), &["connections", WEB6, "--count", "50"])?, 50)?;
        network.gateway.ip("neigh flush all")?;
        all_succeeded(&traffic(network.client(), &["connections", WEB6, "--count", "50"])?, 50)?;
        let target = format!("[{front}]:5353");
        let echo = traffic(network.client(), &["udp", &target, "--from", "1", "--to", "3000", "--step", "50"])?;
        ensure!(echo["answered"] == 60, "UDP to the gateway itself: {echo}");
        let own = network.gateway.run("curl", ["-sS", "--max-time", "5", &format!("http://[{plain}]:8000/")])?;
        ensure!(own.trim() == "P", "the gateway's own request: {own}");
        gateway.stop_cleanly()?;
    }
    for ping in &mut pings {
        ping.signal(Signal::SIGINT)?;
        all_answered(&ping.finish(LIMIT)?)?;
    }
    Ok(())
}

fn checks(driver: Driver) -> Outcome {
    let network = Plan { plain: 2, nodes: 1, ..Plan::new(Arms::Two) }.build()?;
    six::enable(&network)?;
    let mut servers = Vec::new();
    for (host, name) in network.plain.iter().zip(["A", "B"]) {
        servers.push(Nginx::start_both(&host.namespace, name, 8000)?);
    }
    let mut config = base_config(&network, driver);
    let backends = (0..2).map(|n| Backend::new(format!("[{}]:8000", six::plain(n)), None)).collect();
    let mut web = Service::new("web", &format!("{WEB6}/tcp"), backends);
    web.check = Some("type = \"http\"\ninterval = \"200ms\"\ntimeout = \"150ms\"\nrise = 2\nfall = 3".into());
    config.services = vec![web];
    let gateway = Gateway::start(&network, &config)?;
    let states = || -> Outcome<String> {
        let list = gateway.json(&["backend", "list", "web"])?;
        let text: Vec<_> = rows(&list).iter().map(|row| format!("{} {}", row["address"], row["state"])).collect();
        Ok(text.join(" "))
    };
    let wanted =
        |second: &str| format!("\"[{}]:8000\" \"up\" \"[{}]:8000\" \"{second}\"", six::plain(0), six::plain(1));
    let wait = |second: &str| {
        let reached = wait_until(second, PATIENCE, || Ok(states()? == wanted(second)));
        reached.map_err(|failure| failure.during(&states().unwrap_or_default()))
    };
    wait("up")?;
    let mut gone = servers.remove(1);
    gone.process.signal(Signal::SIGTERM)?;
    gone.process.wait(PATIENCE)?;
    wait("down")?;
    all_succeeded(&traffic(network.client(), &["connections", WEB6, "--count", "20"])?, 20)
}

/// Lists are of the addresses that clients have, of either kind.
fn denied(driver: Driver) -> Outcome {
    let stage = start(driver, Plan { clients: 2, ..Plan::new(Arms::Two) }, |config| {
        for service in &mut config.services {
            service.lines.push(format!("deny = [\"{}/128\", \"198.18.2.10\"]", six::client(0)));
        }
    })?;
    let [refused, allowed] = [0, 1].map(|n| &stage.network.clients[n].namespace);
    for target in [WEB6, WEB] {
        curl(allowed, target)?;
        let answer = refused.run("curl", ["-sS", "--max-time", "1", &format!("http://{target}/")]);
        ensure!(answer.is_err(), "{target} answers who is denied");
    }
    Ok(())
}

/// A VIP out of the clients' own network: the kernel says whose it is, for it has the address on that very link, or is
/// told to speak for it.
fn on_the_link(driver: Driver) -> Outcome {
    let vip = "2001:db8:2::80";
    let stage = start(driver, Plan::new(Arms::Two), |config| {
        let mut here = config.services[0].clone();
        (here.name, here.listen) = ("here".into(), format!("[{vip}]:8080/tcp"));
        config.services.push(here);
    })?;
    match driver {
        Driver::AfXdp => stage.network.gateway.ip(&format!("addr add {vip}/128 dev eth0 nodad"))?,
        Driver::Tun => {
            stage.network.gateway.sysctl("net.ipv6.conf.eth0.proxy_ndp", "1")?;
            stage.network.gateway.ip(&format!("neigh add proxy {vip} dev eth0"))?;
        }
    }
    let (client, target) = (stage.network.client(), format!("[{vip}]:8080"));
    all_succeeded(&traffic(client, &["connections", &target, "--count", "50"])?, 50)?;
    client.ip("neigh flush all")?;
    all_succeeded(&traffic(client, &["connections", &target, "--count", "50"])?, 50)?;
    let ping = client.run("ping", ["-6", "-c", "3", "-i", "0.05", "-W", "2", vip])?;
    ensure!(ping.contains("3 received"), "{ping}");
    Ok(())
}

/// Tasks in IPv4 are told addresses of IPv6.
fn proxy_header(driver: Driver) -> Outcome {
    let network = Plan::new(Arms::Two).build()?;
    six::enable(&network)?;
    let mut servers = Servers::start([])?;
    for (node, name) in network.nodes.iter().zip(["A", "B"]) {
        servers.web.push(Nginx::start_proxied(&node.tasks[0].namespace, name, 8000)?);
    }
    let mut config = base_config(&network, driver);
    let mut web = task_service(&network, "web", "8080/tcp", 8001);
    (web.listen, web.lines) = (format!("{WEB6}/tcp"), vec!["proxy_protocol = true".to_owned()]);
    config.services = vec![web];
    let gateway = Gateway::start(&network, &config)?;
    let (url, client) = (format!("http://{WEB6}/proxied"), network.client());
    let format = "%{local_ip}:%{local_port} %{remote_ip}:%{remote_port}";
    for _ in 0..10 {
        let said = client.run("curl", ["-sS", "--fail", "--max-time", "20", "-w", format, &url])?;
        let (told, true_one) = said.split_once('\n').unwrap_or_default();
        ensure!(told == true_one && told.starts_with(&six::client(0).to_string()), "nginx was told {said}");
    }
    let file = servers.share("some", 1 << 20)?;
    ensure!(download(client, WEB6, "/files/some")? == hash(&file)?, "another file came down");
    gateway.stop_cleanly()
}

/// As IPVS' "gatewaying": a server on the link has the VIP, and answers clients itself.
fn direct(driver: Driver) -> Outcome {
    let network = Plan { plain: 2, ..Plan::new(Arms::One) }.build()?;
    six::enable(&network)?;
    let mut servers = Vec::new();
    for (index, (host, name)) in (0..).zip(network.plain.iter().zip(["A", "B"])) {
        servers.push(Nginx::start_both(&host.namespace, name, 8080)?);
        let own = six::client(100 + index);
        host.namespace.ip(&format!("addr add {}/128 dev lo nodad\naddr add {own}/64 dev eth0 nodad", six::VIP))?;
    }
    let backends = (0..2).map(|n| Backend::new(format!("[{}]:8080", six::plain(n)), None)).collect();
    let mut web = Service::new("web", &format!("{WEB6}/tcp"), backends);
    web.lines = vec!["direct = true".to_owned()];
    let mut config = base_config(&network, driver);
    config.services = vec![web];
    let gateway = Gateway::start(&network, &config)?;
    let client = network.client();
    let answers = (0..6).map(|_| curl(client, WEB6)).collect::<Outcome<Vec<_>>>()?;
    ensure!(answers.windows(2).all(|pair| pair[0] != pair[1]), "not in turn: {answers:?}");
    let seen = curl(client, &format!("{WEB6}/who?x="))?;
    let wanted = format!("{} {}:8080", six::client(0), six::VIP);
    ensure!(seen == wanted, "the server saw {seen}, not {wanted}");
    gateway.stop_cleanly()
}

/// Clients of one network count as one, unless it is said that each counts.
fn persistence(driver: Driver) -> Outcome {
    for (lines, together) in [("", true), ("persistence_prefix_ipv6 = 128", false)] {
        let stage = start(driver, Plan { clients: 2, ..Plan::new(Arms::Two) }, |config| {
            for service in &mut config.services {
                service.lines.extend(["persistence = \"60s\"".to_owned(), lines.to_owned()]);
            }
        })?;
        let mut of_clients = Vec::new();
        for client in &stage.network.clients {
            let answers = (0..4).map(|_| curl(&client.namespace, WEB6)).collect::<Outcome<Vec<_>>>()?;
            ensure!(answers.windows(2).all(|pair| pair[0] == pair[1]), "not one backend: {answers:?}");
            of_clients.push(answers[0].clone());
        }
        ensure!((of_clients[0] == of_clients[1]) == together, "{lines:?}: {of_clients:?}");
    }
    Ok(())
}
