//! Figures about the code.

use super::modules::{Crate, Module};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// A function and its length.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Function {
    /// The file and the name.
    pub name: String,
    /// Lines from its first to its last.
    pub lines: usize,
}

/// The figures of some crates. Code under `#[cfg(test)]` counts as tests, inline too.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Files that ship, with their lines; inline tests are left out.
    pub files: BTreeMap<String, usize>,
    /// Functions that ship.
    pub functions: Vec<Function>,
    /// Assertions outside of tests.
    pub assertions: usize,
    /// Lines of tests.
    pub test_lines: usize,
}

impl Figures {
    /// Lines that ship.
    pub fn lines(&self) -> usize {
        self.files.values().sum()
    }
    /// Lines of all files, ascending.
    pub fn file_lengths(&self) -> Vec<usize> {
        sorted(self.files.values().copied())
    }
    /// Lines of all functions, ascending.
    pub fn function_lengths(&self) -> Vec<usize> {
        sorted(self.functions.iter().map(|function| function.lines))
    }
    /// The longest file.
    pub fn longest_file(&self) -> Option<(&str, usize)> {
        let longest = self.files.iter().max_by_key(|(_, lines)| **lines);
        longest.map(|(file, lines)| (file.as_str(), *lines))
    }
    /// The longest function.
    pub fn longest_function(&self) -> Option<&Function> {
        self.functions.iter().max_by_key(|function| function.lines)
    }
    /// Assertions per function.
    pub fn assertions_per_function(&self) -> f64 {
        self.assertions as f64 / self.functions.len().max(1) as f64
    }
}

fn sorted(lengths: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut lengths: Vec<usize> = lengths.collect();
    lengths.sort_unstable();
    lengths
}

/// The figures of all targets for which `wanted` is true.
///
/// # Panics
/// When a file cannot be read.
pub fn figures(root: &Path, crates: &[Crate], wanted: impl Fn(&Crate) -> bool) -> Figures {
    let mut all = Figures::default();
    for target in crates.iter().filter(|target| wanted(target)) {
        let ships = target.is_production;
        for module in &target.modules {
            count_module(&mut all, module, ships && !module.is_test);
        }
        let mut lines: BTreeMap<&str, (usize, usize, bool)> = BTreeMap::new();
        for module in &target.modules {
            let entry = lines.entry(module.file.as_str()).or_insert_with(|| {
                let text = fs::read_to_string(root.join(&module.file)).expect("read before");
                (text.lines().count(), 0, ships && !module.is_test)
            });
            entry.1 += module.test_lines.iter().map(|lines| lines.len()).sum::<usize>();
        }
        for (file, (total, of_tests, is_shipped)) in lines {
            if is_shipped {
                all.files.insert(file.to_owned(), total - of_tests);
                all.test_lines += of_tests;
            } else {
                all.test_lines += total;
            }
        }
    }
    all
}

fn count_module(all: &mut Figures, module: &Module, ships: bool) {
    if !ships {
        return;
    }
    all.assertions += module.assertions.len();
    let bodies = module.bodies.iter().filter(|body| !body.is_test);
    all.functions.extend(
        bodies
            .map(|body| Function { name: format!("{} {}", module.file, body.name), lines: body.lines.len() }),
    );
}
