//! `make bench-scaling`: one worker, two workers of one gateway, and two workers that share nothing, in turn, with packets both
//! ways and with replies that come to the wrong worker. Writes `docs/benchmarks/scaling-DATE.md`.
#![forbid(unsafe_code)]
#![allow(clippy::cast_precision_loss, reason = "counts of a measurement")]

use std::collections::BTreeMap;
use std::fs;
use std::process::ExitCode;

use benches::report::sheet::{self, Place};
use benches::results::quick;
use benches::teams::{Crew, Round, Team, Work};
use clap::Parser;
use tests::Outcome;
use tests::bars::{self, Bar, Layout, Panel};
use tests::spread::{Spread, told};

/// One worker and two, in memory.
#[derive(Parser)]
struct Cli {
    /// Packets for each worker in a round.
    #[arg(long, default_value_t = 200_000)]
    packets: usize,
    /// Rounds of each team.
    #[arg(long, default_value_t = 41)]
    rounds: usize,
}

type Rounds = BTreeMap<(Work, Team), Vec<Round>>;

const METHOD: &str = include_str!("../report/scaling.md");

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("scaling: {failure:?}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Outcome {
    let cpus = sys::allowed_cpus();
    let mut crews = Vec::new();
    for team in Team::ALL {
        crews.push((team, Crew::new(team)?));
    }
    let mut all = Rounds::new();
    for round in 0..=cli.rounds {
        for work in Work::ALL {
            for (team, crew) in crews.iter_mut().filter(|(team, _)| work.suits(*team)) {
                let one = crew.round(work, cli.packets, &cpus)?;
                // The first round warms up.
                if round > 0 {
                    all.entry((work, *team)).or_default().push(one);
                }
            }
        }
    }
    let place = Place::here();
    let (dir, name) = (sheet::dir(quick()), format!("scaling-{}", place.date));
    let page = page(cli, &place, &name, &all);
    println!("{page}");
    sheet::write(&dir, &name, &page)?;
    fs::write(dir.join(format!("{name}.svg")), bars::svg(&panels(&all), &Layout::PAIRS))?;
    Ok(())
}

fn page(cli: &Cli, place: &Place, name: &str, all: &Rounds) -> String {
    let head = place.head("One worker and two, in memory", "make bench-scaling");
    let rows = all.iter().map(|((work, team), rounds)| {
        vec![
            work.name().to_owned(),
            team.name().to_owned(),
            told(spread(rounds, |round| round.nanos)),
            told(spread(rounds, |round| round.rate / 1e6)),
        ]
    });
    let table = sheet::table(&["work", "who", "ns of CPU a packet", "M packets/s"], rows);
    let ratios = Work::ALL.map(|work| {
        let against = |base: Work, team: Team| told(ratio(all, (work, Team::Two), (base, team)));
        let home = if matches!(work, Work::Replies { .. }) { Work::Replies { away: 0 } } else { work };
        vec![work.name().to_owned(), against(home, Team::One), against(home, Team::Strangers), against(home, Team::Two)]
    });
    let names = ["ns of CPU a packet, two workers of one gateway against", "one worker", "two gateways", "all at home"];
    format!(
        "{head}{} rounds of {} packets for each worker, in turn.\n\n![ns of CPU a packet]({name}.svg)\n\n{METHOD}\n## What a packet \
         costs\n\n{table}\n## Ratios, round by round\n\n{}",
        cli.rounds,
        cli.packets,
        sheet::table(&names, ratios)
    )
}

fn spread(rounds: &[Round], of: impl Fn(&Round) -> f64) -> Option<Spread> {
    Spread::of(rounds.iter().map(of))
}

fn ratio(all: &Rounds, one: (Work, Team), base: (Work, Team)) -> Option<Spread> {
    let (one, base) = (all.get(&one)?, all.get(&base)?);
    Spread::of(one.iter().zip(base).map(|(one, base)| one.nanos / base.nanos))
}

fn panels(all: &Rounds) -> Vec<Panel> {
    let panel = |work: Work| Panel {
        title: format!("{}, ns of CPU a packet", work.name()),
        bars: Team::ALL
            .into_iter()
            .filter_map(|team| {
                let spread = spread(all.get(&(work, team))?, |round| round.nanos)?;
                let label = match team {
                    Team::One => "one worker",
                    Team::Two => "two of one gateway",
                    Team::Strangers => "two of two gateways",
                };
                Some(Bar { label: label.into(), spread, color: if team == Team::Two { "#c0532f" } else { "#4a78a8" } })
            })
            .collect(),
    };
    Work::ALL.map(panel).into()
}
