//! Finds a client's command in the table and checks that it is there: its name, the number of its arguments
//! and its subcommand.

use super::table::{SPECS, Spec};
use crate::resp::error_line::{ErrorLine, unknown_command, unknown_subcommand, wrong_arity};
use crate::resp::parser::Args;

/// Most arguments of a RESP command that is not about keys (INFO, COMMAND, CONFIG, CLIENT and the like): all
/// of them are handled in one call, and no such command needs more arguments than there are commands.
pub const LOCAL_ARGUMENTS_MAX: usize = 1024;

/// A command that was found in the table.
#[derive(Clone, Debug)]
pub struct FoundCommand {
    /// The row of its name.
    pub named: &'static Spec,
    /// The error line, if that row does not take so many arguments.
    pub arity: Result<(), ErrorLine>,
    /// The row that is executed: the same one, or that of the subcommand. The error line, if there is none.
    pub row: Result<&'static Spec, ErrorLine>,
}

/// Finds the command.
///
/// # Errors
/// The error line to answer with if there is none of this name.
pub fn lookup(args: &Args<'_>) -> Result<FoundCommand, ErrorLine> {
    let (name, count) = (args.get(0), args.len());
    let Some(named) = find(name) else { return Err(unknown_command(name, args.iter_from(1))) };
    let arity = if named.takes(count) { Ok(()) } else { Err(wrong_arity(named.name)) };
    if !named.is_container() && count <= LOCAL_ARGUMENTS_MAX {
        return Ok(FoundCommand { named, arity, row: Ok(named) });
    }
    let word = args.iter_from(1).next().filter(|_| named.is_container());
    let row = match word.map_or(Some(named), |word| named.subcommand(word)) {
        row if count > LOCAL_ARGUMENTS_MAX && !row.is_some_and(Spec::is_on_keys) => {
            Err(too_many_arguments(named.name, count))
        }
        Some(row) if row.takes(count) => Ok(row),
        Some(row) => Err(wrong_arity(row.name)),
        None => Err(unknown_subcommand(named.name, word.unwrap_or_default())),
    };
    Ok(FoundCommand { named, arity, row })
}

fn too_many_arguments(name: &str, count: usize) -> ErrorLine {
    let limit = LOCAL_ARGUMENTS_MAX;
    format!("ERR too many arguments for '{name}' command: {count}, the limit is {limit}").into()
}

const GET: usize = place_of("get");
const SET: usize = place_of("set");

const fn place_of(name: &str) -> usize {
    let mut place = 0;
    loop {
        if SPECS[place].name.len() == name.len() && is_equal(SPECS[place].name.as_bytes(), name.as_bytes()) {
            return place;
        }
        place += 1; // past the end is a build failure
    }
}

const fn is_equal(a: &[u8], b: &[u8]) -> bool {
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// Longest name of a command.
pub(super) const NAME_BYTES_MAX: usize = 16;

/// The command called `name`, in any case.
pub fn find(name: &[u8]) -> Option<&'static Spec> {
    let mut lower = [0_u8; NAME_BYTES_MAX];
    let lower = lower.get_mut(..name.len())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    // Nearly all commands are one of these two.
    match &*lower {
        b"get" => return Some(&SPECS[GET]),
        b"set" => return Some(&SPECS[SET]),
        _ => {}
    }
    let found = SPECS.binary_search_by(|spec| spec.name.as_bytes().cmp(lower)).ok()?;
    Some(&SPECS[found])
}

/// The command or subcommand called `name`, as `get` or `client|id`, in any case.
pub fn find_full(name: &[u8]) -> Option<&'static Spec> {
    match name.iter().position(|&byte| byte == b'|') {
        Some(bar) => find(&name[..bar])?.subcommand(&name[bar + 1..]),
        None => find(name),
    }
}
