//! Benchmarks of the packet path: what the library part shares between them.
#![forbid(unsafe_code)]
