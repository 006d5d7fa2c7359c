//! Where sections listen, and what comes there in front of the data.

use super::{assert_says, assert_silent, notes, read};

/// Linux gives `::` both families unless told otherwise, and HAProxy tells it nothing but `v6only`.
#[test]
fn any_address_of_ipv6_is_any_of_ipv4_too() {
    for place in ["ipv6@:443", "ipv6@*:443", "[::]:443", ":::443"] {
        for both in ["", " v4v6", " v6only v4v6"] {
            let imported = read(&format!("listen x\nbind {place}{both}\nserver a 10.0.0.1:80\n"));
            assert_says(&imported, &["listen = [\"[2001:db8::1]:443/tcp\", \"203.0.113.1:443/tcp\"]"]);
        }
        for only in [" v6only", " v4v6 v6only"] {
            let imported = read(&format!("listen x\nbind {place}{only}\nserver a 10.0.0.1:80\n"));
            assert_says(&imported, &["listen = \"[2001:db8::1]:443/tcp\""]);
        }
    }
    let imported = read("listen x\nbind *:443\nserver a 10.0.0.1:80\n");
    assert_says(&imported, &["listen = \"203.0.113.1:443/tcp\""]);
}

#[test]
fn who_asks_for_ipv4_by_name_comes_before_who_gets_it_with_ipv6() {
    for (binds, listens) in [
        ("bind :::80\nbind *:80", "[\"[2001:db8::1]:80/tcp\", \"203.0.113.1:80/tcp\"]"),
        ("bind *:80\nbind :::80", "[\"203.0.113.1:80/tcp\", \"[2001:db8::1]:80/tcp\"]"),
        ("bind :::80\nbind 203.0.113.1:80", "[\"[2001:db8::1]:80/tcp\", \"203.0.113.1:80/tcp\"]"),
    ] {
        let imported = read(&format!("listen x\n{binds}\nserver a 10.0.0.1:80\n"));
        assert_says(&imported, &[&format!("listen = {listens}")]);
        assert_eq!((notes(&imported, 2), notes(&imported, 3)), (String::new(), String::new()));
    }
    // Whoever stands first in the file.
    let (six, four) = ("listen a\nbind :::80\nserver a 10.0.0.1:80\n", "listen b\nbind *:80\nserver b 10.0.0.2:80\n");
    for (text, line, other) in [(format!("{six}{four}"), 2, 5), (format!("{four}{six}"), 5, 2)] {
        let imported = read(&text);
        assert_says(&imported, &["listen = \"[2001:db8::1]:80/tcp\"", "listen = \"203.0.113.1:80/tcp\""]);
        assert!(notes(&imported, line).contains(&format!("line {other}")), "{:?}", imported.notes);
        assert_eq!(notes(&imported, other), "");
    }
}

#[test]
fn a_header_of_the_client_is_the_only_one() {
    let server = |binds: &str, words: &str| read(&format!("listen x\n{binds}\nserver a 10.0.0.1:80 {words}\n"));
    for words in ["send-proxy-v2", "send-proxy"] {
        let imported = server("bind 192.0.2.1:80 accept-proxy", words);
        assert_silent(&imported, "proxy_protocol = true");
        assert!(notes(&imported, 2).contains("no second one"), "{:?}", imported.notes);
    }
    let imported = server("bind 192.0.2.1:80 accept-proxy", "");
    assert!(!notes(&imported, 2).contains("no second one"), "{:?}", imported.notes);
    // Who brings none gets none.
    let imported = server("bind 192.0.2.1:80 accept-proxy\nbind 192.0.2.1:81", "send-proxy-v2");
    assert_silent(&imported, "proxy_protocol = true");
    assert!(notes(&imported, 3).contains("a service of its own"), "{:?}", imported.notes);
    assert_says(&server("bind 192.0.2.1:80", "send-proxy-v2"), &["proxy_protocol = true"]);
}
