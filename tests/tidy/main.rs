//! Tidy: the import law and the habits of this repository as ordinary tests.
//!
//! An important rule is checked here rather than in a document: which crates and files may import which
//! (`plan`), where modules and their tests lie (`modules`), which dependencies there are (`dependencies`), that
//! documents can be read and lead somewhere (`documents`), which few files may name the executor library, which
//! leftovers are forbidden, and that every protocol rule cited in the code exists.

mod dependencies;
mod documents;
mod modules;
mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace")
}

/// Every file of the repository with one of these endings, as a path relative to the root.
fn files(endings: &[&str]) -> Vec<PathBuf> {
    fn walk(dir: &Path, out: &mut Vec<PathBuf>) {
        let mut entries: Vec<_> =
            fs::read_dir(dir).expect("readable").map(|e| e.expect("entry").path()).collect();
        entries.sort();
        for path in entries {
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_owned();
            if path.is_dir() {
                if !["target", ".git", "synod-data", "corpus", "node_modules"].contains(&name.as_str()) {
                    walk(&path, out);
                }
            } else {
                out.push(path);
            }
        }
    }
    let root = root();
    let mut out = Vec::new();
    walk(root, &mut out);
    out.retain(|path| {
        path.extension().and_then(|e| e.to_str()).is_some_and(|ending| endings.contains(&ending))
    });
    out.iter().map(|path| path.strip_prefix(root).expect("below the root").to_owned()).collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(root().join(path)).expect("readable text")
}

/// These files quote what they forbid.
fn is_tidy(path: &Path) -> bool {
    path.starts_with("tests/tidy")
}

#[test]
fn only_three_rooms_name_the_executor_library() {
    let allowed = ["wal/src/uring", "engine/src/runtime", "loadgen/src/client"];
    // Tests and benches of the real log must start an executor too.
    let harness = ["wal/tests", "wal/examples", "bench-harness"];
    for path in files(&["rs"]) {
        let text = read(&path);
        let name = path.to_string_lossy();
        let named = text.lines().any(|line| {
            let code = line.split("//").next().unwrap_or_default();
            code.contains("glommio::") || code.contains("use glommio")
        });
        if named && !is_tidy(&path) {
            let ok = allowed.iter().chain(&harness).any(|prefix| name.starts_with(prefix));
            assert!(ok, "{name} names glommio; only {allowed:?} may");
        }
    }
}

#[test]
fn nothing_is_left_over() {
    let forbidden = ["dbg!(", "todo!(", "unimplemented!(", "FIXME", "XXX", "#[ignore"];
    for path in files(&["rs"]) {
        if is_tidy(&path) {
            continue;
        }
        let text = read(&path);
        for word in forbidden {
            assert!(!text.contains(word), "{} contains {word}", path.display());
        }
    }
}

#[test]
fn nothing_names_a_machine() {
    let forbidden = ["/root/", "/work/", "/home/"];
    for path in files(&["rs", "md", "toml", "txt"]) {
        if is_tidy(&path) {
            continue;
        }
        let text = read(&path);
        for word in forbidden {
            assert!(!text.contains(word), "{} contains the machine path {word}", path.display());
        }
    }
}

#[test]
fn every_source_file_says_what_it_is() {
    for path in files(&["rs"]) {
        let text = read(&path);
        assert!(text.starts_with("//!"), "{} does not open with `//!`", path.display());
    }
}

/// `P-07a` and the like in `text`.
fn rule_ids(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices("P-") {
        if text[..at].ends_with(|before: char| before.is_ascii_alphanumeric() || before == '-') {
            continue;
        }
        let digits: String = text[at + 2..].chars().take_while(char::is_ascii_digit).collect();
        if digits.len() == 2 {
            let letter: String = text[at + 4..].chars().take(1).filter(char::is_ascii_lowercase).collect();
            found.insert(format!("P-{digits}{letter}"));
        }
    }
    found
}

#[test]
fn every_protocol_rule_that_is_cited_exists() {
    let known = rule_ids(&read(Path::new("docs/protocol.md")));
    let mut missing: BTreeMap<String, PathBuf> = BTreeMap::new();
    for path in files(&["rs"]) {
        for id in rule_ids(&read(&path)) {
            if !known.contains(&id) {
                missing.insert(id, path.clone());
            }
        }
    }
    assert!(missing.is_empty(), "rules cited in code and unknown to docs/protocol.md: {missing:?}");
}

#[test]
fn both_licences_are_in_the_root() {
    assert!(read(Path::new("LICENSE-MIT")).contains("MIT License"));
    assert!(read(Path::new("LICENSE-APACHE")).contains("Apache License"));
}

#[test]
fn versions_are_pinned() {
    let manifest = read(Path::new("Cargo.toml"));
    let mut section = "";
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        }
        if section == "[workspace.dependencies]" && line.contains('"') && !line.contains("path = ") {
            assert!(line.contains("\"="), "not pinned: {line}");
        }
    }
    assert!(read(Path::new("rust-toolchain.toml")).contains("1.95.0"));
}
