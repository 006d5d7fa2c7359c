//! What to do when AF_XDP cannot be had, besides what the error itself says.

use sys::{BindCause, FilterError, XdpMode};

/// True whatever it fails for: causes that are known bring their remedy along.
pub const ANY: &str =
    "the rights and settings that AF_XDP needs are in docs/operating.md; driver = \"tun\" does without";
const RIGHTS: &str = "docs/operating.md says how a unit gives them; driver = \"tun\" needs CAP_NET_ADMIN alone";
const ONE_PROGRAM: &str =
    "an interface serves one gateway: a second one takes other interfaces, or driver = \"tun\" (docs/operating.md)";
const MODES: &str = "mode = \"auto\" takes the fastest that can be, and `sluicegate status` shows which";

/// For the filter.
pub fn of_filter(error: &FilterError) -> &'static str {
    match error {
        FilterError::NotPermitted => RIGHTS,
        FilterError::AlreadyAttached { .. } => ONE_PROGRAM,
        _ => ANY,
    }
}

/// For a socket.
pub fn of_socket(cause: &BindCause) -> &'static str {
    match cause {
        BindCause::NotPermitted => RIGHTS,
        BindCause::Unsupported(XdpMode::ZeroCopy) | BindCause::OtherMode(_) => MODES,
        _ => ANY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_where_the_same_is_missing() {
        let help = of_filter(&FilterError::NotPermitted);
        assert!(help.contains("CAP_NET_ADMIN") && !help.contains("does without"), "{help}");
        assert_eq!(of_socket(&BindCause::NotPermitted), help);
        let help = of_filter(&FilterError::AlreadyAttached { interface: "eth0".into() });
        assert!(help.contains("one gateway") && !help.contains("rights"), "{help}");
        for mode in [BindCause::Unsupported(XdpMode::ZeroCopy), BindCause::OtherMode(XdpMode::Copy)] {
            assert!(of_socket(&mode).contains("\"auto\""), "{mode}");
        }
        assert_eq!(of_socket(&BindCause::LockedMemory), ANY);
    }
}
