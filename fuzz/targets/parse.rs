//! See `checks/parse.rs`.
#![no_main]

#[path = "../checks/parse.rs"]
mod parse;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| parse::run(bytes));
