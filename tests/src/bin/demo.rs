//! `make demo`: the classic experiment. Ask a virtual address again and again, and see who answers.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::Duration;
use tests::clock::wait_until;
use tests::config::{Config, Driver};
use tests::gateway::{Gateway, base_config, task_service};
use tests::network::{Arms, Network, Plan, VIP};
use tests::servers::Nginx;
use tests::{Failure, Outcome, ensure};

const REQUESTS: usize = 8;

fn main() -> ExitCode {
    let word = std::env::args().nth(1).unwrap_or_else(|| "af_xdp".into());
    let Some(driver) = Driver::from_word(&word) else {
        eprintln!("demo: no driver `{word}`: say af_xdp or tun");
        return ExitCode::from(2);
    };
    match run(driver) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("\ndemo: FAILED: {failure:?}\n{}", tests::lab::last_logs());
            ExitCode::FAILURE
        }
    }
}

fn run(driver: Driver) -> Outcome {
    heading("A network of namespaces");
    println!("{PICTURE}");
    let network = Plan::new(Arms::Two).build()?;
    let _servers = start_servers(&network)?;

    let config = config(&network, driver);
    let mut gateway = Gateway::launch(&network, &config)?;
    heading(&format!("sluicegate run --config {}", gateway.config().display()));
    println!("{}", config.to_toml(gateway.socket()));
    gateway.process.wait_for_line("ready", Duration::from_secs(20))?;

    heading(&format!("curl http://{VIP}:8080, {REQUESTS} times"));
    alternate(&network)?;
    show(&gateway, &["service", "list"])?;
    show(&gateway, &["flow", "list"])?;

    heading("Task B is drained at run time: its connections may end, new ones go elsewhere");
    gateway.cli(&["backend", "drain", "my-web", "10.0.0.12:8000"])?;
    settle(&network)?;
    show(&gateway, &["backend", "list"])?;

    show(&gateway, &["counters"])?;
    show(&gateway, &["status"])?;
    finish(gateway, network)
}

const PICTURE: &str = "\
  client 198.18.2.10 ─── gateway ─── switch ─┬─ node 198.18.1.11: kernel vxlan ─ bridge ─ task A 10.0.0.11, nginx
        wants 198.18.0.1:8080                └─ node 198.18.1.12: kernel vxlan ─ bridge ─ task B 10.0.0.12, nginx";

fn start_servers(network: &Network) -> Outcome<Vec<Nginx>> {
    let names = ["I am task A", "I am task B"];
    network.nodes.iter().zip(names).map(|(node, name)| Nginx::start(&node.tasks[0].namespace, name, 8000)).collect()
}

fn config(network: &Network, driver: Driver) -> Config {
    let mut config = base_config(network, driver);
    config.services.push(task_service(network, "my-web", "8080/tcp", 8000));
    config
}

fn curl(network: &Network) -> Outcome<String> {
    let answer = network.client().run("curl", ["-sS", "--max-time", "5", &format!("http://{VIP}:8080/")])?;
    Ok(answer.trim().to_owned())
}

/// Each answer must come from the other task than the one before.
fn alternate(network: &Network) -> Outcome {
    let mut last = String::new();
    for _ in 0..REQUESTS {
        let answer = curl(network)?;
        println!("  {answer}");
        ensure!(answer.starts_with("I am task "), "an unexpected answer: {answer}");
        ensure!(answer != last, "two requests in a row were answered by the same task");
        last = answer;
    }
    Ok(())
}

/// From some moment on, and soon, only task A answers.
fn settle(network: &Network) -> Outcome {
    let only_a = || {
        let answers: Vec<_> = (0..4).map(|_| curl(network)).collect::<Outcome<_>>()?;
        Ok(answers.iter().all(|answer| answer == "I am task A"))
    };
    wait_until("task A alone", Duration::from_secs(5), only_a)?;
    println!("  I am task A (4 of 4)");
    Ok(())
}

fn show(gateway: &Gateway, words: &[&str]) -> Outcome {
    heading(&format!("sluicegate {}", words.join(" ")));
    print!("{}", gateway.cli(words)?);
    Ok(())
}

fn finish(gateway: Gateway, network: Network) -> Outcome {
    heading("SIGTERM, and everything is taken down");
    let prefix = format!("{}-", network.lab.prefix());
    gateway.stop_cleanly()?;
    drop(network);
    let left: Vec<_> = std::fs::read_dir("/run/netns")?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with(&prefix))
        .collect();
    if left.is_empty() {
        println!("  nothing is left\n");
        return Ok(());
    }
    Err(Failure::new(format!("namespaces left behind: {left:?}")))
}

fn heading(text: &str) {
    println!("\n── {text}\n");
}
