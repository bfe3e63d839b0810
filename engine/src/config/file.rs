//! Reads one TOML file: its tables and keys, and the line of each value.
//!
//! The only checks here: every key exists, and every value has a form that some setting could have.

use super::raw::{RawConfig, RawMember, RawValue, RawValues, Sourced};
use super::settings::{self, MEMBER_ROWS, MEMBERS, ROWS, SECTIONS};
use super::spelling::nearest;
use crate::refusal::Refusal;
use std::ops::Range;
use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Reads the `text` of the file at `path`.
pub(super) fn read(path: &Path, text: &str) -> Result<RawConfig, Refusal> {
    FileReader { path, text }.read()
}

/// Walks one TOML file.
struct FileReader<'a> {
    path: &'a Path,
    text: &'a str,
}

impl FileReader<'_> {
    fn read(&self) -> Result<RawConfig, Refusal> {
        let table = DeTable::parse(self.text).map_err(|error| {
            self.syntax(error.span(), format!("{}; correct the file", one_line(error.message())))
        })?;
        let mut raw = RawConfig::default();
        for (name, value) in table.get_ref() {
            let section = name.get_ref().as_ref();
            if section == MEMBERS {
                self.read_members(value, &mut raw.members)?;
            } else if SECTIONS.contains(&section) {
                self.read_section(section, value, &mut raw.values)?;
            } else {
                let known = SECTIONS.iter().copied().chain([MEMBERS]);
                let tables = SECTIONS.map(|section| format!("[{section}]")).join(", ");
                let why = unknown("table", section, known, &format!("{tables} and [[{MEMBERS}]]"));
                return Err(self.syntax(Some(name.span()), why));
            }
        }
        Ok(raw)
    }

    fn read_section(
        &self,
        section: &str,
        table: &Spanned<DeValue<'_>>,
        values: &mut RawValues,
    ) -> Result<(), Refusal> {
        let Some(entries) = table.get_ref().as_table() else {
            let why =
                format!("{section} is a table: write [{section}] on a line of its own and its keys below");
            return Err(self.syntax(Some(table.span()), why));
        };
        for (name, value) in entries {
            let full = format!("{section}.{}", name.get_ref());
            let Some(row) = settings::find(&full) else {
                let known = ROWS.iter().map(|row| row.name);
                return Err(self.syntax(
                    Some(name.span()),
                    unknown("key", &full, known, "what `synod config keys` lists"),
                ));
            };
            row.put(self.value(row.name, name.span(), value)?, values);
        }
        Ok(())
    }

    fn read_members(&self, list: &Spanned<DeValue<'_>>, members: &mut Vec<RawMember>) -> Result<(), Refusal> {
        let shape = "members is a list of tables: write [[members]] above the keys of each member";
        let Some(tables) = list.get_ref().as_array() else {
            return Err(self.syntax(Some(list.span()), shape.to_owned()));
        };
        for (number, table) in (1..).zip(tables.iter()) {
            let Some(entries) = table.get_ref().as_table() else {
                return Err(self.syntax(Some(table.span()), shape.to_owned()));
            };
            let value = self.read_member(number, entries)?;
            let place = self.place(table.span(), &format!("member {number}"));
            members.push(Sourced { value, place });
        }
        Ok(())
    }

    fn read_member(&self, number: usize, entries: &DeTable<'_>) -> Result<RawValues, Refusal> {
        let mut member = RawValues::new();
        for (name, value) in entries {
            let Some(row) = MEMBER_ROWS.iter().find(|row| row.key() == name.get_ref().as_ref()) else {
                let keys: Vec<&str> = MEMBER_ROWS.iter().map(|row| row.key()).collect();
                let why = unknown("member key", name.get_ref(), keys.iter().copied(), &keys.join(", "));
                return Err(self.syntax(Some(name.span()), why));
            };
            let label = format!("member {number} {}", row.key());
            member.insert(row.name, self.value(&label, name.span(), value)?);
        }
        Ok(member)
    }

    fn value(
        &self,
        label: &str,
        span: Range<usize>,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<Sourced<RawValue>, Refusal> {
        let place = self.place(span, label);
        let converted = match value.get_ref() {
            DeValue::String(text) => Some(RawValue::Text(text.clone().into_owned())),
            DeValue::Array(items) => items
                .iter()
                .map(|item| whole_number(item.get_ref()))
                .collect::<Option<_>>()
                .map(RawValue::List),
            other => whole_number(other).map(RawValue::Int),
        };
        match converted {
            Some(value) => Ok(Sourced { value, place }),
            None => Err(Refusal::ConfigValue {
                place,
                why: "this is neither a string, nor a whole number from 0 up, nor a list of such numbers; \
                      `synod config keys` says what each key takes"
                    .to_owned(),
            }),
        }
    }

    fn place(&self, span: Range<usize>, label: &str) -> String {
        format!("{} line {} ({label})", self.path.display(), self.line_of(span.start))
    }
    fn line_of(&self, offset: usize) -> usize {
        let before = self.text.as_bytes().get(..offset).unwrap_or(self.text.as_bytes());
        before.iter().filter(|&&byte| byte == b'\n').count() + 1
    }
    fn syntax(&self, span: Option<Range<usize>>, why: String) -> Refusal {
        let line = span.map(|span| self.line_of(span.start));
        Refusal::ConfigSyntax { path: self.path.to_owned(), line, why }
    }
}

fn whole_number(value: &DeValue<'_>) -> Option<u64> {
    let integer = value.as_integer()?;
    u64::from_str_radix(&integer.as_str().replace('_', ""), integer.radix()).ok()
}

fn unknown<'k>(what: &str, wrong: &str, known: impl Iterator<Item = &'k str>, all: &str) -> String {
    match nearest(wrong, known) {
        Some(meant) => format!("there is no {what} \"{wrong}\"; did you mean \"{meant}\"?"),
        None => format!("there is no {what} \"{wrong}\"; there are {all}"),
    }
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}
