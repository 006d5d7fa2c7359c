//! Listens that a service no longer has, but perhaps connections that came by them: their packets must still reach the workers.

use super::ServiceEntry;
use crate::config::Listen;

impl ServiceEntry {
    /// Changes where it listens. What it leaves is kept until nobody can be left there.
    pub(super) fn set_listens(&mut self, wanted: &[Listen]) {
        for old in std::mem::replace(&mut self.listens, wanted.to_vec()) {
            if !self.left.contains(&old) {
                self.left.push(old);
            }
        }
        self.left.retain(|listen| !wanted.contains(listen));
        self.forget_left();
    }

    /// Lets go of what it has left, once it has no connections at all: which listen one came by is not counted. True if that
    /// changed something.
    pub(super) fn forget_left(&mut self) -> bool {
        let is_busy =
            || self.backends.iter().map(|backend| backend.stats.totals()).any(|now| now.active + now.inactive > 0);
        if self.left.is_empty() || is_busy() {
            return false;
        }
        self.left.clear();
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use datapath::service::Phase;

    use super::super::tests::config;
    use super::super::{Catalog, ServiceEntry};

    fn service(listens: &str) -> String {
        format!("[[service]]\nname = \"web\"\nlisten = [{listens}]\n[[service.backend]]\naddress = \"192.0.2.1:80\"\n")
    }

    fn left(service: &ServiceEntry) -> Vec<String> {
        service.left.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_listen_that_goes_is_kept_until_the_last_connection_of_its_service_ends() {
        let (http, https) = ("\"198.18.0.1:80\"", "\"198.18.0.1:443\"");
        let mut catalog = Catalog::from_config(&config(&service(&format!("{http}, {https}"))), 1);
        assert!(catalog.services[0].left.is_empty());
        let worker = |catalog: &Catalog| catalog.services[0].backends[0].stats.clone();
        worker(&catalog).worker(0).unwrap().opened(Phase::Active);
        catalog.replace(&config(&service(http)));
        assert_eq!(left(&catalog.services[0]), ["198.18.0.1:443/tcp"]);
        assert!(!catalog.grow_older(Duration::from_secs(1)), "a connection stands");
        assert_eq!(left(&catalog.services[0]), ["198.18.0.1:443/tcp"]);
        // There again, and gone again.
        catalog.replace(&config(&service(&format!("{https}, {http}"))));
        assert!(catalog.services[0].left.is_empty());
        catalog.replace(&config(&service(http)));
        catalog.replace(&config(&service(http)));
        assert_eq!(left(&catalog.services[0]), ["198.18.0.1:443/tcp"]);
        worker(&catalog).worker(0).unwrap().closed(Phase::Active);
        assert!(catalog.grow_older(Duration::from_secs(2)), "new tables");
        assert!(catalog.services[0].left.is_empty());
        assert!(!catalog.grow_older(Duration::from_secs(3)));
        catalog.replace(&config(&service(https)));
        assert!(catalog.services[0].left.is_empty(), "nobody is there");
    }
}
