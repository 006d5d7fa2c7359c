//! The config file: what it may say, and everything that is wrong with it, at once.

mod model;
mod problem;

use std::path::Path;

pub use model::{
    BackendAddress, BackendConfig, Config, Driver, GatewayConfig, InterfaceConfig, Mode, OverlayConfig, ServiceConfig,
};
pub use problem::{Place, Problem, Severity};

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
    let _ = (path, cpus);
    Err(Vec::new())
}
