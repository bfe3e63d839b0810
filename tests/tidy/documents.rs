//! The documents: one title each, links that lead somewhere, complete indices, lines and pages of a length
//! that is read, and the ways that a contributor looks for.

use crate::{files, read, root};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

/// Columns a line of prose may have.
const COLUMNS_MAX: usize = 120;
/// Pages that are read in a hurry, and the lines that they may have.
const SHORT: &[(&str, usize)] =
    &[("README.md", 120), ("CONTRIBUTING.md", 120), ("SECURITY.md", 60), ("docs/performance.md", 120)];
/// The folders with an index: the index lists every other page of its folder.
const INDICES: &[&str] = &["docs", "docs/decisions", "docs/experiments"];
/// What a newcomer looks for. Each is reached from README.md by at most two links.
const WAYS: &[&str] = &[
    "CONTRIBUTING.md#where-a-set-becomes-durable",
    "CONTRIBUTING.md#add-a-command",
    "CONTRIBUTING.md#add-a-setting",
    "CONTRIBUTING.md#add-a-metric",
    "CONTRIBUTING.md#add-a-rule-of-the-protocol",
    "CONTRIBUTING.md#replay-a-seed-of-the-simulator",
    "CONTRIBUTING.md#write-a-client",
    "docs/wire-format.md",
    "docs/client.md",
    "docs/testing.md",
];
const STEPS_MAX: usize = 2;

/// The lines outside of blocks of code, numbered from 1.
fn prose(text: &str) -> Vec<(usize, &str)> {
    let mut fenced = false;
    let mut lines = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        if !fenced && !fence {
            lines.push((at + 1, line));
        }
    }
    assert!(!fenced, "a block of code is not closed");
    lines
}

/// `text` without `code`.
fn without_code(text: &str) -> String {
    text.split('`').step_by(2).collect::<Vec<_>>().join("``")
}

/// The targets of all links: `[name](target)` and `[name]: target`.
fn links(text: &str) -> Vec<String> {
    let lines: Vec<&str> = prose(text).into_iter().map(|(_, line)| line).collect();
    let plain = without_code(&lines.join("\n"));
    let inline = plain.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    let mut found: Vec<String> = inline.map(|(target, _)| target.to_owned()).collect();
    let definitions = lines.iter().filter(|line| is_link_definition(line));
    found.extend(definitions.filter_map(|line| Some(line.split_once("]: ")?.1.trim().to_owned())));
    found
}

/// The anchors of a document: its headings as the hosting sites name them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    let mut all = BTreeSet::new();
    for (_, line) in prose(text).into_iter().filter(|(_, line)| line.starts_with('#')) {
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
        let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        let before = found.entry(anchor.clone()).or_default();
        all.insert(if *before == 0 { anchor } else { format!("{anchor}-{before}") });
        *before += 1;
    }
    all
}

/// A link of the document `from`: the file below the root, and the anchor. `None` if it leaves the repository.
fn followed(from: &Path, target: &str) -> Option<(PathBuf, String)> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    if file.is_empty() {
        return Some((from.to_owned(), anchor.to_owned()));
    }
    let mut path = PathBuf::new();
    for part in from.parent().expect("a folder").join(file).components() {
        match part {
            Component::ParentDir => assert!(path.pop(), "{} links above the root: {target}", from.display()),
            Component::Normal(name) => path.push(name),
            _ => {}
        }
    }
    Some((path, anchor.to_owned()))
}

fn is_document(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "md")
}

#[test]
fn every_document_has_exactly_one_title() {
    for path in files(&["md"]) {
        let text = read(&path);
        let titles = prose(&text).iter().filter(|(_, line)| line.starts_with("# ")).count();
        assert_eq!(titles, 1, "{} has {titles} titles", path.display());
    }
}

#[test]
fn every_link_leads_somewhere() {
    let mut broken = Vec::new();
    for from in files(&["md"]) {
        for target in links(&read(&from)) {
            let Some((path, anchor)) = followed(&from, &target) else { continue };
            let exists = root().join(&path).exists();
            let leads = exists
                && (anchor.is_empty() || is_document(&path) && anchors(&read(&path)).contains(&anchor));
            if !leads {
                broken.push(format!("{}: {target}", from.display()));
            }
        }
    }
    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
}

/// The documents of `folder`, without those of its folders and without its index.
fn pages_of(folder: &str) -> BTreeSet<PathBuf> {
    let folder = Path::new(folder);
    let is_page =
        |path: &PathBuf| path.parent() == Some(folder) && path.file_name().is_some_and(|n| n != "README.md");
    files(&["md"]).into_iter().filter(is_page).collect()
}

#[test]
fn every_page_is_in_its_index() {
    for folder in INDICES {
        let index = Path::new(folder).join("README.md");
        let targets = links(&read(&index));
        let listed: BTreeSet<PathBuf> =
            targets.iter().filter_map(|target| Some(followed(&index, target)?.0)).collect();
        for page in pages_of(folder) {
            assert!(listed.contains(&page), "{} does not list {}", index.display(), page.display());
        }
    }
    let index = links(&read(Path::new("docs/README.md")));
    for folder in &INDICES[1..] {
        let name = format!("{}/README.md", folder.trim_start_matches("docs/"));
        assert!(index.contains(&name), "docs/README.md does not list {name}");
    }
}

#[test]
fn decisions_are_numbered_and_dated() {
    for (at, page) in pages_of("docs/decisions").iter().enumerate() {
        let name = page.file_name().expect("a name").to_string_lossy();
        assert!(name.starts_with(&format!("{:04}-", at + 1)), "the numbers leave no gap: {name}");
        let text = read(page);
        let line = text.lines().nth(2).unwrap_or_default();
        let date = line.strip_prefix("Date: ").unwrap_or_else(|| panic!("{name} has no date: {line}"));
        assert!(is_date(date) && line.contains(" Status: "), "{name}: {line}");
        let number = &name[..4];
        assert!(
            read(Path::new("docs/decisions/README.md")).contains(&format!("[{number}]({name})")),
            "{name}"
        );
    }
}

#[test]
fn experiments_are_dated() {
    for page in pages_of("docs/experiments") {
        let name = page.file_name().expect("a name").to_string_lossy().into_owned();
        assert!(is_month(&name), "{name} begins with a year and a month");
        let text = read(&page);
        let row = |word: &str| text.lines().find_map(|line| line.strip_prefix(&format!("| {word} | ")));
        assert!(row("date").is_some_and(is_date), "{name} has no date");
        assert!(row("machine").is_some() && row("result").is_some(), "{name} names no machine or no result");
    }
}

fn fits(text: &str, form: &str) -> bool {
    text.len() >= form.len()
        && text.bytes().zip(form.bytes()).all(|(byte, form)| match form {
            b'0' => byte.is_ascii_digit(),
            sign => byte == sign,
        })
}

/// Whether it begins with a date.
fn is_date(text: &str) -> bool {
    fits(text, "0000-00-00")
}

fn is_month(text: &str) -> bool {
    fits(text, "0000-00-")
}

#[test]
fn a_newcomer_finds_the_way() {
    let readme = PathBuf::from("README.md");
    let mut steps = BTreeMap::from([(readme.display().to_string(), 0)]);
    let mut open = vec![readme];
    for step in 1..=STEPS_MAX {
        for from in std::mem::take(&mut open) {
            for target in links(&read(&from)) {
                let Some((path, anchor)) = followed(&from, &target) else { continue };
                let page = path.display().to_string();
                if !anchor.is_empty() {
                    steps.entry(format!("{page}#{anchor}")).or_insert(step);
                }
                if is_document(&path) && root().join(&path).exists() && !steps.contains_key(&page) {
                    steps.insert(page, step);
                    open.push(path);
                }
            }
        }
    }
    for way in WAYS {
        assert!(steps.contains_key(*way), "README.md does not lead to {way} within {STEPS_MAX} links");
    }
}

#[test]
fn lines_of_documents_can_be_read() {
    for path in files(&["md"]) {
        for (at, line) in prose(&read(&path)) {
            // Tables, link definitions and headings cannot be wrapped.
            let is_fixed =
                line.trim_start().starts_with('|') || is_link_definition(line) || line.starts_with('#');
            let columns = line.chars().count();
            let name = path.display();
            assert!(is_fixed || columns <= COLUMNS_MAX, "{name}:{at} is wider than {COLUMNS_MAX} columns");
        }
    }
}

#[test]
fn pages_that_are_read_in_a_hurry_are_short() {
    for (page, most) in SHORT {
        let lines = read(Path::new(page)).lines().count();
        assert!(lines <= *most, "{page} has {lines} lines, and may have {most}");
    }
}

/// `[name]: address`.
fn is_link_definition(line: &str) -> bool {
    line.starts_with('[') && line.contains("]: ")
}

#[test]
fn links_and_anchors_are_read_as_the_hosting_sites_do() {
    let code = "see [x](y.md#z) and `[no](code.md)`\n```\n[no](fence.md)\n```\n";
    let text = format!("# A `b` c, d?\n{code}[r]: ref.md\n## A b\n## A b\n");
    assert_eq!(links(&text), ["y.md#z", "ref.md"]);
    let wanted = ["a-b", "a-b-1", "a-b-c-d"].map(str::to_owned);
    assert_eq!(anchors(&text), BTreeSet::from(wanted));
    let at = |target: &str| followed(Path::new("docs/decisions/0001-x.md"), target);
    assert_eq!(at("../protocol.md#rules"), Some((PathBuf::from("docs/protocol.md"), "rules".to_owned())));
    assert_eq!(at("#here"), Some((PathBuf::from("docs/decisions/0001-x.md"), "here".to_owned())));
    assert_eq!(at("https://example.org/a"), None);
}
