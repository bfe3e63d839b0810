//! A client of the binary protocol.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| synod_tests::fuzz::server(&[0xF5, b'S', b'Y', b'N', b'O', b'D', 1, 0], data));
