//! IPv6: clients of tasks that have none, plain backends that have it, lengths, errors, addresses that people see.

use crate::changes::rows;
use crate::runner::{Load, Scenarios};
use crate::stage::{LIMIT, Servers, Stage, UDP_ECHO, WEB, all_succeeded, config, curl, hash, traffic};
use std::time::Duration;
use tests::capture::Capture;
use tests::clock::wait_until;
use tests::config::{Backend, Config, Driver, Service};
use tests::gateway::{Gateway, base_config, task_service};
use tests::namespace::{Namespace, Process};
use tests::network::{Arms, Plan};
use tests::servers::{Nginx, start_tool};
use tests::six::{self, VIP};
use tests::{Outcome, ensure};

pub const WEB6: &str = "[2001:db8::1]:8080";
const UDP_ECHO6: &str = "[2001:db8::1]:7000";
/// The way down has this MTU: what the overlay carries, and the longer header.
const MTU_OF_THE_OVERLAY: usize = 1470;
/// IPv6 and UDP headers.
const HEADERS: usize = 48;
/// How many datagrams a kernel may lose while it learns what a path takes.
const PMTU_LOSSES: usize = 2;

pub fn add(scenarios: &mut Scenarios) {
    scenarios.each_driver("ipv6_tcp", Load::Light, tcp);
    scenarios.each_driver("ipv6_udp_of_all_sizes", Load::Light, udp_of_all_sizes);
    scenarios.each_driver("ipv6_fragments_in_any_order", Load::Light, fragments_in_any_order);
    scenarios.each_driver("ipv6_ping_to_the_vip", Load::Light, ping_to_the_vip);
    scenarios.each_driver("ipv6_too_large_is_told_with_the_right_mtu", Load::Light, too_large_is_told);
    scenarios.each_driver("ipv6_narrow_way_to_the_client", Load::Light, narrow_way);
    scenarios.each_driver("ipv6_errors_reach_the_client", Load::Light, errors_reach_the_client);
    scenarios.each_driver("ipv6_addresses_are_shown", Load::Light, addresses_are_shown);
    scenarios.each_driver("ipv6_plain_backends", Load::Light, plain_backends);
    scenarios.each_driver("ipv6_vip_comes_and_goes", Load::Light, comes_and_goes);
}

/// The usual services, on both VIPs.
fn on_both(config: &mut Config) {
    let twins: Vec<_> = config
        .services
        .iter()
        .map(|service| Service {
            name: format!("{}-6", service.name),
            listen: service.listen.replace("198.18.0.1", &format!("[{VIP}]")),
            ..service.clone()
        })
        .collect();
    config.services.extend(twins);
}

/// As [`crate::stage::start`], with IPv6 everywhere and every service on both VIPs.
pub fn start(driver: Driver, plan: Plan, change: impl FnOnce(&mut Config)) -> Outcome<Stage> {
    let network = plan.build()?;
    six::enable(&network)?;
    let servers = Servers::start(network.nodes.iter().map(|node| &node.tasks[0].namespace))?;
    let mut config = config(&network, driver);
    on_both(&mut config);
    change(&mut config);
    let gateway = Gateway::start(&network, &config)?;
    Ok(Stage { gateway, servers, network })
}

fn tcp(driver: Driver) -> Outcome {
    let stage = start(driver, Plan { queues: 2, ..Plan::new(Arms::Two) }, |config| config.cpus = vec![0, 1])?;
    let client = stage.network.client();
    let answers: Vec<_> = (0..20).map(|_| curl(client, WEB6)).collect::<Outcome<_>>()?;
    let strict = answers.windows(2).all(|pair| pair[0] != pair[1] && ["A", "B"].contains(&pair[0].as_str()));
    ensure!(strict, "not in turn: {}", answers.concat());
    all_succeeded(&stage.traffic(&["connections", WEB6, "--count", "1000", "--at-once", "50"])?, 1000)?;
    let file = stage.servers.share("some", 8 << 20)?;
    let wanted = hash(&file)?;
    for target in [WEB6, WEB] {
        ensure!(download(client, target, "/files/some")? == wanted, "another file came down from {target}");
    }
    let (source, target) = (file.display().to_string(), format!("http://{WEB6}/files/uploaded"));
    client.run("curl", ["-sS", "--fail", "--max-time", "60", "-T", &source, &target])?;
    let arrived = stage.servers.web.iter().map(|web| web.files.join("uploaded")).find(|path| path.exists());
    ensure!(arrived.is_some_and(|path| hash(&path).is_ok_and(|hash| hash == wanted)), "another file went up");
    stage.gateway.stop_cleanly()
}

/// The SHA-256 of what curl gets there.
pub fn download(host: &Namespace, target: &str, path: &str) -> Outcome<String> {
    let script = format!("set -o pipefail; curl -sS --fail --max-time 60 http://{target}{path} | sha256sum");
    let answer = host.run("/bin/bash", ["-c", &script])?;
    Ok(answer.split_whitespace().next().unwrap_or_default().to_owned())
}

/// What is too long for a link is cut by whoever sends it, over IPv6 as over IPv4, and passes.
fn udp_of_all_sizes(driver: Driver) -> Outcome {
    let stage = start(driver, Plan::new(Arms::Two), |_| {})?;
    let report = stage.traffic(&["udp", UDP_ECHO6, "--from", "1", "--to", "6000", "--step", "3"])?;
    ensure!(report["answered"] == 2000 && report["wrong"] == serde_json::json!([]), "{report}");
    let retried = report["retried"].as_array().map_or(usize::MAX, Vec::len);
    ensure!(retried <= PMTU_LOSSES, "{retried} datagrams were lost at first: {report}");
    Ok(())
}

fn fragments_in_any_order(driver: Driver) -> Outcome {
    let stage = start(driver, Plan { queues: 2, ..Plan::new(Arms::Two) }, |config| config.cpus = vec![0, 1])?;
    let source = format!("[{}]:9999", six::client(0));
    for order in ["forward", "reverse", "middle"] {
        let words = ["fragments", UDP_ECHO6, "--source", &source, "--next-hop", "020000000201", "--order", order];
        // 1448 bytes fill the client's link; behind the gateway they are 1468 bytes, and cut again for the overlay.
        for piece in ["1448", "600"] {
            let report = stage.traffic(&[&words[..], &["--piece", piece, "--count", "20"]].concat())?;
            ensure!(report["answered"] == 20, "{order}, pieces of {piece}: {report}");
        }
    }
    Ok(())
}

fn ping_to_the_vip(driver: Driver) -> Outcome {
    let stage = start(driver, Plan::new(Arms::Two), |_| {})?;
    let vip = VIP.to_string();
    for size in ["0", "56", "1400", "1452"] {
        let args = ["-6", "-c", "3", "-i", "0.05", "-W", "2", "-M", "do", "-s", size, &vip];
        let answer = stage.network.client().run("ping", args)?;
        ensure!(answer.contains("3 received"), "{answer}");
    }
    Ok(())
}

fn too_large_is_told(driver: Driver) -> Outcome {
    let stage = start(driver, Plan::new(Arms::Two), |_| {})?;
    let mut capture = Capture::start(stage.network.client(), "eth0", 1, "icmp6 and ip6[40] == 2")?;
    let fills_the_link = (1500 - HEADERS).to_string();
    let words = ["udp", UDP_ECHO6, "--from", &fills_the_link, "--to", &fills_the_link, "--rounds", "3"];
    let report = stage.traffic(&words)?;
    ensure!(report["answered"] == 3 && report["retried"] == serde_json::json!([1452]), "{report}");
    let text = capture.finish(LIMIT)?;
    ensure!(text.contains(&format!("packet too big, mtu {MTU_OF_THE_OVERLAY}")), "{text}");
    Ok(())
}

/// A router between says that what a task sends is too long: the task learns it, in its own IP version.
fn narrow_way(driver: Driver) -> Outcome {
    let stage = start(driver, Plan::new(Arms::Two), |_| {})?;
    let far = six::add_far_client(&stage.network, 1300)?;
    let file = stage.servers.share("some", 2 << 20)?;
    let wanted = hash(&file)?;
    let mut captures = Vec::new();
    for node in &stage.network.nodes {
        captures.push(Capture::start(&node.tasks[0].namespace, "eth0", 1, "icmp[0] == 3 and icmp[1] == 4")?);
    }
    for _ in 0..2 {
        ensure!(download(&far, WEB6, "/files/some")? == wanted, "another file came down");
    }
    // Over TUN segments come joined, and are cut so short that there may be nothing to say.
    let captures = captures.iter_mut().filter(|_| driver == Driver::AfXdp);
    for capture in captures {
        let text = capture.finish(Duration::from_secs(5))?;
        ensure!(text.contains("need to frag (mtu 1280)"), "{text}");
    }
    Ok(())
}

fn errors_reach_the_client(driver: Driver) -> Outcome {
    let stage = start(driver, Plan::new(Arms::Two), |config| {
        let mut nobody = config.services[0].clone();
        (nobody.name, nobody.listen) = ("nobody".into(), format!("[{VIP}]:7999/udp"));
        nobody.backends.iter_mut().for_each(|backend| backend.address = backend.address.replace(":8000", ":7999"));
        config.services.push(nobody);
    })?;
    let client = stage.network.client();
    let report = stage.traffic(&["udp", "[2001:db8::1]:7999"])?;
    let told = report["errors"].to_string();
    ensure!(told.contains("Connection refused"), "a task's port unreachable does not reach the client: {report}");
    let refused = client.run("curl", ["-sS", "--max-time", "5", "http://[2001:db8::1]:8081/"]).err();
    if driver == Driver::Tun {
        let text = refused.map(|failure| failure.reason().to_owned()).unwrap_or_default();
        ensure!(text.contains("exit status: 7"), "no RST for a port without a service: {text}");
    }

    // The gateway is a hop, over TUN also the kernel that carries packets there.
    let hops = match driver {
        Driver::AfXdp => 1,
        Driver::Tun => 2,
    };
    let mut capture = Capture::start(client, "eth0", 1, "icmp6 and ip6[40] == 3")?;
    let (too_few, enough) = (i32::to_string(&hops), (hops + 1).to_string());
    let report = stage.traffic(&["udp", UDP_ECHO6, "--ttl", &too_few, "--timeout-ms", "300"])?;
    ensure!(report["answered"] == 0, "a datagram with hop limit {too_few} passed: {report}");
    let text = capture.finish(Duration::from_secs(5))?;
    ensure!(text.contains("time exceeded in-transit for 2001:db8::1"), "{text}");
    let report = stage.traffic(&["udp", UDP_ECHO6, "--ttl", &enough])?;
    ensure!(report["answered"] == 1, "one hop is one of the hop limit: {report}");
    Ok(())
}

fn addresses_are_shown(driver: Driver) -> Outcome {
    let stage = start(driver, Plan::new(Arms::Two), |_| {})?;
    let _held = held(&stage)?;
    let shown = stage.gateway.json(&["flow", "list", "--service", "tcp-echo-6"])?;
    let flow = rows(&shown["flows"]).first().or_else(|| rows(&shown).first()).cloned().unwrap_or_default();
    let (client, vip) = (flow["client"].as_str().unwrap_or_default(), flow["vip"].as_str().unwrap_or_default());
    ensure!(client.starts_with(&format!("[{}]:", six::client(0))) && vip == format!("[{VIP}]:7001"), "{shown}");
    ensure!(flow["backend"].as_str().is_some_and(|backend| backend.starts_with("10.0.0.1")), "{shown}");
    let text = stage.gateway.cli(&["flow", "list"])?;
    ensure!(text.contains(&six::client(0).to_string()), "{text}");
    for words in [&["flow", "list"][..], &["service", "list"], &["status"], &["service", "show", "web-6"]] {
        let text = stage.gateway.cli(words)?;
        let inside = text
            .split(|c: char| !(c.is_ascii_digit() || c == '.'))
            .find(|word| word.parse().is_ok_and(|address: std::net::Ipv4Addr| address.octets()[0] >= 240));
        ensure!(inside.is_none(), "{words:?} shows an address of the inside: {text}");
    }
    Ok(())
}

/// A connection that stands while others look.
fn held(stage: &Stage) -> Outcome<Process> {
    let script = "exec 3<>/dev/tcp/2001:db8::1/7001; echo hello >&3; head -n1 <&3; sleep 60";
    let mut process = stage.network.client().spawn("held", "/bin/bash", ["-c", script])?;
    process.wait_for_line("hello", LIMIT)?;
    Ok(process)
}

/// All ways between the two versions but that of tasks.
fn plain_backends(driver: Driver) -> Outcome {
    let network = Plan { plain: 2, nodes: 1, ..Plan::new(Arms::Two) }.build()?;
    six::enable(&network)?;
    let mut servers = Vec::new();
    let mut echoes = Vec::new();
    for (host, name) in network.plain.iter().zip(["A", "B"]) {
        servers.push(Nginx::start_both(&host.namespace, name, 8000)?);
        echoes.push(start_tool(&host.namespace, "udp-echo", "[::]:7000")?);
    }
    let by_six = |port: u16| (0..2).map(|n| Backend::new(format!("[{}]:{port}", six::plain(n)), None)).collect();
    let by_four =
        |port: u16| network.plain.iter().map(|host| Backend::new(format!("{}:{port}", host.address()), None)).collect();
    let mut config = base_config(&network, driver);
    config.services = vec![
        Service::new("six-six", "[2001:db8::1]:8080/tcp", by_six(8000)),
        Service::new("six-four", "[2001:db8::1]:8081/tcp", by_four(8000)),
        Service::new("four-six", "198.18.0.1:8080/tcp", by_six(8000)),
        Service::new("udp-six-six", "[2001:db8::1]:7000/udp", by_six(7000)),
        Service::new("udp-six-four", "[2001:db8::1]:7001/udp", by_four(7000)),
        Service::new("udp-four-six", "198.18.0.1:7000/udp", by_six(7000)),
    ];
    let gateway = Gateway::start(&network, &config)?;
    let client = network.client();
    let file = Servers { web: servers, udp_echo: Vec::new(), tcp_echo: Vec::new() };
    let wanted = hash(&file.share("some", 4 << 20)?)?;
    for target in [WEB6, "[2001:db8::1]:8081", WEB] {
        let during = |failure: tests::Failure| failure.during(target);
        let answers: Vec<_> = (0..4).map(|_| curl(client, target)).collect::<Outcome<_>>().map_err(during)?;
        ensure!(answers.concat() == "ABAB" || answers.concat() == "BABA", "{target}: {answers:?}");
        let load = traffic(client, &["connections", target, "--count", "200", "--at-once", "20"])?;
        all_succeeded(&load, 200).map_err(during)?;
        ensure!(download(client, target, "/files/some").map_err(during)? == wanted, "{target}: another file");
    }
    for target in [UDP_ECHO6, "[2001:db8::1]:7001", UDP_ECHO] {
        let report = traffic(client, &["udp", target, "--from", "1", "--to", "4000", "--step", "13"])?;
        ensure!(report["lost"] == serde_json::json!([]) && report["wrong"] == report["lost"], "{target}: {report}");
        let retried = report["retried"].as_array().map_or(usize::MAX, Vec::len);
        ensure!(retried <= PMTU_LOSSES, "{target}: {retried} datagrams were lost at first: {report}");
    }
    gateway.stop_cleanly()
}

/// IPv6 VIPs are added to a gateway that has none, and taken away again; who is connected to another one stays.
fn comes_and_goes(driver: Driver) -> Outcome {
    let network = Plan::new(Arms::Two).build()?;
    six::enable(&network)?;
    network.client().ip(&format!("route add 2001:db8::/64 via {}", six::GATEWAY))?;
    let servers = Servers::start(network.nodes.iter().map(|node| &node.tasks[0].namespace))?;
    let config = config(&network, driver);
    let gateway = Gateway::start(&network, &config)?;
    let stage = Stage { gateway, servers, network };
    let client = stage.network.client();
    let with = |vips: &[&str]| {
        let mut config = config.clone();
        for (n, vip) in vips.iter().enumerate() {
            let mut echo = task_service(&stage.network, &format!("echo-{n}"), "7001/tcp", 7001);
            echo.listen = format!("[{vip}]:7001/tcp");
            let mut web = task_service(&stage.network, &format!("web-{n}"), "8080/tcp", 8000);
            web.listen = format!("[{vip}]:8080/tcp");
            config.services.extend([echo, web]);
        }
        stage.gateway.reload(&config)
    };
    let answers = |vip: &str| client.run("curl", ["-sS", "--max-time", "1", &format!("http://[{vip}]:8080/")]).is_ok();
    let soon = Duration::from_secs(10);
    with(&["2001:db8::1"])?;
    wait_until("the new VIP", soon, || Ok(answers("2001:db8::1")))?;
    let script = "exec 3<>/dev/tcp/2001:db8::1/7001; for n in $(seq 60); do echo $n >&3; read -t5 -u3 a && echo got $a; sleep 0.1; done";
    let mut held = client.spawn("held", "/bin/bash", ["-c", script])?;
    held.wait_for_line("got 1", soon)?;
    for vips in [&["2001:db8::5", "2001:db8::1"][..], &["2001:db8::9", "2001:db8::1", "2001:db8::5"], &["2001:db8::1"]]
    {
        with(vips)?;
        for vip in vips {
            wait_until(vip, soon, || Ok(answers(vip)))?;
        }
    }
    wait_until("no answer from a VIP that is gone", soon, || Ok(!answers("2001:db8::5")))?;
    ensure!(held.finish(LIMIT)?.contains("got 60"), "a connection has ended: {}", held.log());
    with(&[])?;
    wait_until("no answer from the last one", soon, || Ok(!answers("2001:db8::1")))?;
    ensure!(stage.curl().is_ok(), "IPv4 was served all the time");
    Ok(())
}
