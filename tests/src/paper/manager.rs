//! A manager that answers as Docker does, over HTTP on a unix socket, from memory.

use super::render;
use super::state::{Swarm, service_id};
use crate::{Outcome, clock};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// A manager; a clone is the same one.
#[derive(Clone)]
pub struct Manager(Arc<Mutex<Desk>>);

struct Desk {
    swarm: Swarm,
    /// Bodies by path without query, made anew with every change.
    answers: BTreeMap<&'static str, Arc<str>>,
    /// Who waits for events.
    listeners: Vec<UnixStream>,
    requests: u64,
}

impl Manager {
    /// Answers on this socket as long as the process lives.
    ///
    /// # Errors
    /// There is no such place.
    pub fn start(path: &Path, swarm: Swarm) -> Outcome<Manager> {
        let listener = UnixListener::bind(path)?;
        let answers = answers(&swarm);
        let manager = Manager(Arc::new(Mutex::new(Desk { swarm, answers, listeners: Vec::new(), requests: 0 })));
        let same = manager.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let manager = same.clone();
                // A client that is gone is its own affair.
                std::thread::spawn(move || manager.converse(stream));
            }
        });
        Ok(manager)
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the swarm; when that can be seen. One at a time.
    pub fn change<T>(&self, how: impl FnOnce(&mut Swarm) -> T) -> (T, Instant) {
        let mut swarm = self.desk().swarm.clone();
        let result = how(&mut swarm);
        // Beside the desk: who asks meanwhile is not kept waiting, only to be the first to see the change.
        let answers = answers(&swarm);
        let mut desk = self.desk();
        (desk.swarm, desk.answers) = (swarm, answers);
        (result, clock::now())
    }

    /// Tells those who listen that a service was updated.
    pub fn tell(&self, service: usize) {
        let attributes = json!({"name": super::state::service_name(service), "updatestate.new": "updating"});
        let actor = json!({"ID": service_id(service), "Attributes": attributes});
        let event = json!({"Type": "service", "Action": "update", "Actor": actor, "scope": "swarm"}).to_string() + "\n";
        let chunk = format!("{:x}\r\n{event}\r\n", event.len());
        self.desk().listeners.retain_mut(|listener| listener.write_all(chunk.as_bytes()).is_ok());
    }

    /// Requests so far.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.desk().requests
    }

    /// Bytes of the answer at a path.
    #[must_use]
    pub fn size(&self, path: &str) -> usize {
        self.desk().answers.get(path).map_or(0, |body| body.len())
    }

    fn converse(&self, stream: UnixStream) -> io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut writer = stream;
        loop {
            let Some(target) = read_request(&mut reader)? else { return Ok(()) };
            let (path, query) = target.split_once('?').unwrap_or((&target, ""));
            if path == "/events" {
                let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
                writer.write_all(head.as_bytes())?;
                self.desk().listeners.push(writer);
                // Until the other end closes.
                return read_request(&mut reader).map(drop);
            }
            let (status, body) = match self.answer(path, query) {
                Some(body) => ("200 OK", body),
                None => ("404 Not Found", "{\"message\":\"page not found\"}".into()),
            };
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            writer.write_all(head.as_bytes())?;
            writer.write_all(body.as_bytes())?;
        }
    }

    fn answer(&self, path: &str, query: &str) -> Option<Arc<str>> {
        let mut desk = self.desk();
        desk.requests += 1;
        let filters = filters(query);
        let asks = |key: &str| filters[key].as_array().is_some_and(|list| !list.is_empty());
        if path == "/tasks" && (asks("id") || asks("service")) {
            let named = |key: &str, value: &str| {
                !asks(key) || filters[key].as_array().is_some_and(|l| l.iter().any(|v| v == value))
            };
            let tasks = desk.swarm.tasks.iter().filter(|task| {
                named("id", &task.id())
                    && named("service", &service_id(task.service))
                    && named("desired-state", task.desired)
            });
            return Some(render::tasks(tasks).to_string().into());
        }
        let path = if path.starts_with("/networks/") { "/networks/ingress" } else { path };
        desk.answers.get(path).cloned()
    }
}

fn answers(swarm: &Swarm) -> BTreeMap<&'static str, Arc<str>> {
    let shall_run = swarm.tasks.iter().filter(|task| task.desired == "running");
    BTreeMap::from([
        ("/services", render::services(swarm).to_string().into()),
        ("/tasks", render::tasks(shall_run).to_string().into()),
        ("/nodes", render::nodes().to_string().into()),
        ("/networks", json!([render::network(None)]).to_string().into()),
        ("/networks/ingress", render::network(Some(swarm)).to_string().into()),
        ("/swarm", json!({"ID": "swarm", "DataPathPort": 4789}).to_string().into()),
    ])
}

/// The path of a request; none when there will be no more.
fn read_request(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut path = None;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        if line == "\r\n" {
            return Ok(path);
        }
        path = path.or_else(|| line.split(' ').nth(1).map(str::to_owned));
    }
}

/// `filters=%7B…`, as the gateway writes it.
fn filters(query: &str) -> Value {
    let text = query.strip_prefix("filters=").unwrap_or_default();
    let plain = ["%22", "\"", "%7B", "{", "%7D", "}", "%5B", "[", "%5D", "]", "%3A", ":"];
    let text = plain.chunks(2).fold(text.to_owned(), |text, pair| text.replace(pair[0], pair[1]));
    serde_json::from_str(&text).unwrap_or_default()
}
