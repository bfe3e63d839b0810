//! Which file uses which, the circles among files, and the types whose methods are spread.

use super::modules::{Crate, Import};
use super::resolve::{Target, resolve};
use std::collections::{BTreeMap, BTreeSet};

/// From each file to the files it uses, with the paths that name them.
#[derive(Clone, Debug, Default)]
pub struct Edges(BTreeMap<String, BTreeMap<String, BTreeSet<String>>>);

/// A type that has inherent methods outside of its own file.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Spread {
    /// The type.
    pub name: String,
    /// The file that defines it.
    pub home: String,
    /// The file with the methods.
    pub file: String,
}

impl Edges {
    /// The edges of one target; tests have none.
    pub fn of(target: &Crate) -> Self {
        let mut edges = Self::default();
        for at in (0..target.modules.len()).filter(|&at| !target.modules[at].is_test) {
            edges.add_module(target, at);
        }
        edges
    }

    /// Every file that one file uses.
    pub fn used_by(&self, file: &str) -> impl Iterator<Item = &str> {
        self.0.get(file).into_iter().flat_map(|uses| uses.keys().map(String::as_str))
    }

    /// Every arrow among `files`, one a line, each with the paths that make it.
    pub fn describe(&self, files: &BTreeSet<String>) -> String {
        let mut lines = Vec::new();
        for (from, uses) in self.0.iter().filter(|(from, _)| files.contains(*from)) {
            for (to, words) in uses.iter().filter(|(to, _)| files.contains(*to)) {
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                lines.push(format!("  {from} -> {to}: {}", words.join(", ")));
            }
        }
        lines.join("\n")
    }

    fn add_module(&mut self, target: &Crate, at: usize) {
        let module = &target.modules[at];
        let mut shown = BTreeSet::new();
        for import in module.imports.iter().filter(|import| !import.is_test) {
            let found = resolve(target, at, &import.path);
            match (found, import) {
                (_, Import { is_shown: true, name, .. }) => {
                    shown.insert(name.as_str());
                }
                (Some(Target::Item(to)), _) => self.add(target, at, to, &import.path),
                // A glob: items used through it have no path of their own.
                (Some(Target::Module(to)), Import { name, .. }) if name == "*" => {
                    self.add(target, at, to, &import.path);
                }
                (Some(Target::Module(_)) | None, _) => {}
            }
        }
        for mention in module.mentions.iter().filter(|mention| !mention.is_test) {
            let first = mention.path[0].as_str();
            // A single word was counted at its `use`, unless that is a re-export.
            let counts = mention.path.len() > 1 || shown.contains(first);
            if counts && let Some(Target::Item(to)) = resolve(target, at, &mention.path) {
                self.add(target, at, to, &mention.path);
            }
        }
    }

    fn add(&mut self, target: &Crate, from: usize, to: usize, path: &[String]) {
        let (from, to) = (&target.modules[from].file, &target.modules[to].file);
        if from != to {
            let uses = self.0.entry(from.clone()).or_default();
            uses.entry(to.clone()).or_default().insert(path.join("::"));
        }
    }
}

impl Spread {
    /// All spread types of one target.
    pub fn of(target: &Crate) -> BTreeSet<Self> {
        let mut found = BTreeSet::new();
        for (at, module) in target.modules.iter().enumerate().filter(|(_, module)| !module.is_test) {
            for path in &module.inherent {
                let Some(Target::Item(home)) = resolve(target, at, path) else { continue };
                let home = &target.modules[home].file;
                if *home != module.file
                    && let Some(name) = path.last()
                {
                    found.insert(Self { name: name.clone(), home: home.clone(), file: module.file.clone() });
                }
            }
        }
        found
    }
}

/// The circles: sets of files each of which uses every other one, directly or through others.
pub fn circles(edges: &Edges) -> Vec<BTreeSet<String>> {
    let mut search = Search {
        edges,
        order: BTreeMap::new(),
        lowest: BTreeMap::new(),
        stack: Vec::new(),
        found: Vec::new(),
    };
    for file in edges.0.keys() {
        if !search.order.contains_key(file.as_str()) {
            search.visit(file);
        }
    }
    search.found.sort();
    search.found
}

/// Tarjan's search for strongly connected components.
struct Search<'a> {
    edges: &'a Edges,
    order: BTreeMap<&'a str, usize>,
    lowest: BTreeMap<&'a str, usize>,
    stack: Vec<&'a str>,
    found: Vec<BTreeSet<String>>,
}

impl<'a> Search<'a> {
    fn visit(&mut self, file: &'a str) {
        let number = self.order.len();
        self.order.insert(file, number);
        self.lowest.insert(file, number);
        self.stack.push(file);
        let edges = self.edges;
        for next in edges.used_by(file) {
            if !self.order.contains_key(next) {
                self.visit(next);
                let lowest = self.lowest[next];
                self.lower(file, lowest);
            } else if self.stack.contains(&next) {
                let number = self.order[next];
                self.lower(file, number);
            }
        }
        if self.lowest[file] == number {
            let start = self.stack.iter().position(|open| *open == file).expect("pushed above");
            let members = self.stack.split_off(start);
            if members.len() > 1 {
                self.found.push(members.into_iter().map(str::to_owned).collect());
            }
        }
    }

    fn lower(&mut self, file: &'a str, to: usize) {
        let lowest = self.lowest.get_mut(file).expect("visited");
        *lowest = (*lowest).min(to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::modules::{Mention, Module};

    fn words(path: &str) -> Vec<String> {
        path.split("::").map(str::to_owned).collect()
    }

    /// A root and its two children, each with an item of its own name, and the paths that each mentions.
    fn target(names: [&[&str]; 3]) -> Crate {
        let module = |file: &str, item: &str, names: &[&str]| Module {
            file: file.to_owned(),
            parent: Some(0),
            items: BTreeSet::from([item.to_owned()]),
            mentions: names
                .iter()
                .map(|path| Mention { path: words(path), is_test: false, line: 1 })
                .collect(),
            ..Module::default()
        };
        let [root, a, b] = names;
        let mut modules =
            vec![module("lib.rs", "Root", root), module("a.rs", "A", a), module("b.rs", "B", b)];
        modules[0].parent = None;
        modules[0].children = BTreeMap::from([("a".to_owned(), 1), ("b".to_owned(), 2)]);
        Crate { package: String::new(), root: "lib.rs".to_owned(), is_production: true, modules }
    }

    fn circle_of(names: [&[&str]; 3]) -> Vec<Vec<String>> {
        circles(&Edges::of(&target(names))).into_iter().map(|files| files.into_iter().collect()).collect()
    }

    #[test]
    fn files_that_use_each_other_are_a_circle_and_a_chain_is_none() {
        assert_eq!(circle_of([&["a::A"], &["crate::b::B"], &["super::a::A"]]), [["a.rs", "b.rs"]]);
        assert!(circle_of([&["a::A"], &["crate::b::B"], &[]]).is_empty());
    }

    #[test]
    fn a_child_may_use_its_parent_or_be_used_by_it() {
        assert_eq!(circle_of([&["a::A"], &["crate::Root"], &[]]), [["a.rs", "lib.rs"]]);
        assert!(circle_of([&[], &["super::Root"], &["crate::a::A"]]).is_empty());
    }

    #[test]
    fn a_re_export_leads_to_the_item_and_counts_where_it_is_mentioned() {
        let mut shown = target([&[], &[], &["crate::A"]]);
        shown.modules[0].imports.push(Import {
            path: words("a::A"),
            name: "A".to_owned(),
            is_shown: true,
            is_test: false,
            line: 1,
        });
        let edges = Edges::of(&shown);
        assert_eq!(edges.used_by("b.rs").collect::<Vec<_>>(), ["a.rs"]);
        assert_eq!(edges.used_by("lib.rs").count(), 0);
        shown.modules[0].mentions.push(Mention { path: words("A"), is_test: false, line: 2 });
        assert_eq!(Edges::of(&shown).used_by("lib.rs").collect::<Vec<_>>(), ["a.rs"]);
    }
}
