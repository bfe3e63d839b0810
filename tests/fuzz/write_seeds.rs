//! Writes the fuzzers' initial inputs into the given corpus: `fuzz_seeds tests/fuzz/corpus`.

#![forbid(unsafe_code)]

use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let root = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("tests/fuzz/corpus"), PathBuf::from);
    for (target, name, bytes) in synod_tests::fuzz::seeds() {
        std::fs::write(root.join(target).join(name), bytes)?;
    }
    Ok(())
}
