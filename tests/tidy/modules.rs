//! One style of modules, and one place for unit tests.
//!
//! ```text
//!   a.rs                a module without children; its tests are `mod tests { … }` at its end
//!   a/mod.rs            a module with children; its tests are the same, or `a/tests.rs`, or `a/tests/mod.rs`
//! ```

use crate::{files, read};
use std::path::Path;
use synod_tests::shape::packages;

/// Files of tests that belong to a document and not to a module: they lie beside the modules they compare.
const TESTS_OF_DOCUMENTS: &[&str] = &["net/src/examples.rs"];

#[test]
fn a_module_with_children_is_the_mod_rs_of_its_folder() {
    let all = files(&["rs"]);
    for path in &all {
        let folder = path.with_extension("");
        let is_parent = all.iter().any(|other| other.starts_with(&folder));
        // A crate root, a test program or an example beside a folder of the same name is the same mistake.
        assert!(!is_parent, "{} and the folder {} are one module", path.display(), folder.display());
    }
}

/// Whether a file is below the `src` of a package, where unit tests are.
fn is_in_src(path: &Path) -> bool {
    let folders = packages(crate::root());
    let in_package = |folder: &str| path.strip_prefix(folder).is_ok_and(|rest| rest.starts_with("src"));
    folders.iter().any(|package| in_package(&package.folder))
}

/// Whether a file is `tests.rs` or below a folder `tests`.
fn is_of_tests(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "tests.rs")
        || path.parent().is_some_and(|folder| folder.iter().any(|part| part == "tests"))
}

#[test]
fn unit_tests_are_in_one_place() {
    for path in files(&["rs"]).iter().filter(|path| is_in_src(path) && !is_of_tests(path)) {
        let name = path.to_string_lossy();
        let text = read(path);
        let lines: Vec<&str> = text.lines().collect();
        let tests = lines.iter().position(|line| *line == "mod tests {");
        let first = lines.iter().position(|line| line.trim_start().starts_with("#[test]"));
        if let Some(first) = first
            && !TESTS_OF_DOCUMENTS.contains(&&*name)
        {
            let is_inside = tests.is_some_and(|tests| tests < first);
            assert!(is_inside, "{name}:{} is a test outside of `mod tests`", first + 1);
        }
        let Some(tests) = tests else { continue };
        assert_eq!(lines[tests - 1], "#[cfg(test)]", "{name}:{} is built for tests only", tests + 1);
        let end = lines[tests..].iter().position(|line| *line == "}").expect("it is closed");
        let after = lines[tests + end + 1..].iter().find(|line| !line.trim().is_empty());
        assert_eq!(after, None, "{name}: `mod tests` is the last thing in the file");
    }
}
