//! Answers as people read them.

use crate::api::view::{BackendView, ProblemBody, ServiceView};
use crate::operations::{
    CounterSet, CountersView, DeviceStatus, FlowCount, FlowView, Health, ReloadReport, ShortcutStatus, Status,
    SwarmStatus,
};

use super::table::Table;
use crate::printable::printable;

/// As `ipvsadm -Ln`: services, and under each its backends.
pub fn services(services: &[ServiceView]) -> String {
    // One table of all backends, so that their columns stand under each other; then the services' lines between them.
    let mut table = backend_table();
    services.iter().flat_map(|service| &service.backends).for_each(|backend| table.row(backend_row(backend)));
    let rendered = table.render("  -> ");
    let mut backends = rendered.lines();
    let mut heads = Table::new(&["Service", "Listen", "Scheduler"]);
    for service in services {
        heads.row([service.name.clone(), service.listen.join(","), service.scheduler.clone()]);
    }
    let heads = heads.render("");
    let mut out = String::new();
    let mut add = |line: &str| {
        out += line;
        out.push('\n');
    };
    let mut heads = heads.lines();
    heads.by_ref().take(1).for_each(&mut add);
    backends.by_ref().take(1).for_each(&mut add);
    for (head, service) in heads.zip(services) {
        add(head);
        backends.by_ref().take(service.backends.len()).for_each(&mut add);
    }
    out
}

fn backend_table() -> Table {
    Table::new(&["Backend", "Forward", "Vtep", "Weight", "ActiveConn", "InActConn"])
}

fn backend_row(backend: &BackendView) -> [String; 6] {
    [
        backend.address.clone(),
        forward(backend),
        or_dash(backend.vtep.as_deref()),
        backend.weight.to_string(),
        backend.active_connections.to_string(),
        backend.inactive_connections.to_string(),
    ]
}

/// With a capital, as `ipvsadm` writes its forwarding methods.
fn forward(backend: &BackendView) -> String {
    match backend.forward.as_str() {
        "vxlan" => "Vxlan".to_owned(),
        "route" => "Route".to_owned(),
        "direct" => "Direct".to_owned(),
        other => other.to_owned(),
    }
}

fn or_dash(text: Option<&str>) -> String {
    text.unwrap_or("-").to_owned()
}

/// One service with all that there is to say.
pub fn service(service: &ServiceView) -> String {
    let listen = service.listen.join(", ");
    format!(
        "Name:       {}\nListen:     {listen}\nScheduler:  {}\nTimestamps: {}\nDirect:     {}\nPROXY:      {}\nOne packet: {}\nTimeout:    {}\nLife:       {}\nPassive:    {}\nPersistent: {}\nProtection: {}\nCheck:      {}\nBackends:   {}\n{}",
        service.name,
        service.scheduler,
        service.timestamps,
        if service.direct { "yes" } else { "no" },
        if service.proxy_protocol { "v2" } else { "no" },
        if service.one_packet { "yes" } else { "no" },
        times(service),
        life(service),
        passive(service),
        persistence(service),
        protection(service),
        service.check.as_ref().map_or_else(|| "none".to_owned(), check_keys),
        service.backends.len(),
        if service.backends.is_empty() { String::new() } else { backends(&service.backends) }
    )
}

/// `10m, tcp_syn_sent 5s`
fn times(service: &ServiceView) -> String {
    let states = service.timeouts.iter().map(|(state, time)| format!(", {state} {time}"));
    format!("{}{}", service.timeout.as_deref().unwrap_or("default"), states.collect::<String>())
}

/// `3 failures within 10s rest 5s, 1 stays`
fn passive(service: &ServiceView) -> String {
    let text = |key: &str| service.passive[key].as_str().unwrap_or_default().to_owned();
    if !service.passive.is_object() {
        return "no".to_owned();
    }
    let (failures, floor) = (&service.passive["failures"], &service.passive["floor"]);
    format!("{failures} failures within {} rest {}, {floor} must be left", text("window"), text("ejection"))
}

/// `slow start 30s, on down reset, drained for 5m at most`
fn life(service: &ServiceView) -> String {
    let start = service.slow_start.as_ref().map(|time| format!("slow start {time}, ")).unwrap_or_default();
    let end = service.drain_deadline.as_ref().map(|time| format!(", drained for {time} at most")).unwrap_or_default();
    format!("{start}on down {}{end}", service.on_down)
}

/// `5m, prefix 32, 64 in IPv6, group shop; remembers 7 of 65536 clients`
fn persistence(service: &ServiceView) -> String {
    let Some(time) = &service.persistence else { return "no".to_owned() };
    let group = service.persistence_group.as_ref().map(|group| format!(", group {group}")).unwrap_or_default();
    let has_six = service.listen.iter().any(|listen| listen.starts_with('['));
    let of_six = service.persistence_prefix_ipv6.filter(|_| has_six);
    let of_six = of_six.map(|bits| format!(", {bits} in IPv6")).unwrap_or_default();
    format!(
        "{time}, prefix {}{of_six}{group}; remembers {} of {} clients",
        service.persistence_prefix.unwrap_or_default(),
        service.remembered_clients.unwrap_or_default(),
        service.persistence_clients.unwrap_or_default()
    )
}

/// `allow 198.18.0.0/16, deny 2 prefixes, rate 1000/s burst 1000, per source 20/s burst 20; denied 3, over rate 0, over source's 4, half-open 7`
fn protection(service: &ServiceView) -> String {
    let list = |name: &str, prefixes: &[String]| match prefixes {
        [] => None,
        prefixes if prefixes.len() <= 3 => Some(format!("{name} {}", prefixes.join(" "))),
        prefixes => Some(format!("{name} {} prefixes", prefixes.len())),
    };
    let rate = |name: &str, rate: &Option<String>, burst: Option<u32>| {
        Some(format!("{name} {}, burst {}", rate.as_ref()?, burst.unwrap_or_default()))
    };
    let wanted = [
        list("allow", &service.allow),
        list("deny", &service.deny),
        rate("rate", &service.rate, service.rate_burst),
        rate("rate per source", &service.rate_per_source, service.rate_per_source_burst),
    ];
    let wanted: Vec<String> = wanted.into_iter().flatten().collect();
    let wanted = if wanted.is_empty() { "none".to_owned() } else { wanted.join("; ") };
    let found = &service.protection;
    let above = service.half_open.map(|most| format!(" from {most} half-open on")).unwrap_or_default();
    format!(
        "{wanted}\n            denied {}, over rate {}, over rate per source {}\nCookies:    {}{above}; now {}, half-open {}\n            sent {}, accepted {}, rejected {}",
        found.denied,
        found.over_rate,
        found.over_rate_per_source,
        service.syn_cookies,
        if found.cookies_now { "on" } else { "off" },
        found.half_open,
        found.cookies_sent,
        found.cookies_accepted,
        found.cookies_rejected,
    )
}

/// `type=http interval=2s …`
fn check_keys(check: &serde_json::Value) -> String {
    let keys = check.as_object().into_iter().flatten();
    let shown = keys.map(|(key, value)| match value {
        serde_json::Value::String(text) => format!("{key}={text}"),
        other => format!("{key}={other}"),
    });
    shown.collect::<Vec<_>>().join(" ")
}

/// `HTTP status 200 in 1.2 ms`; a dash when nothing was checked.
fn check_result(backend: &BackendView) -> String {
    let Some(check) = &backend.check else { return "-".to_owned() };
    match (&check.result, check.duration_seconds) {
        (Some(result), Some(seconds)) => format!("{result} in {:.1} ms", 1000.0 * seconds),
        _ => "not yet".to_owned(),
    }
}

/// Backends with what they have carried.
pub fn backends(backends: &[BackendView]) -> String {
    let mut table = Table::new(&[
        "Service",
        "Backend",
        "Forward",
        "Vtep",
        "Mac",
        "Weight",
        "Max",
        "State",
        "Since",
        "ActiveConn",
        "InActConn",
        "Conns",
        "InPkts",
        "OutPkts",
        "InBytes",
        "OutBytes",
        "Check",
    ]);
    for backend in backends {
        let since = backend.check.as_ref().and_then(|check| check.state_seconds);
        table.row([
            backend.service.clone(),
            backend.address.clone(),
            forward(backend),
            or_dash(backend.vtep.as_deref()),
            or_dash(backend.mac.as_deref()),
            backend.weight.to_string(),
            backend.max_connections.map_or("-".to_owned(), |most| most.to_string()),
            backend.state.clone(),
            since.map_or("-".to_owned(), duration),
            backend.active_connections.to_string(),
            backend.inactive_connections.to_string(),
            backend.connections.to_string(),
            backend.packets_in.to_string(),
            backend.packets_out.to_string(),
            backend.bytes_in.to_string(),
            backend.bytes_out.to_string(),
            check_result(backend),
        ]);
    }
    table.render("")
}

/// Flows, one a line. Packets and bytes are those from the client and those to it.
pub fn flows(flows: &[FlowView]) -> String {
    let mut table = Table::new(&[
        "Proto", "State", "Expires", "Client", "Vip", "Snat", "Backend", "Service", "Worker", "Packets", "Bytes",
    ]);
    for flow in flows {
        table.row([
            flow.protocol.to_uppercase(),
            flow.state.clone(),
            duration(flow.expires_in_seconds),
            flow.client.to_string(),
            flow.vip.to_string(),
            flow.snat.to_string(),
            flow.backend.to_string(),
            if flow.service.is_empty() { "-".to_owned() } else { flow.service.clone() },
            flow.worker.to_string(),
            format!("{}/{}", flow.packets.original, flow.packets.reply),
            format!("{}/{}", flow.bytes.original, flow.bytes.reply),
        ]);
    }
    table.render("")
}

/// `93784` → `1d2h3m4s`
fn duration(seconds: u64) -> String {
    let parts = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let mut rest = seconds;
    let mut part = |(unit, name): &(u64, &str)| {
        let whole = rest / unit;
        rest %= unit;
        if whole == 0 { String::new() } else { format!("{whole}{name}") }
    };
    let text: String = parts.iter().map(&mut part).collect();
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// One number and the room there is.
pub fn flow_count(count: FlowCount) -> String {
    format!("{} flows of {}\n", count.flows, count.capacity)
}

/// A table of counters, and one of drops. With the counters of a second ago: rates.
pub fn counters(now: &CountersView, before: Option<&CountersView>) -> String {
    let part = |title: &str, pick: fn(&CounterSet) -> &std::collections::BTreeMap<String, u64>| {
        let workers: Vec<String> = (0..now.workers.len()).map(|worker| format!("Worker{worker}")).collect();
        let mut heads = vec![title, "Total"];
        heads.extend(before.map(|_| "PerSecond"));
        heads.extend(workers.iter().map(String::as_str));
        let mut table = Table::new(&heads);
        for (name, total) in pick(&now.total) {
            let mut cells = vec![name.clone(), total.to_string()];
            cells.extend(before.map(|before| {
                let earlier = pick(&before.total).get(name).copied().unwrap_or(0);
                total.saturating_sub(earlier).to_string()
            }));
            let of_worker = |set: &CounterSet| pick(set).get(name).copied().unwrap_or(0).to_string();
            cells.extend(now.workers.iter().map(of_worker));
            table.cells(cells);
        }
        table.render("")
    };
    format!("{}\n{}", part("Counter", |set| &set.counters), part("Drop", |set| &set.drops))
}

/// `on (eth0, eth1)`, and under it why not over others.
fn shortcuts(shortcuts: &ShortcutStatus) -> String {
    let interfaces = &shortcuts.interfaces;
    let over: Vec<&str> = interfaces.iter().filter(|one| one.reason.is_none()).map(|one| one.name.as_str()).collect();
    let state = match shortcuts.on {
        true => format!("on ({})", over.join(", ")),
        false if interfaces.is_empty() => "off, as configured".to_owned(),
        false => "off".to_owned(),
    };
    let without = interfaces
        .iter()
        .filter_map(|one| Some(format!("            not over {}: {}\n", one.name, one.reason.as_ref()?)));
    format!("Shortcuts:  {state}\n{}", without.collect::<String>())
}

/// Everything about the gateway itself.
pub fn status(status: &Status) -> String {
    let head = format!(
        "Build:      {}\nPid:        {}\nUptime:     {}\nConfig:     {}\nGeneration: {}\nFlows:      {} of {}\n",
        status.build,
        status.pid,
        duration(status.uptime_seconds),
        status.config,
        status.generation,
        status.flows.flows,
        status.flows.capacity
    );
    let mut workers = Table::new(&["Worker", "Cpu", "Generation", "State"]);
    for worker in &status.workers {
        let state = match worker {
            worker if !worker.alive => "failed",
            worker if worker.generation < status.generation => "behind",
            _ => "ok",
        };
        workers.row([
            worker.worker.to_string(),
            worker.cpu.to_string(),
            worker.generation.to_string(),
            state.to_owned(),
        ]);
    }
    let shortcuts = status.shortcuts.as_ref().map(shortcuts).unwrap_or_default();
    let swarm = status.swarm.as_ref().map(swarm).unwrap_or_default();
    let notes: Vec<String> = status.notes.iter().map(|note| format!("note: {}\n", printable(note))).collect();
    format!("{head}{shortcuts}\n{}\n{}{swarm}{}", workers.render(""), devices(&status.devices), notes.concat())
}

/// One line for each fault.
pub fn health(health: &Health) -> String {
    if health.healthy {
        return "healthy\n".to_owned();
    }
    let lines: Vec<String> = health.faults.iter().map(|fault| format!("{}\n", printable(fault))).collect();
    lines.concat()
}

fn swarm(swarm: &SwarmStatus) -> String {
    let Some(age) = swarm.age_seconds else {
        return format!("\nswarm: no manager has answered yet: {}\n", printable(&or_dash(swarm.last_error.as_deref())));
    };
    let place = if swarm.member { "member" } else { "not a member" };
    let vni = swarm.vni.map_or("-".to_owned(), |vni| vni.to_string());
    let address = swarm.overlay_address.map_or("-".to_owned(), |address| address.to_string());
    let more = swarm.more.iter().map(|one| {
        let network = printable(&one.network);
        format!("swarm: and network {network}, VNI {}, the gateway is {}\n", one.vni, one.overlay_address)
    });
    let error = swarm.last_error.as_deref().map(printable);
    let error = error.map(|error| format!("swarm: no answer now, what was known stays: {error}\n"));
    format!(
        "\nswarm: {} services, {} tasks; {} answered {age:.1} s ago, {} errors\n\
         swarm: {place}; network {}, VNI {vni}, the gateway is {address}\n{}{}",
        swarm.services,
        swarm.tasks,
        swarm.endpoint,
        swarm.errors,
        printable(&swarm.network),
        more.collect::<String>(),
        error.unwrap_or_default()
    )
}

fn devices(devices: &[DeviceStatus]) -> String {
    let mut table = Table::new(&["Device", "Queue", "Worker", "Driver", "Mode", "State", "RxDropped", "Error"]);
    for device in devices {
        table.row([
            device.name.clone(),
            device.queue.to_string(),
            device.worker.to_string(),
            device.driver.clone(),
            device.mode.clone(),
            if device.up { "up" } else { "down" }.to_owned(),
            device.rx_dropped.to_string(),
            or_dash(device.error.as_deref()),
        ]);
    }
    table.render("")
}

/// What a reload did, one change a line.
pub fn reload(report: &ReloadReport) -> String {
    let (changes, warnings) = (report.lines().join("\n"), report.warnings.iter());
    let warnings: String = warnings.flat_map(|warning| [warning, "\n"]).collect();
    format!("reloaded\n{changes}\n{warnings}")
}

/// A problem that the gateway reports: with its place in the config file, or else with its key.
pub fn problem(problem: &ProblemBody) -> String {
    let number = |number: Option<usize>| number.map(|number| format!(":{number}")).unwrap_or_default();
    let place = match &problem.file {
        Some(file) => format!("{file}{}{}: ", number(problem.line), number(problem.column)),
        None if problem.field.is_empty() => String::new(),
        None => format!("{}: ", problem.field),
    };
    let help = problem.hint.as_ref().map(|hint| format!("  help: {hint}\n")).unwrap_or_default();
    format!("{place}{}: {}\n{help}", problem.severity, problem.message)
}
