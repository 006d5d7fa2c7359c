//! What the tests of tables share: one overlay behind made-up interfaces.

use wire::MacAddr;

use crate::config::{self, Config};

pub const NODE_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x11]);
pub const TUN: &str = "[[interface]]\nname = \"sg0\"\ndriver = \"tun\"";

/// The overlay that all of them have.
pub const OVERLAY: &str = "[overlay]\nvni = 4096\nvtep = \"198.18.1.1\"\naddress = \"10.0.0.3/24\"\n";

/// A config of these parts: lines of `[gateway]`, interfaces, services.
pub fn config(interfaces: &str, gateway: &str, services: &str) -> Config {
    let text = format!("[gateway]\ncpus = [0]\n{gateway}\n{interfaces}\n{OVERLAY}\n{services}");
    match config::parse("test.toml", text.as_bytes(), &[0]) {
        Ok(loaded) => loaded.config,
        Err(problems) => panic!("{problems:#?}"),
    }
}
