//! End-to-end scenarios: real clients and servers in namespaces, the real program between them.
//!
//! Every scenario runs over both drivers. They need root; without it they are skipped, with one line that says how many.
#![forbid(unsafe_code)]

mod bulk;
mod care;
mod changes;
mod checks;
mod coexistence;
mod connections;
mod datagrams;
mod direct;
mod floods;
mod generic;
mod hostile;
mod lab_itself;
mod links;
mod overlay;
mod persistence;
mod program;
mod proxy;
mod runner;
mod shortcuts;
mod six;
mod six_neighbours;
mod stage;

fn main() -> std::process::ExitCode {
    if let Err(failure) = lab_itself::own_a_lab_if_asked() {
        eprintln!("{failure:?}");
        return std::process::ExitCode::FAILURE;
    }
    let mut scenarios = runner::Scenarios::default();
    lab_itself::add(&mut scenarios);
    connections::add(&mut scenarios);
    bulk::add(&mut scenarios);
    generic::add(&mut scenarios);
    datagrams::add(&mut scenarios);
    shortcuts::add(&mut scenarios);
    direct::add(&mut scenarios);
    overlay::add(&mut scenarios);
    persistence::add(&mut scenarios);
    proxy::add(&mut scenarios);
    care::add(&mut scenarios);
    changes::add(&mut scenarios);
    checks::add(&mut scenarios);
    six::add(&mut scenarios);
    six_neighbours::add(&mut scenarios);
    links::add(&mut scenarios);
    hostile::add(&mut scenarios);
    floods::add(&mut scenarios);
    coexistence::add(&mut scenarios);
    program::add(&mut scenarios);
    scenarios.run()
}
