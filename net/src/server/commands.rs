//! COMMAND: the table of commands as clients ask for it.

use super::resp::Session;
use crate::resp::glob::{Case, Pattern};
use crate::resp::number::parse_i64;
use crate::resp::parser::Args;
use crate::resp::plan::wrong_arity;
use crate::resp::reply::Writer;
use crate::resp::spec::{self, SPECS, Spec, Verb};

impl Session {
    pub(super) fn command(&mut self, out: &mut Vec<u8>, args: &Args<'_>) {
        if args.len() == 1 {
            return self.write(out, |writer| {
                writer.array(SPECS.len());
                SPECS.iter().for_each(|spec| write_spec(writer, spec));
            });
        }
        let sub = args.get(1).to_ascii_lowercase();
        match (sub.as_slice(), args.len()) {
            (b"count", 2) => self.write(out, |writer| writer.count(SPECS.len())),
            (b"info", 2) => self.write(out, |writer| {
                writer.array(SPECS.len());
                SPECS.iter().for_each(|spec| write_spec(writer, spec));
            }),
            (b"info", _) => self.write(out, |writer| {
                writer.array(args.len() - 2);
                for name in args.iter_from(2) {
                    match spec::find(name) {
                        Some(spec) => write_spec(writer, spec),
                        None => writer.nil_array(),
                    }
                }
            }),
            (b"docs", 2) => self.write(out, |writer| write_docs(writer, &SPECS.iter().collect::<Vec<_>>())),
            (b"docs", _) => {
                let found: Vec<_> = args.iter_from(2).filter_map(spec::find).collect();
                self.write(out, |writer| write_docs(writer, &found));
            }
            (b"list", 2) => self.write(out, |writer| {
                writer.array(SPECS.len());
                SPECS.iter().for_each(|spec| writer.bulk(spec.name.as_bytes()));
            }),
            (b"list", 5) if args.get(2).eq_ignore_ascii_case(b"filterby") => {
                let found = filtered(args.get(3), args.get(4));
                self.write(out, |writer| match found {
                    Ok(found) => {
                        writer.array(found.len());
                        found.iter().for_each(|spec| writer.bulk(spec.name.as_bytes()));
                    }
                    Err(error) => writer.error(&error),
                });
            }
            (b"getkeys", 3..) => {
                let keys = keys_of(args);
                self.write(out, |writer| match keys {
                    Ok(keys) => {
                        writer.array(keys.len());
                        keys.iter().for_each(|key| writer.bulk(key));
                    }
                    Err(error) => writer.error(error),
                });
            }
            (b"count" | b"getkeys", _) => {
                let error = wrong_arity(&format!("command|{}", String::from_utf8_lossy(&sub)));
                self.write(out, |writer| writer.error(&error));
            }
            (b"list", _) => self.write(out, |writer| writer.error("ERR syntax error")),
            _ => self.unknown_subcommand(out, "COMMAND", args),
        }
    }
}

/// The commands that COMMAND LIST FILTERBY leaves.
fn filtered(filter: &[u8], wanted: &[u8]) -> Result<Vec<&'static Spec>, String> {
    match filter.to_ascii_lowercase().as_slice() {
        b"pattern" => {
            let pattern = Pattern::new(wanted, Case::Ignored)?;
            Ok(SPECS.iter().filter(|spec| pattern.fits(spec.name.as_bytes())).collect())
        }
        // There are neither modules nor categories.
        b"module" | b"aclcat" => Ok(Vec::new()),
        _ => Err("ERR syntax error".to_owned()),
    }
}

/// The keys of the command that follows COMMAND GETKEYS.
fn keys_of<'a>(args: &Args<'a>) -> Result<Vec<&'a [u8]>, &'static str> {
    let asked: Vec<&[u8]> = args.iter_from(2).collect();
    let spec = asked.first().and_then(|name| spec::find(name)).ok_or("ERR Invalid command specified")?;
    if !spec.takes(asked.len()) {
        return Err("ERR Invalid number of arguments specified for command");
    }
    let len = asked.len();
    let (first, last, step) = match spec.verb {
        // Its second argument says how many there are.
        Verb::MSetEx => {
            let count = parse_i64(asked[1]).and_then(|count| usize::try_from(count).ok()).unwrap_or(0);
            let last = count.checked_mul(2).filter(|last| count > 0 && *last < len);
            (2, last.ok_or("ERR Invalid arguments specified for command")?, 2)
        }
        _ => {
            let (first, last, step) = spec.keys;
            let last =
                if last < 0 { len.saturating_sub(usize::from(last.unsigned_abs())) } else { last as usize };
            (usize::from(first.unsigned_abs()), last, usize::from(step.unsigned_abs()))
        }
    };
    if first == 0 {
        return Err("ERR The command has no key arguments");
    }
    Ok((first..=last.min(len - 1)).step_by(step.max(1)).map(|at| asked[at]).collect())
}

/// One command as COMMAND tells it, in the ten fields of Redis 7.
fn write_spec(writer: &mut Writer<'_>, spec: &Spec) {
    writer.array(10);
    writer.bulk(spec.name.as_bytes());
    writer.int(i64::from(spec.arity));
    writer.set(spec.flags.len());
    spec.flags.iter().for_each(|flag| writer.simple(flag));
    let (first, last, step) = spec.keys;
    for number in [first, last, step] {
        writer.int(i64::from(number));
    }
    writer.set(0); // ACL categories
    writer.array(0); // tips
    writer.array(0); // key specifications
    writer.array(0); // subcommands
}

fn write_docs(writer: &mut Writer<'_>, specs: &[&Spec]) {
    writer.map(specs.len());
    for spec in specs {
        let group = match (spec.keys.0, spec.flags.contains(&"admin")) {
            (0, true) => "server",
            (0, false) => "connection",
            _ => "string",
        };
        writer.bulk(spec.name.as_bytes());
        writer.map(3);
        for (name, text) in [("summary", spec.summary), ("since", "1.0.0"), ("group", group)] {
            writer.bulk(name.as_bytes());
            writer.bulk(text.as_bytes());
        }
    }
}
