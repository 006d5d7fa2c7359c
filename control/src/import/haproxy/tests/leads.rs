//! Where frontends lead, and to whom a service may not come down.

use super::{assert_says, listen, notes, read};

#[test]
fn a_rule_without_a_condition_is_for_all() {
    let backends =
        "backend x\nserver x 10.0.0.1:80\nbackend y\nserver y 10.0.0.2:80\nbackend z\nserver z 10.0.0.3:80\n";
    let front = |lines: &str| read(&format!("frontend f\nbind 192.0.2.1:80\n{lines}\n{backends}"));
    let imported = front("use_backend x");
    assert_says(&imported, &["address = \"10.0.0.1:80\""]);
    assert_eq!(notes(&imported, 3), "");
    // Nothing behind it ever counts, nor a default.
    let imported = front("use_backend x\nuse_backend y if { src 10.0.0.0/8 }\nuse_backend z\ndefault_backend y");
    assert_says(&imported, &["address = \"10.0.0.1:80\""]);
    for line in [4, 5, 6] {
        assert!(notes(&imported, line).contains("line 3"), "{line}: {:?}", imported.notes);
    }
    let imported = front("default_backend y\nuse_backend x");
    assert_says(&imported, &["address = \"10.0.0.1:80\""]);
    assert!(notes(&imported, 3).contains("line 4"), "{:?}", imported.notes);
    // Who is left by the rules before goes there.
    let imported = front("use_backend y if { src 10.0.0.0/8 }\nuse_backend x\ndefault_backend z");
    assert_says(&imported, &["address = \"10.0.0.1:80\""]);
    assert!(notes(&imported, 3).contains("rules choose"), "{:?}", imported.notes);
    let imported = front("use_backend %[req.hdr(host)]");
    assert_eq!(imported.services, 0);
    assert!(notes(&imported, 3).contains("rules choose"), "{:?}", imported.notes);
}

#[test]
fn a_service_does_not_come_down_to_its_backups() {
    let backup = "server b 10.0.0.9:80 backup";
    for server in [
        "server a a.example.org:80",
        "server a 10.0.0.1:80 ssl",
        "server a 10.0.0.1:+1000",
        "server-template a 3 a.example.org:80",
    ] {
        let imported = listen(&format!("{server}\n{backup}"));
        assert_eq!(imported.services, 0, "{server}\n{}", imported.config);
        assert!(notes(&imported, 1).contains("the service was left out"), "{:?}", imported.notes);
    }
    for server in ["", "server a a.example.org:80 backup", "server a 10.0.0.1:80 ssl backup", "server a 10.0.0.1:80"] {
        assert_eq!(listen(&format!("{server}\n{backup}")).services, 1, "{server}");
    }
}
