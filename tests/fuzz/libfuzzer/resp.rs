//! A client that speaks RESP, HTTP or nonsense.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| synod_tests::fuzz::server(&[], data));
