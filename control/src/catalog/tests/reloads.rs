//! Ids, counters and turns across reloads.

use std::net::IpAddr;
use std::sync::Arc;

use datapath::service::SchedulerKind;
use proptest::prelude::*;

use super::{config, ids, service};
use crate::catalog::Catalog;
use crate::config::SettingsChange;
use crate::operations::Edit;

#[test]
fn what_stands_keeps_id_counters_and_turn() {
    let mut catalog = Catalog::from_config(&config(&service("web", 1, &[1, 2])), 2);
    let before = catalog.clone();
    let changes = catalog.replace(&config(&format!("{}{}", service("new", 2, &[1]), service("web", 3, &[2, 3]))));
    let (old, new) = (before.service("web").unwrap(), catalog.service("web").unwrap());
    assert_eq!(old.id, new.id);
    assert!(Arc::ptr_eq(&old.turn, &new.turn));
    assert_eq!(ids(&before, "web"), [1, 2]);
    assert_eq!(ids(&catalog, "web"), [2, 4]);
    assert!(Arc::ptr_eq(&old.backends[1].stats, &new.backends[0].stats));
    assert_eq!(changes.services_added, ["new"]);
    assert_eq!(changes.services_changed, ["web"]);
    assert_eq!(changes.backends_added, ["new 192.0.2.1:80", "web 192.0.2.3:80"]);
    assert_eq!(changes.backends_removed, ["web 192.0.2.1:80"]);
    assert!(changes.services_removed.is_empty() && changes.backends_changed.is_empty());
}

#[test]
fn what_returns_is_another() {
    let both = config(&service("web", 1, &[1, 2]));
    let mut catalog = Catalog::from_config(&both, 1);
    catalog.replace(&config(&service("web", 1, &[1])));
    catalog.replace(&both);
    assert_eq!(ids(&catalog, "web"), [1, 3]);
    let changes = catalog.replace(&config(""));
    assert_eq!(changes.services_removed, ["web"]);
    assert_eq!(changes.backends_removed, ["web 192.0.2.1:80", "web 192.0.2.2:80"]);
    catalog.replace(&both);
    assert_eq!(catalog.service("web").unwrap().id.0, 2);
    assert_eq!(ids(&catalog, "web"), [4, 5]);
}

#[test]
fn the_same_config_changes_nothing() {
    let config = config(&service("web", 1, &[1, 2]));
    let mut catalog = Catalog::from_config(&config, 1);
    assert_eq!(catalog.replace(&config), crate::catalog::Changes::default());
}

/// Everything of a service and of a backend that a file may say anew.
#[test]
fn a_reload_takes_over_what_differs() {
    let mut catalog = Catalog::from_config(&config(&service("web", 1, &[1])), 1);
    let mut other = config(&service("web", 1, &[1]));
    let wanted = &mut other.services[0];
    (wanted.settings.scheduler, wanted.settings.rewrite_timestamps) = (SchedulerKind::WeightedRoundRobin, false);
    wanted.backends[0].weight = 7;
    let changes = catalog.replace(&other);
    assert_eq!(
        (changes.services_changed, changes.backends_changed),
        (vec!["web".into()], vec!["web 192.0.2.1:80".into()])
    );
    let web = catalog.service("web").unwrap();
    assert_eq!((web.settings.scheduler, web.settings.rewrite_timestamps), (SchedulerKind::WeightedRoundRobin, false));
    assert_eq!((web.backends[0].config.weight, web.backends[0].id.0), (7, 1));
}

#[test]
fn a_set_scheduler_stays_until_it_is_set_again() {
    let mut catalog = Catalog::from_config(&config(&service("web", 1, &[1])), 1);
    let set = |scheduler, rewrite_timestamps| Edit::SetService {
        name: "web".to_owned(),
        listens: None,
        settings: SettingsChange { scheduler, rewrite_timestamps, ..SettingsChange::default() },
        check: None,
    };
    catalog.apply(&set(Some(SchedulerKind::Maglev), None)).unwrap();
    catalog.apply(&set(None, Some(false))).unwrap();
    let web = catalog.service("web").unwrap();
    assert_eq!((web.settings.scheduler, web.settings.rewrite_timestamps), (SchedulerKind::Maglev, false));
}

#[test]
fn ids_lead_to_the_names_of_services() {
    let catalog = Catalog::from_config(&config(&format!("{}{}", service("a", 1, &[1]), service("b", 2, &[2, 3]))), 1);
    let [a, b] = ["a", "b"].map(|name| catalog.service(name).unwrap().id);
    assert_eq!(catalog.names(), [(a, "a".to_owned()), (b, "b".to_owned())].into());
}

proptest! {
    /// However often configs follow each other, no id ever means two things.
    #[test]
    fn ids_are_never_used_again(rounds in prop::collection::vec(prop::collection::btree_set(1_u8..6, 0..5), 1..12)) {
        let mut catalog = Catalog::from_config(&config(""), 1);
        let mut meaning = std::collections::BTreeMap::new();
        let mut gone = std::collections::BTreeSet::new();
        for backends in rounds {
            let backends: Vec<u8> = backends.into_iter().collect();
            catalog.replace(&config(&service("web", 1, &backends)));
            let now = &catalog.service("web").unwrap().backends;
            for entry in now {
                prop_assert!(!gone.contains(&entry.id.0));
                prop_assert_eq!(*meaning.entry(entry.id.0).or_insert(entry.config.address), entry.config.address);
            }
            gone.extend(meaning.keys().filter(|id| !now.iter().any(|entry| entry.id.0 == **id)).copied());
            let present: Vec<_> = now.iter().map(|entry| entry.config.address.ip).collect();
            let wanted: Vec<_> = backends.iter().map(|last| IpAddr::from([192, 0, 2, *last])).collect();
            prop_assert_eq!(present, wanted);
        }
    }
}
