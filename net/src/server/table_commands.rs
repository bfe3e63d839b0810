//! COMMAND and every HELP: the table of commands in the forms that clients ask for.

use super::responder::Responder;
use crate::resp::error_line::{ErrorLine, SYNTAX};
use crate::resp::glob::{Case, Pattern};
use crate::resp::parser::Args;
use crate::resp::reply::Writer;
use crate::resp::spec::{self, LOCAL_ARGUMENTS_MAX, NoKeys, SPECS, Spec, TableCommand};
use std::borrow::Cow;

/// Most rows of one answer: names may be repeated, and a container brings its subcommands along.
const ROWS_MAX: usize = LOCAL_ARGUMENTS_MAX;
const TOO_MANY_ROWS: ErrorLine = Cow::Borrowed("ERR too many commands are described at once; ask for fewer");

/// Executes COMMAND or a subcommand of it; its arity was checked.
pub(super) fn execute(
    command: TableCommand,
    reply: &mut Responder<'_>,
    args: &Args<'_>,
) -> Result<(), ErrorLine> {
    match command {
        TableCommand::All => reply.write(write_all),
        TableCommand::Count => reply.write(|writer| writer.count(SPECS.len())),
        TableCommand::Info if args.len() == 2 => reply.write(write_all),
        TableCommand::Info => {
            let found: Vec<Option<&Spec>> = args.iter_from(2).map(spec::find_full).collect();
            check_rows(found.iter().copied().flatten())?;
            reply.write(|writer| {
                writer.array(found.len());
                for spec in found {
                    match spec {
                        Some(spec) => write_spec(writer, spec),
                        None => writer.nil_array(),
                    }
                }
            });
        }
        TableCommand::Docs if args.len() == 2 => reply.write(|writer| write_docs(writer, SPECS.iter())),
        TableCommand::Docs => {
            let found: Vec<&Spec> = args.iter_from(2).filter_map(spec::find_full).collect();
            check_rows(found.iter().copied())?;
            reply.write(|writer| write_docs(writer, found.into_iter()));
        }
        TableCommand::List => {
            let found: Vec<&Spec> = match args.len() {
                2 => all_rows().collect(),
                5 if args.get(2).eq_ignore_ascii_case(b"filterby") => filtered(args.get(3), args.get(4))?,
                _ => return Err(SYNTAX),
            };
            reply.write(|writer| write_names(writer, &found));
        }
        TableCommand::GetKeys => {
            let keys = keys_of(args)?;
            reply.write(|writer| {
                writer.array(keys.len());
                keys.iter().for_each(|key| writer.bulk(key));
            });
        }
    }
    Ok(())
}

/// HELP of a container, in the form of Redis.
pub(super) fn help(container: &Spec, reply: &mut Responder<'_>) {
    let rows = container.subcommands();
    reply.write(|writer| {
        let name = container.name.to_ascii_uppercase();
        writer.array(1 + 2 * rows.len());
        writer.simple(&format!("{name} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
        for row in rows {
            let name = row.parts().1.to_ascii_uppercase();
            writer.simple(format!("{name} {}", row.arguments).trim_end());
            writer.simple(&format!("    {}", row.summary));
        }
    });
}

/// Writes the names of these rows.
pub(super) fn write_names(writer: &mut Writer<'_>, rows: &[&Spec]) {
    writer.array(rows.len());
    rows.iter().for_each(|row| writer.bulk(row.name.as_bytes()));
}

/// The commands and subcommands of one category; `None` if there is no such category.
pub(super) fn rows_in(category: &[u8]) -> Option<Vec<&'static Spec>> {
    let known = spec::CATEGORIES.iter().find(|known| category.eq_ignore_ascii_case(known.as_bytes()))?;
    Some(all_rows().filter(|row| row.is_in(known)).collect())
}

/// Every row: each command, followed by its subcommands.
fn all_rows() -> impl Iterator<Item = &'static Spec> {
    SPECS.iter().flat_map(|spec| std::iter::once(spec).chain(spec.subcommands()))
}

/// Limits the size of an answer that describes these commands.
fn check_rows<'a>(mut specs: impl Iterator<Item = &'a Spec>) -> Result<(), ErrorLine> {
    let rows = specs.try_fold(0, |rows, spec| {
        let rows = rows + 1 + spec.subcommands().len();
        (rows <= ROWS_MAX).then_some(rows)
    });
    rows.map(|_| ()).ok_or(TOO_MANY_ROWS)
}

/// The rows that COMMAND LIST FILTERBY keeps.
fn filtered(filter: &[u8], wanted: &[u8]) -> Result<Vec<&'static Spec>, ErrorLine> {
    match filter.to_ascii_lowercase().as_slice() {
        b"pattern" => {
            let pattern = Pattern::new(wanted, Case::Ignored)?;
            Ok(all_rows().filter(|row| pattern.fits(row.name.as_bytes())).collect())
        }
        b"aclcat" => Ok(rows_in(wanted).unwrap_or_default()),
        // There are no modules.
        b"module" => Ok(Vec::new()),
        _ => Err(SYNTAX),
    }
}

/// The keys of the command that follows COMMAND GETKEYS.
fn keys_of<'a>(args: &Args<'a>) -> Result<Vec<&'a [u8]>, ErrorLine> {
    const UNKNOWN: ErrorLine = Cow::Borrowed("ERR Invalid command specified");
    const BAD_ARITY: ErrorLine = Cow::Borrowed("ERR Invalid number of arguments specified for command");
    let asked: Vec<&[u8]> = args.iter_from(2).collect();
    let (name, count) = (args.get(2), asked.len());
    let mut row = spec::find(name).ok_or(UNKNOWN)?;
    if row.is_container() && row.takes(count) && count > 1 {
        row = row.subcommand(asked[1]).ok_or(UNKNOWN)?;
    }
    if !row.takes(count) {
        return Err(BAD_ARITY);
    }
    row.keys.among(&asked).map_err(|none| match none {
        NoKeys::Never => "ERR The command has no key arguments".into(),
        NoKeys::BadCount => "ERR Invalid arguments specified for command".into(),
    })
}

fn write_all(writer: &mut Writer<'_>) {
    writer.array(SPECS.len());
    SPECS.iter().for_each(|spec| write_spec(writer, spec));
}

/// Writes one command as COMMAND describes it, in the ten fields of Redis 7; the last one holds its
/// subcommands in the same form.
fn write_spec(writer: &mut Writer<'_>, spec: &Spec) {
    writer.array(10);
    writer.bulk(spec.name.as_bytes());
    writer.int(i64::from(spec.arity));
    writer.set(spec.flags.len());
    spec.flags.iter().for_each(|flag| writer.simple(flag));
    let (first, last, step) = spec.keys.positions();
    for number in [first, last, step] {
        writer.int(i64::from(number));
    }
    writer.set(spec.categories().count());
    spec.categories().for_each(|category| writer.simple(&format!("@{category}")));
    writer.array(0); // tips
    writer.array(0); // key specifications
    let subcommands = spec.subcommands();
    writer.array(subcommands.len());
    subcommands.iter().for_each(|row| write_spec(writer, row));
}

fn write_docs<'a>(writer: &mut Writer<'_>, specs: impl ExactSizeIterator<Item = &'a Spec>) {
    writer.map(specs.len());
    for spec in specs {
        let subcommands = spec.subcommands();
        writer.bulk(spec.name.as_bytes());
        writer.map(3 + usize::from(!subcommands.is_empty()));
        for (name, text) in [("summary", spec.summary), ("since", "1.0.0"), ("group", spec.family.group)] {
            writer.bulk(name.as_bytes());
            writer.bulk(text.as_bytes());
        }
        if !subcommands.is_empty() {
            writer.bulk(b"subcommands");
            write_docs(writer, subcommands.iter());
        }
    }
}
