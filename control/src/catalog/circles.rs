//! Edits that would lead packets back to the gateway.

use super::{Catalog, ServiceEntry};
use crate::config::report::Complaint;
use crate::config::rules::circle_fault;
use crate::config::{BackendConfig, Listen};

impl Catalog {
    /// What is wrong if the service `name` listens and leads so, beside the others as they are.
    pub(super) fn circle_fault<'a>(
        &self,
        name: &str,
        listens: &[Listen],
        direct: bool,
        backends: impl IntoIterator<Item = &'a BackendConfig>,
    ) -> Option<Complaint> {
        let ours = || listens.iter().map(|listen| (listen, name));
        let others = || self.services.iter().filter(|service| service.name != name);
        let theirs = || others().flat_map(|service| service.listens.iter().map(|listen| (listen, &*service.name)));
        let mut led = backends.into_iter().filter(|_| !direct);
        let own = led.find_map(|backend| circle_fault(backend, listens, ours().chain(theirs())));
        own.or_else(|| others().find_map(|service| leads_to(service, ours)))
    }
}

/// Whether another service leads to one of these listens.
fn leads_to<'a, L: Iterator<Item = (&'a Listen, &'a str)>>(
    service: &ServiceEntry,
    listens: impl Fn() -> L,
) -> Option<Complaint> {
    let mut backends = service.backends.iter().filter(|_| !service.settings.direct);
    backends.find_map(|backend| circle_fault(&backend.config, &service.listens, listens()))
}

#[cfg(test)]
mod tests {
    use super::super::tests::config;
    use super::*;
    use crate::config::{ServiceConfig, SettingsChange, value};
    use crate::operations::{BackendChange, Edit};

    fn service(name: &str, listen: &str, backend: &str) -> String {
        format!("[[service]]\nname = \"{name}\"\nlisten = \"{listen}\"\n[[service.backend]]\naddress = {backend}\n")
    }

    fn listens(name: &str, listen: &str) -> Edit {
        let listens = Some(vec![value::listen(listen).unwrap()]);
        Edit::SetService { name: name.to_owned(), listens, settings: SettingsChange::default(), check: None }
    }

    #[test]
    fn no_edit_leads_back_to_the_gateway() {
        let text = service("web", "198.18.0.1:80", "\"192.0.2.1:80\"")
            + &service("api", "198.18.0.2:80", "\"10.0.0.9:80\"\nvtep = \"198.18.1.11\"");
        let mut catalog = Catalog::from_config(&config(&text), 1);
        let backend = |address: &str| BackendConfig::new(address.parse().unwrap(), None, 1);
        let add = |address| Edit::AddBackend { service: "web".to_owned(), backend: backend(address) };
        let put = |backends: &[&str]| ServiceConfig {
            backends: backends.iter().map(|address| backend(address)).collect(),
            ..config(&service("new", "198.18.0.3:80", "\"192.0.2.1:80\"")).services.remove(0)
        };
        let plain = BackendChange { vtep: Some(None), ..BackendChange::default() };
        let address = "10.0.0.9:80".parse().unwrap();
        let edits = [
            (add("198.18.0.1:80"), "web"),
            (add("198.18.0.1"), "web"),
            (add("198.18.0.2:80"), "api"),
            (Edit::AddService(put(&["198.18.0.3:80"])), "new"),
            (Edit::PutService(put(&["192.0.2.1:80", "198.18.0.2"])), "api"),
            (listens("api", "192.0.2.1:80"), "api"),
        ];
        for (edit, owner) in edits {
            let error = catalog.apply(&edit).unwrap_err();
            let said = error.message.contains(&format!("is this gateway itself: service `{owner}`"));
            assert!(said && error.hint.is_some(), "{edit:?}: {error}");
        }
        catalog.apply(&listens("api", "10.0.0.9:80")).unwrap();
        let set = Edit::SetBackend { service: "api".to_owned(), address, change: plain };
        assert!(catalog.apply(&set).unwrap_err().message.contains("service `api` listens on 10.0.0.9:80/tcp"));
        for good in [add("198.18.0.1:81"), listens("api", "192.0.2.1:80/udp"), listens("web", "198.18.0.1:82-90")] {
            catalog.apply(&good).unwrap();
        }
    }
}
