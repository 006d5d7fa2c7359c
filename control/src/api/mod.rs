//! HTTP and JSON over a unix socket: what `docs/api.md` describes.
//!
//! [`bind`] makes the socket, [`serve`] answers on it. A request is read whole ([`connection`]), then answered by plain
//! functions over [`Operations`](crate::operations::Operations) ([`route`], [`read`], [`change`]) that know nothing of HTTP's transport.

mod change;
mod connection;
mod failure;
mod read;
mod route;
mod socket;
pub mod view;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

pub use connection::serve;
pub use socket::bind;

#[cfg(test)]
pub use fake::{Fake, tempdir};
