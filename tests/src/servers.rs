//! What answers behind the gateway.

use crate::clock::wait_until;
use crate::lab::run;
use crate::namespace::{Namespace, Process};
use crate::{Outcome, binaries};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long a server may take to come up.
const START: Duration = Duration::from_secs(10);

/// An nginx: answers its name at `/`, serves `files/` below `/files/`, and takes uploads there.
pub struct Nginx {
    /// The running master.
    pub process: Process,
    /// What lies below `/files/`.
    pub files: PathBuf,
}

impl Nginx {
    /// Starts it on the namespace's port and waits until it listens.
    ///
    /// # Errors
    /// It does not come up.
    pub fn start(namespace: &Namespace, name: &str, port: u16) -> Outcome<Nginx> {
        Nginx::start_with(namespace, name, port, "")
    }

    /// The same over both IP versions.
    ///
    /// # Errors
    /// It does not come up.
    pub fn start_both(namespace: &Namespace, name: &str, port: u16) -> Outcome<Nginx> {
        Nginx::start_with(namespace, name, port, &format!("listen [::]:{port} backlog=4096;"))
    }

    /// The same also over HTTPS on the next port, with a certificate of its own making.
    ///
    /// # Errors
    /// It does not come up, or openssl fails.
    pub fn start_tls(namespace: &Namespace, name: &str, port: u16) -> Outcome<Nginx> {
        let file = |kind| namespace.dir().join(format!("{}-{port}.{kind}", namespace.name())).display().to_string();
        let (key, certificate) = (file("key"), file("pem"));
        let words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=nobody";
        let files = ["-keyout", &key, "-out", &certificate];
        run(Command::new("openssl").args(words.split(' ')).args(files).stderr(Stdio::null()))?;
        let lines =
            format!("listen {} ssl; ssl_certificate {certificate}; ssl_certificate_key {key};", port.saturating_add(1));
        Nginx::start_with(namespace, name, port, &lines)
    }

    /// The same also on the next port, where connections begin with a PROXY header: `/proxied` says whose they are.
    ///
    /// # Errors
    /// It does not come up.
    pub fn start_proxied(namespace: &Namespace, name: &str, port: u16) -> Outcome<Nginx> {
        Nginx::start_with(
            namespace,
            name,
            port,
            &format!("listen {} backlog=4096 proxy_protocol;", port.saturating_add(1)),
        )
    }

    fn start_with(namespace: &Namespace, name: &str, port: u16, lines: &str) -> Outcome<Nginx> {
        let dir = namespace.dir().join(format!("nginx-{}-{port}", namespace.name()));
        let files = dir.join("files");
        fs::create_dir_all(&files)?;
        fs::create_dir_all(dir.join("logs"))?;
        let config = dir.join("nginx.conf");
        fs::write(&config, nginx_config(&dir, name, port, lines))?;
        let process =
            namespace.spawn(&format!("nginx-{port}"), "nginx", [Path::new("-p"), &dir, Path::new("-c"), &config])?;
        wait_listening(namespace, port)?;
        Ok(Nginx { process, files })
    }
}

fn nginx_config(dir: &Path, name: &str, port: u16, lines: &str) -> String {
    let dir = dir.display();
    format!(
        "daemon off; user root; worker_processes 1; pid {dir}/pid; error_log stderr error;
events {{ worker_connections 8192; }}
http {{
  log_format proxied '$proxy_protocol_addr';
  log_format health '$remote_addr $host $request $status';
  access_log off; sendfile on; default_type text/plain; client_max_body_size 0; keepalive_timeout 3600; keepalive_requests 100000000;
  client_body_temp_path {dir}/tmp; proxy_temp_path {dir}/tmp; fastcgi_temp_path {dir}/tmp;
  uwsgi_temp_path {dir}/tmp; scgi_temp_path {dir}/tmp;
  server {{
    listen {port} backlog=4096; {lines}
    location / {{ return 200 \"{name}\\n\"; }}
    location = /who {{ return 200 \"$remote_addr $server_addr:$server_port\n\"; }}
    location = /proxied {{
      access_log {dir}/logs/proxied.log proxied;
      return 200 \"$proxy_protocol_addr:$proxy_protocol_port $proxy_protocol_server_addr:$proxy_protocol_server_port\n\";
    }}
    location = /health {{ alias {dir}/health; access_log {dir}/logs/health.log health; error_page 404 =503 @down; }}
    location @down {{ access_log {dir}/logs/health.log health; return 503; }}
    location /files/ {{ root {dir}; dav_methods PUT; create_full_put_path on; }}
    location /slow/ {{ alias {dir}/files/; limit_rate 2m; }}
  }}
}}
"
    )
}

/// Waits until somebody listens on the TCP port in the namespace.
///
/// # Errors
/// Nobody does in time.
pub fn wait_listening(namespace: &Namespace, port: u16) -> Outcome {
    wait_until(&format!("a listener on port {port} in {}", namespace.name()), START, || {
        // The kernel's own table, local address in hex, state 0A = LISTEN: no probe that a server would see.
        let table = namespace.run("cat", ["/proc/net/tcp"])?;
        let suffix = format!(":{port:04X}");
        Ok(table.lines().any(|line| {
            let mut words = line.split_whitespace().skip(1);
            words.next().is_some_and(|local| local.ends_with(&suffix)) && words.nth(1) == Some("0A")
        }))
    })
}

/// Starts one of the traffic tool's servers (`udp-echo`, `tcp-echo`) and waits until it is ready.
///
/// # Errors
/// It does not come up.
pub fn start_tool(namespace: &Namespace, verb: &str, listen: &str) -> Outcome<Process> {
    let label = format!("{verb}-{}", listen.replace(':', "-"));
    let mut process = namespace.spawn(&label, binaries::traffic()?, [verb, listen])?;
    process.wait_for_line("ready", START)?;
    Ok(process)
}

/// Writes a file of pseudo-random bytes; the seed decides which.
///
/// # Errors
/// The disk is full.
pub fn write_noise(path: &Path, len_bytes: usize, seed: u64) -> Outcome {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(len_bytes + 8);
    while bytes.len() < len_bytes {
        // xorshift64: good enough to make every segment differ.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len_bytes);
    fs::write(path, bytes)?;
    Ok(())
}
