//! `http-check connect`: where a check connects, if not where the server's line says.

use super::server::is_another;
use super::words::Line;

/// What it says.
#[derive(Debug, Clone, Default)]
pub struct Connect {
    line: usize,
    /// `port`
    pub port: Option<u16>,
    /// `addr`
    address: Option<String>,
    /// `ssl`
    tls: bool,
    /// `default`: as the server's line says.
    as_server: bool,
    /// `sni`
    pub name: Option<String>,
    /// The first word that no check here follows.
    foreign: Option<String>,
}

impl Connect {
    /// `http-check connect …`
    pub fn read(line: &Line) -> Connect {
        let mut connect = Connect { line: line.number, ..Connect::default() };
        let mut words = line.words.iter().skip(2).map(String::as_str);
        while let Some(word) = words.next() {
            if !connect.set(word, &mut words) {
                connect.foreign.get_or_insert_with(|| word.to_owned());
            }
        }
        connect
    }

    fn set<'a>(&mut self, word: &str, words: &mut impl Iterator<Item = &'a str>) -> bool {
        let mut value = || words.next().unwrap_or_default().to_owned();
        match word {
            "port" => {
                self.port = value().parse().ok();
                return self.port.is_some();
            }
            "addr" => self.address = Some(value()),
            "ssl" => self.tls = true,
            "default" => self.as_server = true,
            "sni" => self.name = Some(value()),
            // Checks ask over HTTP/1.0.
            "alpn" => return value().split(',').any(|name| name.starts_with("http/1")),
            "comment" => drop(value()),
            "linger" => {}
            _ => return false,
        }
        true
    }

    /// Whether TLS is spoken, to a server whose line says so or not.
    pub fn tls(&self, of_server: bool) -> bool {
        self.tls || self.as_server && of_server
    }

    /// Why a check of the server with this address can't connect so; `host` is what its request says.
    pub fn fault(&self, server: &str, host: Option<&str>) -> Option<(usize, String)> {
        let name = self.name.as_deref();
        let why = if self.address.as_ref().is_some_and(|address| is_another(address, server)) {
            "`addr`: no check asks another machine: the server counts as one without `check`".to_owned()
        } else if let Some(word) = &self.foreign {
            format!("`{word}`: no check connects so: servers count as ones without `check`")
        } else if name.is_some() && host.is_some() && name != host {
            "`sni`: a check has one name for TLS and `Host`: servers count as ones without `check`".to_owned()
        } else {
            return None;
        };
        Some((self.line, why))
    }
}
