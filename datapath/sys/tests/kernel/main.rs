//! The devices and the filter against the real kernel. Needs root; each test makes a network namespace of its own.

#[cfg(test)]
mod af_xdp;
#[cfg(test)]
mod ip_devices;
#[cfg(test)]
mod joined;
#[cfg(test)]
mod joined_xdp;
#[cfg(test)]
mod lab;
#[cfg(test)]
mod redirect;
#[cfg(test)]
mod runs;
mod sender;
