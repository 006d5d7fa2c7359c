//! Trials of a search: runs of the profile at one rate after the other.

use std::fmt::Write as _;
use std::time::Duration;

use ::tests::{Failure, Outcome, ensure};

use super::answer::{Found, Trial};
use super::gateway::{MemoryGateway, counted};
use super::profile::{Profile, Stream};
use super::report::{Report, StreamReport};
use super::run::{Ends, Options, run};
use super::search::Search;
use super::units::short;

/// Rate at which flows are opened before the first trial, in packets a second.
pub const LEARNING: f64 = 150_000.0;
/// Bytes of a frame on the wire that its length does not count: preamble, start delimiter, gap.
const GAP_BYTES: u64 = 20;

/// What trials have in common.
pub struct Trials<'a> {
    /// What to send; all its rates keep their proportions.
    pub profile: &'a Profile,
    /// The name of what is tested.
    pub target: &'a str,
    /// What is tested, if it has counters that can be read.
    pub gateway: Option<&'a MemoryGateway>,
    /// How long the last packets of a trial may take.
    pub drain: Duration,
    /// Show what is going on.
    pub show: bool,
}

/// Searches, and gives the report of the first answer's last good trial, with all trials and answers.
///
/// # Errors
/// The profile cannot be searched with, or cannot be sent.
pub fn search(search: &Search, trials: &Trials, ends: &mut Ends) -> Outcome<Report> {
    let profile = trials.profile;
    let connections = check(profile)?;
    let base: f64 = base_rates(profile)?.iter().sum();
    let mut number = 0;
    let mut send = |scale: f64, duration: Duration, ends: &mut Ends| {
        number += 1;
        let options = Options { run: number, scale, duration, drain: trials.drain, resigns: true, show: trials.show };
        counted(trials.gateway, || run(profile, trials.target, ends, &options))
    };
    // RFC 2544 §23: first what is tested is given the time to learn. Each flow is opened, at a leisurely rate.
    if !connections {
        let learning = profile.flows() as f64 / LEARNING * 1.1;
        send(LEARNING / base, Duration::from_secs_f64(learning.clamp(0.2, 60.0)), ends)?;
    }
    let mut kept: Vec<(Trial, Report)> = Vec::new();
    let mut found = search.run(|rate, time| {
        let report = send(rate / base, time, ends)?;
        let trial = judge(&report, rate);
        if trials.show {
            eprintln!("{}", line(&trial));
        }
        kept.push((trial, report));
        Ok(trial)
    })?;
    found.unit = "packets".into();
    if connections {
        found.unit = "connections".into();
    }
    for answer in &mut found.found {
        if let Some((_, report)) = kept.iter().rev().find(|(trial, _)| is_of(trial, answer)) {
            complete(answer, report);
        }
    }
    found.trials.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    let first = found.found.iter().find_map(|answer| kept.iter().rposition(|(trial, _)| is_of(trial, answer)));
    ensure!(!kept.is_empty(), "no trial was run");
    let (_, mut report) = kept.swap_remove(first.unwrap_or(kept.len() - 1));
    report.search = Some(found);
    Ok(report)
}

/// Whether a search can be made with it, and whether it is one for connections.
///
/// # Errors
/// Why it cannot.
pub fn check(profile: &Profile) -> Outcome<bool> {
    let count = |of: fn(&Stream) -> bool| profile.stream.iter().filter(|stream| of(stream)).count();
    let (all, datagrams) = (profile.stream.len(), count(Stream::is_udp));
    let connections = count(|stream| matches!(stream, Stream::Tcp(_)));
    ensure!(
        datagrams == all || connections == all,
        "a search needs streams of datagrams only, or of connections only: their rates have different units"
    );
    ensure!(count(Stream::is_steady) == all, "a search needs streams without `start`, `stop` and `burst_gap`");
    Ok(connections == all)
}

/// Whether this trial is the one that gave the answer.
fn is_of(trial: &Trial, answer: &Found) -> bool {
    let same = |a: f64, b: f64| (a - b).abs() <= a * 1e-9;
    same(trial.rate, answer.asked) && same(trial.sent, answer.rate) && trial.loss <= answer.accepted
}

/// What is known of an answer beside its rate.
fn complete(answer: &mut Found, report: &Report) {
    let sum = |of: fn(&StreamReport) -> u64| report.streams.iter().map(of).sum::<u64>();
    let (frames, bytes) = (sum(|stream| stream.sent), sum(|stream| stream.sent_bytes));
    let bits = |bytes: u64| bytes as f64 * 8.0 / report.seconds;
    if bytes > 0 {
        (answer.frame_bits, answer.line_bits) = (bits(bytes), bits(bytes + GAP_BYTES * frames));
    }
    answer.streams.clone_from(&report.streams);
}

fn line(trial: &Trial) -> String {
    let Trial { rate, sent, loss, own, missed, .. } = trial;
    let mut text = format!("{:>10}/s asked  {:>10}/s sent  {:9.4} % lost", short(*rate), short(*sent), loss * 100.0);
    if own + missed > 0 {
        // Writing to a String cannot fail.
        let _ = write!(text, ", {own} of them by the generator; it missed {missed}");
    }
    text
}

/// Rates of the streams as the profile has them, in packets (connections) a second.
fn base_rates(profile: &Profile) -> Outcome<Vec<f64>> {
    let rate = |stream: &Stream| match stream {
        Stream::Udp(udp) => {
            let sizes = udp.sizes.round().map_err(Failure::new)?;
            let mean = sizes.iter().map(|size| f64::from(*size)).sum::<f64>() / sizes.len() as f64;
            Ok(udp.rate.packets(mean, profile.line_bits()))
        }
        Stream::Tcp(tcp) => Ok(tcp.rate.packets(64.0, profile.line_bits())),
        Stream::Syn(_) => Ok(0.0),
    };
    profile.stream.iter().map(rate).collect()
}

/// Of connections, those count as lost that did not end well, could not begin for want of an end of others, or needed a segment
/// to be sent twice: each once, however many segments that were.
fn judge(report: &Report, rate: f64) -> Trial {
    let sum = |of: fn(&StreamReport) -> u64| report.streams.iter().map(of).sum::<u64>();
    let offered = sum(|stream| stream.sent + stream.blocked);
    let missing = sum(|stream| stream.lost + stream.blocked + stream.resent).min(offered);
    let own = report.refused + report.overrun;
    let part = |count: u64| if offered == 0 { 1.0 } else { count as f64 / offered as f64 };
    let worst = |of: fn(&super::report::Latency) -> u64| {
        report.streams.iter().filter_map(|stream| stream.latency.as_ref()).map(of).max().unwrap_or(0)
    };
    Trial {
        rate,
        sent: offered as f64 / report.seconds,
        loss: part(missing),
        theirs: part(missing.saturating_sub(own)),
        own,
        missed: sum(|stream| stream.missed),
        p50: worst(|latency| latency.p50),
        p99: worst(|latency| latency.p99),
        confirms: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generator::report::Machine;

    fn report(stream: StreamReport) -> Report {
        let text = "name = 'x'\n[[stream]]\nkind = 'tcp'\nname = 'a'\nrate = '1k/s'\nports = '80'\n";
        Report {
            profile: Profile::parse(text).unwrap(),
            target: String::new(),
            machine: Machine::default(),
            seconds: 1.0,
            refused: 0,
            overrun: 0,
            overflowed: 0,
            strays: 0,
            command: String::new(),
            commit: String::new(),
            streams: vec![stream],
            ticks: Vec::new(),
            counters: Vec::new(),
            search: None,
        }
    }

    #[test]
    fn a_bad_connection_counts_once() {
        let one = StreamReport { sent: 1000, received: 999, ..StreamReport::default() };
        for (stream, loss) in [
            (StreamReport { lost: 1, timed_out: 1, retransmitted: 3, ..one.clone() }, 0.001),
            (StreamReport { received: 1000, retransmitted: 5, resent: 2, ..one.clone() }, 0.002),
            (StreamReport { lost: 1, retransmitted: 4, resent: 1, ..one.clone() }, 0.002),
            (StreamReport { sent: 999, blocked: 1, ..one }, 0.001),
        ] {
            let trial = judge(&report(stream), 1000.0);
            assert!((trial.loss - loss).abs() < 1e-12 && (trial.sent - 1000.0).abs() < 1e-9, "{trial:?}");
        }
    }
}
