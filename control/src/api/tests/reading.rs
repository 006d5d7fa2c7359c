//! What GET tells.

use std::sync::{Arc, Barrier};

use datapath::service::BackendId;
use serde_json::json;

use super::{ask, get, text};
use crate::api::fake::Fake;

#[test]
fn everything_can_be_read() {
    let served = Fake::new().serve();
    let paths = [
        "/v1/status",
        "/v1/services",
        "/v1/services/games",
        "/v1/services/games/backends/192.0.2.7",
        "/v1/backends?service=my-web",
        "/v1/flows?service=my-web&limit=1",
        "/v1/flows/count",
        "/v1/counters",
    ];
    let answers: Vec<String> = paths
        .iter()
        .map(|path| {
            let (status, body) = get(&served, path);
            format!("GET {path} → {status}\n{}\n", serde_json::to_string_pretty(&body).unwrap())
        })
        .collect();
    assert_words!(answers.join("\n"));
    assert_eq!(get(&served, "/v1/backends").1.as_array().unwrap().len(), 3);
    assert_eq!(get(&served, "/v1/services/my-web/backends").1.as_array().unwrap().len(), 2);
    assert_eq!(get(&served, "/v1/flows").1.as_array().unwrap().len(), 3);
}

#[test]
fn health_is_the_status_and_the_faults() {
    let mut fake = Fake::new();
    assert_eq!(get(&Fake::new().serve(), "/v1/health"), (200, json!({"healthy": true, "faults": []})));
    let faults = ["interface eth0 is down", "eth1 queue 0: another AF_XDP program holds this queue"];
    fake.faults = faults.map(str::to_owned).into();
    let served = fake.serve();
    assert_eq!(get(&served, "/v1/health"), (503, json!({"healthy": false, "faults": faults})));
    assert_eq!(ask(&served, "POST", "/v1/health", "").0, 405);
}

#[test]
fn who_cannot_be_reached_is_not_up() {
    let mut fake = Fake::new();
    let states = |fake: Fake| {
        let backends = get(&fake.serve(), "/v1/backends").1;
        backends.as_array().unwrap().iter().map(|row| row["state"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    fake.lost = [1, 2].map(BackendId).into();
    assert_eq!(states(fake), ["unreachable", "down", "up"], "who is down stays so until checks pass");
}

#[test]
fn a_list_of_flows_that_is_not_complete_is_refused() {
    let mut fake = Fake::new();
    let why = "worker 1 did not answer in time; 2 flows were found before";
    fake.no_flows = Some(why.to_owned());
    let hint = "ask again; if it stays so, `sluicegate status` shows whether the worker hangs";
    assert_eq!(get(&fake.serve(), "/v1/flows"), (503, json!({"error": why, "hint": hint})));
}

/// Workers may take their time over a list of flows. The gateway does not stand still meanwhile.
#[test]
fn a_long_list_of_flows_holds_nobody_up() {
    let places = Arc::new([Barrier::new(2), Barrier::new(2)]);
    let mut fake = Fake::new();
    fake.flows_dawdle = Some(Arc::clone(&places));
    let served = fake.serve();
    let [asked, may_end] = &*places;
    std::thread::scope(|scope| {
        let list = scope.spawn(|| get(&served, "/v1/flows"));
        asked.wait();
        let is_free = served.gateway.try_lock().is_ok();
        may_end.wait();
        assert!(is_free, "the workers are asked under the gateway's lock");
        assert_eq!(list.join().unwrap().1.as_array().unwrap().len(), 3);
    });
}

#[test]
fn flows_are_written_as_one_list() {
    let served = Fake::new().serve();
    let list = |path: &str| text(&served, path);
    let first = concat!(
        r#"{"worker":0,"protocol":"tcp","client":"203.0.113.7:40000","vip":"198.18.0.1:8080","snat":"10.0.0.3:1024","#,
        r#""backend":"10.0.0.11:8000","service":"my-web","state":"ESTABLISHED","expires_in_seconds":7100,"#,
        r#""packets":{"original":10,"reply":12},"bytes":{"original":840,"reply":15000}}"#
    );
    assert_eq!(list("/v1/flows?limit=1"), format!("[{first}]\n"));
    assert!(list("/v1/flows?limit=2").starts_with(&format!("[{first},{{\"worker\":1,")));
}
