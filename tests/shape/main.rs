//! `shape`: the code in numbers, for reports: files, functions, assertions, arrows up, circles, lines of code
//! and of tests.
//!
//! ```text
//!   shape                the workspace that this program was built from
//!   shape DIRECTORY      another one
//!   shape --why          every arrow of every circle too, with the words that make it
//! ```

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use synod_tests::shape::{Crate, Edges, Figures, Spread, arrows_up, circles, figures, packages, read_crates};

/// The rooms whose assertions are counted one by one.
const PROTOCOL: &[&str] = &["engine/paxos", "engine/shard", "engine/replica", "engine/store", "wal"];

fn main() {
    let mut root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(PathBuf::from).unwrap_or_default();
    let mut why = false;
    for argument in std::env::args_os().skip(1) {
        if argument == "--why" {
            why = true;
        } else {
            root = PathBuf::from(argument);
        }
    }
    let crates = read_crates(&root);
    let shipped = |target: &Crate| !["tests", "bench-harness"].contains(&target.package.as_str());
    println!(
        "{:<16} {:>6} {:>14} {:>18} {:>12}",
        "", "files", "file med/max", "fn med/p90/max", "asserts/fn"
    );
    print_row("all that ships", &figures(&root, &crates, shipped));
    let mut names: Vec<&str> = crates.iter().map(|target| target.package.as_str()).collect();
    names.dedup();
    for package in &names {
        print_row(package, &figures(&root, &crates, |target| target.package == *package));
    }
    println!();
    for package in PROTOCOL {
        let found = figures(&root, &crates, |target| target.package == *package);
        let (asserts, functions) = (found.assertions, found.functions.len());
        println!("{package}: {asserts} assertions in {functions} functions");
    }
    print_longest(&figures(&root, &crates, shipped));
    let ours = figures(&root, &crates, shipped);
    let tools = figures(&root, &crates, |target| !shipped(target));
    println!(
        "lines that ship {}; of tests, simulator and benches {}",
        ours.lines(),
        ours.test_lines + tools.lines() + tools.test_lines
    );
    print_plan(&crates, why);
    let up = arrows_up(&packages(&root));
    println!("arrows up {}", up.len());
    up.iter().for_each(|(from, to)| println!("  {from} -> {to}"));
}

fn print_row(name: &str, figures: &Figures) {
    let (files, functions) = (figures.file_lengths(), figures.function_lengths());
    println!(
        "{name:<16} {:>6} {:>8}/{:<5} {:>8}/{}/{:<5} {:>12.2}",
        files.len(),
        quantile(&files, 50),
        quantile(&files, 100),
        quantile(&functions, 50),
        quantile(&functions, 90),
        quantile(&functions, 100),
        figures.assertions_per_function(),
    );
}

fn print_longest(figures: &Figures) {
    if let Some((file, lines)) = figures.longest_file() {
        println!("longest file: {file}, {lines} lines");
    }
    if let Some(function) = figures.longest_function() {
        println!("longest function: {}, {} lines", function.name, function.lines);
    }
}

fn print_plan(crates: &[Crate], why: bool) {
    let mut count = 0;
    for target in crates {
        let edges = Edges::of(target);
        for circle in circles(&edges) {
            count += 1;
            println!("circle of {} files in {}", circle.len(), target.root);
            if why {
                println!("{}", edges.describe(&circle));
            } else {
                circle.iter().for_each(|file| println!("  {file}"));
            }
        }
    }
    println!("circles {count}");
    for Spread { name, home, file } in crates.iter().flat_map(Spread::of) {
        println!("spread: {name} of {home} has methods in {file}");
    }
}

/// The value that `percent` of the values do not exceed; 0 if there are none.
fn quantile(ascending: &[usize], percent: usize) -> usize {
    let last = ascending.len().saturating_sub(1);
    ascending.get(last * percent / 100).copied().unwrap_or(0)
}
