//! TCP: who answers, and whether all bytes arrive.

use crate::runner::{Load, Scenarios};
use crate::stage::{WEB, all_succeeded, hash, kernel_count, report, start};
use std::time::Duration;
use tests::config::Driver;
use tests::gateway::task_service;
use tests::network::{Arms, Offloads, Plan};
use tests::{Outcome, ensure};

const BIG_BYTES: usize = 100 << 20;

pub fn add(scenarios: &mut Scenarios) {
    scenarios.each_driver("curl_alternates_strictly", Load::Light, curl_alternates_strictly);
    scenarios.each_driver("one_armed", Load::Light, one_armed);
    scenarios.each_driver("every_kind_of_offload", Load::Light, every_kind_of_offload);
    scenarios.each_driver("ten_thousand_in_a_row", Load::Heavy, ten_thousand_in_a_row);
    scenarios.each_driver("five_hundred_at_a_time", Load::Heavy, five_hundred_at_a_time);
    scenarios.each_driver("hundred_megabytes_down_and_up", Load::Heavy, hundred_megabytes);
    scenarios.each_driver("iperf3_both_ways", Load::Heavy, iperf3_both_ways);
    scenarios.each_driver("far_more_than_64000_connections_to_one_task", Load::Heavy, port_range_wraps);
}

fn curl_alternates_strictly(driver: Driver) -> Outcome {
    let stage = start(Plan::new(Arms::Two), driver, |config| config.cpus = vec![0, 1])?;
    let answers: Vec<_> = (0..40).map(|_| stage.curl()).collect::<Outcome<_>>()?;
    let strict = answers.windows(2).all(|pair| pair[0] != pair[1] && ["A", "B"].contains(&pair[0].as_str()));
    ensure!(strict, "not in turn: {}", answers.concat());
    stage.gateway.stop_cleanly()
}

fn one_armed(driver: Driver) -> Outcome {
    let stage = start(Plan { clients: 2, ..Plan::new(Arms::One) }, driver, |_| {})?;
    let load = stage.traffic(&["connections", WEB, "--count", "500", "--at-once", "20"])?;
    all_succeeded(&load, 500)?;
    let file = stage.servers.share("some", 5 << 20)?;
    ensure!(stage.download_hash("/files/some")? == hash(&file)?, "another file arrived");
    Ok(())
}

/// End hosts that leave checksums unfinished and packets uncut, those that only leave checksums, and those that do neither.
fn every_kind_of_offload(driver: Driver) -> Outcome {
    for offloads in [Offloads::Untouched, Offloads::NoSegmentation, Offloads::Off] {
        let stage = start(Plan { offloads, ..Plan::new(Arms::Two) }, driver, |_| {})?;
        let file = stage.servers.share("some", 8 << 20)?;
        let wanted = hash(&file)?;
        for _ in 0..2 {
            ensure!(stage.download_hash("/files/some")? == wanted, "another file arrived ({offloads:?})");
        }
        upload(&stage, &file).map_err(|failure| failure.during(&format!("{offloads:?}")))?;
    }
    Ok(())
}

fn ten_thousand_in_a_row(driver: Driver) -> Outcome {
    let stage = start(Plan::new(Arms::Two), driver, |_| {})?;
    let load = stage.traffic(&["connections", WEB, "--count", "10000"])?;
    all_succeeded(&load, 10_000)?;
    ensure!(load["answers"]["A"] == 5000 && load["answers"]["B"] == 5000, "unfair: {load}");
    Ok(())
}

fn five_hundred_at_a_time(driver: Driver) -> Outcome {
    let plan = Plan { queues: 2, ..Plan::new(Arms::Two) };
    let stage = start(plan, driver, |config| config.cpus = vec![0, 1])?;
    let load = stage.traffic(&["connections", WEB, "--count", "10000", "--at-once", "500"])?;
    all_succeeded(&load, 10_000)
}

fn hundred_megabytes(driver: Driver) -> Outcome {
    let stage = start(Plan::new(Arms::Two), driver, |_| {})?;
    let file = stage.servers.share("big", BIG_BYTES)?;
    let wanted = hash(&file)?;
    for _ in 0..2 {
        ensure!(stage.download_hash("/files/big")? == wanted, "another file came down");
    }
    upload(&stage, &file)
}

/// Puts a file into a web server and compares it there.
pub fn upload(stage: &crate::stage::Stage, file: &std::path::Path) -> Outcome {
    let source = file.display().to_string();
    let target = format!("http://{WEB}/files/uploaded");
    stage.network.client().run("curl", ["-sS", "--fail", "--max-time", "100", "-T", &source, &target])?;
    let arrived = stage.servers.web.iter().map(|web| web.files.join("uploaded")).find(|path| path.exists());
    let Some(arrived) = arrived else { return Err(tests::Failure::new("no upload arrived")) };
    ensure!(hash(&arrived)? == hash(file)?, "another file went up");
    std::fs::remove_file(arrived)?;
    Ok(())
}

/// iperf3 opens a control and a data connection: they must reach the same task, so the service has only one.
fn iperf3_both_ways(driver: Driver) -> Outcome {
    let plan = Plan { nodes: 1, ..Plan::new(Arms::Two) };
    let network = plan.build()?;
    let mut config = tests::gateway::base_config(&network, driver);
    config.services = vec![task_service(&network, "iperf", "5201/tcp", 5201)];
    let _gateway = tests::gateway::Gateway::start(&network, &config)?;
    let _server = network.nodes[0].tasks[0].namespace.spawn("iperf3", "iperf3", ["-s", "-4"])?;
    tests::servers::wait_listening(&network.nodes[0].tasks[0].namespace, 5201)?;
    for reverse in [&[][..], &["-R"]] {
        let args = [&["-c", "198.18.0.1", "-t", "2", "-P", "2", "-J"], reverse].concat();
        let report = report(&network.client().run("iperf3", args)?.replace('\n', " "))?;
        let bytes = report["end"]["sum_received"]["bytes"].as_u64().unwrap_or(0);
        ensure!(bytes > 10_000_000, "only {bytes} bytes in 2 s");
    }
    Ok(())
}

/// Behind one SNAT address every client has another TCP clock. When the port range has gone round, the task still has the
/// old connections in TIME-WAIT and refuses a SYN whose time stamp went back: that must not happen to anybody.
fn port_range_wraps(driver: Driver) -> Outcome {
    let plan = Plan { nodes: 1, addresses: 16, ..Plan::new(Arms::Two) };
    let stage = start(plan, driver, |_| {})?;
    let task = &stage.network.nodes[0].tasks[0].namespace;
    task.sysctl("net.ipv4.tcp_max_tw_buckets", "262144")?;
    let mut words: Vec<String> = ["connections", WEB, "--count", "66000", "--at-once", "32"].map(str::to_owned).into();
    for address in &stage.network.clients[0].addresses {
        words.extend(["--source".into(), address.to_string()]);
    }
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let load = stage.traffic(&words)?;
    all_succeeded(&load, 66_000)?;
    let number = |key: &str| Duration::from_millis(load[key].as_u64().unwrap_or(u64::MAX));
    ensure!(number("took_ms") < Duration::from_mins(1), "too slow to say anything: {load}");
    let again = kernel_count(stage.network.client(), "TcpExt", "TCPSynRetrans")?;
    // Not every kernel counts them apart.
    let refused = kernel_count(task, "TcpExt", "PAWSTimewait").unwrap_or(0);
    ensure!(again == 0 && refused == 0, "{refused} SYNs were refused, {again} sent again: {load}");
    // And the echo service on the same task is untouched by all that.
    let echo = stage.traffic(&["udp", crate::stage::UDP_ECHO, "--to", "10"])?;
    ensure!(echo["answered"] == 10, "{echo}");
    Ok(())
}
