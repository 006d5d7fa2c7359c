//! Instructions per packet, counted by callgrind: the same number in every run, whatever else the machine does.
//!
//! Valgrind runs the program `instructions`, which sets up one case after the other and calls `counted` for each;
//! callgrind collects inside that function only and writes one dump each time it is left.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use sys::BURST;
use wire::Protocol;

use crate::callgrind::Profile;
use crate::cases::{Refused, Size, Way, new_flows, play_data, play_datagrams, play_refused};
use crate::floor::Floor;
use crate::gateway::Gateway;
use crate::network;

/// Turns that are counted.
const TURNS: u64 = 32;
const FLOWS: usize = 1_000;
/// What [`counted`] is called in callgrind's options.
const PATTERN: &str = "benches::instructions::counted";

/// The cases of which the page tells where their instructions go.
pub const PROFILED: [&str; 2] = ["to_task/64B/burst64", "to_client/64B/burst64"];

/// Runs all cases, or `only` one, for callgrind to watch, and prints a line with the name and the packets of each.
///
/// # Errors
/// If the gateway's tables contradict themselves.
pub fn run_cases(only: Option<&str>) -> Result<(), datapath::service::TablesError> {
    let mut gateway = Gateway::new(2 * FLOWS + 4 * BURST * TURNS as usize)?;
    let connections = gateway.establish(FLOWS);
    let count = |name: &str, run: &mut dyn FnMut(u64) -> u64| count(only, name, run);
    for (way, size, burst) in data() {
        play_data(&gateway, &connections, way, size, burst);
        count(&format!("{}/{}/burst{burst}", way.name(), size.name()), &mut |turns| gateway.run(turns));
    }
    let exchanges = gateway.establish_udp(FLOWS);
    for way in [Way::ToTask, Way::ToClient] {
        play_datagrams(&gateway, &exchanges, way, BURST);
        count(&format!("{}/udp/burst{BURST}", way.name()), &mut |turns| gateway.run(turns));
    }
    for case in Refused::ALL {
        play_refused(&gateway, case, BURST);
        count(&format!("drop/{}", case.name()), &mut |turns| gateway.run(turns));
    }
    gateway.silence();
    for (name, protocol) in [("new_tcp", Protocol::Tcp), ("new_udp", Protocol::Udp)] {
        gateway.front.play(new_flows(protocol, FLOWS, 2 * BURST * TURNS as usize), BURST);
        count(name, &mut |turns| gateway.run(turns));
    }
    // To be set beside `new_udp`; not guarded.
    if only == Some("one_packet_udp") {
        let mut alone = Gateway::with(FLOWS, network::tables(1, network::one_packet_services()))?;
        alone.front.play(new_flows(Protocol::Udp, FLOWS, 2 * BURST * TURNS as usize), BURST);
        count("one_packet_udp", &mut |turns| alone.run(turns));
    }
    let mut bare = Floor::new(0);
    play_data(&gateway, &connections, Way::ToTask, Size::Small, BURST);
    bare.remote.take_over(&gateway.front);
    count("floor", &mut |turns| bare.run(turns));
    Ok(())
}

/// Data of established connections: which way, how long, in which bursts.
fn data() -> Vec<(Way, Size, usize)> {
    let of = |way, size, bursts: &[usize]| bursts.iter().map(move |burst| (way, size, *burst)).collect::<Vec<_>>();
    [
        of(Way::ToTask, Size::Small, &[1, BURST]),
        of(Way::ToTask, Size::Imix, &[1, BURST]),
        of(Way::ToTask, Size::Large, &[BURST]),
        of(Way::ToClient, Size::Small, &[1, BURST]),
        of(Way::ToClient, Size::Imix, &[BURST]),
        of(Way::ToClient, Size::Large, &[BURST]),
        of(Way::Both, Size::Small, &[BURST]),
    ]
    .concat()
}

/// Turns before those that are counted bring buffers to their size.
fn count(only: Option<&str>, name: &str, run: &mut dyn FnMut(u64) -> u64) {
    run(TURNS);
    if only.is_none_or(|wanted| wanted == name) {
        println!("{name} {}", counted(run));
    }
}

/// What callgrind collects.
#[inline(never)]
fn counted(run: &mut dyn FnMut(u64) -> u64) -> u64 {
    std::hint::black_box(run(TURNS))
}

/// Runs `program` (that of [`run_cases`]) under callgrind; files go below `dir`. Instructions per packet by case.
///
/// # Errors
/// If valgrind is not there, or what it says makes no sense.
pub fn measure(program: &Path, dir: &Path) -> io::Result<BTreeMap<String, f64>> {
    let (told, dumps) = watch(program, dir, None)?;
    let totals = dumps.lines().filter_map(|line| line.strip_prefix("totals: ")?.trim().parse::<f64>().ok());
    let cases: Vec<(&str, f64)> = told.lines().filter_map(|line| line.split_once(' ')).filter_map(number).collect();
    let counts: Vec<f64> = totals.filter(|total| *total > 0.0).collect();
    if cases.len() != counts.len() || cases.is_empty() {
        return Err(io::Error::other(format!("{} cases but {} dumps", cases.len(), counts.len())));
    }
    Ok(cases.iter().zip(counts).map(|((name, packets), count)| ((*name).to_owned(), count / packets)).collect())
}

/// Where the instructions of one case go.
///
/// # Errors
/// As [`measure`]; and if there is no such case.
pub fn profile(program: &Path, dir: &Path, case: &str) -> io::Result<Profile> {
    let (told, dump) = watch(program, dir, Some(case))?;
    let packets = told.lines().find_map(|line| line.strip_prefix(case)?.trim().parse::<f64>().ok());
    let packets = packets.ok_or_else(|| io::Error::other(format!("no case `{case}`")))?;
    Ok(Profile::read(case, packets, &dump))
}

/// Runs the cases under callgrind: what the program said, and what callgrind wrote.
fn watch(program: &Path, dir: &Path, only: Option<&str>) -> io::Result<(String, String)> {
    fs::create_dir_all(dir)?;
    let out = dir.join(format!("callgrind.{}.out", std::process::id()));
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--combine-dumps=yes", "--read-inline-info=no", "--collect-atstart=no"])
        .arg(format!("--toggle-collect={PATTERN}"))
        .arg(format!("--dump-after={PATTERN}"))
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(program)
        .arg("run")
        .args(only)
        .output()?;
    if !output.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    let dumps = fs::read_to_string(&out)?;
    fs::remove_file(&out)?;
    Ok((String::from_utf8_lossy(&output.stdout).into_owned(), dumps))
}

fn number<'a>((name, packets): (&'a str, &str)) -> Option<(&'a str, f64)> {
    Some((name, packets.parse().ok()?))
}

/// First lines of the file of guarded numbers.
pub const HEADER: &str = "\
# Instructions per packet of the main cases, guarded by tests/instructions.rs. A change that costs more is to be argued
# for in its commit. Written by: cargo run --release --package benches --bin instructions -- --accept
";

/// The file of guarded numbers.
#[must_use]
pub fn guarded_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.txt")
}

/// What that file says.
///
/// # Errors
/// If it cannot be read.
pub fn guarded() -> io::Result<BTreeMap<String, f64>> {
    read(&guarded_file())
}

/// What no case may cost, whatever the guarded numbers have become step by step. Written by hand.
///
/// # Errors
/// If the file cannot be read.
pub fn ceilings() -> io::Result<BTreeMap<String, f64>> {
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("ceilings.txt"))
}

/// Cases that cost more than their ceiling, or have none.
///
/// # Errors
/// If the file of ceilings cannot be read.
pub fn too_dear(counts: &BTreeMap<String, f64>) -> io::Result<Vec<String>> {
    let ceilings = ceilings()?;
    let complaint = |(name, count): (&String, &f64)| match ceilings.get(name) {
        None => Some(format!("{name}: no ceiling")),
        Some(ceiling) => (count > ceiling).then(|| format!("{name}: {count:.0}, ceiling {ceiling:.0}")),
    };
    Ok(counts.iter().filter_map(complaint).collect())
}

fn read(path: &Path) -> io::Result<BTreeMap<String, f64>> {
    let text = fs::read_to_string(path)?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    Ok(lines.filter_map(|line| number(line.split_once(' ')?)).map(|(name, n)| (name.to_owned(), n)).collect())
}
