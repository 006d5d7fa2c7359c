//! Frames that are damaged, forged or random, while honest traffic flows.

use crate::runner::{Load, Scenarios};
use crate::stage::{LIMIT, Stage, UDP_ECHO, WEB, all_succeeded, finish, start, traffic};
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};
use std::path::PathBuf;
use std::time::Duration;
use tests::capture::Capture;
use tests::clock::{wait_for, wait_until};
use tests::config::Driver;
use tests::namespace::Namespace;
use tests::network::{Arms, GATEWAY_UNDERLAY, Plan, VNI};
use tests::traffic::fragments::hex;
use tests::traffic::packet::{Ipv4Fields, internet_checksum, ipv4_frame, udp_datagram};
use tests::{Outcome, ensure, six};

/// Of the gateway's two interfaces.
const FRONT_MAC: [u8; 6] = [2, 0, 0, 0, 2, 1];
const UNDERLAY_MAC: [u8; 6] = [2, 0, 0, 0, 1, 1];
const OVERLAY_MAC: [u8; 6] = [2, 0x42, 10, 0, 0, 3];
const TASK_MAC: [u8; 6] = [2, 0x42, 10, 0, 0, 11];
/// Whoever sends: the switch does not care.
const SENDER_MAC: [u8; 6] = [2, 0, 0, 0, 9, 9];

const PLAIN: Ipv4Fields = Ipv4Fields { id: 7, offset_bytes: 0, more: false, ttl: 64, protocol: 17 };

pub fn add(scenarios: &mut Scenarios) {
    scenarios.each_driver("damaged_frames_harm_nobody", Load::Heavy, damaged_frames);
    scenarios.each_driver("ipv6_damaged_frames_harm_nobody", Load::Light, damaged_six);
    scenarios.each_driver("forged_replies_do_not_pass", Load::Light, forged_replies);
}

fn at(address: [u8; 4], port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::from(address), port)
}

fn udp_frame(macs: ([u8; 6], [u8; 6]), from: SocketAddrV4, to: SocketAddrV4, ip: Ipv4Fields, body: &[u8]) -> Vec<u8> {
    ipv4_frame(macs, (from, to), ip, &udp_datagram(from, to, body))
}

/// A VXLAN packet from `outer` around an inner frame.
fn vxlan_frame(outer: [u8; 4], vni: u32, inner: &[u8]) -> Vec<u8> {
    let id = vni.to_be_bytes();
    let payload = [&[8, 0, 0, 0, id[1], id[2], id[3], 0][..], inner].concat();
    let to = SocketAddrV4::new(GATEWAY_UNDERLAY, 4789);
    udp_frame((SENDER_MAC, UNDERLAY_MAC), at(outer, 50_000), to, PLAIN, &payload)
}

fn syn(from: SocketAddrV4, to: SocketAddrV4) -> Vec<u8> {
    let mut segment = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
    segment.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x60, 0x02, 0xff, 0xff, 0, 0, 0, 0, 2, 4, 5, 0xb4]);
    let pseudo = [&from.ip().octets()[..], &to.ip().octets(), &[0, 6, 0, segment.len() as u8]].concat();
    let checksum = internet_checksum(&[&pseudo, &segment]);
    segment[16..18].copy_from_slice(&checksum.to_be_bytes());
    segment
}

/// One frame of each kind that a client could send.
fn client_frames() -> Vec<Vec<u8>> {
    let macs = (SENDER_MAC, FRONT_MAC);
    // An address of the client's net that nobody has: answers go nowhere.
    let from = at([198, 18, 2, 200], 6666);
    let (web, echo) = (at([198, 18, 0, 1], 8080), at([198, 18, 0, 1], 7000));
    let tcp = Ipv4Fields { protocol: 6, ..PLAIN };
    let icmp = Ipv4Fields { protocol: 1, ..PLAIN };
    let quoted = udp_frame(macs, echo, from, PLAIN, b"quoted");
    let unreachable = [&[3, 3, 0, 0, 0, 0, 0, 0][..], &quoted[14..]].concat();
    vec![
        udp_frame(macs, from, echo, PLAIN, b"hello"),
        udp_frame(macs, from, echo, Ipv4Fields { more: true, ..PLAIN }, &[0; 64]),
        udp_frame(macs, from, echo, Ipv4Fields { offset_bytes: 64, ..PLAIN }, &[0; 64]),
        udp_frame(macs, from, echo, Ipv4Fields { offset_bytes: 65_528, ..PLAIN }, &[0; 64]),
        udp_frame(macs, from, at([198, 18, 0, 1], 1), PLAIN, b"no such service"),
        ipv4_frame(macs, (from, web), tcp, &syn(from, web)),
        ipv4_frame(macs, (from, web), icmp, &[8, 0, 0xf7, 0xff, 0, 0, 0, 0]),
        ipv4_frame(macs, (from, web), icmp, &unreachable),
        ipv4_frame(macs, (from, web), Ipv4Fields { protocol: 47, ..PLAIN }, &[0; 40]),
    ]
}

/// One frame of each kind that somebody in the underlay could send.
fn underlay_frames() -> Vec<Vec<u8>> {
    let (task, gateway) = (at([10, 0, 0, 11], 8000), at([10, 0, 0, 3], 20_000));
    let macs = (TASK_MAC, OVERLAY_MAC);
    let reply = ipv4_frame(macs, (task, gateway), Ipv4Fields { protocol: 6, ..PLAIN }, &syn(task, gateway));
    let datagram = udp_frame(macs, task, gateway, PLAIN, b"unasked");
    let elsewhere = udp_frame((TASK_MAC, SENDER_MAC), task, at([10, 0, 0, 99], 1), PLAIN, b"not for us");
    let mut frames = Vec::new();
    for outer in [[198, 18, 1, 11], [198, 18, 1, 99]] {
        for inner in [&reply, &datagram, &elsewhere] {
            frames.push(vxlan_frame(outer, VNI, inner));
            frames.push(vxlan_frame(outer, VNI + 1, inner));
        }
    }
    frames
}

/// Writes frames into a file for the traffic tool.
fn write_frames(host: &Namespace, name: &str, frames: &[Vec<u8>]) -> Outcome<PathBuf> {
    let hex = |frame: &Vec<u8>| frame.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    let path = host.dir().join(name);
    fs::write(&path, frames.iter().map(hex).collect::<Vec<_>>().join("\n"))?;
    Ok(path)
}

/// For how many reasons packets were dropped.
fn kinds_of_drops(stage: &Stage) -> Outcome<usize> {
    let counters = stage.gateway.json(&["counters"])?;
    let drops = counters["total"]["drops"].as_object();
    Ok(drops.map_or(0, |drops| drops.values().filter(|count| count.as_u64() > Some(0)).count()))
}

/// What Linux sends over IPv6 (the golden packets of `wire`), from an address that nobody has, to the VIP's services.
fn client_frames_six() -> Outcome<Vec<Vec<u8>>> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../datapath/wire/tests/golden");
    let from = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x66).octets();
    let mut frames = Vec::new();
    for name in ["tcp", "udp_refused", "fragments", "echo", "time_exceeded", "too_big"] {
        let text = fs::read_to_string(format!("{directory}/six_{name}.hex"))?;
        for packet in text.lines().filter_map(|line| line.strip_prefix("six_")?.split_once(' ')) {
            let mut packet = hex(packet.1)?;
            packet.truncate(1500);
            packet[8..24].copy_from_slice(&from);
            packet[24..40].copy_from_slice(&six::VIP.octets());
            let port: u16 = if packet[6] == 6 { 8080 } else { 7000 };
            if matches!(packet[6], 6 | 17) {
                packet[42..44].copy_from_slice(&port.to_be_bytes());
            }
            frames.push([&FRONT_MAC[..], &SENDER_MAC, &[0x86, 0xdd], &packet].concat());
        }
    }
    Ok(frames)
}

fn damaged_six(driver: Driver) -> Outcome {
    let stage = crate::six::start(driver, Plan::new(Arms::Two), |_| {})?;
    let mut load = stage.begin(&["connections", crate::six::WEB6, "--count", "2000", "--at-once", "4"])?;
    let client = stage.network.client();
    let file = write_frames(client, "six.hex", &client_frames_six()?)?.display().to_string();
    for seed in ["1", "2", "3", "4"] {
        let sent = traffic(client, &["frames", &file, "--damaged", "5000", "--seed", seed])?;
        ensure!(sent["sent"].as_u64() > Some(4000), "nothing was sent: {sent}");
    }
    all_succeeded(&finish(&mut load)?, 2000)?;
    ensure!(kinds_of_drops(&stage)? >= 2, "damaged frames went uncounted: {}", stage.gateway.cli(&["counters"])?);
    stage.gateway.stop_cleanly()
}

fn damaged_frames(driver: Driver) -> Outcome {
    let mut stage = start(Plan { plain: 1, ..Plan::new(Arms::Two) }, driver, |_| {})?;
    let mut load = stage.begin(&["connections", WEB, "--count", "10000", "--at-once", "4"])?;
    let (client, stranger) = (stage.network.client(), &stage.network.plain[0].namespace);
    let from_client = write_frames(client, "client.hex", &client_frames())?.display().to_string();
    let from_underlay = write_frames(stranger, "underlay.hex", &underlay_frames())?.display().to_string();
    let mut seed = 0u64;
    while load.is_running()? {
        seed += 1;
        let seed = seed.to_string();
        for (host, file) in [(client, &from_client), (stranger, &from_underlay)] {
            traffic(host, &["frames", file, "--damaged", "2000", "--seed", &seed])?;
        }
    }
    all_succeeded(&finish(&mut load)?, 10_000)?;
    ensure!(seed >= 3, "hardly any damage was done while the load ran");
    ensure!(stage.gateway.process.is_running()?, "the gateway died");
    // What the pipeline saw of it is told by reason. (Over TUN the kernel has dropped most of it before.)
    ensure!(kinds_of_drops(&stage)? >= 2, "damaged frames went uncounted: {}", stage.gateway.cli(&["counters"])?);
    stage.gateway.stop_cleanly()
}

/// A datagram that looks like the task's answer, but comes from a host that is no VTEP. Sent from the right VTEP's address
/// it passes, which shows that nothing else is wrong with it.
fn forged_replies(driver: Driver) -> Outcome {
    let stage = start(Plan { plain: 1, nodes: 1, ..Plan::new(Arms::Two) }, driver, |_| {})?;
    let until = stage.network.lab.dir().join("enough");
    let mut steady = stage.begin(&["steady", UDP_ECHO, "--udp", "--until", &until.display().to_string()])?;
    steady.wait_for_line("ready", Duration::from_secs(5))?;
    let snat = wait_for("the flow", Duration::from_secs(2), || snat_port(&stage))?;
    let (task, own) = (at([10, 0, 0, 11], 7000), at([10, 0, 0, 3], snat));
    let forged = udp_frame((TASK_MAC, OVERLAY_MAC), task, own, PLAIN, b"FORGED");
    let stranger = &stage.network.plain[0].namespace;
    // "FORG" at the start of a UDP payload.
    let seen = Capture::start(stage.network.client(), "eth0", 2, "udp[8:4] = 0x464f5247")?;
    let forgeries = || seen.text().matches("198.18.0.1.7000 >").count();
    let send = |outer, vni, name: &str| {
        let file = write_frames(stranger, name, &[vxlan_frame(outer, vni, &forged)])?;
        traffic(stranger, &["frames", &file.display().to_string()])
    };
    let before = stage.gateway.json(&["counters"])?["total"]["drops"].clone();
    send([198, 18, 1, 99], VNI, "stranger.hex")?;
    send([198, 18, 1, 11], VNI + 1, "vni.hex")?;
    wait_until("a counted drop", Duration::from_secs(2), || {
        // Over AF_XDP the other VNI is nobody's business and goes to the kernel; the stranger is ours to refuse.
        Ok(stage.gateway.json(&["counters"])?["total"]["drops"] != before)
    })?;
    ensure!(forgeries() == 0, "a forged answer reached the client");
    send([198, 18, 1, 11], VNI, "right.hex")?;
    wait_until("the right one at the client", Duration::from_secs(3), || Ok(forgeries() > 0))?;
    // Ten honest exchanges later the others would have come, too.
    fs::write(until, "")?;
    steady.finish(LIMIT)?;
    ensure!(forgeries() == 1, "a forged answer reached the client:\n{}", seen.text());
    Ok(())
}

fn snat_port(stage: &Stage) -> Outcome<Option<u16>> {
    let flows = stage.gateway.json(&["flow", "list", "--service", "udp-echo"])?;
    let snat = crate::changes::rows(&flows).first().and_then(|flow| flow["snat"].as_str()).map(str::to_owned);
    Ok(snat.and_then(|snat| snat.rsplit(':').next().and_then(|port| port.parse().ok())))
}
