//! Turns scenarios into named tests, and keeps those that load the machine apart from each other.

use libtest_mimic::{Arguments, Failed, Trial};
use std::io::Write;
use std::process::ExitCode;
use std::sync::{PoisonError, RwLock};
use tests::config::Driver;
use tests::{Outcome, lab};

/// How many scenarios run at the same time unless `--test-threads` says otherwise: most of them wait, they do not compute.
const AT_ONCE: usize = 4;

/// Held for writing by a scenario that needs the machine for itself.
static MACHINE: RwLock<()> = RwLock::new(());

/// What a scenario asks of the machine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Load {
    /// Runs beside others.
    Light,
    /// Keeps the CPUs busy, or measures time: runs alone.
    Heavy,
}

/// All scenarios.
#[derive(Default)]
pub struct Scenarios(Vec<(Load, Trial)>);

impl Scenarios {
    /// A scenario that has no driver.
    pub fn once(&mut self, name: &str, load: Load, body: fn() -> Outcome) {
        self.push(name.into(), load, body);
    }

    /// A scenario that runs over `AF_XDP` and over TUN.
    pub fn each_driver(&mut self, name: &str, load: Load, body: fn(Driver) -> Outcome) {
        for driver in Driver::ALL {
            self.push(format!("{}::{name}", driver.word()), load, move || body(driver));
        }
    }

    /// A scenario that has no meaning over TUN.
    pub fn af_xdp(&mut self, name: &str, load: Load, body: fn(Driver) -> Outcome) {
        self.push(format!("{}::{name}", Driver::AfXdp.word()), load, move || body(Driver::AfXdp));
    }

    /// A scenario that has no meaning over `AF_XDP`.
    pub fn tun(&mut self, name: &str, load: Load, body: fn(Driver) -> Outcome) {
        self.push(format!("{}::{name}", Driver::Tun.word()), load, move || body(Driver::Tun));
    }

    fn push(&mut self, name: String, load: Load, body: impl Fn() -> Outcome + Send + 'static) {
        let test = Trial::test(name, move || guarded(load, body));
        self.0.push((load, test.with_ignored_flag(!lab::is_root())));
    }

    /// Runs what the command line asks for.
    pub fn run(mut self) -> ExitCode {
        let mut arguments = Arguments::from_args();
        arguments.test_threads.get_or_insert(AT_ONCE);
        if !lab::is_root() && !arguments.list {
            // Past the test runner's capture and counted: nobody shall take a run without these for a full one.
            let _ = writeln!(
                std::io::stderr(),
                "\n*** SKIPPED: {} end-to-end tests need root (network namespaces). Run `sudo make test`. ***\n",
                self.0.len()
            );
        }
        // Light ones first: a heavy one in between would wait for all that run, while none may start.
        self.0.sort_by_key(|(load, _)| *load);
        libtest_mimic::run(&arguments, self.0.into_iter().map(|(_, test)| test).collect()).exit_code()
    }
}

fn guarded(load: Load, body: impl Fn() -> Outcome) -> Result<(), Failed> {
    let result = match load {
        Load::Light => {
            let _shared = MACHINE.read().unwrap_or_else(PoisonError::into_inner);
            body()
        }
        Load::Heavy => {
            let _alone = MACHINE.write().unwrap_or_else(PoisonError::into_inner);
            body()
        }
    };
    let logs = lab::last_logs();
    result.map_err(|failure| Failed::from(format!("{failure:?}\n{logs}")))
}
