#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| hashgate_fuzz::archive(input));
