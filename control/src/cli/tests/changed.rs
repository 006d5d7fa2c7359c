//! What changes a gateway.

use super::{run, transcript};
use crate::api::Fake;

#[test]
fn taking_away() {
    let served = Fake::new().serve();
    assert_words!(transcript(
        &served.path,
        &[
            "backend set my-web 10.0.0.12:8000 --mac none",
            "backend list my-web",
            "backend set my-web 10.0.0.12:8000 --mac 02:00:00:00:00:15",
            "backend set my-web 10.0.0.12:8000 --vtep none",
            "backend set my-web 10.0.0.12:8000 --vtep none --mac none",
            "backend set my-web 10.0.0.11:8000 --vtep nobody",
            "backend list my-web",
        ]
    ));
}

#[test]
fn changing() {
    let served = Fake::new().serve();
    assert_words!(transcript(
        &served.path,
        &[
            "service add new --listen 198.18.0.9:80 --listen 198.18.0.9:443/tcp --scheduler rr",
            "backend add new 192.0.2.1:80 --weight 3",
            "backend add new 10.0.0.21 --vtep 198.18.1.11 --mac 02:00:00:00:00:15",
            "backend set new 192.0.2.1:80 --weight 7",
            "backend set new 192.0.2.1:80 --max-connections 500 --sorry true",
            "backend list new",
            "backend set new 192.0.2.1:80 --max-connections none --sorry false",
            "backend set new 192.0.2.1:80 --max-connections 0",
            "backend drain new 10.0.0.21",
            "service set new --listen 198.18.0.9:8080-8090/udp --timestamps keep",
            "service show new",
            "service set new --direct true",
            "backend remove new 192.0.2.1:80",
            "service set new --direct true --timeout 5400s",
            "service show new",
            "service set new --proxy-protocol true",
            "service set new --timeout default --direct false --proxy-protocol true",
            "service set new --timeout 0s",
            "service set new --timeouts udp=3s,udp_stream=90s",
            "service set new --timeouts udp=default --timeouts tcp_close=1s",
            "service set new --timeouts upd=3s",
            "service set new --timeouts udp=3",
            "service show new",
            "service set new --timeouts udp_stream=default",
            "service set new --one-packet true --scheduler wlc",
            "service set new --one-packet true",
            "service show new",
            "service set new --one-packet false",
            "service set new --passive true",
            "service set new --listen 198.18.0.9:8080 --passive-failures 5 --passive-ejection 1m",
            "service show new",
            "service set new --passive-floor 70000",
            "service set new --passive default --listen 198.18.0.9:8080-8090/udp",
            "service set new --slow-start 30s",
            "service set new --slow-start 30s --scheduler wrr --drain-deadline 5m",
            "service set new --on-down reset",
            "service show new",
            "service set new --slow-start default --drain-deadline default --scheduler rr",
            "service set new --persistence 300s --persistence-prefix 24 --persistence-group shop",
            "service show new",
            "service add other --listen 198.18.0.9:443 --persistence 1m --persistence-group shop",
            "service add other --listen 198.18.0.9:443 --persistence 5m --persistence-prefix 24 --persistence-group shop",
            "service set other --persistence 1m",
            "service set other --persistence-prefix 33",
            "service set other --persistence-clients 2000",
            "service show new",
            "service set new --persistence default",
            "service set new --persistence-group shop",
            "service show new --json",
            "service remove other",
            "backend add new 192.0.2.1:80 --weight 3",
            "service remove new",
            "service show new",
            "reload",
        ]
    ));
}

#[test]
fn protecting() {
    let served = Fake::new().serve();
    assert_words!(transcript(
        &served.path,
        &[
            "service add new --listen 198.18.0.9:80/udp",
            "service set new --allow 198.18.0.0/16,2001:db8::/32 --deny 198.18.7.7 --rate 600/m --rate-per-source 20/s",
            "service set new --rate-per-source-burst 50",
            "service show new",
            "service set new --allow 198.18.0.1/16",
            "service set new --rate-burst 0",
            "service set new --rate default --allow default",
            "service set new --rate-burst 10",
            "service show new",
            "service set new --rate-per-source default --deny default",
            "service set new --half-open 500",
            "service set new --listen 198.18.0.9:8080 --half-open 500",
            "service show new",
            "service set new --syn-cookies always",
            "service set new --syn-cookies always --half-open default",
            "service show new",
            "service set new --syn-cookies auto",
        ]
    ));
}

#[test]
fn changing_what_is_ipv6() {
    let served = Fake::new().serve();
    assert_words!(transcript(
        &served.path,
        &[
            "service add new --listen 198.18.0.9:80 --listen [2001:db8::9]:80 --persistence 5m",
            "backend add new [2001:db8:1::11]:8080 --weight 3",
            "backend add new 2001:db8:1::12",
            "backend add new 2001:db8:1:0::12",
            "backend add new [2001:db8:1::13]:80 --vtep 198.18.1.11",
            "backend set new [2001:db8:1::11]:8080 --weight 7",
            "backend drain new 2001:db8:1::12",
            "service show new",
            "service set new --persistence-prefix-ipv6 56",
            "service show new",
            "service set new --listen 2001:db8::9:80",
            "service set new --direct true",
            "backend remove new [2001:db8:1::11]:8080",
            "backend remove new 2001:db8:1::12",
        ]
    ));
}

/// Only what is said on the command line changes.
#[test]
fn what_is_left_out_stays() {
    let served = Fake::new().serve();
    let set = |line: &str| assert_eq!(run(&served.path, line).0, 0, "{line}");
    set("service set my-web --scheduler wrr");
    set("service set my-web --timestamps keep");
    set("service set my-web --listen 198.18.0.1:9090");
    let (_, shown, _) = run(&served.path, "service show my-web --json");
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&shown["scheduler"], &shown["timestamps"]), (&"wrr".into(), &"keep".into()));
    assert_eq!(shown["listen"], serde_json::json!(["198.18.0.1:9090/tcp"]));
}

#[test]
fn names_reach_the_gateway_whatever_is_in_them() {
    let served = Fake::new().serve();
    for name in ["a/b", "a%2fb", "a?b", "ä"] {
        let (code, _, err) = run(&served.path, &format!("service show {name}"));
        assert_eq!((code, err.contains(&format!("there is no service `{name}`"))), (1, true), "{err}");
    }
}
