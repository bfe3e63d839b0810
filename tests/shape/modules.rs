//! The modules of a crate target: the items each one defines, imports and names.

use super::lex::{Kind, Token, lex};
use super::packages::{Package, packages};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// One name that a `use` brings in.
#[derive(Clone, Debug)]
pub struct Import {
    /// The path it names.
    pub path: Vec<String>,
    /// The name it gets; `*` for a glob.
    pub name: String,
    /// Whether other modules see it too: a re-export.
    pub is_shown: bool,
    /// Whether only tests have it.
    pub is_test: bool,
    /// The line.
    pub line: usize,
}

/// A path in the code, or a single word.
#[derive(Clone, Debug)]
pub struct Mention {
    /// The path.
    pub path: Vec<String>,
    /// Whether only tests have it.
    pub is_test: bool,
    /// The line.
    pub line: usize,
}

/// A function with a body.
#[derive(Clone, Debug)]
pub struct Body {
    /// Its name.
    pub name: String,
    /// From its first line to its last.
    pub lines: Range<usize>,
    /// Whether it belongs to tests.
    pub is_test: bool,
}

/// A module, with its own tokens only: its children have theirs.
#[derive(Clone, Debug, Default)]
pub struct Module {
    /// Its file, relative to the repository.
    pub file: String,
    /// Whether it belongs to tests.
    pub is_test: bool,
    /// Its parent, as an index into [`Crate::modules`].
    pub parent: Option<usize>,
    /// Its children by name.
    pub children: BTreeMap<String, usize>,
    /// Items it defines.
    pub items: BTreeSet<String>,
    /// Names it imports.
    pub imports: Vec<Import>,
    /// Paths it names.
    pub mentions: Vec<Mention>,
    /// Paths of the types that it has inherent methods for.
    pub inherent: Vec<Vec<String>>,
    /// Its functions.
    pub bodies: Vec<Body>,
    /// Lines of `assert!` and its like outside of tests.
    pub assertions: Vec<usize>,
    /// Lines with the word `unsafe`.
    pub unsafes: Vec<usize>,
    /// Lines of inline modules that belong to tests.
    pub test_lines: Vec<Range<usize>>,
}

/// One target of a package: a library, a binary, a test, a bench or an example.
#[derive(Clone, Debug)]
pub struct Crate {
    /// The package's directory.
    pub package: String,
    /// The root file, relative to the repository.
    pub root: String,
    /// Whether it is a library or a program, and no test, bench or example.
    pub is_production: bool,
    /// All modules; the first is the root.
    pub modules: Vec<Module>,
}

const ASSERTIONS: &[&str] =
    &["assert", "assert_eq", "assert_ne", "debug_assert", "debug_assert_eq", "debug_assert_ne"];

/// All targets of the workspace at `root`.
///
/// # Panics
/// When a file is missing or is no Rust that compiles.
pub fn read_crates(root: &Path) -> Vec<Crate> {
    let mut crates = Vec::new();
    for Package { folder, .. } in packages(root) {
        for (file, is_production) in targets(root, &folder) {
            crates.push(read_crate(root, &folder, file, is_production));
        }
    }
    crates
}

/// The root files of a package's targets, each with whether it is a library or a program: those that cargo
/// finds by itself, and those that the manifest names.
fn targets(root: &Path, package: &str) -> Vec<(String, bool)> {
    let mut found: Vec<(String, bool)> =
        ["src/lib.rs", "src/main.rs"].iter().map(|file| (format!("{package}/{file}"), true)).collect();
    found.retain(|(file, _)| root.join(file).is_file());
    for folder in ["src/bin", "tests", "benches", "examples"] {
        let is_production = folder == "src/bin";
        let folder = format!("{package}/{folder}");
        let Ok(entries) = fs::read_dir(root.join(&folder)) else { continue };
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        for name in names {
            let main = format!("{folder}/{name}/main.rs");
            if name.ends_with(".rs") {
                found.push((format!("{folder}/{name}"), is_production));
            } else if root.join(&main).is_file() {
                found.push((main, is_production));
            }
        }
    }
    for (file, is_production) in named_targets(root, package) {
        if found.iter().all(|(known, _)| *known != file) {
            found.push((file, is_production));
        }
    }
    found
}

/// The targets that the manifest names with a `path`.
fn named_targets(root: &Path, package: &str) -> Vec<(String, bool)> {
    let manifest = fs::read_to_string(root.join(package).join("Cargo.toml")).expect("a package's manifest");
    let (mut section, mut found) = ("", Vec::new());
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        }
        let is_target = ["[lib]", "[[bin]]", "[[test]]", "[[bench]]", "[[example]]"].contains(&section);
        if let Some(path) = line.strip_prefix("path = \"").filter(|_| is_target) {
            let file = format!("{package}/{}", path.trim_end_matches('"'));
            found.push((file, ["[lib]", "[[bin]]"].contains(&section)));
        }
    }
    found
}

fn read_crate(root: &Path, package: &str, file: String, is_production: bool) -> Crate {
    let mut reader = Reader { root: root.to_owned(), modules: vec![Module::default()] };
    reader.modules[0].file = file.clone();
    reader.read_file(0, true);
    Crate { package: package.to_owned(), root: file, is_production, modules: reader.modules }
}

struct Reader {
    root: PathBuf,
    modules: Vec<Module>,
}

/// The scope in which a run of tokens is read.
#[derive(Clone, Copy)]
struct ReadScope {
    module: usize,
    /// Whether items here belong to the module; within a function or a type they do not.
    is_item_level: bool,
    is_test: bool,
    /// Whether children lie beside the module's file, and not in a folder of its name.
    is_folder: bool,
}

impl Reader {
    /// `is_root`: its children lie beside it, whatever its name.
    fn read_file(&mut self, module: usize, is_root: bool) {
        let file = self.modules[module].file.clone();
        let text = fs::read_to_string(self.root.join(&file))
            .unwrap_or_else(|error| panic!("{file} cannot be read: {error}"));
        let is_test = self.modules[module].is_test;
        let is_folder = is_root || file.ends_with("/mod.rs");
        self.read(&lex(&text), ReadScope { module, is_item_level: true, is_test, is_folder });
    }

    fn read(&mut self, tokens: &[Token<'_>], scope: ReadScope) {
        let mut attribute = String::new();
        let mut at = 0;
        while at < tokens.len() {
            let token = tokens[at];
            let is_test = scope.is_test || attribute.contains("cfg(test)") || attribute.contains("#[test]");
            if token.is("#") {
                let open = at + 1 + usize::from(tokens.get(at + 1).is_some_and(|next| next.is("!")));
                let end = close(tokens, open);
                tokens[at..end].iter().for_each(|token| attribute.push_str(token.text));
                at = end;
                continue;
            }
            let next = match token.kind {
                Kind::Word => self.read_word(tokens, at, &attribute, ReadScope { is_test, ..scope }),
                Kind::Sign if ["{", "(", "["].contains(&token.text) => {
                    let end = close(tokens, at);
                    let inner = ReadScope { is_item_level: false, is_test, ..scope };
                    self.read(&tokens[at + 1..end - 1], inner);
                    end
                }
                _ => at + 1,
            };
            // The scope of an attribute ends with its block, its semicolon or its comma.
            if tokens[next - 1].is("}") || tokens[next - 1].is(";") || tokens[next - 1].is(",") {
                attribute.clear();
            }
            at = next;
        }
    }

    /// Reads the construct that begins with the word at `at`, behind `attribute`; returns where to go on.
    fn read_word(&mut self, tokens: &[Token<'_>], at: usize, attribute: &str, scope: ReadScope) -> usize {
        let token = tokens[at];
        let text = |ahead: usize| tokens.get(at + ahead).map_or("", |token| token.text);
        let follows_path = at > 0 && tokens[at - 1].kind == Kind::Path;
        let begins_item = at == 0 || ["}", ";", "]", "unsafe"].iter().any(|before| tokens[at - 1].is(before));
        let is_name = tokens.get(at + 1).is_some_and(|token| token.kind == Kind::Word);
        match token.text {
            "use" if text(1) != "<" => return self.read_use(tokens, at, scope),
            "mod" if is_name && text(2) == ";" => {
                self.read_child(text(1), None, path_of(attribute), scope);
                return at + 3;
            }
            "mod" if is_name && text(2) == "{" => {
                let end = close(tokens, at + 2);
                self.read_child(text(1), Some(&tokens[at + 2..end]), None, scope);
                return end;
            }
            "macro_rules" if text(1) == "!" => {
                self.modules[scope.module].items.insert(text(2).to_owned());
                return at + 3;
            }
            "fn" | "struct" | "enum" | "trait" | "union" | "type" | "const" | "static"
                if is_name && !follows_path =>
            {
                self.read_item(tokens, at, scope);
            }
            "impl" if begins_item && scope.is_item_level && !scope.is_test => {
                let path = inherent(&tokens[at + 1..]);
                self.modules[scope.module].inherent.extend(path);
            }
            "unsafe" => self.modules[scope.module].unsafes.push(token.line),
            word if ASSERTIONS.contains(&word) && text(1) == "!" && !scope.is_test => {
                self.modules[scope.module].assertions.push(token.line);
            }
            _ => {}
        }
        if !follows_path {
            let mention = Mention { path: path_at(tokens, at), is_test: scope.is_test, line: token.line };
            self.modules[scope.module].mentions.push(mention);
        }
        at + 1
    }

    fn read_item(&mut self, tokens: &[Token<'_>], at: usize, scope: ReadScope) {
        let name = tokens[at + 1].text;
        let is_keyword = ["fn", "unsafe", "async", "extern"].contains(&name); // of `const fn`
        if is_keyword {
            return;
        }
        let name = if name == "mut" { tokens.get(at + 2).map_or("", |token| token.text) } else { name };
        let module = &mut self.modules[scope.module];
        if scope.is_item_level {
            module.items.insert(name.to_owned());
        }
        if tokens[at].is("fn")
            && let Some(body) = body_of(tokens, at)
        {
            let last = tokens[close(tokens, body) - 1].line;
            let lines = tokens[at].line..last + 1;
            module.bodies.push(Body { name: name.to_owned(), lines, is_test: scope.is_test });
        }
    }

    /// Reads a use declaration; returns where to go on.
    fn read_use(&mut self, tokens: &[Token<'_>], at: usize, scope: ReadScope) -> usize {
        let before = &tokens[at.saturating_sub(6)..at];
        let is_shown = match before.last() {
            Some(last) if last.is("pub") => true,
            Some(last) if last.is(")") => before.iter().any(|token| token.is("pub")),
            _ => false,
        };
        let mut found = Vec::new();
        let end = use_tree(tokens, at + 1, &[], &mut found);
        let line = tokens[at].line;
        let imports = found.into_iter().map(|(path, name)| Import {
            path,
            name,
            is_shown,
            is_test: scope.is_test,
            line,
        });
        self.modules[scope.module].imports.extend(imports);
        end + 1
    }

    /// Reads a child module: its block, or its file, which is at `path` if an attribute says so.
    fn read_child(&mut self, name: &str, block: Option<&[Token<'_>]>, path: Option<&str>, scope: ReadScope) {
        let parent = &self.modules[scope.module];
        let (stem, folder) = match parent.file.rsplit_once('/') {
            Some((folder, file)) => (file.trim_end_matches(".rs"), folder),
            None => panic!("{} lies in no folder", parent.file),
        };
        let candidates = match path {
            Some(path) => vec![join(folder, path)],
            None => {
                let folder = if scope.is_folder { folder.to_owned() } else { format!("{folder}/{stem}") };
                vec![format!("{folder}/{name}.rs"), format!("{folder}/{name}/mod.rs")]
            }
        };
        let file = match block {
            Some(_) => parent.file.clone(),
            None => candidates
                .into_iter()
                .find(|file| self.root.join(file).is_file())
                .unwrap_or_else(|| panic!("{} has no file for its child {name}", parent.file)),
        };
        let child = self.modules.len();
        self.modules.push(Module {
            file,
            is_test: scope.is_test,
            parent: Some(scope.module),
            ..Module::default()
        });
        self.modules[scope.module].children.insert(name.to_owned(), child);
        let Some([first, inner @ .., last]) = block else { return self.read_file(child, path.is_some()) };
        if scope.is_test {
            self.modules[scope.module].test_lines.push(first.line..last.line + 1);
        }
        self.read(inner, ReadScope { module: child, is_item_level: true, ..scope });
    }
}

/// The path in `#[path = "…"]`.
fn path_of(attribute: &str) -> Option<&str> {
    let (_, path) = attribute.split_once("#[path=\"")?;
    path.split_once('"').map(|(path, _)| path)
}

/// `path` from `folder`, without `..`.
fn join(folder: &str, path: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').collect();
    for part in path.split('/') {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts.join("/")
}

/// The index behind the bracket that closes the one at `open`.
fn close(tokens: &[Token<'_>], open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        if token.kind == Kind::Sign {
            match token.text {
                "{" | "(" | "[" => depth += 1,
                "}" | ")" | "]" => depth -= 1,
                _ => {}
            }
        }
        if depth == 0 {
            return at + 1;
        }
    }
    panic!("a bracket in line {} is not closed", tokens[open].line)
}

/// Where the body of the function at `at` opens, if it has one.
fn body_of(tokens: &[Token<'_>], mut at: usize) -> Option<usize> {
    loop {
        let token = tokens.get(at)?;
        if token.is("{") {
            return Some(at);
        }
        if token.is(";") {
            return None;
        }
        at = if token.is("(") || token.is("[") { close(tokens, at) } else { at + 1 };
    }
}

/// The path at `at`.
fn path_at(tokens: &[Token<'_>], at: usize) -> Vec<String> {
    let mut path = vec![tokens[at].text.to_owned()];
    let mut end = at + 1;
    while let [colons, word, ..] = &tokens[end..]
        && colons.kind == Kind::Path
        && word.kind == Kind::Word
    {
        path.push(word.text.to_owned());
        end += 2;
    }
    path
}

/// Reads one tree of a use declaration into (path, name) pairs; returns where it ends.
fn use_tree(
    tokens: &[Token<'_>],
    mut at: usize,
    prefix: &[String],
    found: &mut Vec<(Vec<String>, String)>,
) -> usize {
    let mut path = prefix.to_vec();
    loop {
        let token = tokens[at];
        if token.kind == Kind::Path {
            at += 1;
        } else if token.is("*") {
            found.push((path, "*".to_owned()));
            return at + 1;
        } else if token.is("{") {
            at += 1;
            while !tokens[at].is("}") {
                at = use_tree(tokens, at, &path, found);
                at += usize::from(tokens[at].is(","));
            }
            return at + 1;
        } else {
            assert!(token.kind == Kind::Word, "no use declaration: line {}", token.line);
            path.push(token.text.to_owned());
            at += 1;
            if tokens[at].kind == Kind::Path {
                continue;
            }
            if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
                path.pop();
            }
            let mut name = path.last().cloned().unwrap_or_default();
            if tokens[at].is("as") {
                tokens[at + 1].text.clone_into(&mut name);
                at += 2;
            }
            found.push((path, name));
            return at;
        }
    }
}

/// The type for which the `impl` before these tokens has methods; none if it implements a trait.
fn inherent(tokens: &[Token<'_>]) -> Option<Vec<String>> {
    let mut path = Vec::new();
    let mut depth = 0_i32;
    for (at, token) in tokens.iter().enumerate() {
        let is_arrow = at > 0 && tokens[at - 1].is("-");
        match token.text {
            "{" | ";" => break,
            "<" => depth += 1,
            ">" if !is_arrow => depth -= 1,
            "for" if depth == 0 => return None,
            "where" if depth == 0 => break,
            word if depth == 0 && token.kind == Kind::Word => path.push(word.to_owned()),
            _ => {}
        }
    }
    (!path.is_empty()).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(text: &str) -> Module {
        let mut reader = Reader { root: PathBuf::new(), modules: vec![Module::default()] };
        reader.modules[0].file = "a/src/lib.rs".to_owned();
        let scope = ReadScope { module: 0, is_item_level: true, is_test: false, is_folder: true };
        reader.read(&lex(text), scope);
        reader.modules.swap_remove(0)
    }

    #[test]
    fn use_trees_are_taken_apart() {
        let module = module("pub(crate) use a::{b::{self, C as D}, e::*}; use f;");
        let found: Vec<_> = module
            .imports
            .iter()
            .map(|import| format!("{} {} {}", import.path.join("::"), import.name, import.is_shown))
            .collect();
        assert_eq!(found, ["a::b b true", "a::b::C D true", "a::e * true", "f f false"]);
    }

    #[test]
    fn a_path_in_an_attribute_is_followed() {
        let tokens = lex("#[path = \"../e2e/cluster.rs\"]");
        let attribute: String = tokens.iter().map(|token| token.text).collect();
        assert_eq!(
            path_of(&attribute).map(|path| join("a/b/c", path)).as_deref(),
            Some("a/b/e2e/cluster.rs")
        );
        assert_eq!(path_of("#[cfg(test)]"), None);
    }

    #[test]
    fn items_methods_and_assertions_are_seen() {
        let text = "struct A; impl<T> A where T: B { fn c(&self) { assert!(x); } } impl B for A { fn d() {} }\n\
                    const E: u8 = 1; #[cfg(test)] mod tests { fn f() { assert!(true) } }";
        let module = module(text);
        assert_eq!(module.items.iter().map(String::as_str).collect::<Vec<_>>(), ["A", "E"]);
        assert_eq!(module.inherent, [["A"]]);
        assert_eq!(module.bodies.iter().map(|body| body.name.as_str()).collect::<Vec<_>>(), ["c", "d"]);
        assert_eq!((module.assertions.len(), module.test_lines.len()), (1, 1));
    }
}
