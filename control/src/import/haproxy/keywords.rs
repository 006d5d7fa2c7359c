//! Why a line was not carried over.

use super::words::Line;

const HTTP: &str = "it looks into HTTP, which an L4 gateway does not";
const ONE_CONNECTION: &str =
    "client and server have one TCP connection, which ends for both at once: nothing stands between";
const LOGS: &str = "an L4 gateway logs no requests";

/// Options that take the place of `httpchk`.
pub const OTHER_CHECKS: &[&str] = &[
    "tcp-check",
    "ssl-hello-chk",
    "smtpchk",
    "mysql-check",
    "pgsql-check",
    "redis-check",
    "ldap-check",
    "spop-check",
    "external-check",
];

/// `None`: nothing is lost without it.
pub fn why_not(line: &Line) -> Option<&'static str> {
    match line.word(0) {
        // What is switched off is not there either.
        "no" => None,
        "option" => option(line.word(1)),
        "acl" | "use_backend" | "use-server" => {
            Some("rules choose by what clients send: a service leads to its one set of backends")
        }
        "http-request"
        | "http-response"
        | "http-after-response"
        | "redirect"
        | "cookie"
        | "capture"
        | "compression"
        | "errorfile"
        | "errorloc"
        | "errorloc302"
        | "errorloc303"
        | "errorfiles"
        | "http-error"
        | "http-reuse"
        | "monitor-uri"
        | "monitor"
        | "filter"
        | "unique-id-format"
        | "unique-id-header"
        | "rate-limit"
        | "appsession"
        | "declare" => Some(HTTP),
        word if word.starts_with("req") || word.starts_with("rsp") => Some(HTTP),
        "stats" => Some("there is no page of statistics: `sluicegate service list`, and /metrics for Prometheus"),
        "log" | "log-format" | "log-tag" | "log-format-sd" | "error-log-format" | "log-steps" => Some(LOGS),
        "maxconn" | "fullconn" | "backlog" => {
            Some("the flow tables are sized by `[gateway] flows`, a backend by `max_connections`")
        }
        "retries" | "retry-on" => Some("clients connect to the servers themselves"),
        "tcp-request" | "tcp-response" => Some("connections are not inspected"),
        "tcp-check" | "external-check" => Some("there is no such check: tcp, http, https, udp"),
        "stick" | "stick-store" => Some("`persistence` remembers clients by their addresses: stick on src"),
        "source" => Some("the source address is chosen by `[gateway] snat`"),
        "server-template" => {
            Some("names are not resolved: give addresses. In front of a swarm, `[swarm]` follows its tasks")
        }
        "email-alert" => Some("no mail is sent: alarm on the metrics"),
        "description" | "id" | "bind-process" | "load-server-state-from-file" => None,
        _ => Some("not known to Sluicegate"),
    }
}

fn option(name: &str) -> Option<&'static str> {
    match name {
        "forwardfor" | "originalto" => Some(
            "no HTTP header is added: see `proxy_protocol`, and `direct` for backends that see the clients' addresses",
        ),
        "httplog"
        | "tcplog"
        | "dontlognull"
        | "dontlog-normal"
        | "logasap"
        | "log-separate-errors"
        | "log-health-checks"
        | "httpslog" => Some(LOGS),
        // Without rules it is whether a connection is accepted.
        "tcp-check" | "tcp-smart-accept" | "tcp-smart-connect" | "socket-stats" | "contstats" => None,
        "tcpka" | "clitcpka" | "srvtcpka" => Some(
            "keepalives are sent by clients and servers themselves, and pass through: a flow of which neither is heard stays for \
             `tcp_established` (`timeout` of the service)",
        ),
        "redispatch" => Some(
            "not carried over: a client whose connection is not taken connects again itself, and `passive` lets backends rest that take none",
        ),
        "splice-auto" | "splice-request" | "splice-response" | "nolinger" | "abortonclose" => Some(ONE_CONNECTION),
        _ if OTHER_CHECKS.contains(&name) => {
            Some("there is no such check: whether a connection is accepted is checked instead")
        }
        "transparent" => Some("see `direct` for backends that see the clients' addresses"),
        "allbackups" => Some("the first backup that may have connections gets them"),
        "persist" => Some("a backend that is down gets no new connections"),
        _ => Some(HTTP),
    }
}
