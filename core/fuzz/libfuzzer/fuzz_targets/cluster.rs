#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| craton_fuzz::run("cluster", input));
