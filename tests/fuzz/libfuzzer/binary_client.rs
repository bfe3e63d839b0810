//! A server, as its client sees it.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| synod_tests::fuzz::binary_client(data));
