//! See `checks/pipeline.rs`.
#![no_main]

#[path = "../../datapath/tests/lab/mod.rs"]
mod lab;
#[path = "../checks/parse.rs"]
mod parse;
#[path = "../checks/pipeline.rs"]
mod pipeline;

libfuzzer_sys::fuzz_target!(|input: &[u8]| pipeline::run(input));
