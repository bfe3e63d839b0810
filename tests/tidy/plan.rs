//! The plan of the house: which crate and which file may depend on which.
//!
//! Where the code does not follow the plan yet, an exact list here says so. A list that has become too long
//! fails as well as one that is too short, so that each can only get shorter.

use crate::{files, is_tidy, read, root};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use synod_tests::shape::{Crate, Edges, Spread, arrows_up, circles, lex, packages, read_crates};

/// The import law, from the ground to the roof: room -> rooms it may depend on. Each room stands above all
/// that it may depend on, so no arrow turns back; siblings do not know each other.
const LAW: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("engine/paxos", &["synod-types"]),
    ("engine/store", &["synod-types"]),
    ("wal", &["synod-types"]),
    ("net", &["synod-types"]),
    ("client", &["synod-types", "synod-net"]),
    ("engine/shard", &["synod-types", "synod-paxos", "synod-store"]),
    ("engine/replica", &["synod-types", "synod-shard", "synod-wal"]),
    ("loadgen", &["synod-types", "synod-net"]),
    ("engine", &["synod-types", "synod-shard", "synod-replica", "synod-wal", "synod-net", "synod-loadgen"]),
    (
        "bench-harness",
        &[
            "synod-types",
            "synod-paxos",
            "synod-store",
            "synod-shard",
            "synod-replica",
            "synod-wal",
            "synod-net",
            "synod-loadgen",
            "synod",
        ],
    ),
    (
        "tests",
        &[
            "synod-types",
            "synod-paxos",
            "synod-store",
            "synod-shard",
            "synod-replica",
            "synod-wal",
            "synod-net",
        ],
    ),
];

/// The remaining arrows up: none.
const ARROWS_UP: &[(&str, &str)] = &[];

/// The rooms that build with `no_std`: the compiler proves that they touch nothing outside themselves.
const PURE: &[&str] = &["types", "engine/paxos", "engine/store", "engine/shard"];

/// The files with unsafe code in all that ships. Every other file does without.
const UNSAFE: &[&str] = &["engine/src/sys.rs", "net/src/memory.rs", "wal/src/uring/sys.rs"];
/// The test files with unsafe code.
const UNSAFE_TESTS: &[&str] = &["engine/tests/cli/machine.rs", "net/tests/allocations.rs"];
/// At most this many files may be named above.
const UNSAFE_FILES_MAX: usize = 4;

/// Crate roots that do not deny unsafe code because they set the allocator.
const ALLOCATORS: &[&str] = &["bench-harness/src/bin/bench-harness/main.rs", "engine/src/main.rs"];

/// The remaining circles of files.
const CIRCLES: &[&[&str]] = &[];

/// Types that have inherent methods outside of their file: the type, its file, the files of its methods.
const SPREAD: &[(&str, &str, &[&str])] = &[];

/// Files that may make a shard and step it: the turn lives there and nowhere else.
const TURN: &[&str] = &["engine/replica/src/"];
/// Files that still have a turn of their own.
const OWN_TURNS: &[&str] = &[];

/// Columns a line of code or comment may have.
const COLUMNS_MAX: usize = 120;
/// Rooms whose comments are not wrapped yet.
const WIDE: &[&str] = &[];

fn in_room<'a>(path: &str, rooms: &[&'a str]) -> Option<&'a str> {
    // The longest match: `engine/paxos` and not `engine`.
    let fits =
        rooms.iter().filter(|room| path.strip_prefix(**room).is_some_and(|rest| rest.starts_with('/')));
    fits.max_by_key(|room| room.len()).copied()
}

fn strings(texts: &[&str]) -> BTreeSet<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn rooms_depend_only_on_the_rooms_the_law_allows() {
    for package in packages(root()) {
        let law = LAW.iter().find(|(room, _)| *room == package.folder);
        let (room, allowed) = law.unwrap_or_else(|| panic!("the law does not know {}", package.folder));
        for name in &package.dependencies {
            assert!(allowed.contains(&name.as_str()), "{room} may not depend on {name}");
        }
    }
}

#[test]
fn the_law_has_no_arrow_up() {
    let packages = packages(root());
    assert_eq!(packages.len(), LAW.len(), "a room of the law is no package");
    let place = |name: &str| {
        let package = packages.iter().find(|package| package.name == name).expect("a package");
        LAW.iter().position(|(room, _)| *room == package.folder).expect("a room")
    };
    for (at, (room, allowed)) in LAW.iter().enumerate() {
        for name in *allowed {
            assert!(place(name) < at, "{room} stands below {name}, which it may depend on");
        }
    }
    let found = arrows_up(&packages);
    let known: Vec<(String, String)> =
        ARROWS_UP.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect();
    let (found, known): (BTreeSet<_>, BTreeSet<_>) =
        (found.into_iter().collect(), known.into_iter().collect());
    assert_eq!(found, known, "arrows up: found, known");
}

/// Features of rooms are for tests (planted bugs, the disk in memory): no package that ships turns one on,
/// and none is on by default.
#[test]
fn what_ships_turns_on_no_feature_of_a_room() {
    let ships = LAW.iter().map(|(room, _)| *room).filter(|room| !["bench-harness", "tests"].contains(room));
    let manifests = ships.map(|room| Path::new(room).join("Cargo.toml"));
    for path in manifests.chain([PathBuf::from("Cargo.toml")]) {
        let manifest = read(&path);
        let mut section = "";
        for line in manifest.lines() {
            if line.starts_with('[') {
                section = line;
            }
            let is_forbidden = match section {
                "[dependencies]" | "[workspace.dependencies]" => {
                    line.starts_with("synod") && line.contains("features")
                }
                "[features]" => line.starts_with("default"),
                _ => false,
            };
            assert!(!is_forbidden, "{}: {line}", path.display());
        }
    }
}

#[test]
fn pure_rooms_are_no_std_and_free_of_unsafe() {
    for room in PURE {
        let lib = read(&Path::new(room).join("src/lib.rs"));
        assert!(lib.contains("#![no_std]"), "{room} must be no_std");
        assert!(lib.contains("#![forbid(unsafe_code)]"), "{room} must forbid unsafe code");
    }
}

#[test]
fn no_file_stands_above_and_below_another_one() {
    let mut found = BTreeMap::new();
    for target in read_crates(root()) {
        let edges = Edges::of(&target);
        for circle in circles(&edges) {
            let why = edges.describe(&circle);
            found.insert(circle, why);
        }
    }
    let known: BTreeSet<BTreeSet<String>> = CIRCLES.iter().map(|files| strings(files)).collect();
    for (circle, why) in &found {
        assert!(known.contains(circle), "a circle of files:\n{why}");
    }
    for circle in &known {
        assert!(found.contains_key(circle), "this circle is gone, or another one; strike it out: {circle:?}");
    }
}

#[test]
fn methods_stand_beside_their_type() {
    let mut found: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    for Spread { name, home, file } in read_crates(root()).iter().flat_map(Spread::of) {
        found.entry((name, home)).or_default().insert(file);
    }
    let known: BTreeMap<_, _> = SPREAD
        .iter()
        .map(|(name, home, files)| (((*name).to_owned(), (*home).to_owned()), strings(files)))
        .collect();
    for (of, files) in &found {
        assert_eq!(known.get(of), Some(files), "{of:?} has methods in other files: known, found");
    }
    for of in known.keys() {
        assert!(found.contains_key(of), "{of:?} has its methods in its own file; strike it out");
    }
}

/// Files with unsafe code, of the targets for which `wanted` is true.
fn files_with_unsafe(crates: &[Crate], wanted: impl Fn(&Crate) -> bool) -> BTreeSet<String> {
    let modules = crates.iter().filter(|target| wanted(target)).flat_map(|target| &target.modules);
    modules.filter(|module| !module.unsafes.is_empty()).map(|module| module.file.clone()).collect()
}

#[test]
fn unsafe_code_is_in_few_files_with_names() {
    let crates = read_crates(root());
    assert_eq!(files_with_unsafe(&crates, |target| target.is_production), strings(UNSAFE));
    assert_eq!(files_with_unsafe(&crates, |target| !target.is_production), strings(UNSAFE_TESTS));
    assert!(UNSAFE.len() <= UNSAFE_FILES_MAX);
    for target in crates.iter().filter(|target| target.is_production) {
        let text = read(Path::new(&target.root));
        let denies = text.contains("#![forbid(unsafe_code)]") || text.contains("#![deny(unsafe_code)]");
        assert_eq!(denies, !ALLOCATORS.contains(&target.root.as_str()), "{} denies unsafe code", target.root);
    }
    for file in UNSAFE {
        let said = read(Path::new(file)).lines().filter(|line| line.contains("unsafe_code")).count();
        assert_eq!(said, 1, "{file} is the only one that may, and says so once");
    }
}

#[test]
fn the_turn_is_written_once() {
    let mut own = BTreeSet::new();
    for path in files(&["rs"]).iter().filter(|path| !is_tidy(path)) {
        let name = path.to_string_lossy();
        if TURN.iter().any(|room| name.starts_with(room)) {
            continue;
        }
        let text = read(path);
        let tokens = lex(&text);
        // `shard.step(`, `self.shard.step(`, `Shard::step`: only a turn has a mutable shard.
        let steps = tokens.windows(3).any(|words| {
            let [of, between, step] = words else { return false };
            let is_shard = of.is("shard") || of.is("Shard");
            is_shard && (between.is(".") || between.is("::")) && step.is("step")
        });
        if steps {
            own.insert(name.into_owned());
        }
    }
    assert_eq!(own, strings(OWN_TURNS), "files with a turn of their own: found, known");
}

#[test]
fn lines_can_be_read() {
    let mut wide: BTreeMap<&str, usize> = BTreeMap::new();
    let rooms: Vec<&str> = LAW.iter().map(|(room, _)| *room).collect();
    for path in files(&["rs"]) {
        let name = path.to_string_lossy();
        let room = in_room(&name, &rooms).unwrap_or_else(|| panic!("{name} lies in no room"));
        for (at, line) in read(&path).lines().enumerate() {
            if line.chars().count() > COLUMNS_MAX {
                *wide.entry(room).or_default() += 1;
                assert!(WIDE.contains(&room), "{name}:{} is wider than {COLUMNS_MAX} columns", at + 1);
            }
        }
    }
    for room in WIDE {
        assert!(wide.contains_key(room), "{room} is wrapped; strike it out");
    }
}
