//! Rounds that break off: what they would have told is not lost.

use hyper::StatusCode;

use super::api::{Answers, INGRESS, config};
use super::*;
use crate::api::tempdir::Directory;
use crate::config::{Endpoint, MoreOverlay, SwarmConfig};
use crate::swarm::client::{ApiError, Connection, Engine};
use crate::swarm::round::{Outcome, Rounds};

/// A manager, and who asks it.
struct Asking {
    answers: Answers,
    manager: Connection,
    rounds: Rounds,
    directory: Directory,
    more: Vec<MoreOverlay>,
}

impl Asking {
    /// After the first round.
    async fn start() -> Asking {
        Asking::of(Answers::recorded(), Vec::new()).await
    }

    /// The same, with further networks.
    async fn of(answers: Answers, more: Vec<MoreOverlay>) -> Asking {
        let directory = Directory::new();
        let path = directory.path.join("docker.sock");
        answers.set("/tasks", &text(&running()));
        answers.clone().serve(&path);
        let manager = Engine::new(Endpoint::Unix(path), None).connect().await.unwrap();
        let mut asking = Asking { answers, manager, rounds: Rounds::default(), directory, more };
        assert_eq!(asking.round(0).await.unwrap().overlays[0].1.vni.get(), 4096);
        asking
    }

    /// The news of a round at this second; `None`: it broke off.
    async fn round(&mut self, second: u64) -> Option<Wishes> {
        match self.outcome(second).await {
            Ok(Outcome::News(wishes)) => Some(*wishes),
            Ok(other) => panic!("{other:?}"),
            Err(_) => None,
        }
    }

    async fn outcome(&mut self, second: u64) -> Result<Outcome, ApiError> {
        let config = SwarmConfig { more: self.more.clone(), ..config(Vec::new(), None, &self.directory) };
        let engine = Engine::new(config.engine.clone(), None);
        let now = Duration::from_secs(second);
        self.rounds.ask(&mut self.manager, &engine, &config, &|_| false, now).await
    }
}

/// What a manager shows of tasks that shall run.
fn running() -> Vec<Value> {
    let mut tasks: Vec<Value> = read(sample!("tasks"));
    tasks.retain(|task| task["DesiredState"] == "running");
    tasks
}

fn text(tasks: &[Value]) -> String {
    serde_json::to_string(tasks).unwrap()
}

/// One of those that run once more, on the same node.
fn one_more() -> String {
    let mut tasks = running();
    let mut more = tasks[0].clone();
    more["ID"] = "anewtask".into();
    more["NetworksAttachments"][0]["Addresses"][0] = "10.0.0.99/24".into();
    tasks.push(more);
    text(&tasks)
}

#[tokio::test]
async fn a_new_task_is_served_though_its_network_could_not_be_asked_at_first() {
    let mut asking = Asking::start().await;
    asking.answers.set("/tasks", &one_more());
    asking.answers.set_status(INGRESS, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(asking.round(1).await, None);
    asking.answers.set_status(INGRESS, StatusCode::OK);
    assert_eq!(weights(&asking.round(2).await.unwrap()), [1, 1, 1]);
}

#[tokio::test]
async fn another_overlay_is_followed_though_the_services_could_not_be_asked_at_first() {
    let mut asking = Asking::start().await;
    asking.answers.set(INGRESS, &sample!("network-ingress-manager-verbose").replace("4096", "4097"));
    asking.answers.set_status("/services", StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(asking.round(6).await, None);
    asking.answers.set_status("/services", StatusCode::OK);
    assert_eq!(asking.round(7).await.unwrap().overlays[0].1.vni.get(), 4097);
}

/// An engine that starts shows the networks that it has itself while its manager is not there yet.
#[tokio::test]
async fn a_network_is_not_lost_while_its_manager_starts() {
    let back = r#"{"Name": "back", "Id": "back-id", "Scope": "swarm", "Driver": "overlay", "IPAM": {"Config":
                   [{"Subnet": "10.7.0.0/24"}]}, "Options": {"com.docker.network.driver.overlay.vxlanid_list": "4099"}}"#;
    let all = sample!("networks").replacen('[', &format!("[{back},"), 1);
    let answers = Answers::recorded();
    answers.set("/networks", &all);
    answers.set("/networks/back-id", back);
    let overlay = OverlaySeed { address: Some((Ipv4Addr::new(10, 7, 0, 250), 24)), ..OverlaySeed::default() };
    let mut asking = Asking::of(answers, vec![MoreOverlay { network: "back".to_owned(), overlay }]).await;
    asking.answers.set("/networks", sample!("networks"));
    asking.answers.set_once_asked("/swarm", "/networks", &all);
    assert_eq!(asking.outcome(6).await.unwrap(), Outcome::Same);
}

/// Without a history nobody is seen to leave who has failed.
#[tokio::test]
async fn who_took_the_place_of_the_last_task_is_served_at_once() {
    let mut asking = Asking::start().await;
    let all: Vec<Value> = read(&one_more());
    asking.answers.set("/tasks", &text(&all[2..]));
    assert_eq!(weights(&asking.round(1).await.unwrap()), [1]);
}
