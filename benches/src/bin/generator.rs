//! The traffic generator: see `generator --help` and `docs/generator.md`.
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use ::tests::{Failure, Outcome};
use benches::generator::faulty::Faults;
use benches::generator::gateway::{MemoryGateway, cable, counted};
use benches::generator::profile::Profile;
use benches::generator::report::{Report, commit};
use benches::generator::run::{DRAIN, Ends, Options, run};
use benches::generator::search::Search;
use benches::generator::trials::{Trials, search};
use benches::generator::units::{self, Rate};
use benches::generator::{forward, html, print, xdp};
use clap::{Args, Parser, Subcommand, ValueEnum};
use sys::XdpMode;

/// Sends what a profile says, and judges what arrives.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Sends the profile once, as it is.
    Run {
        #[command(flatten)]
        common: Common,
    },
    /// Looks for the highest rates without loss and with little loss (RFC 2544).
    Search {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        search: SearchArgs,
    },
    /// Forwards between two interfaces over AF_XDP and does nothing else but swap MAC addresses: what others are compared with.
    Forward {
        /// One interface.
        one: String,
        /// The other.
        two: String,
        /// The CPU to run on.
        #[arg(long)]
        cpu: usize,
    },
    /// Makes the HTML page of a JSON report.
    Page {
        /// A file that `--json` has written.
        report: PathBuf,
        /// Where the page goes.
        page: PathBuf,
    },
}

#[derive(Args)]
struct Common {
    /// What to send: a TOML file, see benches/profiles/.
    #[arg(long)]
    profile: PathBuf,
    /// What to send it through.
    #[arg(long, value_enum, default_value = "memory")]
    device: DeviceKind,
    /// `xdp`: the interface where clients are.
    #[arg(long, default_value = "clients")]
    clients: String,
    /// `xdp`: the interface where tasks are.
    #[arg(long, default_value = "tasks")]
    tasks: String,
    /// `memory`: the CPUs of the gateway's workers. Left out: the last one that there is.
    #[arg(long, value_delimiter = ',')]
    workers: Vec<usize>,
    /// The generator's own CPU. Left out: the first one.
    #[arg(long)]
    cpu: Option<usize>,
    /// How long to send, instead of what the profile says.
    #[arg(long, value_parser = units::positive_duration)]
    duration: Option<Duration>,
    /// Send so long beforehand, uncounted, instead of what the profile says.
    #[arg(long, value_parser = units::duration)]
    warmup: Option<Duration>,
    /// All rates are multiplied by this.
    #[arg(long, value_parser = units::positive, default_value = "1")]
    scale: f64,
    /// `memory`: SYNs are answered by cookies from so many half-open flows on, instead of what the profile says.
    #[arg(long)]
    half_open: Option<u32>,
    /// Writes the report there.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Writes a page with plots there.
    #[arg(long)]
    html: Option<PathBuf>,
    /// No progress line.
    #[arg(long)]
    quiet: bool,
    #[command(flatten)]
    faults: FaultArgs,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DeviceKind {
    /// A whole gateway in this process, on devices in memory.
    Memory,
    /// A cable in memory: the generator alone.
    Cable,
    /// `AF_XDP` sockets on two interfaces.
    Xdp,
}

#[derive(Args)]
struct FaultArgs {
    /// `cable`: every so many-th packet is lost.
    #[arg(long, default_value_t = 0)]
    lose: u64,
    /// `cable`: every so many-th packet comes twice.
    #[arg(long, default_value_t = 0)]
    duplicate: u64,
    /// `cable`: every so many-th packet comes after the next one.
    #[arg(long, default_value_t = 0)]
    swap: u64,
    /// `cable`: every so many-th packet has a bit flipped.
    #[arg(long, default_value_t = 0)]
    corrupt: u64,
    /// `cable`: every so many-th packet has its ports exchanged.
    #[arg(long, default_value_t = 0)]
    misdeliver: u64,
    /// `cable`: so many packets a second pass.
    #[arg(long, default_value_t = 0)]
    capacity: u64,
    /// `cable`: all packets take so long.
    #[arg(long, value_parser = units::duration, default_value = "0s")]
    delay: Duration,
}

#[derive(Args)]
struct SearchArgs {
    /// The highest rate to try, of all streams together; of connections: `50k/s`.
    #[arg(long, value_parser = highest, default_value = "2Mpps")]
    highest: f64,
    /// How long a trial sends.
    #[arg(long, value_parser = units::positive_duration, default_value = "2s")]
    trial: Duration,
    /// One more trial of so long must confirm an answer, or it is lowered; RFC 2544 wants 60s. Left out: none.
    #[arg(long, value_parser = units::duration, default_value = "0s")]
    confirm: Duration,
    /// The search ends after so long, known and confirmed or not; about.
    #[arg(long, value_parser = units::duration)]
    within: Option<Duration>,
    /// Ends when the answer is known to so many percent.
    #[arg(long, value_parser = units::positive, default_value = "2")]
    resolution: f64,
    /// Losses that are accepted, in percent; 0 asks for the non-drop rate.
    #[arg(long, value_parser = loss, value_delimiter = ',', default_value = "0,0.1")]
    loss: Vec<f64>,
    /// A rate fails only when so many trials did.
    #[arg(long, default_value_t = 2)]
    attempts: u32,
}

fn main() -> ExitCode {
    match go(Cli::parse().verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("generator: {failure:?}");
            ExitCode::FAILURE
        }
    }
}

fn go(verb: Verb) -> Outcome {
    match verb {
        Verb::Run { common } => {
            let (profile, mut target) = prepare(&common)?;
            let duration = common.duration.unwrap_or(profile.duration.0);
            let name = target.name();
            let options =
                Options { run: 1, scale: common.scale, duration, drain: DRAIN, resigns: false, show: !common.quiet };
            if let Some(warmup) = common.warmup.or(profile.warmup.map(|time| time.0)).filter(|time| !time.is_zero()) {
                run(&profile, &name, target.parts().1, &Options { run: 2, duration: warmup, ..options })?;
            }
            let (gateway, ends) = target.parts();
            let report = counted(gateway, || run(&profile, &name, ends, &options))?;
            conclude(&common, report)
        }
        Verb::Search { common, search: args } => {
            let (profile, mut target) = prepare(&common)?;
            let plan = plan(&args);
            let name = target.name();
            let (gateway, ends) = target.parts();
            let trials = Trials { profile: &profile, target: &name, gateway, drain: DRAIN, show: !common.quiet };
            let report = search(&plan, &trials, ends)?;
            conclude(&common, report)
        }
        Verb::Forward { one, two, cpu } => forward::run(&one, &two, cpu),
        Verb::Page { report, page } => {
            let report: Report = serde_json::from_str(&fs::read_to_string(report)?)?;
            Ok(fs::write(page, html::page(&report))?)
        }
    }
}

fn plan(args: &SearchArgs) -> Search {
    let accepted = args.loss.iter().map(|percent| percent / 100.0).collect();
    let SearchArgs { highest, attempts, trial, confirm, within, .. } = *args;
    Search { highest, resolution: args.resolution / 100.0, accepted, attempts, trial, confirm, within }
}

fn highest(text: &str) -> Result<f64, String> {
    match Rate::try_from(text.to_owned())? {
        Rate::PerSecond(rate) if rate > 0.0 && rate.is_finite() => Ok(rate),
        _ => Err(format!("`{text}` is no number of packets a second above 0, 2Mpps for example")),
    }
}

/// In percent.
fn loss(text: &str) -> Result<f64, String> {
    let percent = text.parse().ok().filter(|percent| (0.0..100.0).contains(percent));
    percent.ok_or_else(|| format!("`{text}` is no loss from 0 to less than 100 percent"))
}

/// What is tested.
enum Target {
    Memory(Box<MemoryGateway>, Ends, usize),
    Cable(Ends),
    Xdp(Box<xdp::XdpEnds>, String),
}

impl Target {
    /// What has counters, and what to send through.
    fn parts(&mut self) -> (Option<&MemoryGateway>, &mut Ends) {
        match self {
            Target::Memory(gateway, ends, _) => (Some(gateway), ends),
            Target::Cable(ends) => (None, ends),
            Target::Xdp(xdp, _) => (None, &mut xdp.ends),
        }
    }

    fn name(&self) -> String {
        match self {
            Target::Memory(_, _, workers) => format!("gateway in memory, workers: {workers}"),
            Target::Cable(_) => "cable in memory".into(),
            Target::Xdp(_, name) => name.clone(),
        }
    }
}

fn prepare(common: &Common) -> Outcome<(Profile, Target)> {
    let mut profile = Profile::load(&common.profile)?;
    profile.half_open = common.half_open.or(profile.half_open);
    profile.check(common.duration.unwrap_or(profile.duration.0))?;
    let cpus = sys::allowed_cpus();
    let own = common.cpu.or(cpus.first().copied()).unwrap_or(0);
    let target = match common.device {
        DeviceKind::Memory => {
            let workers =
                if common.workers.is_empty() { &cpus[cpus.len().saturating_sub(1)..] } else { &common.workers };
            let (gateway, ends) = MemoryGateway::start(&profile, workers)?;
            Target::Memory(Box::new(gateway), ends, workers.len())
        }
        DeviceKind::Cable => {
            let FaultArgs { lose, duplicate, swap, corrupt, misdeliver, capacity, delay } = common.faults;
            Target::Cable(cable(Faults { lose, duplicate, swap, corrupt, misdeliver, capacity, delay }))
        }
        DeviceKind::Xdp => {
            let ends = xdp::open(&profile, &common.clients, &common.tasks, XdpMode::Auto)?;
            Target::Xdp(Box::new(ends), format!("{} to {} over AF_XDP", common.clients, common.tasks))
        }
    };
    // After the workers were started: a new thread inherits where its maker may run.
    if !sys::pin_current_thread(own) {
        eprintln!("generator: CPU {own} is not ours; running anywhere");
    }
    Ok((profile, target))
}

fn conclude(common: &Common, mut report: Report) -> Outcome {
    report.command = std::env::args().skip(1).fold("generator".into(), |line, word| line + " " + &word);
    report.commit = commit();
    print::report(&report);
    write(common.json.as_deref(), || Ok(serde_json::to_string_pretty(&report)?))?;
    write(common.html.as_deref(), || Ok(html::page(&report)))
}

fn write(path: Option<&Path>, text: impl FnOnce() -> Outcome<String>) -> Outcome {
    let Some(path) = path else { return Ok(()) };
    fs::write(path, text()?).map_err(|error| Failure::from(error).during(&path.display().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_send_nothing_is_refused() {
        let parses = |verb: &str, key: &str, value: &str| {
            let words = ["generator", verb, "--profile", "x.toml", key, value];
            Cli::try_parse_from(words).is_ok()
        };
        let search = [("--highest", "1kpps"), ("--highest", "5k/s"), ("--trial", "1s"), ("--loss", "0,0.1")];
        let common = [("--scale", "0.5"), ("--duration", "1s"), ("--warmup", "0s")];
        for (key, value) in search.into_iter().chain(common) {
            assert!(parses("search", key, value), "{key} {value}");
        }
        for value in ["0", "-1", "inf", "NaN"] {
            let keys = ["--scale", "--resolution"];
            assert!(keys.into_iter().all(|key| !parses("search", &format!("{key}={value}"), "--quiet")), "{value}");
        }
        for (key, value) in [
            ("--duration", "0s"),
            ("--trial", "0ms"),
            ("--highest", "0pps"),
            ("--highest", "1Gbps"),
            ("--loss", "0,NaN"),
            ("--loss", "100"),
        ] {
            assert!(!parses("search", key, value), "{key} {value}");
        }
    }
}
