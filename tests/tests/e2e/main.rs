//! End-to-end scenarios: real clients and servers in namespaces, the real program between them.
//!
//! Every scenario runs over both drivers. They need root; without it they are skipped, with one line that says how many.
#![forbid(unsafe_code)]

mod connections;
mod datagrams;
mod lab_itself;
mod runner;
mod stage;

fn main() -> std::process::ExitCode {
    if let Err(failure) = lab_itself::own_a_lab_if_asked() {
        eprintln!("{failure:?}");
        return std::process::ExitCode::FAILURE;
    }
    let mut scenarios = runner::Scenarios::default();
    lab_itself::add(&mut scenarios);
    connections::add(&mut scenarios);
    datagrams::add(&mut scenarios);
    scenarios.run()
}
