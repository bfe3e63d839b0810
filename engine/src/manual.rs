//! `synod completions` and `synod man`: made from the tree of commands, so that they never say anything else than
//! `--help`.

use crate::node::RunError;
use crate::output;
use crate::refusal::Refusal;
use clap::{Command, ValueEnum};
use clap_complete::Shell as ClapShell;
use std::path::Path;

/// A shell that completions are made for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Shell {
    /// GNU bash.
    Bash,
    /// Z shell.
    Zsh,
    /// fish.
    Fish,
}

/// Prints the completions of all commands of `tree`.
///
/// # Errors
/// When they cannot be written.
pub fn completions(mut tree: Command, shell: Shell) -> Result<(), RunError> {
    let shell = match shell {
        Shell::Bash => ClapShell::Bash,
        Shell::Zsh => ClapShell::Zsh,
        Shell::Fish => ClapShell::Fish,
    };
    let name = tree.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut tree, name, &mut script);
    output::write(&script)
}

/// Prints the manual page of the command that `path` leads to; the page of `tree` itself for an empty path. With
/// a directory, writes the page of every command into it instead.
///
/// # Errors
/// When there is no such command, or a page cannot be written.
pub fn man(tree: Command, path: &[String], dir: Option<&Path>) -> Result<(), RunError> {
    let pages = pages(tree)?;
    let Some(dir) = dir else {
        let name =
            std::iter::once("synod").chain(path.iter().map(String::as_str)).collect::<Vec<_>>().join("-");
        let page = pages.iter().find(|(known, _)| *known == name);
        let (_, page) = page.ok_or_else(|| {
            Refusal::Usage(format!("there is no command `synod {}`; `synod help` lists them", path.join(" ")))
        })?;
        return output::write(page);
    };
    for (name, page) in &pages {
        let file = dir.join(format!("{name}.1"));
        std::fs::write(&file, page)
            .map_err(|error| RunError::Failed(format!("cannot write {}: {error}", file.display())))?;
    }
    output::write(format!("{} pages written to {}\n", pages.len(), dir.display()).as_bytes())
}

/// The manual page of every command, by its name with dashes: `synod-config-keys`.
fn pages(mut tree: Command) -> Result<Vec<(String, Vec<u8>)>, RunError> {
    // Fills in what subcommands inherit, such as --help.
    tree.build();
    let mut pages = Vec::new();
    let mut open = vec![(tree.get_name().to_owned(), tree)];
    while let Some((name, command)) = open.pop() {
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            open.push((format!("{name}-{}", sub.get_name()), sub.clone()));
        }
        let mut page = Vec::new();
        let titled = command.display_name(name.clone());
        clap_mangen::Man::new(titled)
            .render(&mut page)
            .map_err(|error| RunError::Failed(format!("cannot make the page {name}: {error}")))?;
        pages.push((name, page));
    }
    pages.sort();
    Ok(pages)
}
