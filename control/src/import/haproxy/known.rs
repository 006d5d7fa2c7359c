//! The options of `bind` and `server` lines, and what becomes of each.

use super::options::Group;

const fn flags(why: Option<&'static str>, names: &'static [&'static str]) -> Group {
    Group { takes_one: false, why, names }
}

const fn settings(why: Option<&'static str>, names: &'static [&'static str]) -> Group {
    Group { takes_one: true, why, names }
}

const NO_TLS: Option<&str> = Some("Sluicegate speaks no TLS to servers, and its checks verify no certificate");
const NO_AGENTS: Option<&str> = Some("there are no agent checks");
const NO_NAMES: Option<&str> = Some("names are not resolved: give addresses");
const NO_POOL: Option<&str> = Some("each client has its own connection to the server");
const NO_QUEUE: Option<&str> = Some("no one queues: who finds all backends full is refused");
const ONE_INTERVAL: Option<&str> = Some("checks have one `interval`, whatever they found");
const PASSIVE: Option<&str> = Some("not carried over: `passive` lets backends rest that do not take connections");
const KERNELS: Option<&str> = Some("client and server have one TCP connection, as their own kernels want it");
const ON_ALL_LINKS: Option<&str> = Some("a service has its VIP, on whatever interface its packets come");
const PROXY_PLAIN: Option<&str> = Some("PROXY headers say the addresses and ports, and no more");
const VERSION_1: Option<&str> =
    Some("PROXY headers have version 2 here: the server must be told, then set `proxy_protocol`");
const FULL: Option<&str> =
    Some("who comes beyond `max_connections` goes to the next backend, or is refused: no one queues");

/// The ways to ask for a PROXY header of version 2, and to take that back.
pub const PROXY_V2: [&str; 6] = [
    "send-proxy-v2",
    "send-proxy-v2-ssl",
    "send-proxy-v2-ssl-cn",
    "no-send-proxy-v2",
    "no-send-proxy-v2-ssl",
    "no-send-proxy-v2-ssl-cn",
];

/// Of `server` and `default-server`.
pub const SERVER: &[Group] = &[
    flags(None, &["backup", "no-backup", "check", "no-check", "check-ssl", "no-check-ssl", "enabled", "ssl", "no-ssl"]),
    flags(Some("carried over with weight 0: it is drained"), &["disabled"]),
    settings(None, &["addr", "fall", "guid", "id", "inter", "on-marked-down", "port", "rise", "slowstart", "weight"]),
    settings(FULL, &["maxconn"]),
    settings(Some("cookies are HTTP: `persistence` keeps clients by their addresses"), &["cookie"]),
    flags(None, &["send-proxy-v2", "no-send-proxy", "no-send-proxy-v2", "check-send-proxy", "no-check-send-proxy"]),
    flags(None, &["no-send-proxy-v2-ssl", "no-send-proxy-v2-ssl-cn"]),
    flags(VERSION_1, &["send-proxy"]),
    flags(PROXY_PLAIN, &["send-proxy-v2-ssl", "send-proxy-v2-ssl-cn"]),
    settings(PROXY_PLAIN, &["proxy-v2-options", "set-proxy-v2-tlv-fmt"]),
    flags(NO_AGENTS, &["agent-check"]),
    flags(None, &["no-agent-check", "stick"]),
    settings(NO_AGENTS, &["agent-addr", "agent-inter", "agent-port", "agent-send"]),
    settings(Some("the source address is chosen by `[gateway] snat`"), &["source", "usesrc", "interface", "namespace"]),
    settings(Some("what another server's check finds is not carried over"), &["track"]),
    settings(NO_NAMES, &["init-addr", "resolvers", "resolve-net", "resolve-opts", "resolve-prefer"]),
    settings(ONE_INTERVAL, &["downinter", "fastinter"]),
    settings(PASSIVE, &["error-limit", "observe", "on-error"]),
    settings(Some("connections to a sorry backend go on when others come back"), &["on-marked-up"]),
    settings(Some("a backend that is new is up until its checks fail"), &["init-state"]),
    settings(Some("a backend is full at its maximum, whatever the load"), &["minconn"]),
    settings(NO_QUEUE, &["maxqueue"]),
    flags(NO_QUEUE, &["strict-maxconn"]),
    flags(Some("`persistence` keeps clients on every backend"), &["non-stick"]),
    settings(NO_POOL, &["idle-ping", "max-reuse", "pool-conn-name", "pool-low-conn", "pool-max-conn"]),
    settings(NO_POOL, &["check-pool-conn-name", "pool-purge-delay"]),
    flags(NO_POOL, &["check-reuse-pool"]),
    flags(None, &["no-check-reuse-pool", "no-tfo"]),
    settings(Some("no proxies stand between"), &["socks4"]),
    flags(Some("no proxies stand between"), &["check-via-socks4"]),
    settings(Some("it is about HTTP"), &["check-proto", "proto", "redir", "ws"]),
    settings(Some("it is about logs and shards"), &["log-bufsize", "log-proto", "shard"]),
    settings(Some("places on the ring are by address and weight"), &["hash-key"]),
    settings(KERNELS, &["cc", "tcp-md5sig", "tcp-ut"]),
    flags(KERNELS, &["tfo"]),
    settings(NO_TLS, &["alpn", "ca-file", "check-alpn", "check-sni", "ciphers", "ciphersuites", "client-sigalgs"]),
    settings(NO_TLS, &["crl-file", "crt", "curves", "ktls", "npn", "renegotiate", "sigalgs", "sni"]),
    settings(NO_TLS, &["ssl-max-ver", "ssl-min-ver", "verify", "verifyhost"]),
    flags(NO_TLS, &["allow-0rtt", "force-sslv3", "force-tlsv10", "force-tlsv11", "force-tlsv12", "force-tlsv13"]),
    flags(
        NO_TLS,
        &["no-renegotiate", "no-sni-auto", "no-check-sni-auto", "no-ssl-reuse", "no-sslv3", "no-tls-tickets"],
    ),
    flags(NO_TLS, &["no-tlsv10", "no-tlsv11", "no-tlsv12", "no-tlsv13", "no-verifyhost", "ssl-reuse", "tls-tickets"]),
    flags(NO_TLS, &["check-sni-auto", "sni-auto"]),
];

/// Of `bind`. One with `ssl` is left out as a whole, and without it what is about TLS means nothing in HAProxy either.
pub const BIND: &[Group] = &[
    flags(None, &["ssl", "v4v6", "v6only"]),
    flags(Some("PROXY headers of clients are passed on to the servers as they are"), &["accept-proxy"]),
    settings(Some("such headers are passed on to the servers as they are"), &["accept-netscaler-cip"]),
    settings(Some("the flow tables are sized by `[gateway] flows`, a backend by `max_connections`"), &["maxconn"]),
    settings(ON_ALL_LINKS, &["interface", "namespace"]),
    flags(ON_ALL_LINKS, &["transparent"]),
    settings(KERNELS, &["cc", "idle-ping", "mss", "tcp-md5sig", "tcp-ss", "tcp-ut"]),
    // What servers do with TCP Fast Open and late accepts passes through; the rest is HAProxy's own process.
    flags(None, &["defer-accept", "tfo"]),
    settings(None, &["backlog", "expose-fd", "gid", "group", "guid-prefix", "id", "label", "level", "mode", "name"]),
    settings(None, &["nbconn", "nice", "process", "severity-output", "shards", "thread", "uid", "user"]),
    settings(Some("it is about HTTP"), &["proto", "quic-cc-algo", "quic-socket"]),
    flags(Some("it is about HTTP"), &["quic-force-retry"]),
    settings(None, &["alpn", "ca-file", "ca-ignore-err", "ca-sign-file", "ca-sign-pass", "ca-verify-file", "ciphers"]),
    settings(None, &["ciphersuites", "client-sigalgs", "crl-file", "crt", "crt-ignore-err", "crt-list", "curves"]),
    settings(None, &["default-crt", "ech", "ecdhe", "ktls", "npn", "ocsp-update", "sigalgs", "ssl-max-ver"]),
    settings(None, &["ssl-min-ver", "tls-ticket-keys", "verify"]),
    flags(None, &["allow-0rtt", "force-sslv3", "force-tlsv10", "force-tlsv11", "force-tlsv12", "force-tlsv13"]),
    flags(None, &["generate-certificates", "no-alpn", "no-ca-names", "no-sslv3", "no-strict-sni", "no-tls-tickets"]),
    flags(None, &["no-tlsv10", "no-tlsv11", "no-tlsv12", "no-tlsv13", "prefer-client-ciphers", "strict-sni"]),
    flags(None, &["tls-tickets"]),
];
