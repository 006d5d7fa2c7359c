//! Flows that are lent to the XDP program: nobody notices, and every packet is counted once.

use crate::changes::rows;
use crate::runner::{Load, Scenarios};
use crate::stage::{
    LIMIT, Servers, Stage, TCP_ECHO, UDP_ECHO, WEB, all_succeeded, config, finish, hash, kernel_count, start,
};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tests::clock::{wait_for, wait_until};
use tests::config::{Backend, Config, Driver, Service};
use tests::gateway::{Gateway, task_service};
use tests::namespace::{Namespace, Process};
use tests::network::{Arms, Offloads, Plan, set_gro};
use tests::servers::Nginx;
use tests::{Failure, Outcome, ensure};

/// The same as [`WEB`] from servers outside the overlay.
const PLAIN_WEB: &str = "198.18.0.1:8081";
const FILE_BYTES: usize = 32 << 20;
/// What a download at 2 MB/s has not done with in [`LIMIT`].
const ENDLESS_BYTES: usize = 1 << 30;
/// How long a wait may take before the test fails: the machine may have other things to do.
const PATIENCE: Duration = Duration::from_secs(30);

pub fn add(scenarios: &mut Scenarios) {
    scenarios.af_xdp("shortcuts_every_packet_is_counted_once", Load::Light, counted_once);
    scenarios.af_xdp("shortcuts_files_arrive_both_ways", Load::Heavy, files_arrive);
    scenarios.af_xdp("shortcuts_datagrams_of_one_socket", Load::Light, datagrams);
    scenarios.af_xdp("shortcuts_removed_backend_resets_both_ends", Load::Light, backend_removed);
    scenarios.af_xdp("shortcuts_drained_backend_keeps_its_flow", Load::Light, backend_drained);
    scenarios.af_xdp("shortcuts_reload_under_load", Load::Heavy, reload_under_load);
    scenarios.af_xdp("shortcuts_connections_close_behind_them", Load::Light, closed_behind);
    scenarios.af_xdp("shortcuts_only_where_links_take_them", Load::Light, only_where_taken);
    scenarios.af_xdp("shortcuts_end_when_a_link_takes_them_no_more", Load::Light, taken_no_more);
    scenarios.af_xdp("shortcuts_one_armed_on_two_workers", Load::Heavy, one_armed);
    scenarios.af_xdp("shortcuts_two_armed_on_two_workers", Load::Heavy, two_armed);
    scenarios.af_xdp("shortcuts_silent_flow_expires", Load::Light, silent_flow);
    scenarios.af_xdp("shortcuts_keep_flows_alive", Load::Light, kept_alive);
}

/// As [`start`], where redirected frames arrive.
fn stage(plan: Plan, driver: Driver, change: impl FnOnce(&mut Config)) -> Outcome<Stage> {
    start(Plan { redirects: true, ..plan }, driver, change)
}

/// One task: whatever its service counts, it counts of that one.
const ONE_TASK: Plan = Plan { nodes: 1, ..Plan::new(Arms::Two) };

fn task(stage: &Stage) -> &Namespace {
    &stage.network.nodes[0].tasks[0].namespace
}

fn lent(stage: &Stage) -> Outcome<u64> {
    stage.gateway.counter("shortcut_packets")
}

/// Waits until so many more packets went by the workers.
fn wait_lent(stage: &Stage, more: u64) -> Outcome {
    let wanted = lent(stage)? + more;
    wait_until("packets of lent flows", PATIENCE, || Ok(lent(stage)? >= wanted))
}

fn nothing_dropped(stage: &Stage) -> Outcome {
    nothing_dropped_but(stage, &[])
}

/// RSTs of a client that has left before its answer are old news once the server has heard of it.
fn nothing_dropped_but_resets(stage: &Stage) -> Outcome {
    nothing_dropped_but(stage, &["reset_out_of_window"])
}

fn nothing_dropped_but(stage: &Stage, reasons: &[&str]) -> Outcome {
    let counters = stage.gateway.json(&["counters"])?;
    let drops = counters["total"]["drops"].as_object().ok_or_else(|| Failure::new(format!("{counters}")))?;
    let some: Vec<_> = drops.iter().filter(|(name, count)| **count != 0 && !reasons.contains(&name.as_str())).collect();
    ensure!(some.is_empty(), "dropped: {some:?}");
    Ok(())
}

/// Requests on one connection; all answers.
fn keep_alive(stage: &Stage, count: usize, further: &[&str]) -> Outcome<Vec<String>> {
    let urls = format!("http://{WEB}/?[1-{count}]");
    let words = ["-sS", "--fail", "--max-time", "60", "-w", "%{num_connects}\n", &urls];
    let told = stage.network.client().run("curl", [&words[..], further].concat())?;
    let (names, connects): (Vec<_>, Vec<_>) = told.lines().partition(|line| line.starts_with(char::is_alphabetic));
    ensure!(connects.iter().filter(|count| **count != "0").count() <= 1, "several connections");
    Ok(names.into_iter().map(str::to_owned).collect())
}

fn all_from_a(answers: &[String], count: usize) -> Outcome {
    ensure!(answers.len() == count && answers.iter().all(|name| name == "A"), "of {count} answers: {answers:?}");
    Ok(())
}

/// Packets and bytes from the client, and to it.
type Counts = [u64; 4];

/// As the client's kernel counts them, all protocols together.
fn seen_by_client(stage: &Stage) -> Outcome<Counts> {
    let counts = [("Ip", "OutRequests"), ("IpExt", "OutOctets"), ("Ip", "InReceives"), ("IpExt", "InOctets")];
    let mut seen = Counts::default();
    for (seen, (protocol, name)) in seen.iter_mut().zip(counts) {
        *seen = kernel_count(stage.network.client(), protocol, name)?;
    }
    Ok(seen)
}

/// As the backends of a service count them.
fn counted(stage: &Stage, service: &str) -> Outcome<Counts> {
    let list = stage.gateway.json(&["backend", "list", service])?;
    let sum = |key: &str| rows(&list).iter().filter_map(|row| row[key].as_u64()).sum();
    Ok(["packets_in", "bytes_in", "packets_out", "bytes_out"].map(sum))
}

/// Waits until lent flows have come back and told what they saw.
fn counts_agree(stage: &Stage, service: &str, seen: impl Fn() -> Outcome<Counts>) -> Outcome<Counts> {
    let both = || Outcome::Ok((counted(stage, service)?, seen()?));
    let agreed = wait_for("counts of a silent flow", PATIENCE, || {
        let (counted, seen) = both()?;
        Ok((counted == seen).then_some(counted))
    });
    let (counted, seen) = both()?;
    let told = format!("counted [packets, bytes, …] {counted:?}, {seen:?} crossed");
    let counts = agreed.map_err(|failure| failure.during(&told))?;
    let [counted, passed] = [lent(stage)?, stage.gateway.counter("xdp_shortcut")?];
    ensure!(counted == passed, "{passed} packets of lent flows passed, {counted} are counted");
    Ok(counts)
}

/// With lent flows and without, services count the packets and bytes that crossed.
fn counted_once(driver: Driver) -> Outcome {
    for mode in ["auto", "never"] {
        counted_once_in(driver, mode).map_err(|failure| failure.during(&format!("with shortcuts = {mode:?}")))?;
    }
    Ok(())
}

fn counted_once_in(driver: Driver, mode: &str) -> Outcome {
    let network = Plan { redirects: true, ..ONE_TASK }.build()?;
    let servers = Servers::start([&network.nodes[0].tasks[0].namespace])?;
    let mut config = config(&network, driver);
    config.shortcuts = Some(mode.into());
    let log = network.gateway.dir().join("flows.jsonl");
    let table = format!("\n[flow_log]\npath = \"{}\"", log.display());
    config.overlay.get_or_insert_default().push_str(&table);
    let stage = Stage { gateway: Gateway::start(&network, &config)?, servers, network };
    all_from_a(&keep_alive(&stage, 500, &[])?, 500)?;
    let counts = counts_agree(&stage, "web", || seen_by_client(&stage))?;
    ensure!(counts[0] > 500 && counts[2] > 500, "{counts:?} for 500 requests");
    let in_log = wait_for("the flow's end in the log", PATIENCE, || {
        let text = fs::read_to_string(&log)?;
        let end = text.lines().find(|line| line.contains("\"close\"") && line.ends_with('}'));
        Ok(end.map(serde_json::from_str::<Value>).transpose()?)
    })?;
    let way = |way: &str| [in_log["packets"][way].as_u64(), in_log["bytes"][way].as_u64()];
    let logged = [way("original"), way("reply")].concat();
    ensure!(logged == counts.map(Some), "{in_log} in the log, {counts:?} counted");
    let before = seen_by_client(&stage)?;
    let report = stage.traffic(&["udp", UDP_ECHO, "--from", "100", "--to", "600"])?;
    ensure!(report["answered"] == 501 && report["retried"] == serde_json::json!([]), "{report}");
    counts_agree(&stage, "udp-echo", || {
        let now = seen_by_client(&stage)?;
        Ok(std::array::from_fn(|at| now[at] - before[at]))
    })?;
    nothing_dropped(&stage)?;
    let lent = lent(&stage)?;
    ensure!((lent > 500) == (mode == "auto"), "{lent} packets of lent flows");
    stage.gateway.stop_cleanly()
}

/// The hash of what curl gets.
fn download(client: &Namespace, target: &str) -> Outcome<String> {
    let script = format!("set -o pipefail; curl -sS --fail --max-time 100 http://{target}/files/big | sha256sum");
    let told = client.run("/bin/bash", ["-c", &script])?;
    Ok(told.split_whitespace().next().unwrap_or_default().to_owned())
}

/// Puts a file there, and gives the hash of what the server has then.
fn upload(client: &Namespace, target: &str, file: &Path, server: &Nginx) -> Outcome<String> {
    let url = format!("http://{target}/files/uploaded");
    client.run("curl", ["-sS", "--fail", "--max-time", "100", "-T", &file.display().to_string(), &url])?;
    hash(&server.files.join("uploaded"))
}

/// Through the overlay and to a server outside.
fn files_arrive(driver: Driver) -> Outcome {
    for offloads in [Offloads::Untouched, Offloads::Off] {
        let network = Plan { offloads, plain: 1, redirects: true, ..ONE_TASK }.build()?;
        let outside = &network.plain[0];
        let servers = Servers::start([&network.nodes[0].tasks[0].namespace, &outside.namespace])?;
        let mut config = config(&network, driver);
        let plain = Backend::new(format!("{}:8000", outside.address()), None);
        config.services.push(Service::new("plain", &format!("{PLAIN_WEB}/tcp"), vec![plain]));
        let stage = Stage { gateway: Gateway::start(&network, &config)?, servers, network };
        for (target, server) in [WEB, PLAIN_WEB].into_iter().zip(&stage.servers.web) {
            let context = format!("{target} with {offloads:?}");
            file_arrives(&stage, target, server).map_err(|failure| failure.during(&context))?;
        }
        nothing_dropped(&stage).map_err(|failure| failure.during(&format!("{offloads:?}")))?;
    }
    Ok(())
}

fn file_arrives(stage: &Stage, target: &str, server: &Nginx) -> Outcome {
    let (client, file) = (stage.network.client(), server.files.join("big"));
    tests::servers::write_noise(&file, FILE_BYTES, 7)?;
    let wanted = hash(&file)?;
    let before = lent(stage)?;
    ensure!(download(client, target)? == wanted, "another file came down");
    wait_until("packets of a lent download", PATIENCE, || Ok(lent(stage)? > before))?;
    let before = lent(stage)?;
    ensure!(upload(client, target, &file, server)? == wanted, "another file went up");
    wait_until("packets of a lent upload", PATIENCE, || Ok(lent(stage)? > before))
}

/// A conversation until the file appears: of one connection, or of one socket of datagrams.
struct Talk {
    process: Process,
    until: PathBuf,
}

impl Talk {
    fn begin(stage: &Stage, words: &[&str]) -> Outcome<Talk> {
        let until = stage.network.lab.dir().join(format!("enough-{}", words[0]));
        let mut process = stage.begin(&[&["steady"], words, &["--until", &until.display().to_string()]].concat())?;
        process.wait_for_line("ready", PATIENCE)?;
        Ok(Talk { process, until })
    }

    /// Ends it. Every message must have come back.
    fn end(mut self) -> Outcome {
        fs::write(&self.until, "")?;
        let report = finish(&mut self.process)?;
        ensure!(report["lost"] == 0, "{report}");
        Ok(())
    }
}

/// Echoes for some seconds, then of all sizes, among them some that the program cannot send on.
fn datagrams(driver: Driver) -> Outcome {
    let stage = stage(Plan::new(Arms::Two), driver, |_| {})?;
    let talk = Talk::begin(&stage, &[UDP_ECHO, "--udp", "--pause-ms", "5"])?;
    // Two packets an echo, 200 echoes a second at best: four times as long as a loan is for.
    wait_lent(&stage, 1600)?;
    talk.end()?;
    let report = stage.traffic(&["udp", UDP_ECHO, "--to", "8000", "--step", "3"])?;
    ensure!(report["lost"] == serde_json::json!([]) && report["wrong"] == serde_json::json!([]), "{report}");
    let back = wait_until("the last echoes", PATIENCE, || Ok(lent(&stage)? == stage.gateway.counter("xdp_shortcut")?));
    back.and_then(|()| stage.gateway.stop_cleanly())
}

/// A download at 2 MB/s that is lent.
fn begin_download(stage: &Stage, len_bytes: usize) -> Outcome<(Process, String)> {
    let file = stage.servers.share("slow", 0)?;
    // Sparse, and the same in all tasks.
    fs::File::options().write(true).open(&file)?.set_len(len_bytes as u64)?;
    let script = format!("set -o pipefail; curl -sS --fail --max-time 100 http://{WEB}/slow/slow | sha256sum");
    let process = stage.network.client().spawn("download", "/bin/bash", ["-c", &script])?;
    wait_lent(stage, 100)?;
    Ok((process, hash(&file)?))
}

/// The backend that a service's one open flow goes to.
fn backend_of(stage: &Stage, service: &str) -> Outcome<String> {
    let flows = stage.gateway.json(&["flow", "list", "--service", service])?;
    let open = rows(&flows).iter().find(|flow| flow["state"] == "ESTABLISHED");
    let backend = open.and_then(|flow| flow["backend"].as_str());
    backend.map(str::to_owned).ok_or_else(|| Failure::new(format!("no open flow: {flows}")))
}

/// One that is busy and one that is silent, whose last numbers only the XDP program has seen.
fn backend_removed(driver: Driver) -> Outcome {
    let stage = stage(Plan::new(Arms::Two), driver, |_| {})?;
    let (mut download, _) = begin_download(&stage, ENDLESS_BYTES)?;
    stage.gateway.cli(&["backend", "remove", "web", &backend_of(&stage, "web")?])?;
    let status = download.wait(PATIENCE)?;
    ensure!(!status.success(), "the client took half a file for a whole one");
    ensure!(download.log().contains("reset"), "the client's end: {}", download.log());
    tasks_know(&stage)?;
    ensure!(stage.curl()? == stage.curl()?, "the removed backend still answers");
    for _ in 0..10 {
        let before = lent(&stage)?;
        let mut silent = stage.begin(&["idle", TCP_ECHO, "--messages", "100", "--limit-ms", "60000"])?;
        silent.wait_for_line("ready", PATIENCE)?;
        let backend = backend_of(&stage, "tcp-echo")?;
        let vtep = backend.replace("10.0.0.", "198.18.1.").replace(":7001", "");
        stage.gateway.cli(&["backend", "remove", "tcp-echo", &backend])?;
        let report = finish(&mut silent)?;
        ensure!(report["ended"].as_str().is_some_and(|end| end.contains("reset")), "the client's end: {report}");
        tasks_know(&stage)?;
        ensure!(lent(&stage)? > before, "it was not lent");
        stage.gateway.cli(&["backend", "add", "tcp-echo", &backend, "--vtep", &vtep])?;
    }
    let ends = || stage.servers.tcp_echo.iter().map(|echo| echo.log().matches("ended: Connection reset").count());
    let told = wait_until("resets at all tasks", PATIENCE, || Ok(ends().sum::<usize>() == 10));
    told.map_err(|failure| failure.during(&format!("{:?}", ends().collect::<Vec<_>>())))
}

fn backend_drained(driver: Driver) -> Outcome {
    let stage = stage(Plan::new(Arms::Two), driver, |_| {})?;
    let (mut download, wanted) = begin_download(&stage, 16 << 20)?;
    stage.gateway.cli(&["backend", "set", "web", &backend_of(&stage, "web")?, "--weight", "0"])?;
    wait_until("new connections elsewhere", PATIENCE, || Ok(stage.curl()? == stage.curl()?))?;
    wait_lent(&stage, 100)?;
    ensure!(download.is_running()?, "the download was over too early to show anything");
    let got = download.finish(LIMIT)?;
    ensure!(got.starts_with(&wanted), "the download was damaged: {got}");
    Ok(())
}

/// Another service comes and goes: new tables each time, and every lent flow comes back.
fn reload_under_load(driver: Driver) -> Outcome {
    let plan = Plan { queues: 2, ..Plan::new(Arms::Two) };
    let stage = stage(plan, driver, |config| config.cpus = vec![0, 1])?;
    let mut before = config(&stage.network, driver);
    before.cpus = vec![0, 1];
    let mut after = before.clone();
    after.services.push(task_service(&stage.network, "more", "8081/tcp", 8000));
    let mut load = stage.begin(&["load", WEB, "--kind", "keep-alive", "--at-once", "8", "--millis", "8000"])?;
    let talk = Talk::begin(&stage, &[UDP_ECHO, "--udp"])?;
    let mut rounds = 0;
    while load.is_running()? {
        for next in [&after, &before] {
            wait_lent(&stage, 100)?;
            stage.gateway.reload(next)?;
        }
        let answer = stage.curl()?;
        ensure!(["A", "B"].contains(&answer.as_str()), "the old service answered {answer:?}");
        rounds += 1;
    }
    let report = finish(&mut load)?;
    ensure!(report["failed"] == 0 && report["stuck"] == 0 && report["done"].as_u64() > Some(1000), "{report}");
    ensure!(rounds > 1, "only {rounds} rounds while the load ran");
    talk.end()?;
    nothing_dropped_but_resets(&stage)
}

/// The last packet before a FIN was lent. Client and server close in turn.
fn closed_behind(driver: Driver) -> Outcome {
    const COUNT: usize = 100;
    const REQUESTS: usize = 30;
    let stage = stage(ONE_TASK, driver, |config| config.timeouts.push("tcp_close = \"10m\"".into()))?;
    let last = format!("http://{WEB}/last");
    let server_closes = ["--next", "-sS", "--fail", "-w", "%{num_connects}\n", "-H", "Connection: close", &last];
    for round in 0..COUNT {
        let (further, more) = if round % 2 == 0 { (&[][..], 0) } else { (&server_closes[..], 1) };
        all_from_a(&keep_alive(&stage, REQUESTS, further)?, REQUESTS + more)?;
    }
    let (client, task) = (stage.network.client(), task(&stage));
    let flows = || stage.gateway.json(&["flow", "list", "--service", "web", "--limit", "1000"]);
    let all = wait_for("the end of all connections", PATIENCE, || {
        let flows = flows()?;
        let is_over = |flow: &Value| flow["state"] == "TIME_WAIT" || flow["state"] == "CLOSE";
        let over = rows(&flows).iter().filter(|flow| is_over(flow)).count();
        Ok((over == COUNT && rows(&flows).len() == COUNT).then_some(flows))
    });
    let all = all.map_err(|failure| failure.during(&format!("{:?}", flows())))?;
    // A server whose FIN was acknowledged late sends it again, to a client that has gone: that one resets.
    let reset = rows(&all).iter().filter(|flow| flow["state"] == "CLOSE").count() as u64;
    let resets = kernel_count(client, "Tcp", "OutRsts")?;
    ensure!(reset <= resets, "{reset} flows were reset, and the client has sent {resets} RSTs");
    // Both have heard the other's FIN and its own acknowledged.
    wait_until("the sockets' ends", PATIENCE, || Ok(open_sockets(client)? + open_sockets(task)? == 0))?;
    nothing_dropped_but_resets(&stage)?;
    let lent = lent(&stage)?;
    ensure!(lent > COUNT as u64 * REQUESTS as u64 / 2, "only {lent} packets were lent");
    if resets == 0 {
        counts_agree(&stage, "web", || seen_by_client(&stage))?;
    }
    Ok(())
}

/// A host's TCP sockets that neither listen nor are in `TIME_WAIT`.
fn open_sockets(host: &Namespace) -> Outcome<usize> {
    let table = host.run("cat", ["/proc/net/tcp"])?;
    let states = table.lines().skip(1).filter_map(|line| line.split_whitespace().nth(3));
    Ok(states.filter(|state| !["0A", "06"].contains(state)).count())
}

/// All tasks know that their connections are over.
fn tasks_know(stage: &Stage) -> Outcome {
    wait_until("the tasks' ends", PATIENCE, || {
        let tasks = stage.network.nodes.iter().map(|node| open_sockets(&node.tasks[0].namespace));
        Ok(tasks.sum::<Outcome<usize>>()? == 0)
    })
}

/// Nothing is lent where it is not wanted, or where redirected frames would be lost.
/// Generic XDP needs nothing of links.
fn in_the_driver(config: &mut Config) {
    config.mode = Some("copy".into());
}

fn only_where_taken(driver: Driver) -> Outcome {
    for (mode, redirects, line) in [("never", true, None), ("auto", false, Some("no shortcuts over eth0: "))] {
        let plan = Plan { redirects, ..ONE_TASK };
        let stage = start(plan, driver, |config| {
            config.shortcuts = Some(mode.into());
            in_the_driver(config);
        })?;
        all_from_a(&keep_alive(&stage, 300, &[])?, 300)?;
        let report = stage.traffic(&["udp", UDP_ECHO, "--to", "300"])?;
        ensure!(report["answered"] == 300, "{report}");
        let [counted, passed] = [lent(&stage)?, stage.gateway.counter("xdp_shortcut")?];
        ensure!(
            counted == 0 && passed == 0,
            "{mode}: {counted} packets of lent flows, {passed} by the program's account"
        );
        let log = stage.gateway.process.log();
        ensure!(line.is_none_or(|line| log.contains(line)), "{mode}: no {line:?} in the log");
        ensure!(line.is_some() || !log.contains("no shortcuts"), "{mode}: a complaint in the log");
    }
    // One of two links takes them: they come in by it and would leave by the other.
    let stage = start(ONE_TASK, driver, in_the_driver)?;
    let (far, interface) = stage.network.far_ends()[1];
    set_gro(far, interface, true)?;
    all_from_a(&keep_alive(&stage, 300, &[])?, 300)?;
    let passed = stage.gateway.counter("xdp_shortcut")?;
    ensure!(passed == 0, "{passed} packets went by a link that does not take them");
    Ok(())
}

/// GRO goes off at either far end, and on again: traffic flows before, between and after.
fn taken_no_more(driver: Driver) -> Outcome {
    let stage = stage(ONE_TASK, driver, in_the_driver)?;
    let status = || stage.gateway.json(&["status"]);
    let talk = Talk::begin(&stage, &[TCP_ECHO])?;
    for ((far, interface), near) in stage.network.far_ends().into_iter().zip(["eth0", "eth1"]) {
        wait_lent(&stage, 100)?;
        let before = stage.gateway.process.log();
        set_gro(far, interface, false)?;
        let line = format!("no shortcuts: {near}: ");
        let news = || stage.gateway.process.log().split_off(before.len());
        wait_until("a word of it in the log", PATIENCE, || Ok(news().contains(&line)))?;
        let told = status()?["shortcuts"].clone();
        let row = rows(&told["interfaces"]).iter().find(|row| row["name"] == near).cloned().unwrap_or_default();
        ensure!(told["on"] == false && row["reason"].is_string(), "status says {told}");
        // What was sent to the link meanwhile is sent again; from now on by the workers.
        let passed = || stage.gateway.counter("xdp_shortcut");
        let (before, received) = (passed()?, stage.gateway.counter("rx_packets")?);
        wait_until("packets by the workers", PATIENCE, || Ok(stage.gateway.counter("rx_packets")? > received + 300))?;
        all_from_a(&keep_alive(&stage, 100, &[])?, 100)?;
        ensure!(passed()? == before, "{before} → {}: still lent", passed()?);
        set_gro(far, interface, true)?;
        wait_until("the end of it in the log", PATIENCE, || Ok(news().contains("shortcuts again")))?;
        ensure!(status()?["shortcuts"]["on"] == true, "status says {}", status()?);
    }
    wait_lent(&stage, 100)?;
    talk.end()
}

fn one_armed(driver: Driver) -> Outcome {
    two_workers(driver, Arms::One)
}

fn two_armed(driver: Driver) -> Outcome {
    two_workers(driver, Arms::Two)
}

/// Two queues, two workers, two clients: whose queue a packet comes by does not matter.
fn two_workers(driver: Driver, arms: Arms) -> Outcome {
    let plan = Plan { queues: 2, clients: 2, ..Plan::new(arms) };
    let stage = stage(plan, driver, |config| config.cpus = vec![0, 1])?;
    let talk = Talk::begin(&stage, &[UDP_ECHO, "--udp"])?;
    let report = stage.traffic(&["load", WEB, "--kind", "keep-alive", "--at-once", "16", "--millis", "3000"])?;
    ensure!(report["failed"] == 0 && report["stuck"] == 0, "{report}");
    let lent = lent(&stage)?;
    ensure!(lent > report["done"].as_u64().unwrap_or(u64::MAX), "only {lent} packets of {report} were lent");
    let file = stage.servers.share("big", FILE_BYTES)?;
    for host in &stage.network.clients {
        ensure!(download(&host.namespace, WEB)? == hash(&file)?, "another file arrived");
    }
    all_succeeded(&stage.traffic(&["connections", WEB, "--count", "500", "--at-once", "8"])?, 500)?;
    talk.end()?;
    nothing_dropped_but_resets(&stage)
}

/// A flow that was lent and falls silent.
fn silent_flow(driver: Driver) -> Outcome {
    let stage = stage(Plan::new(Arms::Two), driver, |config| config.timeouts.push("tcp_established = \"3s\"".into()))?;
    let report = stage.traffic(&["idle", TCP_ECHO, "--messages", "100", "--limit-ms", "60000"])?;
    ensure!(report["ended"].as_str().is_some_and(|end| end.contains("reset")), "the client's end: {report}");
    ensure!(report["after_ms"].as_u64() > Some(2_500), "before its time: {report}");
    wait_until("the task's end", PATIENCE, || {
        Ok(stage.servers.tcp_echo.iter().any(|echo| echo.log().contains("ended: Connection reset")))
    })?;
    ensure!(lent(&stage)? > 0, "it was not lent");
    ensure!(stage.gateway.counter("flows_expired")? > 0, "it did not expire");
    Ok(())
}

/// And one that is not silent: its packets count although no worker sees them.
fn kept_alive(driver: Driver) -> Outcome {
    let stage = stage(Plan::new(Arms::Two), driver, |config| {
        config.timeouts.extend(["tcp_established = \"1s\"".to_owned(), "udp_stream = \"1s\"".to_owned()]);
    })?;
    for words in [&[TCP_ECHO][..], &[UDP_ECHO, "--udp"]] {
        let talk = Talk::begin(&stage, words)?;
        // Three packets a message at most, 200 messages a second: three seconds and more.
        wait_lent(&stage, 1800)?;
        ensure!(stage.gateway.counter("flows_expired")? == 0, "it was taken for silent");
        talk.end()?;
    }
    Ok(())
}
