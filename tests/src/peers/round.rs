//! A round: every measure, or some of them, of every contestant once. Within a measure they follow one another at once, and each round
//! begins with another one, so that what the machine's other users do hits all alike.

use crate::Outcome;
use crate::namespace::Process;
use crate::peers::contestant::{BULK, Contestant, ECHO, TASK_WEB};
use crate::peers::cpu::Accounts;
use crate::peers::measure::{Measure, Sample, run};
use crate::peers::results::Results;
use crate::peers::site::{NODES, Site, routed};
use crate::servers::{Nginx, start_tool, wait_listening};

/// What answers on the tasks; ends when dropped.
pub struct Servers {
    _nginx: Vec<Nginx>,
    _tools: Vec<Process>,
}

impl Servers {
    /// Starts nginx, iperf3 and the echo on all tasks.
    ///
    /// # Errors
    /// One of them does not come up.
    pub fn start(site: &Site) -> Outcome<Servers> {
        let (mut nginx, mut tools) = (Vec::new(), Vec::new());
        for (index, node) in site.nodes.iter().enumerate() {
            let task = &node.tasks[0];
            nginx.push(Nginx::start(&task.namespace, "hello", TASK_WEB)?);
            tools.push(task.namespace.spawn("iperf3", "iperf3", ["-4", "-s", "-p", &BULK.to_string()])?);
            wait_listening(&task.namespace, BULK)?;
            if index < NODES {
                // One server for each address: an answer must come from where the question went.
                for address in [task.address, routed(task.address)] {
                    tools.push(start_tool(&task.namespace, "udp-echo", &format!("{address}:{ECHO}"))?);
                }
            }
        }
        Ok(Servers { _nginx: nginx, _tools: tools })
    }
}

/// Runs one round of these measures and adds its samples.
///
/// # Errors
/// The offloads cannot be set. A contestant that fails is noted in the results.
pub fn run_round(site: &Site, accounts: &Accounts, measures: &[Measure], results: &mut Results) -> Outcome {
    let number = results.next_round();
    for (offloads, all) in [(true, &Measure::WITH_OFFLOADS[..]), (false, &Measure::WITHOUT_OFFLOADS)] {
        let wanted: Vec<Measure> = all.iter().copied().filter(|measure| measures.contains(measure)).collect();
        if !wanted.is_empty() {
            site.set_offloads(offloads)?;
            run_measures(site, accounts, &wanted, number, results);
        }
    }
    Ok(())
}

fn run_measures(site: &Site, accounts: &Accounts, measures: &[Measure], number: usize, results: &mut Results) {
    for measure in measures {
        let mut order = Contestant::ALL;
        order.rotate_left(number % Contestant::ALL.len());
        for contestant in order.into_iter().filter(|contestant| measure.suits(*contestant)) {
            match take_sample(site, accounts, contestant, *measure, results.millis) {
                Ok(sample) => results.add(contestant, *measure, Sample { round: number, ..sample }),
                // One that cannot do it is a result, too; the others still are compared.
                Err(failure) => {
                    let what = format!("{} · {}: {}", contestant.name(), measure.title(), failure.reason());
                    eprintln!("  {what}");
                    results.failures.push(what);
                }
            }
        }
    }
}

/// One measure of one contestant, with the CPU time that it cost.
///
/// # Errors
/// The contestant fails.
pub fn take_sample(
    site: &Site,
    accounts: &Accounts,
    contestant: Contestant,
    measure: Measure,
    millis: u64,
) -> Outcome<Sample> {
    let gateway = site.seat(contestant).map(|seat| &seat.namespace);
    let before = accounts.read(gateway)?;
    let mut sample = run(site, contestant, measure, millis)?;
    sample.cpu = accounts.read(gateway)?.since(&before);
    Ok(sample)
}
