//! The command line itself.

use std::path::Path;

use clap::Parser;

use crate::cli::args::Arguments;

#[test]
fn the_socket_is_the_usual_one_unless_it_is_said() {
    let parsed = |line: &str| Arguments::try_parse_from(format!("sluicegate {line}").split(' ')).unwrap();
    assert_eq!(parsed("status --socket /x").socket(), Path::new("/x"));
    assert_eq!(parsed("status").socket(), Path::new(crate::config::DEFAULT_API));
    assert_eq!((parsed("run -c g --socket /x").socket, parsed("run -c g").socket), (Some("/x".into()), None));
}

#[test]
fn the_help_says_what_it_is() {
    use clap::CommandFactory as _;
    let help = Arguments::command().render_help().to_string();
    assert!(help.starts_with("A userspace L4 ingress gateway\n"), "{help}");
    assert!(help.contains(&format!("API socket [default: {}]", crate::config::DEFAULT_API)), "{help}");
}

#[test]
fn the_command_line_is_well_formed() {
    use clap::CommandFactory as _;
    Arguments::command().debug_assert();
}
