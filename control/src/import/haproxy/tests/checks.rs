//! `http-check connect`, and what a check expects.

use super::{assert_says, assert_silent, listen, notes};

/// `option httpchk` with these rules, and one server that is checked.
fn checked(rules: &str, words: &str) -> crate::import::Imported {
    listen(&format!("option httpchk GET /h\n{rules}\nserver a 10.0.0.1:8080 check {words}"))
}

#[test]
fn checks_connect_where_they_are_told() {
    assert_says(&checked("http-check connect port 9000", "port 81"), &["type = \"http\"", "port = 9000"]);
    assert_says(&checked("http-check connect port 9000 ssl", ""), &["type = \"https\"", "port = 9000"]);
    assert_says(&checked("http-check connect default linger", "port 81 check-ssl"), &["type = \"https\"", "port = 81"]);
    // What stands there counts, and nothing of the server's line beside it.
    assert_says(&checked("http-check connect", "check-ssl"), &["type = \"http\""]);
    let named = checked("http-check connect ssl sni www.example.org alpn h2,http/1.1", "");
    assert_says(&named, &["type = \"https\"", "host = \"www.example.org\""]);
    assert_eq!(notes(&checked("http-check connect port 9000 ssl", ""), 4), "");
}

#[test]
fn a_check_that_connects_elsewhere_is_none() {
    let imported = checked("http-check connect addr 10.0.0.9 port 81", "");
    assert_silent(&imported, "[service.check]");
    assert!(notes(&imported, 4).contains("no check asks another machine"), "{:?}", imported.notes);
    assert_says(&checked("http-check connect addr 10.0.0.1 port 81", ""), &["type = \"http\"", "port = 81"]);
    for word in ["via-socks4", "send-proxy", "alpn h2", "proto h2", "port var(txn.x)", "whatever"] {
        let imported = checked(&format!("http-check connect {word}"), "");
        assert_silent(&imported, "[service.check]");
        let option = word.split(' ').next().unwrap();
        assert!(notes(&imported, 4).contains(&format!("`{option}`")), "{:?}", imported.notes);
    }
    // Rules of HTTP mean nothing to another check.
    assert_says(&listen("http-check connect addr 10.0.0.9\nserver a 10.0.0.1:80 check"), &["type = \"tcp\""]);
}

#[test]
fn of_two_connections_the_first_counts() {
    let rules = "http-check connect port 81\nhttp-check send meth GET uri /a\nhttp-check connect port 82\n\
                 http-check send meth GET uri /b";
    let imported = checked(rules, "");
    assert_says(&imported, &["port = 81", "path = \"/a\""]);
    assert!(notes(&imported, 6).contains("one GET") && notes(&imported, 7).contains("one GET"), "{:?}", imported.notes);
}

/// HAProxy asks for 2xx or 3xx only while no rule says what to expect.
#[test]
fn a_text_is_expected_with_whatever_status() {
    assert_says(&checked("http-check expect string OK", ""), &["body = \"OK\"", "status = \"100-599\""]);
    let both = checked("http-check expect status 200\nhttp-check expect string OK", "");
    assert_says(&both, &["body = \"OK\"", "status = \"200\""]);
}

#[test]
fn what_a_check_cannot_have_is_said() {
    let imported = checked("", "inter 10ms fall 2000");
    assert_says(&imported, &["interval = \"50ms\"", "fall = 1000"]);
    let said = format!("{:?}", imported.notes);
    assert!(said.contains("every 50ms: from 50ms to 1d") && said.contains("`fall` is 1000: from 1 to 1000"), "{said}");
    let said = format!("{:?}", checked("", "inter 2s fall 3").notes);
    assert!(!said.contains("from 50ms") && !said.contains("from 1 to 1000"), "{said}");
}
