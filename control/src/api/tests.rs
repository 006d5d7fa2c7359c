//! The API over a real socket, with friendly and with hostile clients. Requests are written by hand: nothing of ours
//! stands between the test and the bytes.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use datapath::service::BackendId;
use serde_json::{Value, json};

use super::fake::tempdir::Directory;
use super::fake::{CONFIG, Fake, Served};
use crate::config::shown;

/// Sends bytes, and reads until the gateway closes.
fn raw(served: &Served, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(&served.path).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // A gateway that has heard enough closes while we still write.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

/// Status and body of one request.
fn ask(served: &Served, method: &str, path: &str, body: &str) -> (u16, Value) {
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    let answer = raw(served, format!("{head}{body}").as_bytes());
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    assert!(head.to_lowercase().contains("content-type: application/json"), "{head}");
    (status, serde_json::from_str(body).unwrap())
}

fn get(served: &Served, path: &str) -> (u16, Value) {
    ask(served, "GET", path, "")
}

/// What a GET gives, as it came over the socket.
fn text(served: &Served, path: &str) -> String {
    let answer = raw(served, format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes());
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// All services, for "nothing has changed".
fn services(served: &Served) -> Value {
    get(served, "/v1/services").1
}

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

#[test]
fn services_come_change_and_go() {
    let served = Fake::new().serve();
    let body = r#"{"name": "new", "listen": "198.18.0.9:80", "backends": [{"address": "192.0.2.1:80", "weight": 5}]}"#;
    let (status, view) = ask(&served, "POST", "/v1/services", body);
    assert_eq!((status, &view["listen"]), (201, &json!(["198.18.0.9:80/tcp"])));
    assert_eq!(view["backends"][0]["weight"], 5);
    let body = r#"{"listen": ["198.18.0.9:81", "198.18.0.9:82/udp"], "timestamps": "keep"}"#;
    let (status, view) = ask(&served, "PATCH", "/v1/services/new", body);
    assert_eq!((status, &view["listen"]), (200, &json!(["198.18.0.9:81/tcp", "198.18.0.9:82/udp"])));
    assert_eq!((&view["timestamps"], &view["scheduler"]), (&json!("keep"), &json!("rr")));
    let (_, view) = ask(&served, "PATCH", "/v1/services/new", r#"{"timeout": "90s"}"#);
    assert_eq!(
        (&view["timeout"], &view["direct"], &view["timestamps"]),
        (&json!("90s"), &json!(false), &json!("keep"))
    );
    let (_, view) = ask(&served, "PATCH", "/v1/services/new", r#"{"timeout": null}"#);
    assert_eq!(view["timeout"], json!(null));
    let patch = |body| ask(&served, "PATCH", "/v1/services/new", body).1["timeouts"].clone();
    assert_eq!(patch(r#"{"timeouts": {"udp": 3, "tcp_syn_sent": "5s"}}"#), json!({"udp": "3s", "tcp_syn_sent": "5s"}));
    assert_eq!(
        patch(r#"{"timeouts": {"udp": null, "udp_stream": "1m"}}"#),
        json!({"tcp_syn_sent": "5s", "udp_stream": "1m"})
    );
    assert_eq!(patch(r#"{"timestamps": "keep"}"#), json!({"tcp_syn_sent": "5s", "udp_stream": "1m"}));
    assert_eq!(patch(r#"{"timeouts": null}"#), json!({}));
    let put = r#"{"name": "new", "listen": "198.18.0.9:83"}"#;
    assert_eq!(ask(&served, "PUT", "/v1/services/new", put).0, 200);
    assert_eq!(get(&served, "/v1/services/new").1["backends"], json!([]));
    assert_eq!(ask(&served, "DELETE", "/v1/services/new", ""), (200, json!({"removed": "new"})));
    assert_eq!(get(&served, "/v1/services/new").0, 404);
    assert_eq!(ask(&served, "PUT", "/v1/services/new", put).0, 201);
}

/// Services beside those of the fake, so that there is every kind.
const KINDS: [&str; 8] = [
    r#"{"name": "direct", "listen": "198.18.0.20:80", "direct": true, "timeouts": {"tcp_syn_sent": "5s"},
        "backends": [{"address": "192.0.2.1"}, {"address": "10.0.0.21", "vtep": "198.18.1.11"}]}"#,
    r#"{"name": "direct-dns", "listen": "198.18.0.21:53/udp", "direct": true}"#,
    r#"{"name": "both", "listen": ["198.18.0.22:53", "198.18.0.22:53/udp", "[2001:db8::22]:53"], "timeout": "90s",
        "check": {"type": "udp", "port": 53, "send": "00ff"}, "proxy_protocol": true, "half_open": 500,
        "backends": [{"address": "192.0.2.1:53", "max_connections": 9}, {"address": "[2001:db8:1::11]:53", "sorry": true}]}"#,
    r#"{"name": "datagrams", "listen": "198.18.0.23:514/udp", "one_packet": true}"#,
    r#"{"name": "rates", "listen": "198.18.0.24:80", "rate": "6000/m", "rate_per_source": "1/h", "syn_cookies": "always",
        "allow": ["198.18.0.0/16", "2001:db8::/32"], "passive": true}"#,
    r#"{"name": "group", "listen": "198.18.0.25:80", "persistence": "5m", "persistence_group": "shop"}"#,
    r#"{"name": "group-tls", "listen": "198.18.0.25:443", "persistence": "5m", "persistence_group": "shop"}"#,
    r#"{"name": "life", "listen": "198.18.0.26:1-9", "scheduler": "wrr", "slow_start": "30s", "on_down": "reset",
        "drain_deadline": "5m", "syn_cookies": "never", "check": {"type": "tcp", "port": 5},
        "backends": [{"address": "192.0.2.1", "weight": 0}]}"#,
];

/// GET, edit, PUT: nothing must be taken out first.
#[test]
fn put_takes_what_get_gives() {
    let served = Fake::new().serve();
    for kind in KINDS {
        let (status, answer) = ask(&served, "POST", "/v1/services", kind);
        assert_eq!(status, 201, "{kind}: {answer}");
    }
    let before = services(&served);
    for service in before.as_array().unwrap() {
        let path = format!("/v1/services/{}", service["name"].as_str().unwrap());
        let shown = text(&served, &path);
        assert_eq!(ask(&served, "PUT", &path, &shown), (200, service.clone()), "{path}");
        assert_eq!(text(&served, &path), shown);
        let is_shown = |of: &Value, keys: &[&str]| keys.iter().all(|key| of.get(key).is_some());
        assert!(is_shown(service, &shown::OF_SERVICE), "{path}");
        assert!(service["backends"].as_array().unwrap().iter().all(|backend| is_shown(backend, &shown::OF_BACKEND)));
    }
    assert_eq!(services(&served), before);
}

#[test]
fn post_takes_what_get_gives() {
    let served = Fake::new().serve();
    let (path, one) = ("/v1/services/my-web", "/v1/services/my-web/backends/10.0.0.12:8000");
    let (shown, backend) = (text(&served, path), text(&served, one));
    assert_eq!(ask(&served, "DELETE", one, "").0, 200);
    let (status, view) = ask(&served, "POST", "/v1/services/my-web/backends", &backend);
    assert_eq!((status, &view["weight"], &view["mac"]), (201, &json!(300), &json!("02:42:0a:00:00:99")));
    assert_eq!(ask(&served, "DELETE", path, "").0, 200);
    let (status, view) = ask(&served, "POST", "/v1/services", &shown);
    assert_eq!(
        (status, &view["backends"][1]["weight"], &view["check"]["path"]),
        (201, &json!(300), &json!("/healthz"))
    );
}

#[test]
fn null_goes_back_to_the_default() {
    let served = Fake::new().serve();
    let whole = r#"{"name": "new", "listen": "198.18.0.9:80", "scheduler": "wlc", "timestamps": "keep", "proxy_protocol": true,
        "on_down": "reset", "syn_cookies": "never", "allow": "198.18.0.0/16", "deny": "198.18.7.0/24",
        "check": {"type": "tcp", "port": 80}, "backends": [{"address": "192.0.2.7:80", "weight": 5}]}"#;
    assert_eq!(ask(&served, "POST", "/v1/services", whole).0, 201);
    let defaults = json!({"scheduler": "rr", "timestamps": "rewrite", "proxy_protocol": false, "on_down": "keep",
        "syn_cookies": "auto", "allow": [], "deny": [], "direct": false, "one_packet": false});
    let of = |view: &Value| -> Value {
        defaults.as_object().unwrap().keys().map(|key| (key.clone(), view[key].clone())).collect()
    };
    let nulls: Value = defaults.as_object().unwrap().keys().map(|key| (key.clone(), Value::Null)).collect();
    let (status, view) = ask(&served, "PATCH", "/v1/services/new", &nulls.to_string());
    assert_eq!((status, of(&view)), (200, defaults.clone()));
    let others = [r#"{"direct": true}"#, r#"{"direct": null}"#];
    let direct = others.map(|body| ask(&served, "PATCH", "/v1/services/new", body).1["direct"].clone());
    assert_eq!(direct, [true, false]);
    let one = "/v1/services/new/backends/192.0.2.7:80";
    assert_eq!(ask(&served, "PATCH", one, r#"{"sorry": true}"#).1["sorry"], true);
    let (status, view) = ask(&served, "PATCH", one, r#"{"sorry": null, "weight": null}"#);
    assert_eq!((status, &view["sorry"], &view["weight"]), (200, &json!(false), &json!(1)));
}

#[test]
fn backends_come_change_and_go() {
    let served = Fake::new().serve();
    let path = "/v1/services/my-web/backends";
    let body = r#"{"address": "10.0.0.13:8000", "vtep": "198.18.1.13"}"#;
    let (status, view) = ask(&served, "POST", path, body);
    assert_eq!((status, &view["forward"], &view["weight"]), (201, &json!("vxlan"), &json!(1)));
    let one = format!("{path}/10.0.0.13:8000");
    assert_eq!(ask(&served, "PATCH", &one, r#"{"weight": 9, "mac": "02:00:00:00:00:01"}"#).0, 200);
    let view = get(&served, &one).1;
    assert_eq!((&view["weight"], &view["mac"]), (&json!(9), &json!("02:00:00:00:00:01")));
    assert_eq!(ask(&served, "PATCH", &one, r#"{"mac": null, "vtep": null}"#).1["forward"], "route");
    assert_eq!(ask(&served, "POST", &format!("{one}/drain"), "").1["weight"], 0);
    assert_eq!(ask(&served, "DELETE", &one, "").0, 200);
    assert_eq!(get(&served, &one).0, 404);
}

#[test]
fn names_and_addresses_may_be_percent_encoded() {
    let served = Fake::new().serve();
    assert_eq!(get(&served, "/v1/services/my%2Dweb/backends/10.0.0.11%3A8000").0, 200);
    assert_eq!(get(&served, "/v1/services/%zz").0, 400);
    assert_eq!(get(&served, "/v1/services/%ff").0, 400);
    // `%+5` is no byte 5, though numbers may have a sign.
    for broken in ["%+5", "%-1", "%5", "%", "%5+"] {
        assert_eq!(get(&served, &format!("/v1/services/{broken}")).0, 400, "{broken}");
        assert_eq!(get(&served, &format!("/v1/flows?service={broken}")).0, 400, "{broken}");
    }
    assert_eq!(get(&served, "/v1/services/%e2%82").0, 400);
}

#[test]
fn a_reload_says_what_changed_or_what_is_wrong() {
    let served = Fake::new().serve();
    served.gateway.lock().unwrap().write_file(&CONFIG.replace("weight  = 300", "weight  = 70000\ncolour = 1"));
    let before = services(&served);
    let (status, body) = ask(&served, "POST", "/v1/reload", "");
    assert_eq!(status, 422);
    assert_eq!(body["error"], "the config has 2 errors: nothing has changed");
    assert_eq!(body["problems"].as_array().unwrap().len(), 2);
    assert_eq!(body["problems"][0]["file"], "/etc/gw.toml");
    assert_eq!(body["problems"][0]["line"], 23);
    assert_eq!(body["problems"][0]["field"], "service[0].backend[1].weight");
    assert_eq!(services(&served), before);
    served.gateway.lock().unwrap().write_file(&CONFIG.replace("weight  = 300", "weight  = 7"));
    let (status, body) = ask(&served, "POST", "/v1/reload", "");
    assert_eq!((status, &body["backends_changed"]), (200, &json!(["my-web 10.0.0.12:8000"])));
    let empty = "[[interface]]\nname = \"eth0\"\n[[service]]\nname = \"empty\"\nlisten = \"198.18.0.9:80\"\n";
    served.gateway.lock().unwrap().write_file(empty);
    let warning = "/etc/gw.toml:4:8: warning: service `empty` has no backends (new connections to it are refused)";
    assert_eq!(ask(&served, "POST", "/v1/reload", "").1["warnings"], json!([warning]));
}

/// The requests, and what is said of each.
fn answers(served: &Served, requests: &[(&str, &str, &str)]) -> String {
    let answers: Vec<String> = requests
        .iter()
        .map(|(method, path, body)| {
            let (status, answer) = ask(served, method, path, body);
            let hint = answer.get("hint").and_then(Value::as_str).unwrap_or("-");
            let problems = answer.get("problems").and_then(Value::as_array).cloned().unwrap_or_default();
            let more = problems.iter().map(|found| format!("\n    {}: {}", found["field"], found["message"]));
            let more: String = if problems.len() > 1 { more.collect() } else { String::new() };
            format!("{method} {path} {body}\n  {status} {} ({hint}){more}\n", answer["error"].as_str().unwrap())
        })
        .collect();
    answers.join("")
}

/// What is shown beside the config is passed over where it was read, and nowhere else.
#[test]
fn what_is_only_shown_cannot_be_changed() {
    let served = Fake::new().serve();
    let before = services(&served);
    let web = "/v1/services/my-web";
    let one = "/v1/services/my-web/backends/10.0.0.11:8000";
    assert_words!(answers(
        &served,
        &[
            (
                "PUT",
                web,
                r#"{"name": "my-web", "listen": "198.18.0.1:8080", "protecton": {}, "backends": [{"address": "10.0.0.11:8000", "conections": 7, "max_conections": 7}]}"#,
            ),
            ("POST", "/v1/services/my-web/backends", r#"{"address": "192.0.2.9", "check": {"type": "tcp"}}"#),
            ("PATCH", web, r#"{"evicted_clients": null}"#),
            ("PATCH", one, r#"{"state": "up", "check": null}"#),
        ]
    ));
    assert_eq!(services(&served), before);
}

#[test]
fn what_is_wrong_is_refused_and_changes_nothing() {
    let served = Fake::new().serve();
    let before = services(&served);
    let web = "/v1/services/my-web";
    let one = "/v1/services/my-web/backends/10.0.0.11:8000";
    let requests = [
        ("POST", "/v1/services", "{"),
        ("POST", "/v1/services", ""),
        ("POST", "/v1/services", "[]"),
        (
            "POST",
            "/v1/services",
            r#"{"nam": "x", "listen": 80, "backends": [{"address": "10.0.0.11:0", "wieght": "1"}]}"#,
        ),
        ("POST", "/v1/services", r#"{"name": "my-web", "listen": "198.18.0.77:1"}"#),
        ("POST", "/v1/services", r#"{"name": "x", "listen": "198.18.0.1:8080"}"#),
        ("POST", "/v1/services", r#"{"name": "x", "listen": []}"#),
        ("PUT", web, r#"{"name": "other", "listen": "198.18.0.77:1"}"#),
        ("PATCH", web, r#"{"name": "other"}"#),
        ("PATCH", web, r#"{"scheduler": "rrr"}"#),
        ("PATCH", web, r#"{"listen": []}"#),
        ("PATCH", web, r#"{"listen": null}"#),
        ("PATCH", web, r#"{"listen": ["198.18.0.1:8080", "nonsense"]}"#),
        ("PATCH", "/v1/services/my-wbe", r#"{"scheduler": "rr"}"#),
        ("DELETE", web, "please"),
        ("PATCH", one, r#"{"weight": 65536}"#),
        ("PATCH", one, r#"{"weight": 1.5}"#),
        ("PATCH", one, r#"{"weight": "1"}"#),
        ("PATCH", one, r#"{"address": "10.0.0.99:1"}"#),
        ("PATCH", one, r#"{"vtep": "198.18.1.1"}"#),
        ("POST", "/v1/services/my-web/backends", r#"{"address": "10.0.0.11:8000", "vtep": "198.18.1.11"}"#),
        ("POST", "/v1/services/my-web/backends", r#"{"address": "10.0.9.9:1", "vtep": "198.18.1.11"}"#),
        ("GET", "/v1/services/my-web/backends/nowhere", ""),
        ("DELETE", "/v1/services/my-web/backends/10.0.0.11:1", ""),
        ("GET", "/v1/flows?limit=0", ""),
        ("GET", "/v1/flows?limt=3", ""),
        ("GET", "/v1/flows?service=nobody", ""),
        ("GET", "/v1/status?verbose", ""),
        ("GET", "/", ""),
        ("GET", "/v1/service", ""),
        ("GET", "/v2/services", ""),
        ("POST", "/v1/status", ""),
        ("DELETE", "/v1/services", ""),
        ("BREW", web, ""),
        ("GET", "/v1/reload", ""),
    ];
    assert_words!(answers(&served, &requests));
    assert_eq!(services(&served), before);
}

/// A misspelt parameter, or a body that means nothing, must not be taken for the request without it.
#[test]
fn what_a_request_does_not_take_is_refused_everywhere() {
    let served = Fake::new().serve();
    let before = services(&served);
    let (web, one) = ("/v1/services/my-web", "/v1/services/my-web/backends/10.0.0.11:8000");
    let (backends, drain) = (format!("{web}/backends"), format!("{one}/drain"));
    let new = r#"{"name": "new", "listen": "198.18.0.9:80"}"#;
    let requests = [
        ("GET", "/v1/status", ""),
        ("GET", "/v1/counters", ""),
        ("GET", "/v1/services", ""),
        ("GET", web, ""),
        ("GET", &backends, ""),
        ("GET", one, ""),
        ("GET", "/v1/backends", ""),
        ("GET", "/v1/flows", ""),
        ("GET", "/v1/flows/count", ""),
        ("POST", "/v1/services", new),
        ("PATCH", web, r#"{"timestamps": "keep"}"#),
        ("PATCH", one, r#"{"weight": 3}"#),
        ("DELETE", web, ""),
        ("DELETE", one, ""),
        ("POST", &drain, ""),
        ("POST", "/v1/reload", ""),
    ];
    for (method, path, body) in requests {
        let (status, answer) = ask(&served, method, &format!("{path}?colour=blue"), body);
        assert_eq!((status, &answer["error"]), (400, &json!("unknown parameter `colour`")), "{method} {path}");
    }
    for (method, path) in [("DELETE", web), ("DELETE", one), ("POST", &drain), ("POST", "/v1/reload")] {
        assert_eq!(ask(&served, method, path, r#"{"force": true}"#).0, 400, "{method} {path}");
    }
    assert_eq!(get(&served, "/v1/flows?colour=blue").1["hint"], "known: service, limit");
    assert_eq!(services(&served), before);
}

#[test]
fn a_body_that_breaks_off_is_a_wrong_request() {
    let served = Fake::new().serve();
    let head = "POST /v1/services HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    let answer = raw(&served, format!("{head}zz\r\n").as_bytes());
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

#[test]
fn a_wrong_method_is_told_the_right_ones() {
    let served = Fake::new().serve();
    let answer = raw(&served, b"PATCH /v1/services HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    assert!(answer.to_lowercase().contains("\r\nallow: get, post\r\n"), "{answer}");
}

#[test]
fn a_huge_body_is_refused() {
    let served = Fake::new().serve();
    let before = services(&served);
    let head = "POST /v1/services HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1000000000000\r\n\r\n";
    assert!(raw(&served, head.as_bytes()).starts_with("HTTP/1.1 413 "));
    let body = format!("{{\"name\": \"{}\"}}", "x".repeat(super::connection::BODY_LIMIT_BYTES));
    let mut chunked =
        b"POST /v1/services HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    chunked.extend(format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len()).bytes());
    assert!(raw(&served, &chunked).starts_with("HTTP/1.1 413 "));
    assert_eq!(services(&served), before);
}

#[test]
fn deep_and_odd_json_is_only_wrong() {
    let served = Fake::new().serve();
    let deep = "[".repeat(100_000);
    assert_eq!(ask(&served, "POST", "/v1/services", &deep).0, 400);
    assert_eq!(ask(&served, "POST", "/v1/services", "\"\\u0000\"").0, 422);
    assert_eq!(ask(&served, "POST", "/v1/services", "18446744073709551616").0, 422);
    assert_eq!(ask(&served, "PATCH", "/v1/services/my-web", r#"{"listen": [[["198.18.0.1:1"]]]}"#).0, 422);
}

#[test]
fn noise_is_closed_and_the_next_one_is_served() {
    let served = Fake::new().serve();
    for noise in [&b"\x16\x03\x01\x02\x00\x01\x00"[..], b"\r\n\r\n\r\n", b"GET\r\n\r\n", &[0; 4096]] {
        let answer = raw(&served, &[noise, b"\r\n\r\n"].concat());
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    let headers = format!("GET / HTTP/1.1\r\n{}\r\n", "X-A: b\r\n".repeat(100_000));
    assert!(!raw(&served, headers.as_bytes()).starts_with("HTTP/1.1 200"));
    assert_eq!(get(&served, "/v1/status").0, 200);
}

#[test]
fn slow_clients_hold_nobody_up_and_are_sent_away() {
    let served = Fake::new().serve();
    let start = sys::clock::now();
    let dawdlers: Vec<UnixStream> = (0..40)
        .map(|n| {
            let mut stream = UnixStream::connect(&served.path).unwrap();
            let begun: &[u8] = if n % 2 == 0 {
                b"GET /v1/sta"
            } else {
                b"POST /v1/services HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"
            };
            stream.write_all(begun).unwrap();
            stream
        })
        .collect();
    assert_eq!(get(&served, "/v1/status").0, 200);
    assert!(sys::clock::now().saturating_sub(start) < Duration::from_secs(2), "a slow client held us up");
    for (n, mut stream) in dawdlers.into_iter().enumerate() {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer.starts_with("HTTP/1.1 408 "), n % 2 == 1, "{answer}");
    }
}

#[test]
fn a_connection_may_ask_many_times() {
    let served = Fake::new().serve();
    let one = "GET /v1/flows/count HTTP/1.1\r\nHost: x\r\n\r\n";
    let last = "GET /v1/flows/count HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answers = raw(&served, format!("{}{last}", one.repeat(20)).as_bytes());
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 21);
}

fn in_runtime<T>(work: impl FnOnce() -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    work()
}

#[test]
fn the_socket_is_its_owner_s_alone_and_goes_away() {
    let directory = Directory::new();
    let path = directory.path.join("made/by/us/api.sock");
    in_runtime(|| {
        let listener = super::bind(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(listener);
    });
    assert!(!path.exists() && !path.parent().unwrap().exists());
}

#[test]
fn a_stale_socket_is_replaced() {
    let directory = Directory::new();
    let path = directory.path.join("api.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    in_runtime(|| super::bind(&path).map(drop)).unwrap();
    assert!(!path.exists());
}

#[test]
fn a_gateway_that_lives_is_left_alone() {
    let served = Fake::new().serve();
    let error = in_runtime(|| super::bind(&served.path)).unwrap_err();
    let wanted = format!(
        "gateway.api: another sluicegate (pid {}) serves {}\n  help: stop it, or give this gateway another gateway.api",
        std::process::id(),
        served.path.display()
    );
    assert_eq!(error.to_string(), wanted);
    assert_eq!(get(&served, "/v1/status").0, 200);
}

#[test]
fn what_is_no_socket_is_left_alone() {
    let directory = Directory::new();
    let path = directory.path.join("notes.txt");
    std::fs::write(&path, "keep me").unwrap();
    let error = in_runtime(|| super::bind(&path)).unwrap_err();
    assert!(error.to_string().contains("is there already and is not a socket"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "keep me");
}

/// A socket that refuses us for another reason than that nobody listens is somebody's.
#[test]
fn a_socket_of_another_kind_is_left_alone() {
    let directory = Directory::new();
    let path = directory.path.join("log.sock");
    let _log = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    in_runtime(|| super::bind(&path)).unwrap_err();
    assert!(path.exists());
}

#[test]
fn a_directory_that_was_there_stays() {
    let directory = Directory::new();
    let made = directory.path.join("run");
    std::fs::create_dir(&made).unwrap();
    in_runtime(|| super::bind(&made.join("api.sock")).map(drop)).unwrap();
    assert!(made.exists());
}

#[test]
fn somebody_else_s_file_under_our_path_stays() {
    let directory = Directory::new();
    let path = directory.path.join("api.sock");
    in_runtime(|| {
        let listener = super::bind(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "another's").unwrap();
        drop(listener);
    });
    assert!(path.exists());
}
