//! The page `docs/benchmarks/in-memory-DATE.md` and its figures, from what `make bench` has measured.
//!
//! `book` what was measured · `page` the page · `tables` its tables · `targets` what the project wants of itself · `plots` its
//! figures · `lines` figures of lines · `sheet` what all pages have in common.

#![allow(clippy::cast_precision_loss, clippy::cast_sign_loss, reason = "counts, and what is drawn of them")]

pub mod book;
pub mod lines;
pub mod page;
pub mod plots;
pub mod sheet;
pub mod tables;
pub mod targets;
