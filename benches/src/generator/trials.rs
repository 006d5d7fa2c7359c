//! Trials of a search: runs of the profile at one rate after the other.

use std::time::Duration;

use ::tests::{Failure, Outcome, ensure};

use super::profile::{Profile, Stream};
use super::report::{Report, Trial};
use super::run::{Ends, Options, run};
use super::search::Search;

/// Rate at which flows are opened before the first trial, in packets a second.
const LEARNING: f64 = 100_000.0;

/// What trials have in common.
pub struct Trials<'a> {
    /// What to send; all its rates keep their proportions.
    pub profile: &'a Profile,
    /// The name of what is tested.
    pub target: &'a str,
    /// How long each sends.
    pub trial: Duration,
    /// Show what is going on.
    pub show: bool,
}

/// Searches, and gives the report of the last trial that passed, with all trials and answers.
///
/// # Errors
/// The profile has other streams than datagrams, or cannot be sent.
pub fn search(search: &Search, trials: &Trials, ends: &mut Ends) -> Outcome<Report> {
    let profile = trials.profile;
    ensure!(
        profile.stream.iter().all(Stream::is_udp),
        "a search needs streams of datagrams only: what is lost of TCP is sent again"
    );
    let base: f64 = base_rates(profile)?.iter().sum();
    let mut number = 0;
    let mut send = |scale: f64, duration: Duration, ends: &mut Ends| {
        number += 1;
        run(profile, trials.target, ends, &Options { run: number, scale, duration, show: false })
    };
    // RFC 2544 §23: first what is tested is given the time to learn. Each flow is opened, at a leisurely rate.
    let learning = profile.flows() as f64 / LEARNING * 1.1;
    send(LEARNING / base, Duration::from_secs_f64(learning.clamp(0.2, 60.0)), ends)?;
    let mut last = None;
    let mut found = search.run(|rate| {
        let report = send(rate / base, trials.trial, ends)?;
        let trial = judge(&report, rate);
        if trials.show {
            eprintln!("{rate:12.0}/s asked  {:12.0}/s sent  {:9.4} % lost", trial.sent, trial.loss * 100.0);
        }
        if trial.loss <= search.accepted.iter().copied().fold(0.0, f64::max) || last.is_none() {
            last = Some(report);
        }
        Ok(trial)
    })?;
    found.trials.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    let mut report = last.ok_or_else(|| Failure::new("no trial was run"))?;
    report.search = Some(found);
    Ok(report)
}

/// Rates of the streams as the profile has them, in packets a second.
fn base_rates(profile: &Profile) -> Outcome<Vec<f64>> {
    let rate = |stream: &Stream| match stream {
        Stream::Udp(udp) => {
            let sizes = udp.sizes.round().map_err(Failure::new)?;
            let mean = sizes.iter().map(|size| f64::from(*size)).sum::<f64>() / sizes.len() as f64;
            Ok(udp.rate.packets(mean, profile.line_bits()))
        }
        Stream::Tcp(_) | Stream::Syn(_) => Ok(0.0),
    };
    profile.stream.iter().map(rate).collect()
}

fn judge(report: &Report, rate: f64) -> Trial {
    let sum = |of: fn(&super::report::StreamReport) -> u64| report.streams.iter().map(of).sum::<u64>();
    let (offered, missing) = (sum(|stream| stream.sent), sum(|stream| stream.lost));
    let loss = if offered == 0 { 1.0 } else { missing as f64 / offered as f64 };
    Trial { rate, sent: offered as f64 / report.seconds, loss }
}
