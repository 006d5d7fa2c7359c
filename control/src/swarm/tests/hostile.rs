//! Answers that no engine should give.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::swarm::client::parse;
use crate::swarm::list::parse_list;

const SAMPLES: [&str; 4] =
    [sample!("services"), sample!("tasks"), sample!("nodes"), sample!("network-ingress-manager-verbose")];

/// Every place in a value, as pointers.
fn places(value: &Value, prefix: &str, out: &mut Vec<String>) {
    out.push(prefix.to_owned());
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| {
            let key = key.replace('~', "~0").replace('/', "~1");
            places(value, &format!("{prefix}/{key}"), out);
        }),
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(at, value)| places(value, &format!("{prefix}/{at}"), out));
        }
        _ => {}
    }
}

fn anything() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!(null)),
        Just(json!([])),
        Just(json!({})),
        any::<i64>().prop_map(|number| json!(number)),
        (0..70_000_u32).prop_map(|number| json!(number)),
        ".{0,40}".prop_map(|text| json!(text)),
        Just(json!("255.255.255.255/0")),
        Just(json!("10.0.0.43/24")),
        Just(json!("::1/128")),
    ]
}

proptest! {
    /// Whatever stands anywhere: an error, or services that can be published.
    #[test]
    fn one_odd_value_anywhere(which in 0..4_usize, place: prop::sample::Index, odd in anything()) {
        let mut json: Value = serde_json::from_str(SAMPLES[which]).unwrap();
        let mut all = Vec::new();
        places(&json, "", &mut all);
        *at(&mut json, place.get::<String>(&all)) = odd;
        let mut scene = Scene::recorded();
        let body = json.to_string().into_bytes();
        let read = match which {
            0 => parse_list(&body, "service").map(|(services, _)| scene.services = services),
            1 => parse_list(&body, "task").map(|(tasks, _)| scene.tasks = tasks),
            2 => parse_list(&body, "node").map(|(nodes, _)| scene.nodes = nodes),
            _ => parse(&body).map(|network| scene.network = network),
        };
        if read.is_ok() {
            let wishes = scene.wishes();
            let mut seen = std::collections::BTreeSet::new();
            for task in wishes.services.iter().flat_map(|wanted| &wanted.tasks) {
                let (_, overlay) = &wishes.overlays[0];
                prop_assert!(overlay.addresses().iter().all(|own| task.backend.address.ip != *own));
                prop_assert!(task.backend.address.port.is_some());
                prop_assert!(seen.insert(task.backend.address), "{:?} twice", task.backend.address);
            }
        }
    }
}

#[test]
fn odd_services_are_left_out_and_the_others_stand() {
    let mut scene = Scene::running();
    let before = scene.wishes().services;
    let odd = |name: &str, ports: Value| -> Service {
        serde_json::from_value(json!({
            "ID": format!("id-{name}"), "CreatedAt": "2030", "Spec": {"Name": name}, "Endpoint": {"Ports": ports}
        }))
        .unwrap()
    };
    scene.services.push(odd("../../etc", json!([])));
    scene.services.push(odd("sctp", json!([{"Protocol": "sctp", "TargetPort": 1, "PublishedPort": 9}])));
    scene.services.push(odd("zero", json!([{"Protocol": "tcp", "TargetPort": 0, "PublishedPort": 9}])));
    scene.services.push(odd("beyond", json!([{"Protocol": "tcp", "TargetPort": 65_536, "PublishedPort": 9}])));
    scene.services.push(odd("thief", json!([{"Protocol": "tcp", "TargetPort": 1, "PublishedPort": 8080}])));
    scene.services.push(odd("silent", json!(null)));
    let wishes = scene.wishes();
    assert_eq!(wishes.services, before);
    assert_eq!(
        problems(&wishes),
        [
            "service beyond: 65536 is no port",
            "service sctp: sctp is not balanced",
            "service thief: 198.18.0.1:8080/tcp is taken by service my-web",
            "swarm service: `../../etc` can't be a service's name",
        ]
    );
}

#[test]
fn an_odd_port_leaves_the_service_its_others() {
    let mut scene = Scene::running();
    let before = scene.wishes().services;
    let mut odd = scene.services[0].endpoint.ports[0].clone();
    (odd.target_port, odd.published_port) = (8000, 70_000);
    scene.services[0].endpoint.ports.push(odd);
    let wishes = scene.wishes();
    assert_eq!((wishes.services.clone(), problems(&wishes)), (before, vec!["service my-web: 70000 is no port"]));
}

#[test]
fn an_odd_element_is_left_out_and_named() {
    let list = r#"[{"ID": "1", "Spec": {"Name": "a"}}, {"ID": "2", "Spec": {"Name": "b", "Labels": 7}}, {"ID": "3", "NodeID": 4},
                   7, {"Name": "c\u001b", "Id": "5", "CreatedAt": 6}]"#;
    let (services, odd) = parse_list::<Service>(list.as_bytes(), "service").unwrap();
    assert_eq!(services.iter().map(|service| service.id.as_str()).collect::<Vec<_>>(), ["1", "3"]);
    assert_eq!(
        odd,
        [
            "service b: left out: invalid type: integer `7`, expected a map",
            "service without a name: left out: invalid type: integer `7`, expected struct Service",
            "service c\u{fffd}: left out: invalid type: integer `6`, expected a string",
        ]
    );
}

#[test]
fn odd_addresses_of_tasks_are_left_out() {
    for odd in ["", "10.0.0.43", "10.0.0.43/99", "10.0.1.43/24", "10.0.0.255/24", "fe80::1/64", "x\u{7}/24"] {
        let mut scene = Scene::running();
        scene.tasks[0].networks_attachments[0].addresses = vec![odd.to_owned()];
        let wishes = scene.wishes();
        assert_eq!(weights(&wishes), [1], "{odd:?}");
        assert!(problems(&wishes)[0].contains("has the address"), "{wishes:?}");
    }
}

#[test]
fn a_worker_refuses_and_text_is_no_answer() {
    assert!(parse_list::<Task>(sample!("worker-tasks-error").as_bytes(), "task").is_err());
    assert!(parse_list::<Service>(b"<html>", "service").is_err());
    assert_eq!(parse_list::<Task>(b"[{}]", "task").unwrap(), (vec![Task::default()], vec![]));
}
