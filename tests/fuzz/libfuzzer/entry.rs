//! A record of the log.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| synod_tests::fuzz::entry(data));
