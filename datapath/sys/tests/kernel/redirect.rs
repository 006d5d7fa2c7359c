//! Which interfaces say that they take redirected frames, and when.

use std::io;
use std::process::Command;

use crate::lab::{eventually, in_namespace, ip, veth};
use sys::{AttachMode, XdpFilter, XdpMode, takes_redirects};

fn gro(interface: &str, state: &str) {
    let output = Command::new("ethtool").args(["-K", interface, "gro", state]).output().unwrap();
    assert!(output.status.success(), "{interface}: {}", String::from_utf8_lossy(&output.stderr));
}

/// What both ends of the veth pair say.
fn ends() -> [Option<bool>; 2] {
    ["near", "far"].map(|end| takes_redirects(end).unwrap())
}

fn kernel_tells() -> bool {
    let tells = takes_redirects("lo").unwrap().is_some();
    if !tells {
        eprintln!("SKIPPED: only Linux 6.3 and later tells which interfaces take redirected frames");
    }
    tells
}

const NEITHER: [Option<bool>; 2] = [Some(false); 2];
const NEAR: [Option<bool>; 2] = [Some(true), Some(false)];

#[test]
fn a_veth_takes_redirects_while_its_peer_has_gro_or_a_program() {
    in_namespace(|| {
        if !kernel_tells() {
            return;
        }
        veth("near", "far", 2);
        assert_eq!(ends(), NEITHER, "veths are made with GRO off");
        gro("far", "on");
        assert_eq!(ends(), NEAR, "the peer's GRO, not its own");
        // True as long as it is configured so, even where it leads nowhere for now.
        ip("link set far down");
        assert_eq!(ends(), NEAR);
        ip("link set far up");
        assert_eq!(ends(), NEAR);
        gro("near", "on");
        assert_eq!(ends(), [Some(true); 2]);
        gro("near", "off");
        gro("far", "off");
        assert_eq!(ends(), NEITHER);

        let mut filter = XdpFilter::load().unwrap();
        assert_eq!(filter.attach("far", XdpMode::Generic).unwrap(), AttachMode::Generic);
        assert_eq!(ends(), NEITHER, "the driver does not see a generic program");
        drop(filter);
        // A process that another test starts at this moment may hold a filter's link a little longer.
        let mut filter = XdpFilter::load().unwrap();
        let how = eventually("the generic filter to go", || filter.attach("far", XdpMode::Copy).ok());
        assert_eq!(how, AttachMode::Native);
        assert_eq!(ends(), NEAR);
        drop(filter);
        eventually("the filter to go", || (ends() == NEITHER).then_some(()));
    });
}

#[test]
fn other_interfaces_take_redirects_or_not_for_good() {
    in_namespace(|| {
        if !kernel_tells() {
            return;
        }
        ip("link add bridge0 type bridge");
        ip("tuntap add tap0 mode tap");
        ip("tuntap add tun0 mode tun");
        let told = ["lo", "bridge0", "tap0", "tun0"].map(|interface| takes_redirects(interface).unwrap());
        assert_eq!(told, [Some(false), Some(false), Some(true), Some(false)]);
    });
}

/// The inner namespace has interfaces of the same names, and mostly of the same indices.
#[test]
fn redirects_are_asked_about_in_the_threads_own_namespace() {
    in_namespace(|| {
        if !kernel_tells() {
            return;
        }
        veth("near", "far", 1);
        veth("only", "outside", 1);
        gro("far", "on");
        in_namespace(|| {
            veth("near", "far", 1);
            assert_eq!(ends(), NEITHER);
            let missing = takes_redirects("only").map_err(|error: io::Error| error.raw_os_error());
            assert_eq!(missing, Err(Some(libc::ENODEV)));
        });
        assert_eq!(ends(), NEAR);
    });
}
