//! What is wrong with a request is said, and nothing changes.

use serde_json::{Value, json};

use super::{ask, get, raw, services};
use crate::api::fake::{Fake, Served};

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
        ("POST", "/v1/services", r#"{"name": "x", "listen": "198.18.0.77:1", "name": "y"}"#),
        (
            "POST",
            "/v1/services",
            r#"{"name": "x", "listen": "198.18.0.77:1", "backends": [{"weight": 1, "weight": 2}]}"#,
        ),
        ("POST", "/v1/services", r#"{"name": "x", "listen": ["198.18.0.77:91-95", "198.18.0.77:93"]}"#),
        ("PATCH", web, r#"{"listen": ["198.18.0.1:8080", "198.18.0.1:8080/tcp"]}"#),
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
    let bodiless = requests.into_iter().filter(|(.., body)| body.is_empty());
    for (method, path, _) in bodiless.chain([("GET", "/v1/health", "")]) {
        let (status, answer) = ask(&served, method, path, r#"{"force": true}"#);
        assert_eq!((status, &answer["error"]), (400, &json!("this request takes no body")), "{method} {path}");
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
    let body = format!("{{\"name\": \"{}\"}}", "x".repeat(crate::api::connection::BODY_LIMIT_BYTES));
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
