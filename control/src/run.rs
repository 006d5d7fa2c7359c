//! The verb `run`: from a config file to a running gateway and back.

mod start;

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinError;
use tracing_subscriber::EnvFilter;

use crate::config::{self, Loaded};
use crate::gateway::{DEFECT, Gateway, StartError, TunFollower};
use crate::operations::{Operations, ReloadError, ReloadReport};
use start::Running;

/// How often the gateway looks after its workers.
const TICK: Duration = Duration::from_millis(100);
/// How long requests in progress may hold up the stop.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

const FILES_HINT: &str = "it takes a few open files: see `ulimit -n`, and for the machine `sysctl fs.file-nr`";

/// Runs the gateway until SIGTERM or SIGINT. Gives 0 then, 1 when it cannot start or go on, 2 when the config is wrong.
/// `socket` is where whoever starts it wants to ask it, if they have said so.
pub fn run(config_path: &Path, socket: Option<&Path>) -> ExitCode {
    start_log();
    let cpus = sys::allowed_cpus();
    let loaded = match config::load(config_path, &cpus) {
        Ok(loaded) => loaded,
        Err(problems) => {
            print_problems(&problems);
            return ExitCode::from(2);
        }
    };
    if let Some(message) = socket.and_then(|socket| elsewhere(socket, &loaded.config.gateway.api)) {
        say(&message);
        return ExitCode::from(2);
    }
    if let Err(error) = sys::raise_open_files() {
        tracing::warn!("the limit of open files stays as it is: {error}");
    }
    // Before any thread is started: control, checks and logs would take turns away from the workers.
    if let Err(error) = sys::keep_off(&loaded.config.gateway.cpus) {
        tracing::warn!("control shares the workers' CPUs: {error}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => live_on(runtime, live(loaded, config_path, cpus)),
        Err(error) => Err(StartError::new("the runtime", error, FILES_HINT)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error}\n"));
            ExitCode::from(1)
        }
    }
}

/// The config says where the gateway listens: who was told another path would ask nobody, or another gateway.
fn elsewhere(socket: &Path, api: &Path) -> Option<String> {
    let message = || {
        let (socket, api) = (socket.display(), api.display());
        format!(
            "error: --socket is {socket}, and the config's gateway.api {api}\n  help: make them the same, or leave --socket out\n"
        )
    };
    (socket != api).then(message)
}

/// What still runs at the end is left: a name that nobody resolves would hold a restart up for half a minute.
fn live_on<T>(runtime: Runtime, life: impl Future<Output = T>) -> T {
    let outcome = runtime.block_on(life);
    runtime.shutdown_background();
    outcome
}

fn print_problems(problems: &[config::Problem]) {
    for problem in problems {
        say(&config::render(problem));
    }
}

/// To standard error. Whoever reads it may be gone, its disk may be full: no reason to stop, as `eprint!` would by a panic.
fn say(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Logs go to standard error; `RUST_LOG` says how much. Events of the kernel that were lost are made good by reading anew: its
/// library would warn of each time.
fn start_log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,netlink_proto=error"));
    let to_terminal = std::io::stderr().is_terminal();
    // Of a line that cannot be written it would tell by `eprintln!`.
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
    // A second subscriber in one process can only come from a test.
    let _ = log.with_ansi(to_terminal).with_target(false).try_init();
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    rotated: Signal,
}

impl Signals {
    /// Before anything is opened: a signal that comes during the start waits until the end of it.
    fn listen() -> Result<Signals, StartError> {
        let listen = |kind| signal(kind).map_err(|error| StartError::new("signals", error, FILES_HINT));
        Ok(Signals {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hang_up: listen(SignalKind::hangup())?,
            rotated: listen(SignalKind::user_defined1())?,
        })
    }
}

async fn live(loaded: Loaded, config_path: &Path, cpus: Vec<usize>) -> Result<(), StartError> {
    let mut signals = Signals::listen()?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let mut running = start::start(loaded.config, config_path, cpus).await?;
    say("ready\n");
    notify(&[NotifyState::Ready]);
    let outcome = serve(&mut running, &mut signals).await;
    notify(&[NotifyState::Stopping]);
    stop(running).await;
    outcome
}

/// Without systemd there is nobody to tell, which is fine.
fn notify(states: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("systemd was not told: {error}");
    }
}

/// A panic while the lock was held leaves tables that were either published or not: both are sound.
fn lock(gateway: &Mutex<Gateway>) -> MutexGuard<'_, Gateway> {
    gateway.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(running: &mut Running, signals: &mut Signals) -> Result<(), StartError> {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut view = running.view.clone();
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => return Ok(()),
            _ = signals.interrupt.recv() => return Ok(()),
            _ = signals.hang_up.recv() => reload(&running.gateway),
            _ = signals.rotated.recv() => lock(&running.gateway).reopen_flow_log(),
            Some(ended) = running.servers.join_next() => return Err(has_ended(ended)),
            ended = has_ended_tun(&mut running.tun) => return Err(has_ended(ended)),
            _ = tick.tick() => {
                let mut gateway = lock(&running.gateway);
                gateway.tick();
                if let Some((worker, reason)) = gateway.failure() {
                    return Err(StartError::new(format!("worker {worker}"), reason, DEFECT));
                }
            }
            changed = view.changed() => {
                changed.map_err(|_| StartError::new("rtnetlink", "the kernel closed the socket", DEFECT))?;
                let now = view.borrow_and_update().clone();
                lock(&running.gateway).kernel_changed(now);
            }
        }
    }
}

/// A part that was to run as long as the gateway: without it nobody would notice what is missing.
fn has_ended(ended: Result<(), JoinError>) -> StartError {
    let why = ended.err().map_or_else(|| "it has ended".to_owned(), |error| error.to_string());
    StartError::new("API, metrics, swarm or TUN routes", why, DEFECT)
}

async fn has_ended_tun(tun: &mut Option<TunFollower>) -> Result<(), JoinError> {
    match tun {
        Some(tun) => tun.ended().await,
        None => std::future::pending().await,
    }
}

fn reload(gateway: &Mutex<Gateway>) {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        notify(&[NotifyState::Reloading, now]);
    }
    announce(lock(gateway).reload());
    notify(&[NotifyState::Ready]);
}

/// Nobody reads an answer to SIGHUP: what it would say is in the log.
fn announce(outcome: Result<ReloadReport, ReloadError>) {
    match outcome {
        Ok(report) => {
            for warning in &report.warnings {
                tracing::warn!("{warning}");
            }
            tracing::info!("reloaded: {}", report.lines().join("; "));
        }
        Err(error) => {
            tracing::error!("{error}");
            if let ReloadError::File(problems) = error {
                print_problems(&problems);
            }
        }
    }
}

/// Ends the servers, then the gateway, then what would outlive the process.
async fn stop(running: Running) {
    let Running { gateway, servers, tun, .. } = running;
    drop(servers);
    if let Some(gateway) = alone(gateway).await {
        gateway.stop();
    } else {
        // The end of the process does the rest.
        tracing::warn!("stopping with a request still in progress");
    }
    if let Some(tun) = tun {
        tun.end().await;
    }
}

/// The gateway, when nobody else has it any more. A request that is still being answered has it: it is waited for.
async fn alone(mut shared: Arc<Mutex<Gateway>>) -> Option<Gateway> {
    for _ in 0..STOP_PATIENCE.as_millis() / 10 {
        match Arc::try_unwrap(shared) {
            Ok(gateway) => return Some(gateway.into_inner().unwrap_or_else(PoisonError::into_inner)),
            Err(still_shared) => shared = still_shared,
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::api::tempdir::Directory;

    #[test]
    fn a_part_that_ends_is_no_secret() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let told = runtime.block_on(async {
            let mut servers = tokio::task::JoinSet::new();
            servers.spawn(async { panic!("a defect") });
            has_ended(servers.join_next().await.unwrap()).to_string()
        });
        assert!(told.contains("a defect") && told.contains("API, metrics, swarm"), "{told}");
    }

    #[test]
    fn what_still_runs_at_the_end_holds_nothing_up() {
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let (say, said) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let outcome = live_on(runtime, async {
                tokio::task::spawn_blocking(move || ended.recv());
                7
            });
            say.send(outcome)
        });
        // Nobody has told it to end.
        assert_eq!(said.recv_timeout(Duration::from_secs(20)), Ok(7));
        drop(end);
    }

    #[test]
    fn a_reload_by_signal_logs_the_config_s_warnings() {
        let directory = Directory::new();
        let said = directory.path.join("said");
        let ears = Mutex::new(std::fs::File::create(&said).unwrap());
        let ears = tracing_subscriber::fmt().with_writer(ears).finish();
        let warning = "gw.toml:3:8: warning: service `web` has no backends".to_owned();
        let mut report = ReloadReport { warnings: vec![warning.clone()], ..ReloadReport::default() };
        report.changes.services_added.push("web".to_owned());
        tracing::subscriber::with_default(ears, || announce(Ok(report)));
        let said = std::fs::read_to_string(&said).unwrap();
        assert!(said.contains(&warning) && said.contains("reloaded"), "{said}");
        // As `sluicegate reload` prints it.
        assert!(said.contains("service added: web") && !said.contains("Changes"), "{said}");
    }
}
