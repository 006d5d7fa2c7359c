//! See `checks/translate.rs`.
#![no_main]

#[path = "../checks/parse.rs"]
mod parse;
#[path = "../checks/translate.rs"]
mod translate;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| translate::run(bytes));
