//! `make demo-swarm`: a real swarm of three dockerds, the gateway in front of it, and what an operator does.
#![forbid(unsafe_code)]

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use tests::clock::{wait_for, wait_until};
use tests::gateway::Gateway;
use tests::swarm::{GATEWAY, GATEWAY_OVERLAY, NODES, PATIENCE, Swarm, name_in};
use tests::{Outcome, binaries, ensure};

const TARGET: &str = "198.18.0.1:8080";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("\ndemo-swarm: FAILED: {failure:?}\n{}", tests::lab::last_logs());
            ExitCode::FAILURE
        }
    }
}

const PICTURE: &str = "  client 198.18.1.100 ──┐          ┌── n0 198.18.1.11  dockerd, manager
                        ├─ switch ─┼── n1 198.18.1.12  dockerd
  gateway 198.18.1.1  ──┘          └── n2 198.18.1.13  dockerd
  The client knows the VIP 198.18.0.1 by a route to the gateway. The gateway is not in the swarm.";

fn run() -> Outcome {
    heading("Three dockerds in namespaces become a swarm");
    println!("{PICTURE}");
    let swarm = Swarm::build(&["--opt", "dsr"])?;
    print!(
        "\n{}",
        indent(&swarm.docker(&["node", "ls", "--format", "table {{.Hostname}}\t{{.Status}}\t{{.ManagerStatus}}"])?)
    );
    let gateway = start(&swarm)?;
    create(&swarm)?;
    show(&gateway, &["service", "list"])?;
    scale(&swarm)?;
    update(&swarm)?;
    direct(&swarm)?;
    show(&gateway, &["service", "list"])?;
    show(&gateway, &["status"])?;
    heading("SIGTERM, and everything is taken down");
    gateway.stop_cleanly()
}

fn start(swarm: &Swarm) -> Outcome<Gateway> {
    let text = |socket: &Path| {
        format!(
            "[gateway]\ncpus = [0]\nflows = 100000\napi = \"{}\"\n\n[[interface]]\nname = \"eth0\"\n\n\
             [overlay]\nvtep = \"{GATEWAY}\"\naddress = \"{GATEWAY_OVERLAY}\"\n\n\
             [swarm]\nendpoints = [{:?}]\nvips = [\"198.18.0.1\"]\n",
            socket.display(),
            swarm.nodes[0].socket()
        )
    };
    let gateway = Gateway::launch_in(&swarm.gateway, text)?;
    heading(&format!("sluicegate run --config {}", gateway.config().display()));
    println!("{}", indent(&text(gateway.socket())));
    gateway.ready()
}

fn create(swarm: &Swarm) -> Outcome {
    heading("docker service create --name web --replicas 3 --publish 8080:8000 task:1");
    swarm.create("web", &["--replicas", "3", "--publish", "8080:8000", "--update-monitor", "1s"])?;
    swarm.wait_for_answers(TARGET, 3)?;
    heading(&format!("curl http://{TARGET}/, six times: one task after the other, on three nodes"));
    for _ in 0..6 {
        println!("  {}", swarm.curl(TARGET)?);
    }
    Ok(())
}

fn scale(swarm: &Swarm) -> Outcome {
    heading("docker service scale web=6");
    swarm.docker(&["service", "scale", "--detach", "web=6"])?;
    let names = swarm.wait_for_answers(TARGET, 6)?;
    println!("  now answering: {}", names.into_iter().collect::<Vec<_>>().join(", "));
    Ok(())
}

fn update(swarm: &Swarm) -> Outcome {
    heading("docker service update --force web: a rolling update, while a client asks fifty times a second");
    let until = swarm.lab.dir().join("demo-stop");
    let path = until.display().to_string();
    let words = ["requests", TARGET, "--until", &path, "--live"];
    let mut load = swarm.client.spawn("requests", binaries::traffic()?, words)?;
    swarm.docker(&["service", "update", "--detach", "--quiet", "--update-parallelism", "2", "--force", "web"])?;
    let mut shown = 0;
    let mut tell = |log: &str| {
        let lines: Vec<_> = log.lines().filter(|line| line.contains(" s: ")).collect();
        lines[shown..].iter().for_each(|line| println!("{line}"));
        shown = lines.len();
    };
    wait_until("the end of the update", 2 * PATIENCE, || {
        tell(&load.log());
        let state = swarm.docker(&["service", "inspect", "--format", "{{.UpdateStatus.State}}", "web"])?;
        Ok(state.trim() == "completed")
    })?;
    std::fs::write(&until, "")?;
    let log = load.finish(Duration::from_secs(20))?;
    tell(&log);
    let report: serde_json::Value = serde_json::from_str(log.lines().last().unwrap_or_default())?;
    let tasks = report["answers"].as_object().map_or(0, serde_json::Map::len);
    println!("  {} requests answered by {tasks} tasks, {} failed", report["succeeded"], report["failed"]);
    ensure!(report["failed"] == 0, "requests have failed: {report}");
    // The last answer comes from a task of the new generation.
    let answer = wait_for("an answer", PATIENCE, || Ok(swarm.curl(TARGET).ok()))?;
    ensure!(NODES.iter().any(|node| name_in(&answer).ends_with(node)), "an unexpected answer: {answer}");
    Ok(())
}

/// The ingress network was made with `--opt dsr`: tasks have the service's own VIP on their loopback.
fn direct(swarm: &Swarm) -> Outcome {
    heading("Direct server return: the ingress network was made with --opt dsr");
    let vip = swarm.vip("web", "ingress")?;
    swarm.lead_client_into("10.0.0.0/24")?;
    println!("  docker service inspect web: its own VIP is {vip}; the client's route to it leads to the gateway.");
    let target = format!("{vip}:8000");
    println!("  curl http://{target}/: the tasks see the client itself, and answer it around the gateway.\n");
    swarm.wait_for_answers(&target, 6)?;
    for _ in 0..6 {
        let answer = swarm.curl(&target)?;
        ensure!(answer.contains("you are 198.18.1.100:"), "the task does not see the client: {answer}");
        println!("  {answer}");
    }
    Ok(())
}

fn show(gateway: &Gateway, words: &[&str]) -> Outcome {
    heading(&format!("sluicegate {}", words.join(" ")));
    print!("{}", indent(&gateway.cli(words)?));
    Ok(())
}

fn indent(text: &str) -> String {
    text.lines().flat_map(|line| ["  ", line, "\n"]).collect()
}

fn heading(text: &str) {
    println!("\n── {text}\n");
}
