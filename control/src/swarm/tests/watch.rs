//! What is looked at while nothing happens.

use hyper::body::Bytes;
use serde_json::json;

use super::api::Answers;
use super::*;
use crate::api::tempdir::Directory;
use crate::config::Endpoint;
use crate::swarm::client::Engine;
use crate::swarm::watch::Watch;

fn watch(change: impl FnOnce(&mut Value)) -> Watch {
    let mut services: Value = read(sample!("services"));
    change(&mut services);
    let services: Vec<Service> = serde_json::from_value(services).unwrap();
    Watch::of(services.iter())
}

fn counts(services: &mut Value) {
    services[0]["ServiceStatus"] = json!({"RunningTasks": 2, "DesiredTasks": 2, "CompletedTasks": 0});
}

#[test]
fn what_an_engine_counts_need_not_be_looked_at() {
    assert_eq!(watch(|_| ()), Watch::Tasks, "Docker before 20.10");
    assert_eq!(watch(counts), Watch::Services);
    for (state, moves) in
        [("updating", true), ("rollback_started", true), ("paused", false), ("rollback_paused", false)]
    {
        let expected =
            if moves { Watch::Updated(vec!["wxz8wj6uqraorryfzvyk8lxdo".to_owned()]) } else { Watch::Services };
        let seen = watch(|services| {
            counts(services);
            services[0]["UpdateStatus"]["State"] = json!(state);
        });
        assert_eq!(seen, expected, "{state}");
    }
    assert_eq!(Watch::of(std::iter::empty()), Watch::Services);
    let updated = |count: usize| -> Vec<Service> {
        let service = |id| json!({"ID": format!("{id}"), "UpdateStatus": {"State": "updating"}, "ServiceStatus": {}});
        (0..count).map(|id| serde_json::from_value(service(id)).unwrap()).collect()
    };
    assert!(matches!(Watch::of(updated(100).iter()), Watch::Updated(_)));
    assert_eq!(Watch::of(updated(101).iter()), Watch::Tasks, "the request's line would become too long");
}

#[tokio::test]
async fn a_step_of_an_update_is_seen() {
    let directory = Directory::new();
    let path = directory.path.join("docker.sock");
    let answers = Answers::recorded();
    answers.clone().serve(&path);
    let mut manager = Engine::new(Endpoint::Unix(path), None).connect().await.unwrap();
    let before = sample!("tasks");
    let last = Bytes::from_static(before.as_bytes());
    let mut order: Vec<Value> = read(before);
    order.reverse();
    let service = read::<Vec<Task>>(before)[0].service_id.clone();
    let updated = Watch::Updated(vec![service]);
    for watch in [&Watch::Services, &Watch::Tasks, &updated] {
        assert!(!watch.differs(&mut manager, &last).await.unwrap(), "{watch:?}");
    }
    // Other bytes, but nothing that matters.
    answers.set("/tasks", &Value::from(order.clone()).to_string());
    assert!(!updated.differs(&mut manager, &last).await.unwrap());
    assert!(Watch::Tasks.differs(&mut manager, &last).await.unwrap());
    // A task that shall stop is not in this list any more.
    order.remove(0);
    answers.set("/tasks", &Value::from(order).to_string());
    assert!(updated.differs(&mut manager, &last).await.unwrap());
    assert!(!Watch::Services.differs(&mut manager, &last).await.unwrap());
    // Other services' tasks do not count.
    answers.set("/tasks", "[]");
    assert!(!Watch::Updated(vec!["other".to_owned()]).differs(&mut manager, &last).await.unwrap());
}
