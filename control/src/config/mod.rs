//! The config file: what it may say, and everything that is wrong with it, at once.
//!
//! [`parse`] turns the text into a tree of values with places ([`node`]), reads it table by table ([`section`] and a file
//! for each table), applies the [`rules`] between tables, and hands back either a [`Config`] or all [`Problem`]s. The API
//! reads the bodies of its requests with the same code.

pub mod address;
pub mod check;
mod flow_log;
mod gateway;
mod interface;
pub mod life;
mod listen;
mod model;
pub mod node;
pub mod one_packet;
mod overlay;
pub mod passive;
pub mod persistence;
mod problem;
pub mod protection;
mod render;
pub mod report;
pub mod rules;
pub mod section;
pub mod service;
pub mod settings;
pub mod shown;
pub mod state_times;
mod swarm;
mod syntax;
mod timeouts;
pub mod value;

#[cfg(test)]
mod tests;

use std::path::Path;

use toml::de::DeTable;

pub use check::{CheckConfig, CheckKind, HttpCheck, UdpCheck};
pub use flow_log::FlowLogConfig;
pub use gateway::DEFAULT_API;
pub use listen::Listen;
pub use model::{
    BackendAddress, BackendConfig, Config, Driver, Endpoint, GatewayConfig, InterfaceConfig, Mode, MoreOverlay,
    OverlayConfig, OverlaySeed, ServiceConfig, ShortcutMode, SwarmConfig, TlsConfig,
};
pub use persistence::Persistence as ClientPersistence;
pub use problem::{Place, Problem, Severity};
pub use render::render;
pub use settings::{Settings, SettingsChange};

use node::Node;
use report::{At, Complaint, Report};
use rules::Overlay;
use section::Section;
use service::Form;

/// A valid config, and what is odd about it.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The config.
    pub config: Config,
    /// Warnings only.
    pub warnings: Vec<Problem>,
}

/// Reads and checks a config file. `cpus` are the CPUs that the process may use.
///
/// # Errors
/// Everything that is wrong with it, and the warnings too.
pub fn load(path: &Path, cpus: &[usize]) -> Result<Loaded, Vec<Problem>> {
    let file = path.display().to_string();
    match std::fs::read(path) {
        Ok(bytes) => parse(&file, &bytes, cpus),
        Err(error) => Err(vec![unreadable(&file, &error)]),
    }
}

fn unreadable(file: &str, error: &std::io::Error) -> Problem {
    Problem {
        severity: Severity::Error,
        field: String::new(),
        message: format!("cannot read the config file {file}: {error}"),
        hint: Some("name it with --config FILE".to_owned()),
        place: None,
    }
}

/// Checks the bytes of a config file; `file` is its name for messages.
///
/// # Errors
/// Everything that is wrong with it, and the warnings too.
pub fn parse(file: &str, bytes: &[u8], cpus: &[usize]) -> Result<Loaded, Vec<Problem>> {
    let mut report = Report::default();
    let (text, config) = match std::str::from_utf8(bytes) {
        Ok(text) => (text.to_owned(), read(text, cpus, &mut report)),
        Err(error) => {
            let at = At { field: String::new(), span: error.valid_up_to()..error.valid_up_to() };
            report.error(&at, Complaint::hinted("the file is not UTF-8 text", "TOML is UTF-8; look at this byte"));
            (String::from_utf8_lossy(bytes).into_owned(), None)
        }
    };
    let failed = report.has_errors();
    report.findings.sort_by_key(|finding| finding.at.span.start);
    let problems = report.findings.into_iter().map(|finding| render::problem(finding, file, &text)).collect();
    match config {
        Some(config) if !failed => Ok(Loaded { config, warnings: problems }),
        _ => Err(problems),
    }
}

fn read(text: &str, cpus: &[usize], report: &mut Report) -> Option<Config> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let root = node::from_toml(&table);
    let config = read_file(&root, cpus, report);
    if !errors.is_empty() {
        syntax::merge(text, &errors, report);
    }
    config
}

fn read_file(root: &Node, cpus: &[usize], report: &mut Report) -> Option<Config> {
    let mut file = Section::open(root, At::root(), report)?;
    let interfaces = interface::read_all(&mut file, report);
    let gateway = match file.table("gateway", report) {
        Some(section) => gateway::read(section, cpus, &interfaces, report),
        None => gateway::default(cpus),
    };
    let timeouts = file.table("timeouts", report).map(|section| timeouts::read(section, report));
    let flow_log = file.table("flow_log", report).and_then(|section| flow_log::read(section, report));
    let with_swarm = file.has("swarm");
    let seed = file.table("overlay", report).and_then(|section| overlay::read(section, with_swarm, report));
    let overlay = seed.as_ref().and_then(|seed| overlay::complete(seed, with_swarm));
    let items = file.list("service", report);
    let drafts: Vec<_> =
        items.into_iter().filter_map(|(node, at)| service::read(node, at, Form::File, report)).collect();
    let known = match &overlay {
        Some(overlay) => Overlay::Known(std::slice::from_ref(overlay)),
        None if with_swarm && (seed.is_some() || !file.has("overlay")) => Overlay::Swarms,
        None if file.has("overlay") => Overlay::Broken,
        None => Overlay::Absent,
    };
    rules::check_services(&drafts, known, report);
    rules::check_devices(&drafts, &interfaces, report);
    let seed = if file.has("overlay") { seed } else { Some(OverlaySeed::default()) };
    let swarm = file.table("swarm", report).and_then(|section| swarm::read(section, seed, &interfaces, report));
    file.close(report);
    let services = drafts.iter().map(service::ServiceDraft::finish).collect::<Option<_>>()?;
    Some(Config { gateway, timeouts: timeouts.unwrap_or_default(), flow_log, interfaces, overlay, swarm, services })
}
