//! What PUT, POST, PATCH and DELETE do.

use serde_json::{Value, json};

use super::{ask, get, services, text};
use crate::api::fake::{CONFIG, Fake};
use crate::config::shown;

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
