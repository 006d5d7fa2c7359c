//! Clients that are remembered, and groups.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use datapath::service::Clients;

use super::{config, service, wanted};
use crate::catalog::Catalog;
use crate::config::persistence::PersistenceChange;
use crate::config::{ClientPersistence, SettingsChange};
use crate::operations::Edit;

/// A service that remembers its clients, with these further lines.
fn lasting(name: &str, vip: u8, lines: &str) -> String {
    service(name, vip, &[1])
        .replace("[[service.backend]]", &format!("persistence = \"5m\"\n{lines}\n[[service.backend]]"))
}

fn clients(catalog: &Catalog, service: &str) -> Option<Arc<Clients>> {
    Some(catalog.persistence(catalog.service(service)?)?.clients)
}

#[test]
fn clients_are_remembered_as_long_as_somebody_asks_for_it() {
    let shop = "persistence_group = \"shop\"";
    let both = format!("{}{}", lasting("http", 1, shop), lasting("https", 2, shop));
    let mut catalog = Catalog::from_config(&config(&format!("{both}{}", lasting("own", 3, ""))), 1);
    let (http, own) = (clients(&catalog, "http").unwrap(), clients(&catalog, "own").unwrap());
    assert!(Arc::ptr_eq(&http, &clients(&catalog, "https").unwrap()));
    assert!(!Arc::ptr_eq(&http, &own));
    // A reload that changes time and prefix, and takes one of the group away.
    let changed =
        lasting("https", 2, shop).replace("5m", "9m").replace(shop, &format!("{shop}\npersistence_prefix = 24"));
    catalog.replace(&config(&format!("{changed}{}", lasting("own", 3, ""))));
    let now = catalog.persistence(catalog.service("https").unwrap()).unwrap();
    assert!(Arc::ptr_eq(&http, &now.clients) && Arc::ptr_eq(&own, &clients(&catalog, "own").unwrap()));
    assert_eq!((now.time, now.prefix, now.grouped), (Duration::from_mins(9), 24, true));
    // The last one goes, and with it what it remembered.
    let freed = Arc::downgrade(&http);
    drop((http, now));
    catalog.apply(&Edit::RemoveService { name: "https".to_owned() }).unwrap();
    assert!(freed.upgrade().is_none());
    catalog.replace(&config(&both));
    assert_eq!(clients(&catalog, "http").unwrap().capacity(), 65_536);
    catalog.replace(&config(&lasting("own", 3, "persistence_clients = 2000")));
    assert_eq!(clients(&catalog, "own").unwrap().capacity(), 2048);
    catalog.replace(&config(&service("own", 3, &[1])));
    assert!(clients(&catalog, "own").is_none());
}

#[test]
fn a_group_changes_together() {
    let shop = "persistence_group = \"shop\"";
    let both = format!("{}{}", lasting("http", 1, shop), lasting("https", 2, shop));
    let mut catalog = Catalog::from_config(&config(&both), 1);
    let set = |change: PersistenceChange| Edit::SetService {
        name: "http".to_owned(),
        listens: None,
        settings: SettingsChange { persistence: change, ..SettingsChange::default() },
        check: None,
    };
    let time = Some(Some(Duration::from_mins(1)));
    catalog.apply(&set(PersistenceChange { time, ..PersistenceChange::default() })).unwrap();
    let other = &catalog.service("https").unwrap().settings.persistence;
    assert_eq!(other.time, Some(Duration::from_mins(1)));
    // Leaving the group is nobody else's business, and coming back with another time is refused.
    let alone = PersistenceChange { group: Some(None), time: Some(Some(Duration::from_mins(7))), ..Default::default() };
    catalog.apply(&set(alone)).unwrap();
    assert_eq!(catalog.service("https").unwrap().settings.persistence.time, Some(Duration::from_mins(1)));
    let back = PersistenceChange { group: Some(Some("shop".to_owned())), ..PersistenceChange::default() };
    let refused = catalog.apply(&set(back)).unwrap_err();
    assert!(refused.message.starts_with("service `https` of the same group `shop` says otherwise"), "{refused:?}");
    assert!(clients(&catalog, "http").is_some());
}

#[test]
fn a_task_s_labels_do_not_disturb_a_group() {
    let shop = "persistence_group = \"shop\"";
    let mut catalog = Catalog::from_config(&config(&lasting("http", 1, shop)), 1);
    let task = ("t", "10.0.0.11:80", 1);
    let (mut same, mut other) = (wanted("s1", "same", 8080, &[task]), wanted("s2", "other", 8081, &[task]));
    same.service.settings.persistence = catalog.service("http").unwrap().settings.persistence.clone();
    other.service.settings.persistence =
        ClientPersistence { time: Some(Duration::from_secs(7)), ..same.service.settings.persistence.clone() };
    let problems = catalog.follow(&[], &BTreeSet::new(), &[same, other]);
    let [problem] = &problems[..] else { panic!("{problems:?}") };
    assert!(problem.starts_with("swarm service other: service `http` of the same group"), "{problem}");
    let http = clients(&catalog, "http").unwrap();
    assert!(Arc::ptr_eq(&http, &clients(&catalog, "same").unwrap()));
    assert!(!Arc::ptr_eq(&http, &clients(&catalog, "other").unwrap()));
}
