//! A report as one HTML file that needs nothing else.

use std::fmt::Write as _;

use super::answer::{SearchReport, trim};
use super::plot::{Axis, Line, draw};
use super::report::{Latency, Report, Step, StreamReport};
use super::units::{date, short, short_time};

const STYLE: &str = "\
:root{color-scheme:light dark;--g:#8883;--0:#1668b8;--1:#c4501b;--2:#2a8a4a;--3:#8a4fb0;--4:#a8870c;--5:#b83a68}
@media(prefers-color-scheme:dark){:root{--0:#6db1f2;--1:#f2925c;--2:#6fce8f;--3:#c79ae6;--4:#e0c04a;--5:#f083aa}}
body{font:15px/1.45 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}
table{border-collapse:collapse;display:block;overflow-x:auto;font-variant-numeric:tabular-nums}
td,th{padding:.25em .7em;border-bottom:1px solid var(--g);text-align:right}td:first-child,th:first-child{text-align:left}
svg{width:100%;height:auto;font-size:12px}svg text{fill:currentColor}.grid{stroke:var(--g)}polyline{fill:none;stroke-width:2}
.legend{margin:.2em 0 1.5em}.legend span{margin-right:1.5em}.legend span:before{content:'\\25a0 '}
pre{overflow-x:auto;padding:.7em;border:1px solid var(--g)}
.c0{stroke:var(--0)}.c1{stroke:var(--1)}.c2{stroke:var(--2)}.c3{stroke:var(--3)}.c4{stroke:var(--4)}.c5{stroke:var(--5)}
.d0{fill:var(--0)}.d1{fill:var(--1)}.d2{fill:var(--2)}.d3{fill:var(--3)}.d4{fill:var(--4)}.d5{fill:var(--5)}
.k0:before{color:var(--0)}.k1:before{color:var(--1)}.k2:before{color:var(--2)}.k3:before{color:var(--3)}
.k4:before{color:var(--4)}.k5:before{color:var(--5)}";

/// Makes text safe inside HTML.
#[must_use]
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The page.
#[must_use]
pub fn page(report: &Report) -> String {
    let title = escape(&format!("{}: {}", report.profile.name, report.target));
    let mut body = format!("<h1>{title}</h1>{}", facts(report));
    if let Some(search) = &report.search {
        body += &found(search);
    }
    body += "<h2>Streams</h2>";
    body += &streams(report);
    body += "<h2>Latency</h2>";
    body += &latencies(report);
    body += "<h2>As time went on</h2>";
    body += &timeline(report);
    body += &counters(report);
    let profile = toml::to_string(&report.profile).unwrap_or_default();
    let _ = write!(body, "<h2>The profile</h2><pre>{}</pre>", escape(&profile));
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><style>{STYLE}</style><body>{body}</body></html>\n"
    )
}

fn facts(report: &Report) -> String {
    let machine = &report.machine;
    let mut text = format!(
        "<p>{} s of sending, begun {} UTC, on {} with {} CPUs, Linux {}.</p>",
        trim(report.seconds),
        date(machine.began),
        escape(&machine.cpu),
        machine.cpus,
        escape(&machine.kernel)
    );
    if !report.command.is_empty() {
        let _ = write!(text, "<p><code>{}</code>", escape(&report.command));
        let _ = write!(text, " at commit {}</p>", escape(&report.commit));
    }
    if report.refused + report.overrun > 0 {
        let _ = write!(
            text,
            "<p>Of what was lost, the generator's own rings refused {} frames and dropped {}.</p>",
            report.refused, report.overrun
        );
    }
    if report.overflowed + report.strays > 0 {
        let _ = write!(
            text,
            "<p>{} frames found the queue of what is tested full: its loss. {} came damaged or astray beyond recognition.</p>",
            report.overflowed, report.strays
        );
    }
    text
}

fn row(cells: &[String], tag: &str) -> String {
    let mut text = String::from("<tr>");
    for cell in cells {
        let _ = write!(text, "<{tag}>{cell}</{tag}>");
    }
    text + "</tr>"
}

fn head(names: &[&str]) -> String {
    row(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(), "th")
}

fn streams(report: &Report) -> String {
    let names = [
        "stream",
        "kind",
        "asked /s",
        "sent",
        "missed",
        "received",
        "lost",
        "loss",
        "Mbit/s",
        "reordered",
        "duplicates",
    ];
    let mut table = head(&[&names[..], &["damaged", "misdelivered"]].concat());
    for stream in &report.streams {
        let numbers = [stream.sent, stream.missed, stream.received, stream.lost].map(|n| n.to_string());
        let mut cells = vec![escape(&stream.name), stream.kind.clone(), short(stream.rate_asked)];
        cells.extend(numbers);
        cells.push(format!("{:.4} %", stream.loss() * 100.0));
        // Frames that were sent, or (connections) bytes of responses that came.
        let bytes = if stream.sent_bytes > 0 { stream.sent_bytes } else { stream.bytes };
        cells.push(format!("{:.1}", bytes as f64 * 8.0 / report.seconds / 1e6));
        cells.extend([stream.reordered, stream.duplicates, stream.damaged, stream.misdelivered].map(|n| n.to_string()));
        table += &row(&cells, "td");
    }
    format!("<table>{table}</table>{}", connections(&report.streams))
}

fn connections(streams: &[StreamReport]) -> String {
    let mut table = head(&[
        "connections",
        "reset",
        "timed out",
        "unfinished",
        "not begun",
        "segments resent",
        "ended well all the same",
    ]);
    let mut any = false;
    for stream in streams.iter().filter(|stream| stream.kind == "tcp") {
        any = true;
        let StreamReport { reset, timed_out, unfinished, blocked, retransmitted, resent, .. } = *stream;
        let mut cells = vec![escape(&stream.name)];
        cells.extend([reset, timed_out, unfinished, blocked, retransmitted, resent].map(|n| n.to_string()));
        table += &row(&cells, "td");
    }
    if any { format!("<table>{table}</table>") } else { String::new() }
}

/// All distributions, with their names.
fn distributions(report: &Report) -> Vec<(String, &Latency)> {
    report.streams.iter().flat_map(distributions_of).collect()
}

fn distributions_of(stream: &StreamReport) -> impl Iterator<Item = (String, &Latency)> {
    let StreamReport { name, kind, latency, request, .. } = stream;
    let first = if kind == "tcp" { format!("{name}: SYN to SYN-ACK") } else { name.clone() };
    let latency = latency.as_ref().map(|latency| (first, latency));
    latency.into_iter().chain(request.as_ref().map(|request| (format!("{name}: request"), request)))
}

fn latencies(report: &Report) -> String {
    let all = distributions(report);
    if all.is_empty() {
        return "<p>Nothing arrived.</p>".into();
    }
    let mut table = head(&["", "least", "mean", "p50", "p90", "p99", "p99.9", "most"]);
    for (name, latency) in &all {
        let values =
            [latency.min, latency.mean as u64, latency.p50, latency.p90, latency.p99, latency.p999, latency.max];
        let mut cells = vec![escape(name)];
        cells.extend(values.map(short_time));
        table += &row(&cells, "td");
    }
    // "Nines" across: each mark is ten times as rare.
    let nines = |percentile: f64| -(1.0 - percentile / 100.0).max(1e-6).log10();
    let marks = [(0.0, "0 %"), (1.0, "90 %"), (2.0, "99 %"), (3.0, "99.9 %"), (4.0, "99.99 %"), (5.0, "99.999 %")];
    let marks = marks.into_iter().map(|(at, text)| (at, text.to_owned())).collect();
    let least = all.iter().map(|(_, latency)| latency.min).min().unwrap_or(1);
    let most = all.iter().map(|(_, latency)| latency.max).max().unwrap_or(1);
    let y = Axis::powers("time", least as f64, most as f64, |nanos| short_time(nanos as u64));
    let line = |(name, latency): &(String, &Latency)| Line {
        name: name.clone(),
        points: latency.curve.iter().map(|(at, nanos)| (nines(*at), (*nanos as f64).max(1.0).log10())).collect(),
        dots: false,
    };
    let lines: Vec<_> = all.iter().map(line).collect();
    format!("<table>{table}</table>{}", draw(&Axis { label: "percentile", range: (0.0, 5.0), marks }, &y, &lines))
}

/// A plot for each stream, in its own unit.
fn timeline(report: &Report) -> String {
    let end = report.ticks.last().map_or(1.0, |tick| tick.at);
    let plot = |(index, stream): (usize, &StreamReport)| {
        let line = |name: &str, of: fn(&Step) -> f64| Line {
            name: name.into(),
            points: report.ticks.iter().filter_map(|tick| Some((tick.at, of(tick.streams.get(index)?)))).collect(),
            dots: false,
        };
        let lines = match stream.kind.as_str() {
            "tcp" => [line("begun", |step| step.sent), line("ended well", |step| step.received)],
            _ => [line("sent", |step| step.sent), line("received", |step| step.received)],
        };
        let most = lines.iter().flat_map(|line| &line.points).map(|(_, rate)| *rate).fold(0.0, f64::max);
        let unit = if stream.kind == "tcp" { "connections a second" } else { "packets a second" };
        let plot = draw(&Axis::linear("seconds", end, trim), &Axis::linear(unit, most, short), &lines);
        format!("<h3>{}</h3>{plot}", escape(&stream.name))
    };
    report.streams.iter().enumerate().map(plot).collect()
}

fn found(search: &SearchReport) -> String {
    let mut text = String::from("<h2>Highest rates</h2><ul>");
    for found in &search.found {
        let _ = write!(text, "<li>{}</li>", escape(&found.to_string()));
    }
    let most = search.trials.iter().map(|trial| trial.sent).fold(0.0, f64::max);
    let worst = search.trials.iter().map(|trial| trial.loss * 100.0).fold(0.0, f64::max);
    let points = search.trials.iter().map(|trial| (trial.sent, trial.loss * 100.0)).collect();
    let plot = draw(
        &Axis::linear("sent a second", most, short),
        &Axis::linear("lost, %", worst.max(0.001), trim),
        &[Line { name: "trials".into(), points, dots: true }],
    );
    text + "</ul>" + &plot + &trials(search)
}

fn trials(search: &SearchReport) -> String {
    let mut table = head(&["asked /s", "sent /s", "lost", "by the generator", "missed", "p50", "p99", ""]);
    for trial in &search.trials {
        let mut cells = vec![short(trial.rate), short(trial.sent), format!("{:.4} %", trial.loss * 100.0)];
        cells.extend([trial.own, trial.missed].map(|n| n.to_string()));
        cells.extend([trial.p50, trial.p99].map(short_time));
        cells.push(if trial.confirms { "confirms".into() } else { String::new() });
        table += &row(&cells, "td");
    }
    format!("<table>{table}</table>")
}

fn counters(report: &Report) -> String {
    if report.counters.is_empty() {
        return String::new();
    }
    let rows: String = report.counters.iter().map(|(name, n)| row(&[escape(name), n.to_string()], "td")).collect();
    format!("<h2>Counters of the gateway</h2><table>{rows}</table>")
}
