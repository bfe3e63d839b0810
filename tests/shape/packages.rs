//! The packages of the workspace and their dependencies.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// A package of the workspace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Package {
    /// Its directory, relative to the repository.
    pub folder: String,
    /// Its name.
    pub name: String,
    /// The names of this workspace's packages that it depends on, without those that only its tests use.
    pub dependencies: BTreeSet<String>,
}

/// All packages, in the order in which the workspace lists them.
///
/// # Panics
/// When a manifest is missing.
pub fn packages(root: &Path) -> Vec<Package> {
    let manifest = fs::read_to_string(root.join("Cargo.toml")).expect("the workspace has a manifest");
    let list = manifest.split_once("members = [").and_then(|(_, rest)| rest.split_once(']'));
    let (list, _) = list.expect("the workspace lists its members");
    list.split('"').skip(1).step_by(2).map(|folder| read_package(root, folder)).collect()
}

/// Dependencies on a package that stands above the dependent one: `engine` is the roof, and no package beside
/// it may depend on a package in it, except those that stand on the roof themselves.
pub fn arrows_up(packages: &[Package]) -> Vec<(String, String)> {
    let is_in_engine = |folder: &str| folder == "engine" || folder.starts_with("engine/");
    let is_on_roof = |folder: &str| folder == "tests" || folder == "bench-harness";
    let mut found = Vec::new();
    for package in packages.iter().filter(|it| !is_in_engine(&it.folder) && !is_on_roof(&it.folder)) {
        for target in packages.iter().filter(|it| is_in_engine(&it.folder)) {
            if package.dependencies.contains(&target.name) {
                found.push((package.folder.clone(), target.folder.clone()));
            }
        }
    }
    found
}

fn read_package(root: &Path, folder: &str) -> Package {
    let manifest = fs::read_to_string(root.join(folder).join("Cargo.toml"))
        .unwrap_or_else(|error| panic!("{folder} has no manifest: {error}"));
    let (mut section, mut name, mut dependencies) = ("", String::new(), BTreeSet::new());
    for line in manifest.lines() {
        let word = line.split(['.', '=', ' ']).next().unwrap_or_default();
        if line.starts_with('[') {
            section = line;
        } else if section == "[package]" && word == "name" {
            name = line.split('"').nth(1).unwrap_or_default().to_owned();
        } else if section == "[dependencies]" && (word == "synod" || word.starts_with("synod-")) {
            dependencies.insert(word.to_owned());
        }
    }
    Package { folder: folder.to_owned(), name, dependencies }
}
