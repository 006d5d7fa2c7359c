//! What ipvsadm's options come to.

use crate::import::tests::{import_one, noted, says};
use crate::import::{Format, Imported, import};

/// A service with these options, and a server with those.
fn read(service: &str, server: &str) -> Imported {
    let text = format!("-A -t 192.0.2.1:80 {service}\n-a -t 192.0.2.1:80 {server}\n");
    import_one(&text, Format::Ipvsadm)
}

#[test]
fn every_option_is_carried_over_or_named() {
    let imported = read("-s rr --sched-falgs x", "-r 10.0.0.1:80 -m -w 1 --tun-type gue -q");
    assert!(noted(&imported, 1, "`--sched-falgs`"), "{:?}", imported.notes);
    for option in ["`--tun-type`", "`-q`"] {
        assert!(noted(&imported, 2, option), "{option}: {:?}", imported.notes);
    }
    let imported = read("-s rr -p 300 -M 255.255.255.0", "-r 10.0.0.1:80 -m -w 3 surplus");
    assert!(noted(&imported, 2, "`surplus`") && says(&imported, "weight = 3"), "{:?}", imported.notes);
    assert!(!imported.notes.iter().any(|note| note.line == 1), "{:?}", imported.notes);
    let text = "ipvsadm -A -t 192.0.2.1:80 -s rr\nipvsadm -a -t 192.0.2.1:80 -r 10.0.0.1:80 -m\n";
    assert!(import(text, Format::Ipvsadm, &[]).notes.iter().all(|note| note.line == 0));
}

#[test]
fn what_is_no_netmask_is_named() {
    let imported = read("-s rr -p 300 -M 255.255.0.255", "-r 10.0.0.1:80 -m");
    assert!(says(&imported, "persistence = \"5m\"") && !imported.config.contains("prefix"), "{}", imported.config);
    assert!(noted(&imported, 1, "`255.255.0.255`"), "{:?}", imported.notes);
}

/// ipvsadm itself puts the service's port in its place.
#[test]
fn ports_of_direct_servers_mean_nothing() {
    let imported = read("-s rr", "-r 10.0.0.1:8080 -g");
    assert!(says(&imported, "direct = true") && says(&imported, "address = \"10.0.0.1\""), "{}", imported.config);
    assert!(noted(&imported, 2, "the VIP's port"), "{:?}", imported.notes);
    let imported = read("-s rr", "-r 10.0.0.1:80 -g");
    assert!(!imported.notes.iter().any(|note| note.line == 2), "{:?}", imported.notes);
}
