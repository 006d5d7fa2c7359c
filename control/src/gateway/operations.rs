//! What the API may ask of the gateway.

use std::collections::BTreeSet;

use conntrack::Timeouts;
use datapath::FlowFilter;
use datapath::service::BackendId;

use super::{Gateway, PublishError, status};
use crate::catalog::Catalog;
use crate::config::{self, Config, Problem, ServiceConfig, Severity};
use crate::operations::{
    CountersView, Edit, EditError, EditErrorKind, FlowCount, FlowQuestion, Health, Operations, ReloadError,
    ReloadReport, Status,
};

impl Operations for Gateway {
    fn status(&self) -> Status {
        self.describe()
    }

    fn health(&mut self) -> Health {
        self.judge()
    }

    fn counters(&self) -> CountersView {
        let filter = self.filter.as_ref().map(crate::devices::Filter::counters).unwrap_or_default();
        status::counters(&self.engine.counters(), &filter)
    }

    fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    fn lost(&self) -> &BTreeSet<BackendId> {
        &self.findings.lost
    }

    fn edit(&mut self, edit: Edit) -> Result<(), EditError> {
        let mut catalog = self.catalog.clone();
        catalog.apply(&edit)?;
        self.adopt_with_swarm(catalog).map_err(|error| refused(&error))
    }

    fn reload(&mut self) -> Result<ReloadReport, ReloadError> {
        // Whatever becomes of the config: logrotate may have moved the file.
        self.reopen_flow_log();
        let loaded = config::load(&self.config_path, &self.cpus)?;
        let needs_restart = fixed_keys_that_differ(&self.config, &loaded.config);
        check_overlay(&self.config, &loaded.config)?;
        check_places(&self.config, &self.catalog, &loaded.config)?;
        let mut wanted = self.config.clone();
        wanted.services = loaded.config.services;
        let mut catalog = self.catalog.clone();
        let changes = catalog.replace(&wanted);
        self.adopt_with_swarm(catalog).map_err(|error| not_reloaded(&error, &wanted.services))?;
        self.config = wanted;
        for key in &needs_restart {
            tracing::warn!("{key} differs in {}: restart needed", self.config_path.display());
        }
        let warnings = loaded.warnings.iter().map(ToString::to_string).collect();
        Ok(ReloadReport { changes, needs_restart, warnings })
    }

    fn flows(&self, filter: FlowFilter) -> FlowQuestion {
        let (reader, names) = (self.engine.flow_reader(), self.catalog.names());
        Box::new(move |visit| {
            let read = reader.read(&filter, |record| visit(&status::flow(record, &names)));
            read.map_err(|silent| silent.to_string())
        })
    }

    fn flow_count(&self) -> FlowCount {
        FlowCount { flows: self.engine.flow_count() as u64, capacity: self.engine.capacity() as u64 }
    }
}

fn refused(error: &PublishError) -> EditError {
    let (kind, hint) = match error {
        // What can't be so was refused before the tables were made.
        PublishError::Tables(_) | PublishError::Filter(_) => (EditErrorKind::Failed, None),
        PublishError::TakenByKernel(address, link) => {
            (EditErrorKind::Conflict, Some(format!("ip address del {address} dev {link}")))
        }
        PublishError::NoRoom(_, complaint) => (EditErrorKind::Invalid, complaint.hint.clone()),
    };
    EditError { kind, message: error.to_string(), hint }
}

/// The same words as for an edit, and the service that they are about if they are about one.
fn not_reloaded(error: &PublishError, services: &[ServiceConfig]) -> ReloadError {
    let EditError { message, hint, .. } = refused(error);
    let (PublishError::TakenByKernel(address, _) | PublishError::NoRoom(address, _)) = error else {
        return ReloadError::Failed(message);
    };
    let listens_there = |service: &ServiceConfig| service.listens.iter().any(|listen| listen.address == *address);
    let problem = match services.iter().position(listens_there) {
        Some(at) => {
            let message = format!("service `{}`: {message}", services[at].name);
            Problem { hint, ..problem(&format!("service[{at}].listen"), message) }
        }
        None => Problem { hint, ..problem("service", message) },
    };
    ReloadError::File(vec![problem])
}

fn problem(field: &str, message: String) -> Problem {
    Problem { severity: Severity::Error, field: field.to_owned(), message, hint: None, place: None }
}

/// Backends with a VTEP make no sense without an overlay, so a file that brings or drops it is refused as a whole.
fn check_overlay(running: &Config, wanted: &Config) -> Result<(), Vec<Problem>> {
    let what = match (&running.overlay, &wanted.overlay) {
        (None, Some(_)) => "[overlay] is new in the file",
        (Some(_), None) => "[overlay] is gone from the file",
        _ => return Ok(()),
    };
    Err(vec![needs_restart("overlay", what)])
}

/// The file was checked against its own `[overlay]`. Where another one runs until a restart, all must have their place in that.
fn check_places(running: &Config, catalog: &Catalog, wanted: &Config) -> Result<(), Vec<Problem>> {
    if running.overlay == wanted.overlay {
        return Ok(());
    }
    let services = wanted.services.iter();
    let misplaced = services.flat_map(|service| catalog.misplaced(&service.name, &service.listens, &service.backends));
    let problems: Vec<_> =
        misplaced.map(|why| needs_restart("service", &format!("[overlay] differs in the file: {why}"))).collect();
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

fn needs_restart(field: &str, what: &str) -> Problem {
    let hint = "nothing of the file was applied; restart the gateway to apply it";
    Problem { hint: Some(hint.to_owned()), ..problem(field, format!("{what}: restart needed")) }
}

/// The keys that are fixed while the gateway runs and differ in the file.
fn fixed_keys_that_differ(running: &Config, wanted: &Config) -> Vec<String> {
    let (old, new) = (&running.gateway, &wanted.gateway);
    let keys = [
        ("gateway.cpus", old.cpus != new.cpus),
        ("gateway.flows", old.flows != new.flows),
        ("gateway.api", old.api != new.api),
        ("gateway.metrics", old.metrics != new.metrics),
        ("gateway.snat", old.snat != new.snat),
        ("gateway.shortcuts", old.shortcuts != new.shortcuts),
        ("timeouts", !same_timeouts(&running.timeouts, &wanted.timeouts)),
        ("interface", running.interfaces != wanted.interfaces),
        ("flow_log", running.flow_log != wanted.flow_log),
        ("overlay", running.overlay != wanted.overlay),
        ("swarm", running.swarm != wanted.swarm),
    ];
    keys.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key.to_owned()).collect()
}

fn same_timeouts(one: &Timeouts, other: &Timeouts) -> bool {
    format!("{one:?}") == format!("{other:?}")
}

#[cfg(test)]
mod tests {
    use datapath::service::{BackendId, TablesError};

    use super::super::testing::{TUN, config};
    use super::*;

    #[test]
    fn a_file_with_a_vip_of_the_machine_s_own_is_refused_as_an_edit_is() {
        let service = |name, listen| format!("[[service]]\nname = \"{name}\"\nlisten = \"{listen}:80\"\n");
        let services = service("web", "198.18.0.1") + &service("mail", "198.18.0.2");
        let config = config(TUN, "", &services);
        let error = PublishError::TakenByKernel("198.18.0.2".parse().unwrap(), "eth0".to_owned());
        let edit = refused(&error);
        let outcome = not_reloaded(&error, &config.services);
        let wanted = Problem {
            hint: edit.hint.clone(),
            ..problem("service[1].listen", format!("service `mail`: {}", edit.message))
        };
        assert_eq!(outcome, ReloadError::File(vec![wanted]));
        assert_eq!(edit.hint.as_deref(), Some("ip address del 198.18.0.2 dev eth0"));
        let elsewhere = PublishError::TakenByKernel("198.18.0.3".parse().unwrap(), "eth0".to_owned());
        let ReloadError::File(problems) = not_reloaded(&elsewhere, &config.services) else {
            panic!("it is the file's")
        };
        assert_eq!(problems[0].field, "service");
    }

    #[test]
    fn what_the_gateway_cannot_do_is_not_the_file_s_fault() {
        for error in [
            PublishError::Filter(sys::FilterError::NotPermitted),
            PublishError::Tables(TablesError::BackendTwice(BackendId(7))),
        ] {
            assert_eq!(refused(&error).kind, EditErrorKind::Failed);
            assert_eq!(not_reloaded(&error, &[]), ReloadError::Failed(error.to_string()));
        }
    }
}
