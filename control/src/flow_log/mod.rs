//! The flow log: a line of JSON for every flow that opens or ends, written by a thread of its own.

mod append;
mod files;
mod line;
mod time;
pub mod who;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use datapath::flow_log::{FlowEvent, FlowEvents};
use datapath::service::ServiceId;

use crate::catalog::Catalog;
use crate::config::FlowLogConfig;

/// How often the queues are emptied.
const EVERY: Duration = Duration::from_millis(50);
/// How long the end may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// So much is written at once.
const BATCH_BYTES: usize = 64 << 10;
/// Names of services that are gone, kept for flows that end after them.
const OLD_NAMES: usize = 4_096;

/// The running log; it ends, all written, when dropped.
#[derive(Debug)]
pub struct FlowLog {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    names: Mutex<BTreeMap<ServiceId, String>>,
    reopen: AtomicBool,
    stop: AtomicBool,
    /// Lines that could not be written.
    unwritten: AtomicU64,
    trouble: Mutex<Option<String>>,
}

impl FlowLog {
    /// Opens the file and begins to write.
    ///
    /// # Errors
    /// The file cannot be opened for appending, or there is no thread to be had.
    pub fn start(config: &FlowLogConfig, queues: Vec<FlowEvents>) -> io::Result<FlowLog> {
        let writer = Writer::new(config, queues)?;
        let shared = Arc::clone(&writer.shared);
        let thread = std::thread::Builder::new().name("flow-log".to_owned()).spawn(move || writer.run())?;
        Ok(FlowLog { shared, thread: Some(thread) })
    }

    /// These services are about to have flows.
    pub fn know(&self, catalog: &Catalog) {
        let mut names = self.shared.names.lock().unwrap_or_else(PoisonError::into_inner);
        for service in catalog.services() {
            names.insert(service.id, service.name.clone());
        }
        forget_oldest(&mut names, catalog);
    }

    /// Goes on in a new file of that name: the old one was moved away.
    pub fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Relaxed);
    }

    /// Why lines cannot be written, and how many were lost by that.
    pub fn trouble(&self) -> Option<String> {
        if self.thread.as_ref().is_some_and(JoinHandle::is_finished) {
            return Some("flow log: its thread has failed, nothing is written: restart the gateway".to_owned());
        }
        let trouble = self.shared.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let unwritten = self.shared.unwritten.load(Ordering::Relaxed);
        trouble.map(|why| format!("{why}; {unwritten} lines were lost"))
    }
}

impl Drop for FlowLog {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let given_up = sys::clock::now() + PATIENCE;
            while !thread.is_finished() && sys::clock::now() < given_up {
                std::thread::sleep(Duration::from_millis(5));
            }
            if !thread.is_finished() {
                // As on a mount that hangs. The end of the process ends it.
                tracing::warn!("the flow log's last lines could not be written in {PATIENCE:?}");
            }
        }
    }
}

/// Forgets services that are gone, if they are too many. Ids grow: the first of them are gone for longest.
fn forget_oldest(names: &mut BTreeMap<ServiceId, String>, catalog: &Catalog) {
    let too_many = names.len().saturating_sub(catalog.services().len() + OLD_NAMES);
    if too_many == 0 {
        return;
    }
    let standing: BTreeSet<ServiceId> = catalog.services().iter().map(|service| service.id).collect();
    let gone: Vec<ServiceId> = names.keys().filter(|id| !standing.contains(id)).take(too_many).copied().collect();
    for id in gone {
        names.remove(&id);
    }
}

/// Whether the file's last line was cut off, as a crash or a full disk leaves it; `None` where nobody can say: what is no
/// file has no end.
fn is_torn(file: &File, path: &Path) -> Option<bool> {
    let metadata = file.metadata().ok().filter(Metadata::is_file)?;
    let Some(last) = metadata.len().checked_sub(1) else { return Some(false) };
    let mut byte = [0];
    File::open(path).ok()?.read_exact_at(&mut byte, last).ok()?;
    Some(byte != *b"\n")
}

struct Writer {
    shared: Arc<Shared>,
    config: FlowLogConfig,
    /// None when it could not be opened, or written: it is opened again then.
    file: Option<File>,
    queues: Vec<FlowEvents>,
    /// What is to be written next.
    lines: Vec<u8>,
    /// The file's last line was cut off.
    torn: bool,
    /// Since then nothing could be written.
    write_failed: bool,
}

impl Writer {
    fn new(config: &FlowLogConfig, queues: Vec<FlowEvents>) -> io::Result<Writer> {
        let file = sys::open_to_append(&config.path)?;
        Ok(Writer {
            shared: Arc::default(),
            config: config.clone(),
            torn: is_torn(&file, &config.path).unwrap_or(false),
            file: Some(file),
            queues,
            lines: Vec::new(),
            write_failed: false,
        })
    }

    fn run(mut self) {
        self.border(&line::start());
        loop {
            let last = self.shared.stop.load(Ordering::Relaxed);
            self.turn();
            if last {
                break;
            }
            std::thread::park_timeout(EVERY);
        }
        self.border(&line::stop());
        self.write();
    }

    /// Flows that open here end here. Who logs only ends needs no such line: they say themselves when it began.
    fn border(&mut self, line: &str) {
        if self.config.opens {
            self.lines.extend_from_slice(line.as_bytes());
        }
    }

    fn turn(&mut self) {
        if self.shared.reopen.swap(false, Ordering::Relaxed) && self.file.is_some() {
            self.drain();
            self.file = None;
        }
        if self.file.is_none() {
            self.open();
        }
        self.drain();
    }

    fn open(&mut self) {
        match sys::open_to_append(&self.config.path) {
            Ok(file) => {
                // It may be another file than before.
                self.torn = is_torn(&file, &self.config.path).unwrap_or(self.torn);
                self.file = Some(file);
                // A full disk lets files be opened, too: only what is written says that there is room.
                if !self.write_failed {
                    self.note(None);
                }
            }
            Err(error) => self.note(Some(&error)),
        }
    }

    fn drain(&mut self) {
        for queue in self.queues.clone() {
            // What comes meanwhile is for the next time.
            for event in (0..queue.len()).map_while(|_| queue.pop()) {
                let wanted = if event.ending.is_some() { self.config.closes } else { self.config.opens };
                if wanted {
                    self.gather(&event);
                }
            }
        }
        self.write();
    }

    fn gather(&mut self, event: &FlowEvent) {
        let name = self.shared.names.lock().unwrap_or_else(PoisonError::into_inner).get(&event.service).cloned();
        self.lines.extend_from_slice(line::line(event, name.unwrap_or_default()).as_bytes());
        if self.lines.len() >= BATCH_BYTES {
            self.write();
        }
    }

    /// Writes what was gathered. What cannot be written is lost.
    fn write(&mut self) {
        if self.lines.is_empty() {
            return;
        }
        let lost = match &mut self.file {
            None => append::count(&self.lines),
            Some(file) => {
                let (lost, result) = append::append(file, &mut self.torn, &self.lines);
                self.write_failed = result.is_err();
                self.note(result.as_ref().err());
                lost
            }
        };
        if self.write_failed {
            self.file = None;
        }
        self.shared.unwritten.fetch_add(lost, Ordering::Relaxed);
        self.lines.clear();
    }

    /// Remembers what is wrong, if something is, and says it once.
    fn note(&self, error: Option<&io::Error>) {
        let trouble = error.map(|error| format!("flow log {}: {error}", self.config.path.display()));
        let mut known = self.shared.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(trouble) = trouble.as_ref().filter(|_| known.is_none()) {
            tracing::error!("{trouble}");
        }
        *known = trouble;
    }
}

#[cfg(test)]
mod tests;
