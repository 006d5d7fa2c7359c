//! One network namespace, and the processes that run in it.

use crate::clock::wait_for;
use crate::lab::run;
use crate::{Failure, Outcome, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Tells apart the logs of one program started twice.
static SERIAL: AtomicU32 = AtomicU32::new(0);

/// A host of the lab.
#[derive(Clone, Debug)]
pub struct Namespace {
    name: String,
    short: String,
    dir: PathBuf,
}

impl Namespace {
    pub(crate) fn create(prefix: &str, short: &str, dir: &Path) -> Outcome<Namespace> {
        let namespace = Namespace { name: format!("{prefix}-{short}"), short: short.into(), dir: dir.into() };
        run(Command::new("ip").args(["netns", "add", &namespace.name]))?;
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// The full name, as `ip netns` knows it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The lab's directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Runs lines of `ip` commands in the namespace, in one go.
    ///
    /// # Errors
    /// What `ip` said.
    pub fn ip(&self, lines: &str) -> Outcome {
        let mut ip = Command::new("ip")
            .args(["-n", &self.name, "-batch", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut pipe) = ip.stdin.take() {
            pipe.write_all(lines.as_bytes())?;
            pipe.write_all(b"\n")?;
        }
        let output = ip.wait_with_output()?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "ip in {}: {error}of\n{lines}", self.short);
        Ok(())
    }

    /// Writes a kernel setting, `net.ipv4.ip_forward` for example.
    ///
    /// # Errors
    /// The setting does not exist or does not take the value.
    pub fn sysctl(&self, key: &str, value: &str) -> Outcome {
        let path = format!("/proc/sys/{}", key.replace('.', "/"));
        self.run("/bin/sh", ["-c", "echo \"$1\" > \"$0\"", &path, value]).map(drop)
    }

    /// A command that will run in the namespace. `ip netns exec` becomes the program, so its pid is the program's.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program).stdin(Stdio::null());
        command
    }

    /// Runs a program to its end and gives its standard output.
    ///
    /// # Errors
    /// It could not be started or failed.
    pub fn run<A: AsRef<OsStr>>(
        &self,
        program: impl AsRef<OsStr>,
        args: impl IntoIterator<Item = A>,
    ) -> Outcome<String> {
        run(self.command(program).args(args))
    }

    /// Starts a program; what it prints goes to `NAMESPACE-label-NUMBER.log` in the lab's directory.
    ///
    /// # Errors
    /// It could not be started.
    pub fn spawn<A: AsRef<OsStr>>(
        &self,
        label: &str,
        program: impl AsRef<OsStr>,
        args: impl IntoIterator<Item = A>,
    ) -> Outcome<Process> {
        let mut command = self.command(program);
        command.args(args);
        self.spawn_command(label, command)
    }

    /// As [`Namespace::spawn`], for a command that enters the namespace by itself.
    ///
    /// # Errors
    /// It could not be started.
    pub fn spawn_command(&self, label: &str, mut command: Command) -> Outcome<Process> {
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let log = self.dir.join(format!("{}-{label}-{serial}.log", self.short));
        let file = File::create_new(&log)?;
        let child = command.stdout(file.try_clone()?).stderr(file).spawn()?;
        Ok(Process { label: format!("{label} in {}", self.short), child, log })
    }
}

/// A running program of the lab; killed when dropped.
#[derive(Debug)]
pub struct Process {
    label: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All that it printed so far.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits until a line of the log begins with `word`.
    ///
    /// # Errors
    /// It ended before, or the time is over.
    pub fn wait_for_line(&mut self, word: &str, limit: Duration) -> Outcome<String> {
        let what = format!("`{word}` from {}", self.label);
        let found = wait_for(&what, limit, || {
            let log = self.log();
            if let Some(line) = log.lines().find(|line| line.starts_with(word)) {
                return Ok(Some(line.to_owned()));
            }
            match self.child.try_wait()? {
                None => Ok(None),
                Some(status) => Err(Failure::new(format!("{} ended ({status})", self.label))),
            }
        });
        found.map_err(|failure| failure.during(&format!("log of {}:\n{}", self.label, self.log())))
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// The process is gone.
    pub fn signal(&self, signal: Signal) -> Outcome {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal)?;
        Ok(())
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// It is still running after `limit`.
    pub fn wait(&mut self, limit: Duration) -> Outcome<ExitStatus> {
        wait_for(&format!("end of {}", self.label), limit, || Ok(self.child.try_wait()?))
    }

    /// Whether it is still running.
    ///
    /// # Errors
    /// The kernel will not say.
    pub fn is_running(&mut self) -> Outcome<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Waits for the end and gives all that it printed, if it ended well.
    ///
    /// # Errors
    /// It failed, or is still running after `limit`.
    pub fn finish(&mut self, limit: Duration) -> Outcome<String> {
        let status = self.wait(limit)?;
        ensure!(status.success(), "{} ended with {status}:\n{}", self.label, self.log());
        Ok(self.log())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
