//! `stick-table` and `stick on src`, and who shares a table or servers.

use super::{assert_says, assert_silent, listen, notes, read};

#[test]
fn a_table_may_be_another_sections() {
    let section = "stick on src table t\nserver a 10.0.0.1:80";
    let table = "backend t\nstick-table type ip size 1k expire 7m";
    assert_says(&listen(&format!("{section}\n{table}")), &["persistence = \"7m\""]);
    let frontend = "frontend t\nbind 192.0.2.2:80\ndefault_backend t";
    assert_says(&listen(&format!("{section}\n{frontend}\n{table}")), &["persistence = \"7m\""]);
    let imported = listen("stick on src table nobodys\nserver a 10.0.0.1:80");
    assert_says(&imported, &["persistence = \"1d\""]);
    assert_eq!(notes(&imported, 3), "there is no such table");
}

/// A table that two services remember in has one owner, and is theirs together.
#[test]
fn services_that_share_a_table_are_a_group() {
    let backends = "backend a\nstick-table type ip size 100k expire 30m\nstick on src\nserver s 10.0.0.1:80\n\
                    backend b\nstick on src table a\nserver s 10.0.0.1:443\n\
                    backend c\nstick-table type ip size 100k expire 9m\nstick on src\nserver s 10.0.0.1:25\n";
    let fronts = "frontend http\nbind 192.0.2.1:80\ndefault_backend a\nfrontend https\nbind 192.0.2.1:443\ndefault_backend b\n\
                  frontend mail\nbind 192.0.2.1:25\ndefault_backend c\n";
    let imported = read(&format!("{fronts}{backends}"));
    assert_eq!(imported.services, 3);
    assert_eq!(imported.config.matches("persistence_group = \"a\"\n").count(), 2, "{}", imported.config);
    assert_silent(&imported, "persistence_group = \"c\"");
    // A group has one prefix, also where one of its services knows no IPv6.
    let imported = read(&format!("{}{backends}", fronts.replace("bind 192.0.2.1:443", "bind [2001:db8::7]:443")));
    assert_eq!(imported.services, 3, "{:?}", imported.notes);
    assert_eq!(imported.config.matches("persistence_prefix_ipv6 = 128\n").count(), 2, "{}", imported.config);
}

/// `:` may stand in a section's name, not in a group's.
#[test]
fn groups_of_different_tables_have_different_names() {
    let pair = |owner: &str, port: u16| {
        format!(
            "backend {owner}\nstick-table type ip size 100k expire 30m\nstick on src\nserver s 10.0.0.1:80\n\
             frontend f{port}\nbind 192.0.2.1:{port}\ndefault_backend {owner}\n\
             frontend g{port}\nbind 192.0.2.2:{port}\ndefault_backend {owner}\n"
        )
    };
    let imported = read(&format!("{}{}", pair("a:b", 80), pair("a-b", 81)));
    assert_eq!(imported.services, 4);
    for group in ["a-b", "a-b-2"] {
        let line = format!("persistence_group = \"{group}\"\n");
        assert_eq!(imported.config.matches(&line).count(), 2, "{}", imported.config);
    }
}

#[test]
fn servers_of_two_services_may_have_their_maximum_twice() {
    let fronts =
        "frontend a\nbind 192.0.2.1:80\ndefault_backend w\nfrontend b\nbind 192.0.2.1:443\ndefault_backend w\n";
    let imported = read(&format!("{fronts}backend w\nserver s 10.0.0.1 maxconn 100\n"));
    assert!(notes(&imported, 7).contains("2 services lead here"), "{:?}", imported.notes);
    let imported = read(&format!("{fronts}backend w\nserver s 10.0.0.1\n"));
    assert_eq!(notes(&imported, 7), "");
}

#[test]
fn the_size_of_a_table_is_room_for_clients() {
    let sized =
        |size: &str| listen(&format!("stick-table type ip size {size} expire 5m\nstick on src\nserver a 10.0.0.1:80"));
    for (size, clients) in [("500k", 512_000), ("1m", 1_048_576), ("2000", 2000)] {
        let imported = sized(size);
        assert_says(&imported, &[&format!("persistence_clients = {clients}")]);
        assert_eq!(notes(&imported, 3), "");
    }
    for (size, clients) in [("10m", 1_048_576), ("100", 1024)] {
        let imported = sized(size);
        assert_says(&imported, &[&format!("persistence_clients = {clients}")]);
        assert!(notes(&imported, 3).contains(&format!("room for {clients} clients")), "{:?}", imported.notes);
    }
}

#[test]
fn what_a_table_loses_is_named() {
    let imported = listen("stick-table type ip size 1k\nstick on src\nserver a 10.0.0.1:80");
    assert_says(&imported, &["persistence = \"1d\""]);
    assert!(notes(&imported, 3).contains("for ever there"), "{:?}", imported.notes);
    let imported = listen("stick-table type ip size 1k expire 90d peers p\nstick on src\nserver a 10.0.0.1:80");
    assert_says(&imported, &["persistence = \"30d\""]);
    assert!(notes(&imported, 1).contains("30d"), "{:?}", imported.notes);
    assert!(notes(&imported, 3).contains("`peers`"), "{:?}", imported.notes);
    let imported =
        listen("stick-table type ip size 1k expire 5m\nstick on src if { dst_port 81 }\nserver a 10.0.0.1:80");
    assert_says(&imported, &["persistence = \"5m\""]);
    assert!(notes(&imported, 4).contains("condition"), "{:?}", imported.notes);
}
