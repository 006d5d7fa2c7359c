//! Single edits, and the refusals.

use wire::MacAddr;

use super::{backend, config, ids, service};
use crate::catalog::Catalog;
use crate::config::{BackendConfig, SettingsChange};
use crate::operations::{BackendChange, Edit};

#[test]
fn edits_do_what_they_say() {
    let mut catalog = Catalog::from_config(&config(&service("web", 1, &[1])), 1);
    let web = "web".to_owned();
    catalog.apply(&Edit::AddBackend { service: web.clone(), backend: backend("192.0.2.2:80", None) }).unwrap();
    assert_eq!(ids(&catalog, "web"), [1, 2]);
    let address = "192.0.2.1:80".parse().unwrap();
    catalog.apply(&Edit::DrainBackend { service: web.clone(), address }).unwrap();
    assert_eq!(catalog.service("web").unwrap().backend(address).unwrap().config.weight, 0);
    let set = Edit::SetBackend {
        service: web.clone(),
        address,
        change: BackendChange { weight: Some(7), vtep: None, ..BackendChange::default() },
    };
    catalog.apply(&set).unwrap();
    assert_eq!(catalog.service("web").unwrap().backend(address).unwrap().config.weight, 7);
    assert_eq!(ids(&catalog, "web"), [1, 2]);
    catalog.apply(&Edit::RemoveBackend { service: web.clone(), address }).unwrap();
    assert_eq!(ids(&catalog, "web"), [2]);
    let set = Edit::SetService {
        name: web.clone(),
        listens: None,
        settings: SettingsChange { rewrite_timestamps: Some(false), ..SettingsChange::default() },
        check: None,
    };
    catalog.apply(&set).unwrap();
    assert!(!catalog.service("web").unwrap().settings.rewrite_timestamps);
    catalog.apply(&Edit::RemoveService { name: web }).unwrap();
    assert!(catalog.services().is_empty());
}

/// What was translated for the overlay has no way back from a backend that is routed plainly, nor the other way round.
#[test]
fn flows_end_when_the_kind_of_way_to_their_backend_changes() {
    let vtep = |vtep: Option<&str>| match vtep {
        Some(vtep) => format!("vtep = \"{vtep}\"\n"),
        None => String::new(),
    };
    let service = |direct: bool, to: Option<&str>| {
        let listen = "[[service]]\nname = \"web\"\nlisten = \"198.18.0.1:80\"\n";
        let backend = "[[service.backend]]\naddress = \"10.0.0.11:80\"\n";
        config(&format!("{listen}direct = {direct}\n{backend}{}", vtep(to)))
    };
    for (direct, expected) in [(false, [1, 2, 2, 3, 4]), (true, [1; 5])] {
        let mut catalog = Catalog::from_config(&service(direct, None), 1);
        let mut seen = ids(&catalog, "web");
        for to in [Some("198.18.1.11"), Some("198.18.1.12"), None] {
            catalog.replace(&service(direct, to));
            seen.extend(ids(&catalog, "web"));
        }
        let vtep = Some(Some("198.18.1.11".parse().unwrap()));
        let change = BackendChange { vtep, ..BackendChange::default() };
        let address = "10.0.0.11:80".parse().unwrap();
        catalog.apply(&Edit::SetBackend { service: "web".to_owned(), address, change }).unwrap();
        seen.extend(ids(&catalog, "web"));
        assert_eq!(seen, expected, "direct: {direct}");
    }
}

#[test]
fn put_makes_or_replaces() {
    let mut catalog = Catalog::from_config(&config(&service("web", 1, &[1, 2])), 1);
    let wanted = config(&service("web", 9, &[2, 3])).services.remove(0);
    catalog.apply(&Edit::PutService(wanted.clone())).unwrap();
    assert_eq!(catalog.service("web").unwrap().listens, wanted.listens);
    assert_eq!(ids(&catalog, "web"), [2, 3]);
    catalog.apply(&Edit::PutService(config(&service("other", 2, &[])).services.remove(0))).unwrap();
    assert_eq!(catalog.services().len(), 2);
}

/// A whole service over the API is held to the same rules as its parts.
#[test]
fn a_put_service_is_checked_to_its_last_backend() {
    let mut catalog = Catalog::from_config(&config(&service("web", 1, &[1])), 1);
    let put = |more: BackendConfig| {
        let mut wanted = config(&service("web", 1, &[1])).services.remove(0);
        wanted.backends.push(more);
        Edit::PutService(wanted)
    };
    let twice = refusal(&mut catalog, &put(backend("192.0.2.1:80", None)));
    assert!(twice.starts_with("Invalid: backend `192.0.2.1:80` is in service `web` twice"), "{twice}");
    refusal(&mut catalog, &put(backend("192.0.2.9:80", Some("198.18.1.11"))));
    catalog.apply(&put(backend("192.0.2.9:80", None))).unwrap();
}

/// Kind, words and hint of a refusal, and proof that it changed nothing.
fn refusal(catalog: &mut Catalog, edit: &Edit) -> String {
    let before = format!("{:?}", catalog.services);
    let error = catalog.apply(edit).unwrap_err();
    assert_eq!(format!("{:?}", catalog.services), before);
    format!("{:?}: {error} ({})", error.kind, error.hint.clone().unwrap())
}

#[test]
fn refusals_change_nothing() {
    let mut catalog = Catalog::from_config(&config(&format!("{}{}", service("web", 1, &[1]), service("b", 2, &[]))), 1);
    let web = || "web".to_owned();
    let address = "192.0.2.1:80".parse().unwrap();
    let add = |backend| Edit::AddBackend { service: web(), backend };
    let named = |name: &str, vip| Edit::AddService(config(&service(name, vip, &[])).services.remove(0));
    let edits = [
        named("web", 7),
        named("c", 1),
        Edit::SetService { name: web(), listens: Some(Vec::new()), settings: SettingsChange::default(), check: None },
        Edit::RemoveService { name: "wbe".to_owned() },
        Edit::RemoveBackend { service: web(), address: "192.0.2.1:81".parse().unwrap() },
        Edit::DrainBackend { service: web(), address: "192.0.2.9".parse().unwrap() },
        add(backend("192.0.2.1:80", None)),
        add(backend("192.0.2.9:80", Some("198.18.1.11"))),
        add(backend("10.0.0.4:80", Some("198.18.1.11"))),
        add(backend("10.0.0.11:80", Some("198.18.1.1"))),
        Edit::SetBackend {
            service: web(),
            address,
            change: BackendChange { weight: Some(5), mac: Some(Some(MacAddr([2; 6]))), ..BackendChange::default() },
        },
    ];
    let words: Vec<_> = edits.iter().map(|edit| refusal(&mut catalog, edit)).collect();
    assert_words!(words.join("\n"));
}
