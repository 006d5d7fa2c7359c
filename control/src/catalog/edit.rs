//! One change to the catalog, asked for over the API. Everything is checked before anything is touched.

use super::{Catalog, Changes, Origin, ServiceEntry};
use crate::config::report::{Complaint, nearest};
use crate::config::rules::{self, Overlay};
use crate::config::{BackendAddress, BackendConfig, CheckConfig, Listen, ServiceConfig, Settings, SettingsChange};
use crate::operations::{BackendChange, Edit, EditError, EditErrorKind};

impl Catalog {
    /// Checks and carries out one change. On error nothing has changed.
    ///
    /// # Errors
    /// When the thing is not there, or is there already, or can't be so.
    pub fn apply(&mut self, edit: &Edit) -> Result<(), EditError> {
        self.carry_out(edit)?;
        self.settle_clients();
        Ok(())
    }

    fn carry_out(&mut self, edit: &Edit) -> Result<(), EditError> {
        match edit {
            Edit::AddService(service) => self.add_service(service),
            Edit::PutService(service) => self.put_service(service),
            Edit::SetService { name, listens, settings, check } => {
                self.set_service(name, listens.as_deref(), settings, check.as_ref())
            }
            Edit::RemoveService { name } => {
                let at = self.find_ours(name)?;
                self.services.remove(at);
                Ok(())
            }
            Edit::AddBackend { service, backend } => self.add_backend(service, backend),
            Edit::SetBackend { service, address, change } => self.set_backend(service, *address, change),
            Edit::DrainBackend { service, address } => {
                self.set_backend(service, *address, &BackendChange { weight: Some(0), ..BackendChange::default() })
            }
            Edit::RemoveBackend { service, address } => {
                let (service, at) = self.find_backend(service, *address)?;
                service.backends.remove(at);
                Ok(())
            }
        }
    }

    fn add_service(&mut self, wanted: &ServiceConfig) -> Result<(), EditError> {
        if self.service(&wanted.name).is_some() {
            let message = format!("there is a service `{}` already", wanted.name);
            return Err(conflict(message, "change it with `service set`, or choose another name"));
        }
        self.put_service(wanted)
    }

    fn put_service(&mut self, wanted: &ServiceConfig) -> Result<(), EditError> {
        self.check_listens(&wanted.name, &wanted.listens)?;
        for (at, backend) in wanted.backends.iter().enumerate() {
            self.check_backend(backend)?;
            check_direct(&wanted.settings, &wanted.listens, backend)?;
            if wanted.backends[..at].iter().any(|other| other.address == backend.address) {
                let message = format!("backend `{}` is in service `{}` twice", backend.address, wanted.name);
                return Err(invalid(Complaint::hinted(message, "use `weight` to give it a larger share")));
            }
        }
        refuse(self.circle_fault(&wanted.name, &wanted.listens, wanted.settings.direct, &wanted.backends))?;
        check_check(wanted.check.as_ref(), &wanted.listens, wanted.backends.iter().map(|backend| backend.address))?;
        refuse(self.persistence_fault(&wanted.name, &wanted.settings.persistence))?;
        check_settings(&wanted.settings, &wanted.listens, wanted.check.is_some())?;
        let mut changes = Changes::default();
        let at = self.services.iter().position(|service| service.name == wanted.name);
        if at.is_some() {
            self.find_ours(&wanted.name)?;
        }
        let present = at.map(|at| self.services.remove(at));
        let service = self.merge(present, wanted, &mut changes);
        self.services.insert(at.unwrap_or(self.services.len()), service);
        Ok(())
    }

    fn set_service(
        &mut self,
        name: &str,
        listens: Option<&[Listen]>,
        change: &SettingsChange,
        check: Option<&Option<CheckConfig>>,
    ) -> Result<(), EditError> {
        let at = self.find_ours(name)?;
        if let Some(listens) = listens {
            self.check_listens(name, listens)?;
        }
        let settings = change.apply(self.services[at].settings.clone());
        self.check_persistence(name, &settings)?;
        let service = &self.services[at];
        let listens = listens.unwrap_or(&service.listens).to_vec();
        let backends = service.backends.iter().map(|backend| &backend.config);
        refuse(self.circle_fault(name, &listens, settings.direct, backends))?;
        let service = &mut self.services[at];
        for backend in &service.backends {
            check_direct(&settings, &listens, &backend.config)?;
        }
        let wanted = check.cloned().unwrap_or_else(|| service.check.as_deref().cloned());
        check_check(wanted.as_ref(), &listens, service.backends.iter().map(|backend| backend.config.address))?;
        check_settings(&settings, &listens, wanted.is_some())?;
        service.set_check(wanted);
        service.set_listens(&listens);
        let of_group = service.settings.persistence.group == settings.persistence.group;
        service.settings = settings;
        if of_group {
            let wanted = service.settings.persistence.clone();
            self.lead_group(&wanted);
        }
        Ok(())
    }

    fn add_backend(&mut self, service: &str, backend: &BackendConfig) -> Result<(), EditError> {
        let at = self.find_ours(service)?;
        self.check_backend(backend)?;
        if self.services[at].backend(backend.address).is_some() {
            let message = format!("service `{service}` has a backend `{}` already", backend.address);
            return Err(conflict(message, "change it with `backend set`"));
        }
        let service = &self.services[at];
        check_direct(&service.settings, &service.listens, backend)?;
        refuse(self.circle_fault(&service.name, &service.listens, service.settings.direct, [backend]))?;
        check_check(service.check.as_deref(), &service.listens, [backend.address])?;
        let entry = self.new_backend(backend);
        self.services[at].backends.push(entry);
        Ok(())
    }

    fn set_backend(&mut self, service: &str, address: BackendAddress, change: &BackendChange) -> Result<(), EditError> {
        let (entry, at) = self.find_backend(service, address)?;
        let wanted = change.apply(&entry.backends[at].config);
        self.check_backend(&wanted)?;
        if change.vtep.is_some() {
            let entry = &self.services[self.find_ours(service)?];
            refuse(self.circle_fault(service, &entry.listens, entry.settings.direct, [&wanted]))?;
        }
        let mut next = self.next_backend;
        let (entry, at) = self.find_backend(service, address)?;
        entry.backends[at].set_config(wanted, entry.settings.direct, &mut next);
        self.next_backend = next;
        Ok(())
    }

    pub(super) fn rules_overlay(&self) -> Overlay<'_> {
        if self.overlays.is_empty() { Overlay::Absent } else { Overlay::Known(&self.overlays) }
    }

    /// Whether the service `name` may listen there.
    fn check_listens(&self, name: &str, listens: &[Listen]) -> Result<(), EditError> {
        if listens.is_empty() {
            let hint = "e.g. 198.18.0.1:8080/tcp";
            return Err(invalid(Complaint::hinted("`listen` is empty: nobody could reach the service", hint)));
        }
        for (at, listen) in listens.iter().enumerate() {
            let others = self.services.iter().filter(|service| service.name != name);
            let theirs =
                others.flat_map(|service| service.listens.iter().map(|listen| (service.name.as_str(), listen)));
            if let Some((owner, other)) = theirs.into_iter().find(|(_, other)| rules::overlap(listen, other)) {
                let complaint = rules::taken_by(listen, other, owner);
                return Err(EditError { kind: EditErrorKind::Conflict, ..invalid(complaint) });
            }
            refuse(rules::said_twice(listen, &listens[..at]))?;
            refuse(rules::listen_fault(listen, self.rules_overlay()))?;
        }
        Ok(())
    }

    /// Whether the service may remember its clients so. If it stays in its group, the group follows it.
    fn check_persistence(&self, name: &str, wanted: &Settings) -> Result<(), EditError> {
        let wanted = &wanted.persistence;
        let stays = self.service(name).is_some_and(|present| present.settings.persistence.group == wanted.group);
        let fault = if stays { wanted.fault().map(|(_, fault)| fault) } else { self.persistence_fault(name, wanted) };
        refuse(fault)
    }

    fn check_backend(&self, backend: &BackendConfig) -> Result<(), EditError> {
        let first = rules::backend_faults(backend, self.rules_overlay()).into_iter().next();
        refuse(first.map(|(_, complaint)| complaint))
    }

    fn find(&self, name: &str) -> Result<usize, EditError> {
        self.services.iter().position(|service| service.name == name).ok_or_else(|| self.no_service(name))
    }

    /// As [`Catalog::find`], for services that the operator may change here.
    fn find_ours(&self, name: &str) -> Result<usize, EditError> {
        let at = self.find(name)?;
        if self.services[at].origin == Origin::Operator {
            return Ok(at);
        }
        let hint = "change it there: docker service update, docker service scale, labels sluicegate.*";
        Err(conflict(format!("service `{name}` is the swarm's"), hint))
    }

    fn find_backend(
        &mut self,
        service: &str,
        address: BackendAddress,
    ) -> Result<(&mut ServiceEntry, usize), EditError> {
        let at = self.find_ours(service)?;
        let entry = &mut self.services[at];
        match entry.backends.iter().position(|backend| backend.config.address == address) {
            Some(backend) => Ok((entry, backend)),
            None => Err(no_backend(entry, address)),
        }
    }

    /// The error for a service that is not there.
    pub fn no_service(&self, name: &str) -> EditError {
        let hint = match nearest(name, self.services.iter().map(|service| service.name.as_str())) {
            Some(candidate) => format!("did you mean `{candidate}`?"),
            None => "`service list` shows all services".to_owned(),
        };
        EditError { kind: EditErrorKind::NotFound, message: format!("there is no service `{name}`"), hint: Some(hint) }
    }
}

/// Whether this check fits these listens and backends.
fn check_check(
    check: Option<&CheckConfig>,
    listens: &[Listen],
    backends: impl IntoIterator<Item = BackendAddress>,
) -> Result<(), EditError> {
    refuse(check.and_then(|check| check.fault(listens, backends)))
}

/// The error for a backend that is not there.
pub fn no_backend(service: &ServiceEntry, address: BackendAddress) -> EditError {
    let same_ip = service.backends.iter().find(|backend| backend.config.address.ip == address.ip);
    let hint = match same_ip {
        Some(backend) => format!("did you mean `{}`?", backend.config.address),
        None => format!("`backend list {}` shows its backends", service.name),
    };
    let message = format!("service `{}` has no backend `{address}`", service.name);
    EditError { kind: EditErrorKind::NotFound, message, hint: Some(hint) }
}

fn check_settings(settings: &Settings, listens: &[Listen], checked: bool) -> Result<(), EditError> {
    refuse(rules::proxy_fault(settings))?;
    refuse(settings.timeouts.fault(listens))?;
    refuse(settings.one_packet_fault(listens))?;
    refuse(settings.passive.and_then(|passive| passive.fault(listens)))?;
    let protection = || settings.protection.fault(settings.direct, listens);
    let fault = settings.life.fault(settings.scheduler, checked).or_else(protection);
    refuse(fault.map(|(_, complaint)| complaint))
}

fn check_direct(settings: &Settings, listens: &[Listen], backend: &BackendConfig) -> Result<(), EditError> {
    refuse(rules::direct_fault(listens, backend).filter(|_| settings.direct))
}

fn conflict(message: String, hint: &str) -> EditError {
    EditError { kind: EditErrorKind::Conflict, message, hint: Some(hint.to_owned()) }
}

/// An error, if there is a complaint.
fn refuse(complaint: Option<Complaint>) -> Result<(), EditError> {
    complaint.map_or(Ok(()), |complaint| Err(invalid(complaint)))
}

fn invalid(complaint: Complaint) -> EditError {
    EditError { kind: EditErrorKind::Invalid, message: complaint.message, hint: complaint.hint }
}
