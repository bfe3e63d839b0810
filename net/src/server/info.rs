//! INFO: the text that Redis tools read, from the fields that the shell gives.
//!
//! This file knows the sections and how a line is written. Which fields there are, and where their values
//! come from, is in the shell's table of figures.

use core::fmt::Write;
use std::borrow::Cow;

/// Sections in the order in which they are printed.
pub const SECTIONS: [&str; 13] = [
    "server",
    "clients",
    "memory",
    "persistence",
    "stats",
    "replication",
    "cpu",
    "modules",
    "commandstats",
    "errorstats",
    "cluster",
    "keyspace",
    "synod",
];
/// A section that is printed only if it is asked for, by its name or by `all` or `everything`, as in Redis.
const ON_REQUEST: &str = "commandstats";

/// One field of INFO.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InfoField {
    /// The section it belongs to, one of [`SECTIONS`].
    pub section: &'static str,
    /// Its name.
    pub name: Cow<'static, str>,
    /// Its value.
    pub value: InfoValue,
}

/// The value of a field of INFO.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum InfoValue {
    /// Anything that is no number, or not a whole one.
    Text(String),
    /// A number that may fall.
    Number(u64),
    /// What was counted since the start.
    Count(u64),
    /// Several counts with their names.
    Counts(Vec<(&'static str, u64)>),
}

impl InfoField {
    /// A field.
    pub fn new(section: &'static str, name: impl Into<Cow<'static, str>>, value: InfoValue) -> Self {
        Self { section, name: name.into(), value }
    }
}

/// The text of INFO for `sections`, given in lower case; none means the default ones.
pub(super) fn render(fields: &[InfoField], sections: &[String]) -> String {
    let asks = |name: &str| sections.iter().any(|section| section == name);
    let all = asks("all") || asks("everything");
    let defaults = sections.is_empty() || asks("default");
    let mut text = String::new();
    for section in SECTIONS {
        if all || asks(section) || (defaults && section != ON_REQUEST) {
            heading(&mut text, section);
            fields.iter().filter(|field| field.section == section).for_each(|field| line(&mut text, field));
        }
    }
    text
}

fn heading(text: &mut String, name: &str) {
    if !text.is_empty() {
        text.push_str("\r\n");
    }
    text.push_str("# ");
    match name {
        "cpu" => text.push_str("CPU"),
        name => {
            let (first, rest) = name.split_at(1);
            text.push_str(&first.to_ascii_uppercase());
            text.push_str(rest);
        }
    }
    text.push_str("\r\n");
}

fn line(text: &mut String, field: &InfoField) {
    // Writing to a String cannot fail, here and below.
    let _ = write!(text, "{}:", field.name);
    match &field.value {
        InfoValue::Text(value) => text.push_str(value),
        InfoValue::Number(count) | InfoValue::Count(count) => {
            let _ = write!(text, "{count}");
        }
        InfoValue::Counts(counts) => {
            for (index, (name, count)) in counts.iter().enumerate() {
                let comma = if index > 0 { "," } else { "" };
                let _ = write!(text, "{comma}{name}={count}");
            }
        }
    }
    text.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(sections: &[&str]) -> String {
        let fields = [
            InfoField::new(
                "commandstats",
                "cmdstat_get",
                InfoValue::Counts(vec![("calls", 2), ("failed_calls", 1)]),
            ),
            InfoField::new("stats", "expired_keys", InfoValue::Count(7)),
            InfoField::new("cpu", "used_cpu_sys", InfoValue::Text("0.5".to_owned())),
        ];
        let sections: Vec<String> = sections.iter().map(|section| (*section).to_owned()).collect();
        render(&fields, &sections).replace("\r\n", "|")
    }

    #[test]
    fn sections_come_in_order_and_only_those_asked_for() {
        assert_eq!(text(&["stats"]), "# Stats|expired_keys:7|");
        assert_eq!(text(&["stats", "cpu"]), "# Stats|expired_keys:7||# CPU|used_cpu_sys:0.5|");
        assert_eq!(text(&["commandstats"]), "# Commandstats|cmdstat_get:calls=2,failed_calls=1|");
        assert_eq!(text(&["nothing"]), "");
        for default in [&[][..], &["default"]] {
            assert!(text(default).contains("# Stats|") && !text(default).contains("# Commandstats|"));
        }
        for all in ["all", "everything"] {
            assert!(SECTIONS.iter().all(|name| text(&[all]).to_lowercase().contains(&format!("# {name}|"))));
        }
    }
}
