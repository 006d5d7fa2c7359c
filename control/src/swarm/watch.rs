//! What to look at while nothing happens, besides the list of services. That list tells of most: engines since 20.10 count in
//! it how many tasks of each service run. It does not tell when the next task of a long update shall stop, and older engines
//! do not count.

use hyper::body::Bytes;

use super::client::{ApiError, Connection};
use super::list::parse_list;
use super::model::{Service, Task};
use super::round::IDS_AT_ONCE;

/// All tasks that shall run.
pub const TASKS: &str = "/tasks?filters=%7B%22desired-state%22%3A%5B%22running%22%5D%7D";

/// What to look at.
#[derive(Debug, PartialEq, Eq)]
pub enum Watch {
    /// The services are enough.
    Services,
    /// Tasks of services that are being updated: their ids.
    Updated(Vec<String>),
    /// All tasks.
    Tasks,
}

impl Watch {
    /// Chooses by what the engine shows.
    pub fn of<'a>(services: impl Iterator<Item = &'a Service>) -> Watch {
        let mut updated = Vec::new();
        for service in services {
            if service.counts.is_none() {
                return Watch::Tasks;
            }
            if service.update_status.is_moving() {
                updated.push(service.id.clone());
            }
        }
        match updated.len() {
            0 => Watch::Services,
            1..=IDS_AT_ONCE => Watch::Updated(updated),
            _ => Watch::Tasks,
        }
    }

    /// Looks; true when something differs from `tasks`, the last answer about all of them.
    pub async fn differs(&self, manager: &mut Connection, tasks: &Bytes) -> Result<bool, ApiError> {
        match self {
            Watch::Services => Ok(false),
            Watch::Tasks => Ok(manager.get(TASKS).await? != *tasks),
            Watch::Updated(services) => {
                let (now, _) = manager.read_list::<Task>(&of_services(services), "task").await?;
                Ok(sorted(now) != sorted(before(services, tasks)))
            }
        }
    }
}

fn of_services(ids: &[String]) -> String {
    let list = ids.iter().map(|id| format!("%22{id}%22")).collect::<Vec<_>>().join(",");
    format!("/tasks?filters=%7B%22desired-state%22%3A%5B%22running%22%5D,%22service%22%3A%5B{list}%5D%7D")
}

/// Tasks of these services in an answer about all. It was understood before.
fn before(services: &[String], tasks: &Bytes) -> Vec<Task> {
    let (mut tasks, _) = parse_list::<Task>(tasks, "task").unwrap_or_default();
    tasks.retain(|task| services.contains(&task.service_id));
    tasks
}

fn sorted(mut tasks: Vec<Task>) -> Vec<Task> {
    tasks.sort_by(|a, b| a.id.cmp(&b.id));
    tasks
}
