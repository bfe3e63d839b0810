//! Every file of every fuzz corpus through its target, and every input that once failed; besides these,
//! random bytes, so that a target without a corpus is run too.

use proptest::prelude::*;
use std::path::Path;
use synod_tests::fuzz::{TARGETS, drawn, replicas, seeds};

#[test]
fn the_corpus_holds() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for &(name, target) in TARGETS {
        let dir = root.join(name);
        let mut count = 0;
        for entry in std::fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display())) {
            let path = entry.expect("it can be listed").path();
            let bytes = std::fs::read(&path).expect("it can be read");
            if std::panic::catch_unwind(|| target(&bytes)).is_err() {
                panic!("{} fails; replay: cargo test --test fuzz", path.display());
            }
            count += 1;
        }
        assert!(count > 0, "{name} has no corpus");
    }
}

/// An input of an older format would be refused at its first bytes, and the rest of it would test nothing.
#[test]
fn the_fuzzers_begin_with_what_is_written_today() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (target, name, bytes) in seeds() {
        let path = root.join(target).join(name);
        let held = std::fs::read(&path).unwrap_or_default();
        assert!(held == bytes, "{} is old: cargo run -p synod-tests --bin fuzz_seeds", path.display());
    }
}

/// Whole replicas under a few scripts; `fuzz_replicas` runs as many as time allows.
#[test]
fn drawn_scripts_hold() {
    for seed in 0..40 {
        if std::panic::catch_unwind(|| replicas(&drawn(seed))).is_err() {
            panic!(
                "seed {seed} fails; replay: cargo run -p synod-tests --bin fuzz_replicas -- --seed {seed} --trace"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn random_bytes_hold(data in prop::collection::vec(any::<u8>(), 0..600)) {
        for (_, target) in TARGETS {
            target(&data);
        }
    }
}
