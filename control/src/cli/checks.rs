//! `--check…`: the keys of `[service.check]` on the command line. The gateway judges their values, as it does those of a
//! file.

use clap::Args;
use serde_json::{Map, Value, json};

/// How a service's backends are checked. Given together, they take the place of the whole check.
#[derive(Debug, Args)]
pub struct CheckChange {
    /// How backends are asked whether they live: tcp, http, https or udp
    #[arg(long, value_name = "TYPE", help_heading = "Health checks")]
    pub check: Option<String>,
    /// The port that is asked; default: the backend's own
    #[arg(long, value_name = "PORT", requires = "check", help_heading = "Health checks")]
    pub check_port: Option<u16>,
    /// From one check to the next, e.g. 2s
    #[arg(long, value_name = "DURATION", requires = "check", help_heading = "Health checks")]
    pub check_interval: Option<String>,
    /// How long an answer may take, at most the interval
    #[arg(long, value_name = "DURATION", requires = "check", help_heading = "Health checks")]
    pub check_timeout: Option<String>,
    /// So many passed checks in a row bring a backend back
    #[arg(long, value_name = "N", requires = "check", help_heading = "Health checks")]
    pub check_rise: Option<u32>,
    /// So many failed checks in a row take a backend out
    #[arg(long, value_name = "N", requires = "check", help_heading = "Health checks")]
    pub check_fall: Option<u32>,
    /// HTTP: what to get
    #[arg(long, value_name = "PATH", requires = "check", help_heading = "Health checks")]
    pub check_path: Option<String>,
    /// HTTP: the header Host, and the name for TLS
    #[arg(long, value_name = "HOST", requires = "check", help_heading = "Health checks")]
    pub check_host: Option<String>,
    /// HTTP: the statuses that pass, e.g. 200-399
    #[arg(long, value_name = "LIST", requires = "check", help_heading = "Health checks")]
    pub check_status: Option<String>,
    /// HTTP: what the body must contain
    #[arg(long, value_name = "TEXT", requires = "check", help_heading = "Health checks")]
    pub check_body: Option<String>,
    /// HTTP: the SHA-256 of the body
    #[arg(long, value_name = "SHA256", requires = "check", help_heading = "Health checks")]
    pub check_digest: Option<String>,
    /// UDP: the payload that is sent, with \xHH for any byte
    #[arg(long, value_name = "TEXT", requires = "check", help_heading = "Health checks")]
    pub check_send: Option<String>,
    /// UDP: what the answer must contain
    #[arg(long, value_name = "TEXT", requires = "check", help_heading = "Health checks")]
    pub check_expect: Option<String>,
}

impl CheckChange {
    /// The check as the API takes it, if one was given.
    pub fn body(&self) -> Option<Value> {
        let kind = self.check.as_ref()?;
        let mut body = Map::from_iter([("type".to_owned(), json!(kind))]);
        let texts = [
            ("interval", &self.check_interval),
            ("timeout", &self.check_timeout),
            ("path", &self.check_path),
            ("host", &self.check_host),
            ("status", &self.check_status),
            ("body", &self.check_body),
            ("digest", &self.check_digest),
            ("send", &self.check_send),
            ("expect", &self.check_expect),
        ];
        let texts = texts.into_iter().filter_map(|(key, text)| Some((key, json!(text.as_ref()?))));
        let numbers = [("port", self.check_port.map(u32::from)), ("rise", self.check_rise), ("fall", self.check_fall)];
        let numbers = numbers.into_iter().filter_map(|(key, number)| Some((key, json!(number?))));
        body.extend(texts.chain(numbers).map(|(key, value)| (key.to_owned(), value)));
        Some(body.into())
    }
}
