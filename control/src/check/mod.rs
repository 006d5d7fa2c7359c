//! Active health checks: every backend of a service with `[service.check]` is asked again and again whether it lives,
//! through the same data path as its traffic.
//!
//! [`Checks`] runs a thread of its own ([`runner`]) which begins and ends [`probe`]s. Each probe has a little TCP/IP stack
//! ([`stack`]) whose packets go to the backend through worker 0. What came of it is a [`Finding`]; the gateway makes
//! [`Health`] of findings, and tables of that.

mod dialogue;
mod health;
mod http;
mod icmp;
mod probe;
mod runner;
mod stack;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod tls;

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use datapath::service::BackendId;
use datapath::{ProbeKind, ProbeLine};

pub use health::{Change, Health, Outcome};
use runner::Runner;

use crate::config::CheckConfig;

/// A backend that is to be checked, and the way to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Which backend.
    pub backend: BackendId,
    /// How it is asked.
    pub check: Arc<CheckConfig>,
    /// Through the overlay, or plainly.
    pub kind: ProbeKind,
    /// The address that it sees.
    pub source: Ipv4Addr,
    /// Its address, as the data path knows it, and the port that is asked.
    pub address: SocketAddrV4,
    /// The same as others know it.
    pub real: SocketAddr,
    /// The largest IP packet on the way.
    pub mtu: usize,
    /// There is a route and a neighbour.
    pub reachable: bool,
    /// It gets a PROXY header (command LOCAL) before all else.
    pub greeted: bool,
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which backend.
    pub backend: BackendId,
    /// How it was asked.
    pub check: Arc<CheckConfig>,
    /// What came of it.
    pub outcome: Outcome,
    /// When.
    pub at: Duration,
}

/// The thread that checks.
#[derive(Debug)]
pub struct Checks {
    shared: Arc<Shared>,
    findings: mpsc::Receiver<Finding>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread and the gateway share.
#[derive(Debug, Default)]
struct Shared {
    /// Newer targets, if there are some.
    targets: Mutex<Option<Vec<Target>>>,
    stop: AtomicBool,
}

impl Shared {
    fn take(&self) -> Option<Vec<Target>> {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Checks {
    /// Starts the thread; it sleeps until there are targets.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn start(line: ProbeLine) -> std::io::Result<Checks> {
        let shared = Arc::new(Shared::default());
        let (sender, findings) = mpsc::channel();
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("checks".to_owned())
            .spawn(move || run(Runner::new(line, sender), &of_thread))?;
        Ok(Checks { shared, findings, thread: Some(thread) })
    }

    /// Checks just these from now on. What is checked already goes on as it was.
    pub fn set(&self, targets: Vec<Target>) {
        *self.shared.targets.lock().unwrap_or_else(PoisonError::into_inner) = Some(targets);
        self.wake();
    }

    /// What was found since the last call.
    pub fn findings(&self) -> Vec<Finding> {
        self.findings.try_iter().collect()
    }

    /// Whether the thread has ended by a fault of its own.
    pub fn has_failed(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for Checks {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.wake();
        if let Some(thread) = self.thread.take() {
            // It has nothing to say.
            let _ = thread.join();
        }
    }
}

fn run(mut runner: Runner, shared: &Shared) {
    runner.listen();
    while !shared.stop.load(Ordering::Relaxed) {
        if let Some(targets) = shared.take() {
            runner.set(targets, sys::clock::now());
        }
        match runner.turn(sys::clock::now()) {
            Some(due) => std::thread::park_timeout(due.saturating_sub(sys::clock::now())),
            None => std::thread::park(),
        }
    }
    runner.set(Vec::new(), sys::clock::now());
}
