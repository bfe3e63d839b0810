//! The dependencies: each one is used, has a licence that `deny.toml` allows, comes from crates.io, and is
//! there in one version. `deny.toml` is the only list; cargo-deny reads the same file.

use crate::{files, read, root};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use synod_tests::shape::{Kind, lex, packages};

/// The platform whose dependencies are looked at: the one that Synod runs on.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// All packages, ours and others, as cargo resolves them. Without the network: what was built is at hand.
fn resolved() -> Vec<Value> {
    let arguments = ["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform"];
    let output = Command::new(env!("CARGO")).args(arguments).arg(PLATFORM).current_dir(root()).output();
    let output = output.expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut all: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let Value::Array(packages) = all["packages"].take() else { panic!("no list of packages") };
    packages
}

fn text<'a>(package: &'a Value, field: &str) -> &'a str {
    package[field].as_str().unwrap_or_default()
}

/// `name@version`.
fn exact(package: &Value) -> String {
    format!("{}@{}", text(package, "name"), text(package, "version"))
}

fn deny() -> toml::Table {
    read(Path::new("deny.toml")).parse().expect("deny.toml is TOML")
}

fn list<'a>(value: &'a toml::Value, what: &str) -> Vec<&'a toml::Value> {
    value.as_array().unwrap_or_else(|| panic!("{what} is a list")).iter().collect()
}

fn words(value: &toml::Value, what: &str) -> BTreeSet<String> {
    let word = |value: &toml::Value| value.as_str().expect("a word").to_owned();
    list(value, what).into_iter().map(word).collect()
}

/// The entries of a list of tables: the crate of each, and the entry.
fn entries<'a>(value: &'a toml::Value, what: &str) -> BTreeMap<String, &'a toml::Value> {
    let named = |entry: &'a toml::Value| (entry["crate"].as_str().expect("a crate").to_owned(), entry);
    list(value, what).into_iter().map(named).collect()
}

/// Whether an SPDX expression can be fulfilled with licences for which `allowed` is true. `/` is an old way to
/// write OR, and a `+` (or any later version) is as good as the licence.
fn can_be_fulfilled(expression: &str, allowed: &dyn Fn(&str) -> bool) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    let fulfilled = any_of(&mut rest, allowed);
    assert!(rest.is_empty(), "not understood: {expression}");
    fulfilled
}

fn any_of(rest: &mut &[&str], allowed: &dyn Fn(&str) -> bool) -> bool {
    let mut fulfilled = all_of(rest, allowed);
    while take(rest, "OR") {
        fulfilled |= all_of(rest, allowed);
    }
    fulfilled
}

fn all_of(rest: &mut &[&str], allowed: &dyn Fn(&str) -> bool) -> bool {
    let mut fulfilled = one(rest, allowed);
    while take(rest, "AND") {
        fulfilled &= one(rest, allowed);
    }
    fulfilled
}

fn one(rest: &mut &[&str], allowed: &dyn Fn(&str) -> bool) -> bool {
    if take(rest, "(") {
        let fulfilled = any_of(rest, allowed);
        assert!(take(rest, ")"), "a bracket is not closed");
        return fulfilled;
    }
    let (first, after) = rest.split_first().expect("a licence");
    *rest = after;
    let mut licence = first.trim_end_matches('+').to_owned();
    if take(rest, "WITH") {
        let (exception, after) = rest.split_first().expect("an exception");
        *rest = after;
        licence = format!("{licence} WITH {exception}");
    }
    allowed(&licence)
}

fn take(rest: &mut &[&str], word: &str) -> bool {
    let found = rest.first() == Some(&word);
    if found {
        *rest = &rest[1..];
    }
    found
}

#[test]
fn an_expression_of_licences_is_understood() {
    let allowed = |licence: &str| ["MIT", "Zlib", "GPL-2.0 WITH exception"].contains(&licence);
    for fine in ["MIT", "MIT+", "Apache-2.0 OR MIT", "Apache-2.0/MIT", "(Apache-2.0 OR MIT) AND Zlib"] {
        assert!(can_be_fulfilled(fine, &allowed), "{fine}");
    }
    for bad in ["Apache-2.0", "MIT AND Apache-2.0", "(Apache-2.0 OR MIT) AND BSD", "GPL-2.0"] {
        assert!(!can_be_fulfilled(bad, &allowed), "{bad}");
    }
    assert!(can_be_fulfilled("GPL-2.0 WITH exception", &allowed));
}

#[test]
fn every_licence_is_allowed() {
    let deny = deny();
    let allowed = words(&deny["licenses"]["allow"], "allow");
    let exceptions = entries(&deny["licenses"]["exceptions"], "exceptions");
    let mut used = BTreeSet::new();
    for package in resolved() {
        let (name, licence) = (text(&package, "name"), text(&package, "license"));
        assert!(!licence.is_empty(), "{name} does not say its licence");
        if can_be_fulfilled(licence, &|licence| allowed.contains(licence)) {
            continue;
        }
        let exception = exceptions.get(name).map(|entry| words(&entry["allow"], "allow"));
        let more = exception.unwrap_or_else(|| panic!("{name} has the licence {licence}: see deny.toml"));
        assert!(
            can_be_fulfilled(licence, &|it| allowed.contains(it) || more.contains(it)),
            "{name}: {licence}"
        );
        used.insert(name.to_owned());
    }
    let known: BTreeSet<String> = exceptions.into_keys().collect();
    assert_eq!(used, known, "exceptions of deny.toml: needed, listed");
}

#[test]
fn everything_comes_from_crates_io() {
    let deny = deny();
    let registries = words(&deny["sources"]["allow-registry"], "allow-registry");
    assert!(list(&deny["sources"]["allow-git"], "allow-git").is_empty(), "no repository is a source");
    let ours: BTreeSet<String> = packages(root()).into_iter().map(|package| package.name).collect();
    for package in resolved() {
        let source = text(&package, "source");
        let is_ours = source.is_empty() && ours.contains(text(&package, "name"));
        let is_known = source.strip_prefix("registry+").is_some_and(|it| registries.contains(it));
        assert!(is_ours || is_known, "{} comes from {source:?}", exact(&package));
    }
}

#[test]
fn every_dependency_is_there_in_one_version() {
    let deny = deny();
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in resolved() {
        versions.entry(text(&package, "name").to_owned()).or_default().insert(exact(&package));
    }
    let skipped: BTreeSet<String> = entries(&deny["bans"]["skip"], "skip").into_keys().collect();
    let mut needed = BTreeSet::new();
    for (name, versions) in versions.into_iter().filter(|(_, versions)| versions.len() > 1) {
        let kept: Vec<&String> = versions.iter().filter(|version| !skipped.contains(*version)).collect();
        assert!(kept.len() <= 1, "{name} is there as {kept:?}: use one version, or explain it in deny.toml");
        needed.extend(versions.intersection(&skipped).cloned());
    }
    assert_eq!(needed, skipped, "skipped by deny.toml: needed, listed");
}

/// The names in the sections of dependencies of a manifest.
fn dependencies(manifest: &Path) -> BTreeSet<String> {
    let manifest: toml::Table = read(manifest).parse().expect("a manifest");
    let sections = ["dependencies", "dev-dependencies", "build-dependencies"];
    let tables = sections.iter().filter_map(|section| manifest.get(*section)?.as_table());
    tables.flat_map(|table| table.keys().cloned()).collect()
}

/// The crates that a file names: `name::`, `::name::`, `use name;`, `use name as`.
fn named_crates(text: &str, into: &mut BTreeSet<String>) {
    let tokens = lex(text);
    let is_at =
        |at: Option<usize>, sign: &str| at.and_then(|at| tokens.get(at)).is_some_and(|it| it.is(sign));
    let is_word =
        |at: Option<usize>| at.and_then(|at| tokens.get(at)).is_some_and(|it| it.kind == Kind::Word);
    for (at, token) in tokens.iter().enumerate() {
        let (before, after) = (at.checked_sub(1), Some(at + 1));
        // Behind a word, `::` goes on with a path; behind anything else it begins one.
        let is_inside_path = is_at(before, "::") && is_word(at.checked_sub(2));
        let begins_path = is_at(after, "::") && !is_inside_path;
        let is_imported = is_at(before, "use") && (is_at(after, ";") || is_at(after, "as"));
        if begins_path || is_imported {
            into.insert(token.text.to_owned());
        }
    }
}

#[test]
fn every_dependency_is_used() {
    let packages = packages(root());
    let mut wanted_somewhere = BTreeSet::new();
    for package in &packages {
        let folder = Path::new(&package.folder);
        // Other packages may lie inside: `engine/paxos` in `engine`.
        let inside = |path: &Path| {
            let deeper = packages.iter().filter(|it| it.folder.len() > package.folder.len());
            path.starts_with(folder) && !deeper.into_iter().any(|it| path.starts_with(&it.folder))
        };
        let mut named = BTreeSet::new();
        for path in files(&["rs"]).iter().filter(|path| inside(path)) {
            named_crates(&read(path), &mut named);
        }
        for dependency in dependencies(&folder.join("Cargo.toml")) {
            let is_used = named.contains(&dependency.replace('-', "_"));
            assert!(is_used, "{} depends on {dependency} and never names it", package.folder);
            wanted_somewhere.insert(dependency);
        }
    }
    let workspace: toml::Table = read(Path::new("Cargo.toml")).parse().expect("a manifest");
    let offered = workspace["workspace"]["dependencies"].as_table().expect("a table");
    for name in offered.keys() {
        assert!(wanted_somewhere.contains(name), "no package depends on {name} of the workspace");
    }
}
