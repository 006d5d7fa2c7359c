//! The flow log: a line of JSON for every flow that opens or ends, written by a thread of its own.

mod line;
mod time;
pub mod who;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
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
        let file = open(&config.path)?;
        let shared = Arc::new(Shared::default());
        let writer = Writer {
            shared: Arc::clone(&shared),
            path: config.path.clone(),
            file: Some(file),
            queues,
            opens: config.opens,
            closes: config.closes,
        };
        let thread = std::thread::Builder::new().name("flow-log".to_owned()).spawn(move || writer.run())?;
        Ok(FlowLog { shared, thread: Some(thread) })
    }

    /// These services are about to have flows.
    pub fn know(&self, catalog: &Catalog) {
        let mut names = self.shared.names.lock().unwrap_or_else(PoisonError::into_inner);
        for service in catalog.services() {
            names.insert(service.id, service.name.clone());
        }
        // Ids grow: the first are the oldest.
        while names.len() > catalog.services().len() + OLD_NAMES {
            names.pop_first();
        }
    }

    /// Goes on in a new file of that name: the old one was moved away.
    pub fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Relaxed);
    }

    /// Why lines cannot be written, and how many were lost by that.
    pub fn trouble(&self) -> Option<String> {
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
            let _ = thread.join();
        }
    }
}

fn open(path: &Path) -> io::Result<BufWriter<File>> {
    Ok(BufWriter::new(OpenOptions::new().create(true).append(true).open(path)?))
}

struct Writer {
    shared: Arc<Shared>,
    path: PathBuf,
    /// None while it cannot be opened.
    file: Option<BufWriter<File>>,
    queues: Vec<FlowEvents>,
    opens: bool,
    closes: bool,
}

impl Writer {
    fn run(mut self) {
        loop {
            let last = self.shared.stop.load(Ordering::Relaxed);
            if self.shared.reopen.swap(false, Ordering::Relaxed) || self.file.is_none() {
                self.drain();
                self.file = self.noting(open).ok();
            }
            self.drain();
            if last {
                return;
            }
            std::thread::park_timeout(EVERY);
        }
    }

    fn drain(&mut self) {
        let queues = self.queues.clone();
        let mut written = 0;
        for queue in &queues {
            // What comes meanwhile is for the next time.
            for event in (0..queue.len()).map_while(|_| queue.pop()) {
                let wanted = if event.ending.is_some() { self.closes } else { self.opens };
                if wanted {
                    self.write(&event);
                    written += 1;
                }
            }
        }
        if written > 0
            && let Some(mut file) = self.file.take()
            && self.noting(|_| file.flush()).is_ok()
        {
            self.file = Some(file);
        }
    }

    fn write(&mut self, event: &FlowEvent) {
        let name = self.shared.names.lock().unwrap_or_else(PoisonError::into_inner).get(&event.service).cloned();
        let line = line::line(event, name.unwrap_or_default());
        let Some(mut file) = self.file.take() else {
            self.shared.unwritten.fetch_add(1, Ordering::Relaxed);
            return;
        };
        match self.noting(|_| file.write_all(line.as_bytes())) {
            Ok(()) => self.file = Some(file),
            Err(_) => {
                self.shared.unwritten.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Remembers what went wrong, and says it once.
    fn noting<T>(&self, work: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
        let result = work(&self.path);
        let trouble = result.as_ref().err().map(|error| format!("flow log {}: {error}", self.path.display()));
        let mut known = self.shared.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(trouble) = trouble.as_ref().filter(|_| known.is_none()) {
            tracing::error!("{trouble}");
        }
        *known = trouble;
        result
    }
}

#[cfg(test)]
mod tests;
