//! Tests in a network namespace of their own: the test binary runs the one test again under `unshare --net`. Namespaces
//! without a name end with their last process, so nothing is ever left behind.

use std::io::Write;
use std::process::{Child, Command, Stdio};

const INSIDE: &str = "SLUICEGATE_TEST_NAMESPACE";

/// Runs `test` in a fresh network namespace; `name` is the full path of the calling test. Without root it is skipped, and
/// says so.
pub fn in_namespace(name: &str, test: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return test();
    }
    if output("id", &["-u"]).trim() != "0" {
        // Past what the test harness keeps to itself.
        writeln!(std::io::stderr(), "SKIPPED: {name} needs root").unwrap();
        return;
    }
    let binary = std::env::current_exe().unwrap();
    let mut command = Command::new("unshare");
    command.args(["--net", "--"]).arg(binary).args(["--exact", name, "--nocapture", "--test-threads=1"]);
    let done = command.env(INSIDE, "1").output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout) + String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
    assert!(said.contains("1 passed"), "the name {name:?} is not that of the test: {said}");
}

/// Runs a command, which must succeed, and gives what it says.
pub fn output(program: &str, arguments: &[&str]) -> String {
    let done = Command::new(program).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{program} {}: {text}", arguments.join(" "));
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// `ip` with these words.
pub fn ip(words: &str) -> String {
    output("ip", &words.split_whitespace().collect::<Vec<_>>())
}

/// Another network namespace, alive as long as this.
pub struct Peer {
    holder: Child,
}

impl Peer {
    /// A namespace at the other end of a veth: `here` and `there` are the names of its ends.
    pub fn on_veth(here: &str, there: &str) -> Peer {
        let holder =
            Command::new("unshare").args(["--net", "--", "sleep", "60"]).stdout(Stdio::null()).spawn().unwrap();
        let peer = Peer { holder };
        ip(&format!("link add {here} type veth peer name {there}"));
        peer.wait_for_namespace();
        ip(&format!("link set {there} netns {}", peer.holder.id()));
        peer
    }

    /// `unshare` needs a moment until it has left our namespace.
    fn wait_for_namespace(&self) {
        let namespace = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net")).ok();
        let pid = self.holder.id().to_string();
        for _ in 0..500 {
            if namespace(&pid).is_some_and(|there| Some(there) != namespace("self")) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("unshare does not leave this namespace");
    }

    /// `ip` over there.
    pub fn ip(&self, words: &str) -> String {
        let pid = self.holder.id().to_string();
        let mut arguments = vec!["-t", &pid, "-n", "ip"];
        arguments.extend(words.split_whitespace());
        output("nsenter", &arguments)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
