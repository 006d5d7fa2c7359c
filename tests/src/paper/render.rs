//! The swarm as Docker 20.10 shows it: shape and size of its answers.

use super::state::{FIRST_PORT, NODES, SERVICES, Swarm, Task, node_address, node_id, service_id, service_name};
use serde_json::{Value, json};

const NETWORK: &str = "ingress000000000000000000";
const TIME: &str = "2026-11-21T09:15:27.986194962Z";

/// `GET /services?status=true`
#[must_use]
pub fn services(swarm: &Swarm) -> Value {
    let mut running = [0; SERVICES];
    for task in swarm.tasks.iter().filter(|task| task.state == "running") {
        running[task.service] += 1;
    }
    Value::Array((0..SERVICES).map(|number| service(swarm, number, running[number])).collect())
}

fn service(swarm: &Swarm, number: usize, running: usize) -> Value {
    let port = FIRST_PORT + number;
    let ports = json!([{"Protocol": "tcp", "TargetPort": 8000, "PublishedPort": port, "PublishMode": "ingress"}]);
    let state = if swarm.updating == Some(number) { "updating" } else { "completed" };
    let mut service = json!({
        "ID": service_id(number), "Version": {"Index": 332}, "CreatedAt": TIME, "UpdatedAt": TIME,
        "Spec": {
            "Name": service_name(number), "Labels": {}, "TaskTemplate": template(), "Mode": {"Replicated": {"Replicas": 20}},
            "UpdateConfig": {"Parallelism": 1, "FailureAction": "pause", "Monitor": 5_000_000_000_u64, "MaxFailureRatio": 0,
                "Order": "stop-first"},
            "EndpointSpec": {"Mode": "vip", "Ports": ports},
        },
        "Endpoint": {
            "Spec": {"Mode": "vip", "Ports": ports}, "Ports": ports,
            "VirtualIPs": [{"NetworkID": NETWORK, "Addr": format!("10.0.254.{}/16", number + 1)}],
        },
        "UpdateStatus": {"State": state, "StartedAt": TIME, "Message": "update"},
    });
    if swarm.counts {
        service["ServiceStatus"] = json!({"RunningTasks": running, "DesiredTasks": 20, "CompletedTasks": 0});
    }
    service
}

fn template() -> Value {
    json!({
        "ContainerSpec": {
            "Image": "registry.example/team/shop:1.2.3@sha256:2cced85751835f771fb67b67dc51a0ca55aa0312ca041a833aa41523691d7fbc",
            "Env": ["MODE=production", "LOG=info"], "Init": false, "DNSConfig": {}, "Isolation": "default",
        },
        "Resources": {"Limits": {}, "Reservations": {}}, "Placement": {}, "ForceUpdate": 0, "Runtime": "container",
    })
}

/// Tasks that fit, of `GET /tasks`.
pub fn tasks<'a>(tasks: impl Iterator<Item = &'a Task>) -> Value {
    Value::Array(tasks.map(task).collect())
}

fn task(task: &Task) -> Value {
    json!({
        "ID": task.id(), "Version": {"Index": 91}, "CreatedAt": TIME, "UpdatedAt": TIME, "Labels": {}, "Spec": template(),
        "ServiceID": service_id(task.service), "Slot": task.number, "NodeID": node_id(task.node()),
        "Status": {
            "Timestamp": TIME, "State": task.state, "Message": "started", "PortStatus": {},
            "ContainerStatus": {"ContainerID": format!("{:064x}", task.number), "PID": 17678, "ExitCode": 0},
        },
        "DesiredState": task.desired,
        "NetworksAttachments": [{"Addresses": [format!("{}/16", task.address())], "Network": {
            "ID": NETWORK, "Version": {"Index": 74}, "CreatedAt": TIME, "UpdatedAt": TIME,
            "Spec": {"Name": "ingress", "Labels": {}, "DriverConfiguration": {}, "Ingress": true,
                "IPAMOptions": {"Driver": {}}, "Scope": "swarm"},
            "DriverState": {"Name": "overlay", "Options": {"com.docker.network.driver.overlay.vxlanid_list": "4096"}},
            "IPAMOptions": {"Driver": {"Name": "default"}, "Configs": [{"Subnet": "10.0.0.0/16", "Gateway": "10.0.0.1"}]},
        }}],
    })
}

/// `GET /nodes`
#[must_use]
pub fn nodes() -> Value {
    let node = |number: usize| {
        json!({
            "ID": node_id(number), "Version": {"Index": 264}, "CreatedAt": TIME, "UpdatedAt": TIME,
            "Spec": {"Labels": {}, "Role": "worker", "Availability": "active"},
            "Description": {
                "Hostname": format!("node-{number}"), "Platform": {"Architecture": "x86_64", "OS": "linux"},
                "Resources": {"NanoCPUs": 2_000_000_000_u64, "MemoryBytes": 25_276_502_016_u64},
                "Engine": {"EngineVersion": "20.10.24", "Plugins": [{"Type": "Network", "Name": "overlay"}]},
            },
            "Status": {"State": "ready", "Addr": node_address(number)},
        })
    };
    Value::Array((0..NODES).map(node).collect())
}

/// `GET /networks`, or one with what the engines tell each other.
#[must_use]
pub fn network(gossip: Option<&Swarm>) -> Value {
    let mut network = json!({
        "Name": "ingress", "Id": NETWORK, "Created": TIME, "Scope": "swarm", "Driver": "overlay", "EnableIPv6": false,
        "IPAM": {"Driver": "default", "Options": null, "Config": [{"Subnet": "10.0.0.0/16", "Gateway": "10.0.0.1"}]},
        "Internal": false, "Attachable": false, "Ingress": true, "Containers": null,
        "Options": {"com.docker.network.driver.overlay.vxlanid_list": "4096"}, "Labels": null,
    });
    if let Some(swarm) = gossip {
        let mut services = serde_json::Map::new();
        for number in 0..SERVICES {
            let tasks: Vec<_> = swarm.tasks.iter().filter(|task| task.service == number).map(endpoint).collect();
            let service = json!({"VIP": "10.0.254.1", "Ports": [], "LocalLBIndex": 256, "Tasks": tasks});
            services.insert(service_name(number), service);
        }
        network["Services"] = Value::Object(services);
    }
    network
}

fn endpoint(task: &Task) -> Value {
    json!({
        "Name": format!("{}.{}.{}", service_name(task.service), task.number, task.id()),
        "EndpointID": format!("{:064x}", task.number), "EndpointIP": task.address(),
        "Info": {"Host IP": node_address(task.node())},
    })
}
