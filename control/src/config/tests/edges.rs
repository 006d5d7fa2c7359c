//! The edges of what is allowed: the last value that is, the first that is not.

use std::time::Duration;

use conntrack::Timeouts;

use super::{BASE, OVERLAY, parse_text};

/// Whether this text is accepted after [`BASE`]; warnings do not count.
fn accepted(text: &str) -> bool {
    parse_text(&format!("{BASE}{text}")).is_ok()
}

type Field = fn(&mut Timeouts) -> &mut Duration;

/// Every key sets its own timeout and no other.
#[test]
fn every_timeout_is_taken_over() {
    let keys: [(&str, Field); 13] = [
        ("tcp_syn_sent", |all| &mut all.tcp_syn_sent),
        ("tcp_syn_received", |all| &mut all.tcp_syn_received),
        ("tcp_established", |all| &mut all.tcp_established),
        ("tcp_fin_wait", |all| &mut all.tcp_fin_wait),
        ("tcp_close_wait", |all| &mut all.tcp_close_wait),
        ("tcp_last_ack", |all| &mut all.tcp_last_ack),
        ("tcp_time_wait", |all| &mut all.tcp_time_wait),
        ("tcp_close", |all| &mut all.tcp_close),
        ("tcp_syn_sent2", |all| &mut all.tcp_syn_sent2),
        ("tcp_reset", |all| &mut all.tcp_reset),
        ("udp", |all| &mut all.udp),
        ("udp_stream", |all| &mut all.udp_stream),
        ("icmp", |all| &mut all.icmp),
    ];
    for (key, field) in keys {
        let mut wanted = Timeouts::default();
        *field(&mut wanted) = Duration::from_secs(77);
        let config = parse_text(&format!("{BASE}[timeouts]\n{key} = 77\n")).unwrap().config;
        assert_eq!(config.timeouts, wanted, "{key}");
    }
    for (value, good) in [("\"1s\"", true), ("0", false), ("-1", false), ("\"30d\"", true), ("2_592_001", false)] {
        assert_eq!(accepted(&format!("[timeouts]\nudp = {value}\n")), good, "{value}");
    }
}

#[test]
fn unknown_keys_are_errors_in_every_table() {
    let service = "[[service]]\nname = \"web\"\nlisten = \"198.18.0.1:80\"\n";
    let backend = format!("{service}[[service.backend]]\naddress = \"192.0.2.1\"\n");
    for table in ["", "[gateway]\n", "[timeouts]\n", OVERLAY, service, &backend] {
        assert!(accepted(table), "{table}");
        assert!(!accepted(&format!("{table}colour = 1\n")), "{table}");
    }
}

#[test]
fn names_of_interfaces_are_linux_s() {
    let named = |name: &str| parse_text(&format!("[[interface]]\nname = \"{name}\"\n")).is_ok();
    assert!(named("abcdefghijklmno"), "15 characters");
    for wrong in ["abcdefghijklmnop", "", ".", "..", "a/b", "a:b", "a b"] {
        assert!(!named(wrong), "{wrong:?}");
    }
}

#[test]
fn lengths_and_counts_end_where_they_should() {
    let api = |len: usize| accepted(&format!("[gateway]\napi = \"/{}\"\n", "x".repeat(len - 1)));
    assert_eq!((api(107), api(108)), (true, false), "what sockaddr_un takes, with its zero");
    let flows = |n: usize| accepted(&format!("[gateway]\nflows = {n}\n"));
    assert_eq!((flows(1), flows(2)), (false, true), "two workers");
    let name = |len| accepted(&format!("[[service]]\nname = \"{}\"\nlisten = \"198.18.0.1:80\"\n", "x".repeat(len)));
    assert_eq!((name(63), name(64)), (true, false));
}

/// One backend that serves is enough to be silent about those that do not.
#[test]
fn a_service_with_one_drained_backend_is_nothing_odd() {
    let backend = |n, weight| format!("[[service.backend]]\naddress = \"192.0.2.{n}\"\nweight = {weight}\n");
    let text =
        format!("{BASE}[[service]]\nname = \"web\"\nlisten = \"198.18.0.1:80\"\n{}{}", backend(1, 0), backend(2, 1));
    assert!(parse_text(&text).unwrap().warnings.is_empty());
}

#[test]
fn only_addresses_of_hosts_may_listen() {
    let listens = |address: &str| accepted(&format!("[[service]]\nname = \"web\"\nlisten = \"{address}:80\"\n"));
    for good in ["1.0.0.1", "198.18.0.1", "223.255.255.254"] {
        assert!(listens(good), "{good}");
    }
    for wrong in ["0.0.0.0", "0.1.2.3", "224.0.0.1", "240.0.0.1", "250.1.2.3", "255.255.255.255"] {
        assert!(!listens(wrong), "{wrong}");
    }
}

#[test]
fn macs_are_of_one_station() {
    let mac = |text: &str| accepted(&format!("{OVERLAY}mac = \"{text}\"\n"));
    assert!(mac("02:42:0a:00:00:03") && mac("00:00:00:00:00:01") && mac("fe:ff:ff:ff:ff:ff"));
    for wrong in ["01:00:5e:00:00:01", "03:42:0a:00:00:03", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00"] {
        assert!(!mac(wrong), "{wrong}");
    }
}

#[test]
fn an_address_with_too_much_is_told_what_to_leave_out() {
    let hint = |vtep: &str| {
        let text = format!("{BASE}[overlay]\nvni = 1\naddress = \"10.0.0.3/24\"\nvtep = \"{vtep}\"\n");
        parse_text(&text).unwrap_err().remove(0).hint.unwrap()
    };
    assert_eq!(hint("198.18.1.1:80"), "give the address without a port");
    assert_eq!(hint("198.18.1.1/24"), "give the address without a prefix");
    assert!(hint("2001:db8::1").starts_with("tunnels and overlays are IPv4"));
}
