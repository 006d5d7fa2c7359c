//! What can go wrong with the XDP filter, and what to do about it.

use std::error::Error;
use std::io;

use aya::EbpfError;
use aya::maps::MapError;
use aya::maps::xdp::XdpMapError;
use aya::programs::ProgramError;

use crate::XdpMode;

/// The XDP filter could not be loaded, attached or told its rules.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// There is no such interface in this network namespace.
    #[error("{interface}: there is no such interface here; see `ip link`, and mind the network namespace")]
    NoSuchInterface {
        /// The one that was asked for.
        interface: String,
    },
    /// Another XDP program is on the interface.
    #[error(
        "{interface}: another XDP program is attached already, most likely that of another sluicegate which still runs: stop it. If there is none, \
         `bpftool net` shows the program, and `ip link set dev {interface} xdp off` takes off one that no process holds"
    )]
    AlreadyAttached {
        /// Where it is.
        interface: String,
    },
    /// The process may not.
    #[error("the XDP filter is not permitted; run as root or with CAP_NET_ADMIN and CAP_BPF")]
    NotPermitted,
    /// The driver cannot run XDP programs, or not in this mode.
    #[error(
        "{interface}: the driver refuses XDP in mode \"{mode}\" ({error}); use mode = \"auto\" or \"generic\", or driver = \"tun\""
    )]
    Unsupported {
        /// Where.
        interface: String,
        /// The mode that was asked for.
        mode: XdpMode,
        /// What the kernel said.
        error: io::Error,
    },
    /// The filter serves a fixed number of interfaces, and of queues on each.
    #[error(
        "{interface} queue {queue}: the filter has room for {interfaces} interfaces of {queues} queues; give it no more (`ethtool -L {interface} \
         combined {queues}`), or list fewer interfaces"
    )]
    NoRoom {
        /// Where.
        interface: String,
        /// The queue that was asked for.
        queue: u32,
        /// Interfaces that there is room for.
        interfaces: u32,
        /// Queues of each.
        queues: u32,
    },
    /// Two port ranges of one SNAT address do not touch: the filter knows one range for each.
    #[error("SNAT address {0} has two port ranges that do not touch")]
    SplitRange(std::net::IpAddr),
    /// A table of the filter has no more room.
    #[error(
        "the XDP filter's table `{table}` is full: the gateway has more of these than the filter can tell apart; configure fewer"
    )]
    Full {
        /// Its name.
        table: &'static str,
    },
    /// A table of the filter could not be changed.
    #[error("the XDP filter's table `{table}`: {}", in_full(error))]
    Table {
        /// Its name.
        table: &'static str,
        /// What the kernel said.
        error: Box<MapError>,
    },
    /// The kernel did not take the program.
    #[error("the XDP filter could not be loaded: {}", in_full(.0))]
    Load(Box<EbpfError>),
    /// The kernel did not take the program, or attaching it failed.
    #[error("the XDP filter: {}", in_full(.0))]
    Program(Box<ProgramError>),
    /// The filter that was built in lacks a part.
    #[error("the XDP filter has no `{0}`: it was built from another source")]
    Missing(&'static str),
}

impl FilterError {
    pub(crate) fn loading(error: EbpfError) -> FilterError {
        match &error {
            EbpfError::MapError(MapError::CreateError { io_error, .. }) if is_permission(io_error) => {
                FilterError::NotPermitted
            }
            EbpfError::ProgramError(ProgramError::LoadError { io_error, .. }) if is_permission(io_error) => {
                FilterError::NotPermitted
            }
            _ => FilterError::Load(Box::new(error)),
        }
    }

    pub(crate) fn program(error: ProgramError) -> FilterError {
        match &error {
            ProgramError::LoadError { io_error, .. } if is_permission(io_error) => FilterError::NotPermitted,
            _ => FilterError::Program(Box::new(error)),
        }
    }

    pub(crate) fn attaching(interface: &str, mode: XdpMode, error: ProgramError) -> FilterError {
        let interface = interface.to_owned();
        let code = match &error {
            ProgramError::SyscallError(syscall) => syscall.io_error.raw_os_error(),
            _ => None,
        };
        match (code, error) {
            (Some(libc::EBUSY | libc::EEXIST), _) => FilterError::AlreadyAttached { interface },
            (Some(libc::EPERM | libc::EACCES), _) => FilterError::NotPermitted,
            (Some(libc::ENODEV), _) | (_, ProgramError::UnknownInterface { .. }) => {
                FilterError::NoSuchInterface { interface }
            }
            (_, ProgramError::SyscallError(syscall)) => {
                FilterError::Unsupported { interface, mode, error: syscall.io_error }
            }
            (_, ProgramError::XdpError(error)) => {
                FilterError::Unsupported { interface, mode, error: io::Error::other(error) }
            }
            (_, error) => FilterError::Program(Box::new(error)),
        }
    }

    pub(crate) fn table(table: &'static str, error: MapError) -> FilterError {
        match &error {
            MapError::SyscallError(syscall) if syscall.io_error.raw_os_error() == Some(libc::E2BIG) => {
                FilterError::Full { table }
            }
            _ => FilterError::Table { table, error: Box::new(error) },
        }
    }

    pub(crate) fn output(error: XdpMapError) -> FilterError {
        match error {
            XdpMapError::MapError(error) => FilterError::table("outputs", error),
            XdpMapError::ChainedProgramNotSupported => FilterError::Missing("outputs"),
        }
    }
}

fn is_permission(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EPERM | libc::EACCES))
}

/// The error and what is behind it: the library's own sentence names the system call, and not what the kernel said.
fn in_full(error: &dyn Error) -> String {
    let mut sentence = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        // Some libraries repeat the source in their own sentence.
        let said = error.to_string();
        if !sentence.ends_with(&said) {
            sentence = format!("{sentence}: {said}");
        }
        source = error.source();
    }
    sentence
}

#[cfg(test)]
mod tests {
    use aya::sys::SyscallError;

    use super::*;

    fn refused(code: i32) -> String {
        let io_error = io::Error::from_raw_os_error(code);
        let error = SyscallError { call: "bpf_map_update_elem", io_error };
        FilterError::table("vips", MapError::SyscallError(error)).to_string()
    }

    #[test]
    fn says_what_the_kernel_said() {
        assert!(refused(libc::E2BIG).contains("`vips` is full"), "{}", refused(libc::E2BIG));
        let memory = refused(libc::ENOMEM);
        assert!(memory.ends_with("Cannot allocate memory (os error 12)"), "{memory}");
        assert_eq!(memory.matches("bpf_map_update_elem").count(), 1, "{memory}");
    }
}
