//! The running gateway: engine, catalog and kernel together.
