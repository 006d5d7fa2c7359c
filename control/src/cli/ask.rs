//! The verbs that ask a running gateway.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use hyper::Method;
use serde_json::{Map, Value, json};

use super::Failed;
use super::args::{
    BackendChange, BackendPlace, BackendVerb, DEFAULT, FlowVerb, OrNone, ProtectionChange, Question, ServiceChange,
    ServiceVerb,
};
use super::client::{Client, segment};
use super::output::Output;
use super::{show, who};
use crate::api::view::{BackendView, ServiceView};
use crate::config::{persistence, protection};
use crate::operations::{CountersView, FlowCount, FlowView, Health, ReloadReport, Status};

/// Asks, and prints the answer.
///
/// # Errors
/// When the gateway can't be asked, or refuses.
pub fn ask(question: &Question, socket: &Path, output: &mut Output<'_>, errors: &mut dyn Write) -> Result<u8, Failed> {
    let client = Client::new(socket);
    match question {
        Question::Status => output.print(&client.get::<Status>("/v1/status")?, show::status)?,
        Question::Health => return health(&Client::hasty(socket), output),
        Question::Service(verb) => service(verb, &client, output)?,
        Question::Backend(verb) => backend(verb, &client, output)?,
        Question::Flow(FlowVerb::List { service, limit }) => {
            flows(service.as_deref(), *limit, &client, output, errors)?;
        }
        Question::Flow(FlowVerb::Count) => {
            output.print(&client.get::<FlowCount>("/v1/flows/count")?, |count| show::flow_count(*count))?;
        }
        Question::Flow(FlowVerb::Who { address, at, file }) => {
            return who::who(*address, at.as_ref(), file.as_deref(), &client, output);
        }
        Question::Counters { watch: false } => {
            output.print(&client.get::<CountersView>("/v1/counters")?, |counters| show::counters(counters, None))?;
        }
        Question::Counters { watch: true } => watch(&client, output)?,
        Question::Reload => {
            output.print(&client.ask::<ReloadReport>(&Method::POST, "/v1/reload", None)?, show::reload)?;
        }
    }
    Ok(0)
}

/// 1 when the gateway cannot serve. One that does not answer cannot, either.
fn health(client: &Client<'_>, output: &mut Output<'_>) -> Result<u8, Failed> {
    let health = match client.health() {
        Err(Failed::AtRunTime(message)) => {
            let sentence = message.lines().next().unwrap_or_default();
            Health::of(vec![sentence.trim_start_matches("error: ").to_owned()])
        }
        answer => answer?,
    };
    // If nobody reads it, the exit code still tells.
    let _ = output.print(&health, show::health);
    Ok(u8::from(!health.healthy))
}

fn service(verb: &ServiceVerb, client: &Client<'_>, output: &mut Output<'_>) -> Result<(), Failed> {
    let path = |name: &str| format!("/v1/services/{}", segment(name));
    match verb {
        ServiceVerb::List => {
            output.print(&client.get::<Vec<ServiceView>>("/v1/services")?, |services| show::services(services))?;
        }
        ServiceVerb::Show { name } => output.print(&client.get::<ServiceView>(&path(name))?, show::service)?,
        ServiceVerb::Add { name, listen, change, check } => {
            let mut body = service_body(&listen.listen, change);
            body.extend(check.body().map(|check| ("check".to_owned(), check)));
            body.insert("name".to_owned(), json!(name));
            let view: ServiceView = client.ask(&Method::POST, "/v1/services", Some(&body.into()))?;
            output.print(&view, |view| format!("service {} added\n", view.name))?;
        }
        ServiceVerb::Set { name, listen, change, check, no_check } => {
            let mut body = service_body(&listen.listen, change);
            let check = if *no_check { Some(Value::Null) } else { check.body() };
            body.extend(check.map(|check| ("check".to_owned(), check)));
            let view: ServiceView = client.ask(&Method::PATCH, &path(name), Some(&body.into()))?;
            output.print(&view, |view| format!("service {} set\n", view.name))?;
        }
        ServiceVerb::Remove { name } => {
            let removed: Value = client.ask(&Method::DELETE, &path(name), None)?;
            output.print(&removed, |_| format!("service {name} removed\n"))?;
        }
    }
    Ok(())
}

fn service_body(listen: &[String], change: &ServiceChange) -> Map<String, Value> {
    let mut body = Map::new();
    if !listen.is_empty() {
        body.insert("listen".to_owned(), json!(listen));
    }
    if let Some(scheduler) = &change.scheduler {
        body.insert("scheduler".to_owned(), json!(scheduler));
    }
    if let Some(timestamps) = &change.timestamps {
        body.insert("timestamps".to_owned(), json!(timestamps));
    }
    if let Some(direct) = change.direct {
        body.insert("direct".to_owned(), json!(direct));
    }
    if let Some(proxy_protocol) = change.proxy_protocol {
        body.insert("proxy_protocol".to_owned(), json!(proxy_protocol));
    }
    let times =
        [("timeout", &change.timeout), ("slow_start", &change.slow_start), ("drain_deadline", &change.drain_deadline)];
    for (key, time) in times.into_iter().filter_map(|(key, time)| Some((key, time.as_ref()?))) {
        let time = if time == DEFAULT { Value::Null } else { json!(time) };
        body.insert(key.to_owned(), time);
    }
    if let Some(on_down) = &change.on_down {
        body.insert("on_down".to_owned(), json!(on_down));
    }
    body.extend(persistence_body(change));
    body.extend(change.care.body());
    body.extend(protection_body(&change.protection));
    body
}

fn persistence_body(change: &ServiceChange) -> impl Iterator<Item = (String, Value)> {
    let [time, prefix, prefix_of_six, clients, group] = persistence::KEYS;
    let texts = [(time, &change.persistence), (group, &change.persistence_group)];
    let numbers = [
        (prefix, &change.persistence_prefix),
        (prefix_of_six, &change.persistence_prefix_ipv6),
        (clients, &change.persistence_clients),
    ];
    let text = |text: &String| if text == DEFAULT { Value::Null } else { json!(text) };
    let number = |text: &String| text.parse::<u32>().map_or(Value::Null, |number| json!(number));
    let texts = texts.map(|(key, given)| (key, given.as_ref().map(text)));
    let numbers = numbers.map(|(key, given)| (key, given.as_ref().map(number)));
    texts.into_iter().chain(numbers).filter_map(|(key, value)| Some((key.to_owned(), value?)))
}

fn protection_body(change: &ProtectionChange) -> impl Iterator<Item = (String, Value)> {
    let [allow, deny, rate, rate_burst, per_source, per_source_burst, cookies, half_open] = protection::KEYS;
    let or_null = |given: &Option<String>, write: fn(&str) -> Value| {
        given.as_ref().map(|text| if text == DEFAULT { Value::Null } else { write(text) })
    };
    let lists = [(allow, &change.allow), (deny, &change.deny)];
    let texts = [(rate, &change.rate), (per_source, &change.rate_per_source), (cookies, &change.syn_cookies)];
    let numbers = [
        (rate_burst, &change.rate_burst),
        (per_source_burst, &change.rate_per_source_burst),
        (half_open, &change.half_open),
    ];
    let lists = lists.map(|(key, given)| (key, or_null(given, |text| json!(text.split(',').collect::<Vec<_>>()))));
    let texts = texts.map(|(key, given)| (key, or_null(given, |text| json!(text))));
    let numbers = numbers.map(|(key, given)| (key, or_null(given, |text| json!(text.parse::<u32>().ok()))));
    let all = lists.into_iter().chain(texts).chain(numbers);
    all.filter_map(|(key, value)| Some((key.to_owned(), value?)))
}

fn backend(verb: &BackendVerb, client: &Client<'_>, output: &mut Output<'_>) -> Result<(), Failed> {
    match verb {
        BackendVerb::List { service } => {
            let path = match service {
                Some(service) => format!("/v1/services/{}/backends", segment(service)),
                None => "/v1/backends".to_owned(),
            };
            output.print(&client.get::<Vec<BackendView>>(&path)?, |backends| show::backends(backends))?;
        }
        BackendVerb::Add { place, change } => {
            let mut body = backend_body(change);
            body.insert("address".to_owned(), json!(place.address.to_string()));
            let path = format!("/v1/services/{}/backends", segment(&place.service));
            said(&client.ask(&Method::POST, &path, Some(&body.into()))?, "added", output)?;
        }
        BackendVerb::Set { place, change } => {
            let body = backend_body(change).into();
            said(&client.ask(&Method::PATCH, &backend_path(place), Some(&body))?, "set", output)?;
        }
        BackendVerb::Drain { place } => {
            let path = format!("{}/drain", backend_path(place));
            said(&client.ask(&Method::POST, &path, None)?, "draining", output)?;
        }
        BackendVerb::Remove { place } => {
            let removed: Value = client.ask(&Method::DELETE, &backend_path(place), None)?;
            output.print(&removed, |_| format!("backend {} of {} removed\n", place.address, place.service))?;
        }
    }
    Ok(())
}

fn backend_path(place: &BackendPlace) -> String {
    format!("/v1/services/{}/backends/{}", segment(&place.service), segment(&place.address.to_string()))
}

fn backend_body(change: &BackendChange) -> Map<String, Value> {
    let mut body = Map::new();
    if let Some(weight) = change.weight {
        body.insert("weight".to_owned(), json!(weight));
    }
    if let Some(OrNone(vtep)) = change.vtep {
        body.insert("vtep".to_owned(), json!(vtep));
    }
    if let Some(OrNone(mac)) = change.mac {
        body.insert("mac".to_owned(), json!(mac.map(|mac| mac.to_string())));
    }
    if let Some(OrNone(most)) = change.max_connections {
        body.insert("max_connections".to_owned(), json!(most));
    }
    if let Some(sorry) = change.sorry {
        body.insert("sorry".to_owned(), json!(sorry));
    }
    body
}

fn said(view: &BackendView, done: &str, output: &mut Output<'_>) -> Result<(), Failed> {
    let text =
        |view: &BackendView| format!("backend {} of {} {done}, weight {}\n", view.address, view.service, view.weight);
    Ok(output.print(view, text)?)
}

fn flows(
    service: Option<&str>,
    limit: u32,
    client: &Client<'_>,
    output: &mut Output<'_>,
    errors: &mut dyn Write,
) -> Result<(), Failed> {
    let service = service.map(|name| format!("service={}&", segment(name))).unwrap_or_default();
    let flows: Vec<FlowView> = client.get(&format!("/v1/flows?{service}limit={limit}"))?;
    let at_limit = flows.len() >= limit as usize;
    output.print(&flows, |flows| show::flows(flows))?;
    if !at_limit {
        return Ok(());
    }
    let may_lack_some = format!("… at most {limit} are shown, see --limit\n");
    if output.json {
        // The output stays a list.
        errors.write_all(may_lack_some.as_bytes())?;
    } else {
        output.text(&may_lack_some)?;
    }
    Ok(())
}

/// Every second, until interrupted or until nobody reads it.
fn watch(client: &Client<'_>, output: &mut Output<'_>) -> Result<(), Failed> {
    let mut before: Option<CountersView> = None;
    loop {
        let now: CountersView = client.get("/v1/counters")?;
        if output.json {
            output.print_line(&now)?;
        } else {
            output.text(&show::counters(&now, before.as_ref()))?;
            output.text("\n")?;
        }
        before = Some(now);
        std::thread::sleep(Duration::from_secs(1));
    }
}
