//! What HAProxy's words come to, one rule at a time.

mod binds;
mod checks;
mod leads;
mod tables;

use crate::import::tests::{self as shared, passes_check};
use crate::import::{Format, Imported, import};

fn read(text: &str) -> Imported {
    let imported = import(text, Format::Haproxy, &["203.0.113.1".parse().unwrap(), "2001:db8::1".parse().unwrap()]);
    passes_check(&imported);
    imported
}

/// A section with a bind, and these lines from its third line on.
fn listen(lines: &str) -> Imported {
    read(&format!("listen x\nbind 192.0.2.1:80\n{lines}\n"))
}

/// Whether all of these stand in the config as lines of their own, the notes aside.
fn says(imported: &Imported, lines: &[&str]) -> bool {
    lines.iter().all(|line| shared::says(imported, line))
}

/// What is said of a line.
fn notes(imported: &Imported, line: usize) -> String {
    let notes = imported.notes.iter().filter(|note| note.line == line);
    notes.map(|note| note.why.as_str()).collect::<Vec<_>>().join("; ")
}

fn assert_says(imported: &Imported, lines: &[&str]) {
    assert!(says(imported, lines), "{lines:?}\n{}\n{:?}", imported.config, imported.notes);
}

fn assert_silent(imported: &Imported, line: &str) {
    assert!(!says(imported, &[line]), "{}\n{:?}", imported.config, imported.notes);
}

/// Whoever relied on them must hear what is here in their place.
#[test]
fn options_of_connections_are_told_what_is_here_instead() {
    let options =
        ["tcpka", "clitcpka", "srvtcpka", "redispatch", "abortonclose", "splice-auto", "nolinger", "tcp-check"];
    let lines = options.map(|option| format!("option {option}\n")).concat();
    let imported = listen(&format!("{lines}server a 10.0.0.1:80 check"));
    for (line, option) in (3..).zip(&options[..3]) {
        assert!(notes(&imported, line).contains("`tcp_established`"), "{option}: {:?}", imported.notes);
    }
    assert!(notes(&imported, 6).contains("`passive`"), "{:?}", imported.notes);
    for (line, option) in (7..).zip(&options[4..7]) {
        assert!(notes(&imported, line).contains("one TCP connection"), "{option}: {:?}", imported.notes);
    }
    assert_eq!(notes(&imported, 10), "", "a tcp-check without rules is the check that is carried over");
    assert!(
        notes(&listen("option tcp-check\ntcp-check expect string x\nserver a 10.0.0.1:80 check"), 4)
            .contains("no such check")
    );
    assert_eq!(notes(&listen("no option tcpka\nserver a 10.0.0.1:80"), 3), "");
}

#[test]
fn default_servers_add_up() {
    let text = "defaults\ndefault-server inter 3s fall 2 maxconn 9\nlisten x\nbind 192.0.2.1:80\n\
                default-server fall 5 check\nserver a 10.0.0.1:80 maxconn 7\nserver b 10.0.0.2:80 no-check weight 3\n\
                server c 10.0.0.3:80\n";
    let imported = read(text);
    assert_says(&imported, &["interval = \"3s\"", "fall = 5", "max_connections = 7", "max_connections = 9"]);
    assert!(notes(&imported, 3).contains("those without `check` are too"), "{:?}", imported.notes);
}

#[test]
fn defaults_have_names() {
    let text = "defaults slow\ntimeout client 9m\nbalance leastconn\ndefaults quick from slow\ntimeout client 1m\n\
                defaults\ntimeout client 3m\n\
                listen a from quick\nbind 192.0.2.1:80\nserver a 10.0.0.1:80\n\
                listen b from slow\nbind 192.0.2.2:80\nserver a 10.0.0.1:80\n\
                listen c\nbind 192.0.2.3:80\nserver a 10.0.0.1:80\n\
                listen d from nobody\nbind 192.0.2.4:80\nserver a 10.0.0.1:80\n";
    let imported = read(text);
    let timeouts: Vec<&str> = imported
        .config
        .lines()
        .filter(|line| ["name", "timeout", "scheduler"].iter().any(|key| line.starts_with(key)))
        .filter(|line| !line.contains("eth0"))
        .collect();
    let wanted = [
        "name = \"a\"",
        "scheduler = \"wlc\"",
        "timeout = \"1m\"",
        "name = \"b\"",
        "scheduler = \"wlc\"",
        "timeout = \"9m\"",
        "name = \"c\"",
        "scheduler = \"wrr\"",
        "timeout = \"3m\"",
        "name = \"d\"",
        "scheduler = \"wrr\"",
    ];
    assert_eq!(timeouts, wanted);
    assert_eq!(notes(&imported, 17), "there is no `defaults nobody` above: it begins with none");
    // `from` is no address.
    assert_eq!(notes(&imported, 8), "");
}

#[test]
fn nameless_defaults_have_a_beginning_too() {
    let text = "defaults a\ntimeout client 9m\ndefaults from a\nlisten x\nbind 192.0.2.1:80\nserver a 10.0.0.1:80\n";
    assert_says(&read(text), &["timeout = \"9m\""]);
}

#[test]
fn ports_that_are_counted_from_the_clients_are_left_out() {
    let imported = listen("server a 10.0.0.1:+1000\nserver b 10.0.0.2:-1\nserver c 10.0.0.3:0\nserver d 10.0.0.4");
    for line in [3, 4] {
        assert!(notes(&imported, line).contains("counted from the client's"), "{:?}", imported.notes);
    }
    assert_silent(&imported, "address = \"10.0.0.1:1000\"");
    assert_says(&imported, &["address = \"10.0.0.3\"", "address = \"10.0.0.4\""]);
}

#[test]
fn names_that_sound_like_options_are_names() {
    let imported = listen(
        "server backup 10.0.0.1:80\nserver ssl 10.0.0.2:80\nserver check 10.0.0.3:80\nserver disabled 10.0.0.4:80 cookie backup",
    );
    assert_eq!(imported.config.matches("address =").count(), 4);
    for line in ["sorry = true", "[service.check]", "weight = 0"] {
        assert_silent(&imported, line);
    }
    let imported = read("listen x\nbind 192.0.2.1:80 name ssl\nserver a 10.0.0.1:80\n");
    assert_eq!(imported.services, 1, "{:?}", imported.notes);
}

#[test]
fn the_last_word_counts() {
    let imported = listen(
        "default-server check disabled backup ssl\nserver a 10.0.0.1:80 no-check no-backup enabled no-ssl\n\
         server b 10.0.0.2:80 check no-check no-ssl enabled no-backup",
    );
    assert_eq!(imported.config.matches("address =").count(), 2, "{:?}", imported.notes);
    for line in ["sorry = true", "[service.check]", "weight = 0"] {
        assert_silent(&imported, line);
    }
    assert_eq!(notes(&imported, 3), "");
}

#[test]
fn what_a_check_sends_beside_its_host_is_named() {
    let imported = listen(
        "option httpchk\nhttp-check send meth GET uri /h hdr Authorization x hdr Host www\nserver a 10.0.0.1:80 check",
    );
    assert_says(&imported, &["type = \"http\"", "path = \"/h\"", "host = \"www\""]);
    assert_eq!(notes(&imported, 3), "");
    assert_eq!(notes(&imported, 4), "of the headers checks send only `Host`: `Authorization` was left out");
    let imported =
        listen("option httpchk GET /h HTTP/1.1\\r\\nAuthorization:\\ x\\r\\nHost:\\ www\nserver a 10.0.0.1:80 check");
    assert_says(&imported, &["type = \"http\"", "path = \"/h\"", "host = \"www\""]);
    assert_eq!(notes(&imported, 3), "of the headers checks send only `Host`: `Authorization` was left out");
    let imported = listen("option httpchk\nserver a 10.0.0.1:80 check");
    assert_eq!(notes(&imported, 3), "checks send GET, not OPTIONS");
}

#[test]
fn http_is_checked_only_where_it_is_asked_for() {
    let asked = "option httpchk GET /h\n";
    for (before, kind) in [("", "tcp"), (asked, "http"), ("option httpchk GET /h\nno option httpchk\n", "tcp")] {
        let imported = listen(&format!("{before}http-check expect status 200\nserver a 10.0.0.1:80 check"));
        assert_says(&imported, &[&format!("type = \"{kind}\"")]);
    }
    let imported =
        listen("option httpchk GET /h\nhttp-check expect min-recv 5 status 204\nserver a 10.0.0.1:80 check check-ssl");
    assert_says(&imported, &["type = \"https\"", "status = \"204\""]);
}

#[test]
fn disabled_sections_are_no_services() {
    let text = "defaults\ndisabled\nlisten a\nbind 192.0.2.1:80\nserver a 10.0.0.1:80\n\
                listen b\nenabled\nbind 192.0.2.1:80\nserver b 10.0.0.2:80\n\
                frontend c\nenabled\nbind 192.0.2.3:80\ndefault_backend d\nbackend d\nserver d 10.0.0.3:80\n";
    let imported = read(text);
    assert_eq!(imported.services, 1, "{}", imported.config);
    assert_says(&imported, &["name = \"b\"", "listen = \"192.0.2.1:80/tcp\""]);
    assert_eq!(notes(&imported, 3), "the service was left out: line 2 says `disabled`");
    assert_eq!(notes(&imported, 10), "the service was left out: line 2 says `disabled`");
}

#[test]
fn a_check_that_does_not_fit_costs_no_service() {
    let imported = listen("option httpchk OPTIONS * HTTP/1.1\nserver a 10.0.0.1:80 check");
    assert_says(&imported, &["type = \"http\"", "address = \"10.0.0.1:80\""]);
    assert!(notes(&imported, 3).contains("/ in the place of *"), "{:?}", imported.notes);
    let imported = listen("option httpchk GET /\nhttp-check expect status 2xx\nserver a 10.0.0.1:80 check");
    assert_says(&imported, &["address = \"10.0.0.1:80\""]);
    assert_silent(&imported, "[service.check]");
    assert!(notes(&imported, 1).starts_with("its check was left out: `2xx`"), "{:?}", imported.notes);
}

#[test]
fn a_check_may_take_its_interval() {
    assert_says(&listen("server a 10.0.0.1:80 check inter 5s"), &["interval = \"5s\"", "timeout = \"5s\""]);
    assert_says(&listen("server a 10.0.0.1:80 check"), &["timeout = \"2s\""]);
    assert_says(&listen("timeout check 700\nserver a 10.0.0.1:80 check inter 5s"), &["timeout = \"700ms\""]);
}

#[test]
fn every_word_is_carried_over_or_named() {
    let words = "minconn 3 observe layer4 on-marked-up shutdown-backup-sessions fastinter 1s downinter 9s maxqueue 7 \
                 whatever check-ssl check";
    let imported = listen(&format!("server a 10.0.0.1:80 {words}"));
    let said = notes(&imported, 3);
    for word in ["minconn", "observe", "on-marked-up", "fastinter", "downinter", "maxqueue", "whatever"] {
        assert!(said.contains(&format!("`{word}`")), "{word}: {said}");
    }
    assert!(said.contains("only HTTP is checked over TLS"), "{said}");
    let imported = read("listen x\nbind 192.0.2.1:80 interface eth7 whatever\nserver a 10.0.0.1:80\n");
    assert!(notes(&imported, 2).contains("`interface`"), "{:?}", imported.notes);
    assert!(notes(&imported, 2).contains("`whatever` is not known"), "{:?}", imported.notes);
}

#[test]
fn a_check_of_another_machine_is_none_of_the_server() {
    let imported = listen("server a 10.0.0.1:80 check addr 10.0.0.9 port 81");
    assert_silent(&imported, "[service.check]");
    assert!(notes(&imported, 3).contains("no check asks another machine"), "{:?}", imported.notes);
    assert_says(&listen("server a 10.0.0.1:80 check addr 10.0.0.1 port 81"), &["port = 81"]);
}

#[test]
fn what_sluicegate_does_too_is_carried_over() {
    let imported = listen(
        "rate-limit sessions 300\ndefault-server slowstart 30s on-marked-down shutdown-sessions check\n\
         server a 10.0.0.1:80\nserver b 10.0.0.2:80",
    );
    assert_says(&imported, &["rate = \"300/s\"", "slow_start = \"30s\"", "on_down = \"reset\""]);
    let imported =
        listen("server a 10.0.0.1:80 slowstart 30s check on-marked-down shutdown-sessions\nserver b 10.0.0.2:80 check");
    assert!(notes(&imported, 3).contains("connections of all backends that are down end, or of none"));
    assert!(notes(&imported, 3).contains("start slowly"), "{:?}", imported.notes);
    let imported = listen("balance first\nserver a 10.0.0.1:80 slowstart 30s");
    assert!(notes(&imported, 1).contains("`slow_start` means nothing to the scheduler `fo`"), "{:?}", imported.notes);
    let imported = listen("server a 10.0.0.1:80 on-marked-down shutdown-sessions");
    assert!(notes(&imported, 1).contains("without checks no backend is down"), "{:?}", imported.notes);
}

#[test]
fn the_default_backend_comes_before_a_sections_own_servers() {
    let imported = listen("server a 10.0.0.1:80\ndefault_backend b\nbackend b\nserver b 10.0.0.2:80");
    assert_silent(&imported, "address = \"10.0.0.1:80\"");
    assert_says(&imported, &["address = \"10.0.0.2:80\""]);
    assert!(notes(&imported, 1).contains("its own servers were left out"), "{:?}", imported.notes);
    let imported = listen("server a 10.0.0.1:80\ndefault_backend x");
    assert_says(&imported, &["address = \"10.0.0.1:80\""]);
    assert_eq!(notes(&imported, 1), "");
}

#[test]
fn a_timeout_of_0_is_none() {
    let imported = listen("timeout client 0\ntimeout server 9m\nserver a 10.0.0.1:80");
    assert_says(&imported, &["timeout = \"9m\""]);
    assert_eq!(notes(&imported, 1), "");
}

#[test]
fn a_tunnel_is_timed_by_the_backend() {
    let text = "defaults\ntimeout tunnel 1h\ntimeout client 2m\ntimeout server 3m\nfrontend f\nbind 192.0.2.1:80\ndefault_backend b\n\
                backend b\ntimeout tunnel 0\nserver a 10.0.0.1:80\n";
    assert_says(&read(text), &["timeout = \"2m\""]);
    assert_says(&read(&text.replace("timeout tunnel 0\n", "")), &["timeout = \"1h\""]);
}
