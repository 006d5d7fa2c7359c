//! What keepalived's words come to, one rule at a time.

use crate::import::tests::{import_one, noted, says};
use crate::import::{Format, Imported, import};

/// A virtual server with this in its block, and one real server with that in its own.
fn server(protocol: &str, block: &str, real: &str) -> Imported {
    let text = format!(
        "virtual_server 192.0.2.1 53 {{\nprotocol {protocol}\n{block}\nreal_server 10.0.0.1 5353 {{\n{real}\n}}\n}}\n"
    );
    import_one(&text, Format::Keepalived)
}

#[test]
fn silence_passes_a_udp_check_unless_it_requires_a_reply() {
    let imported = server("UDP", "", "UDP_CHECK {\npayload 0001\n}");
    assert!(!says(&imported, "[service.check]"), "{}", imported.config);
    assert!(noted(&imported, 5, "silence passes there"), "{:?}", imported.notes);
    let imported = server("UDP", "", "UDP_CHECK {\npayload 00 fF 0a\nrequire_reply 4f4b\n}");
    for line in ["type = \"udp\"", r"send = '\x00\xfF\x0a'", r"expect = '\x4f\x4b'"] {
        assert!(says(&imported, line), "{line}\n{}", imported.config);
    }
    let imported = server("UDP", "", "UDP_CHECK {\npayload 0\nrequire_reply 4fx4\n}");
    assert!(says(&imported, "type = \"udp\"") && !imported.config.contains("send"), "{}", imported.config);
    assert!(noted(&imported, 6, "hexadecimal") && noted(&imported, 7, "hexadecimal"), "{:?}", imported.notes);
}

#[test]
fn a_service_over_udp_may_be_checked_over_tcp() {
    let imported = server("UDP", "", "TCP_CHECK {\n}");
    assert!(says(&imported, "type = \"tcp\"") && says(&imported, "port = 5353"), "{}", imported.config);
    let two = "TCP_CHECK {\n}\n}\nreal_server 10.0.0.2 5354 {\nTCP_CHECK {\n}";
    let imported = server("UDP", "", two);
    assert!(!says(&imported, "[service.check]"), "{}", imported.config);
    assert!(noted(&imported, 1, "its check was left out"), "{:?}", imported.notes);
    // A real server without a port has that of the VIP.
    let text = "virtual_server 192.0.2.1 53 {\nprotocol UDP\nreal_server 10.0.0.1 0 {\nTCP_CHECK {\n}\n}\n}\n";
    let imported = import(text, Format::Keepalived, &[]);
    assert!(says(&imported, "port = 53"), "{}", imported.config);
}

#[test]
fn all_statuses_count() {
    for url in ["url {\npath /x\nstatus_code 200 301-302\n}", "url { path /x status_code 200 301-302 virtualhost www }"]
    {
        let imported = server("TCP", "", &format!("HTTP_GET {{\n{url}\n}}"));
        assert!(says(&imported, "status = \"200,301-302\"") && says(&imported, "path = \"/x\""), "{}", imported.config);
    }
    let imported = server("TCP", "", "HTTP_GET {\nurl { path /x digest 9b3a0c85a887a256d6939da88aabd8cd }\n}");
    assert!(noted(&imported, 6, "an MD5 is not taken"), "{:?}", imported.notes);
}

#[test]
fn when_a_failed_check_is_repeated_is_said() {
    let imported = server("TCP", "delay_before_retry 3", "TCP_CHECK {\nretry 2\ndelay_before_retry 3\n}");
    assert!(noted(&imported, 3, "`interval`") && noted(&imported, 7, "`interval`"), "{:?}", imported.notes);
}

#[test]
fn one_packet_scheduling_goes_with_schedulers_that_count_nothing() {
    let imported = server("UDP", "lb_algo sh\nops", "");
    assert!(says(&imported, "one_packet = true"), "{}", imported.config);
    let imported = server("UDP", "lb_algo wlc\nops", "");
    assert!(!says(&imported, "one_packet = true"), "{}", imported.config);
    assert!(noted(&imported, 4, "counts connections"), "{:?}", imported.notes);
}

/// Two real servers with this in their own blocks, behind a virtual server with that.
fn two(block: &str, first: &str, second: &str) -> Imported {
    server("TCP", block, &format!("{first}\n}}\nreal_server 10.0.0.2 5353 {{\n{second}"))
}

#[test]
fn the_first_check_that_can_be_carried_over_is_for_all() {
    let imported = two("", "MISC_CHECK {\n}", "TCP_CHECK {\nconnect_timeout 1\n}");
    assert!(says(&imported, "type = \"tcp\"") && says(&imported, "timeout = \"1s\""), "{}", imported.config);
    assert!(noted(&imported, 4, "checked in the same way"), "{:?}", imported.notes);
    assert!(!noted(&imported, 8, "checked in the same way"), "{:?}", imported.notes);
    let imported = two("", "MISC_CHECK {\n}", "PING_CHECK {\n}");
    assert!(!says(&imported, "[service.check]"), "{}", imported.config);
    assert!(noted(&imported, 1, "not checked"), "{:?}", imported.notes);
    assert!(!noted(&two("", "", ""), 1, "not checked"));
}

#[test]
fn a_virtual_server_says_what_weighs_a_server_that_does_not() {
    let imported = two("weight 10", "", "weight 30");
    assert!(says(&imported, "weight = 10") && says(&imported, "weight = 30"), "{}", imported.config);
    assert!(!noted(&imported, 3, "not known"), "{:?}", imported.notes);
}

#[test]
fn how_much_longer_a_failure_takes_is_said_once() {
    let check = "TCP_CHECK {\nretry 3\nconnect_timeout 20\n}";
    let imported = two("delay_loop 15", check, check);
    assert!(says(&imported, "interval = \"15s\"") && says(&imported, "fall = 4"), "{}", imported.config);
    let slower: Vec<_> = imported.notes.iter().filter(|note| note.why.contains("out after up to")).collect();
    assert_eq!(slower.len(), 1, "{:?}", imported.notes);
    assert!(noted(&imported, 1, "up to 1m") && noted(&imported, 1, "there up to 18s"), "{:?}", imported.notes);
    // So is that there is less time for an answer.
    assert!(says(&imported, "timeout = \"15s\"") && noted(&imported, 1, "its timeout is 15s"), "{:?}", imported.notes);
    for (block, check) in
        [("delay_loop 15", "TCP_CHECK {\nretry 0\n}"), ("delay_loop 2", "HTTP_GET {\nconnect_timeout 1\n}")]
    {
        let imported = two(block, check, check);
        assert!(!noted(&imported, 1, "out after up to"), "{:?}", imported.notes);
    }
    let imported = two("delay_loop 20\ndelay_before_retry 4", "TCP_CHECK {\nretry 2\n}", "");
    assert!(noted(&imported, 1, "up to 1m") && noted(&imported, 1, "there up to 28s"), "{:?}", imported.notes);
}

#[test]
fn a_check_of_another_machine_is_none_of_the_server() {
    let imported = server("TCP", "", "TCP_CHECK {\nconnect_ip 10.9.9.9\nconnect_port 81\n}");
    assert!(!says(&imported, "[service.check]"), "{}", imported.config);
    assert!(noted(&imported, 6, "no check asks another machine"), "{:?}", imported.notes);
    let imported = server("TCP", "", "TCP_CHECK {\nconnect_ip 10.0.0.1\nconnect_port 81\n}");
    assert!(says(&imported, "port = 81"), "{}", imported.config);
    assert!(!imported.notes.iter().any(|note| note.line == 6), "{:?}", imported.notes);
    // The mail check has a block for it.
    let imported = server("TCP", "", "SMTP_CHECK {\nhost {\nconnect_ip 10.9.9.9\n}\n}");
    assert!(noted(&imported, 7, "no check asks another machine"), "{:?}", imported.notes);
}

#[test]
fn the_first_real_server_says_how_it_is_reached_if_the_virtual_one_does_not() {
    let imported = two("", "lvs_method DR", "lvs_method DR");
    assert!(says(&imported, "direct = true"), "{}", imported.config);
    assert_eq!(imported.config.matches("address =").count(), 2, "{:?}", imported.notes);
    // keepalived takes NAT for those that nobody speaks of.
    let imported = two("", "lvs_method DR", "");
    assert_eq!(imported.config.matches("address =").count(), 1, "{}", imported.config);
    assert!(noted(&imported, 7, "reached in one way"), "{:?}", imported.notes);
    let imported = two("lvs_method NAT", "", "lvs_method DR");
    assert!(!says(&imported, "direct = true"), "{}", imported.config);
    assert_eq!(imported.config.matches("address =").count(), 1, "{}", imported.config);
}

#[test]
fn direct_servers_keep_the_port_and_are_checked_on_their_own() {
    let imported = two("lb_kind DR", "TCP_CHECK {\n}", "TCP_CHECK {\n}");
    assert!(says(&imported, "address = \"10.0.0.1\"") && says(&imported, "port = 5353"), "{}", imported.config);
    assert!(noted(&imported, 4, "the VIP's port") && noted(&imported, 8, "the VIP's port"), "{:?}", imported.notes);
    let imported = two("lb_kind DR\nsorry_server 10.0.0.9 53", "TCP_CHECK {\n}", "TCP_CHECK {\n}");
    assert!(!imported.config.contains("\nport ="), "{}", imported.config);
    assert!(noted(&imported, 1, "asked on the VIP's port"), "{:?}", imported.notes);
}

#[test]
fn a_service_does_not_come_down_to_its_sorry_server() {
    let text = "virtual_server 192.0.2.1 80 {\nlb_kind NAT\nsorry_server 10.0.0.9 80\nreal_server 10.0.0.1 80 {\n\
                lvs_method DR\n}\n}\n";
    let imported = import(text, Format::Keepalived, &[]);
    assert_eq!(imported.services, 0, "{}", imported.config);
    assert!(noted(&imported, 1, "the service was left out"), "{:?}", imported.notes);
    let only = "virtual_server 192.0.2.1 80 {\nsorry_server 10.0.0.9 80\n}\n";
    assert_eq!(import(only, Format::Keepalived, &[]).services, 1);
}

#[test]
fn what_is_no_prefix_is_named() {
    let imported = server("TCP", "persistence_timeout 60\npersistence_granularity 255.255.0.255", "");
    assert!(noted(&imported, 4, "`255.255.0.255`"), "{:?}", imported.notes);
}
