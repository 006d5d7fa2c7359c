//! Verbs that need no gateway.

use super::transcript;
use crate::api::tempdir::Directory;

#[test]
fn importing() {
    let directory = Directory::new();
    let put = |name: &str, text: &str| std::fs::write(directory.path.join(name), text).unwrap();
    put(
        "haproxy.cfg",
        "listen ingress\n  bind *:80\n  balance roundrobin\n  acl x path /\n  server a 192.0.2.9:8080 check\n",
    );
    put("saved", "-A -t 198.18.0.1:80 -s rr -p 300\n-a -t 198.18.0.1:80 -r 192.0.2.9:80 -g -w 1\n");
    put("nothing.conf", "virtual_server fwmark 1 {\n}\n");
    put("other", "server {\n}\n");
    let socket = directory.path.join("none");
    let at = |name: &str| directory.path.join(name).display().to_string();
    let lines = [
        format!("import --vip 198.18.0.1 {}", at("haproxy.cfg")),
        format!("import {}", at("saved")),
        format!("import --json {}", at("saved")),
        format!("import {}", at("nothing.conf")),
        format!("import {}", at("other")),
        format!("import --format haproxy {}", at("other")),
        format!("import {}", at("missing")),
    ];
    assert_words!(transcript(&socket, &lines.iter().map(String::as_str).collect::<Vec<_>>()));
}

#[test]
fn check_prints_problems_or_one_line() {
    let directory = Directory::new();
    let socket = directory.path.join("api.sock");
    let write = |name: &str, text: &str| {
        let path = directory.path.join(name);
        std::fs::write(&path, text).unwrap();
        format!("check --config {}", path.display())
    };
    let good = write("good.toml", include_str!("../../api/fake.toml"));
    let odd =
        write("odd.toml", "[[interface]]\nname = \"eth0\"\n[[service]]\nname = \"a\"\nlisten = \"198.18.0.1:1\"\n");
    let wrong = write("wrong.toml", "[[interface]]\nname = \"eth0\"\ndriver = \"tunn\"\n[gateway]\nflows = 0\n");
    let lines = [&good, &odd, &wrong, "check --config /nonexistent/gw.toml"];
    let json: Vec<String> = [&good, &wrong].iter().map(|line| format!("{line} --json")).collect();
    let lines: Vec<&str> = lines.iter().map(|line| &**line).chain(json.iter().map(String::as_str)).collect();
    assert_words!(transcript(&socket, &lines));
}
