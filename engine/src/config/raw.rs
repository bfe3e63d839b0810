//! `RawConfig`: what the file, the environment and the flags say, each value with the place where it was said.
//!
//! Nothing is judged here except that every key exists and every value has a shape that some setting could have.
//! Precedence is decided here too: flag, then `SYNOD_*` variable, then file.

use super::Secret;
use super::keys::{self, ENV_PREFIX, KEYS, Key, MEMBER_KEYS, MEMBERS, SECTIONS};
use crate::refusal::Refusal;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Deref, DerefMut, Range};
use std::path::Path;
use synod_net::access::HIDDEN;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A value and where it was said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Said<T> {
    /// The value.
    pub value: T,
    /// File, line and key; or the flag; or the environment variable.
    pub place: String,
}

impl<T> Said<T> {
    /// The same place with what `convert` makes of the value, or a sentence with the place and `convert`'s complaint.
    pub fn parse<U>(self, convert: impl FnOnce(T) -> Result<U, String>) -> Result<Said<U>, Refusal> {
        match convert(self.value) {
            Ok(value) => Ok(Said { value, place: self.place }),
            Err(why) => Err(Refusal::ConfigValue { place: self.place, why }),
        }
    }
}

/// A value before anybody knows what it is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RawValue {
    /// A whole number.
    Int(u64),
    /// A string of a file.
    Text(String),
    /// Whole numbers.
    List(Vec<u64>),
    /// A flag or an environment variable: whatever its setting makes of it.
    Word(String),
    /// A string of either kind for a setting that is shown to nobody.
    Secret(Secret),
}

impl RawValue {
    /// The value as the one of `key`: from here on nobody is shown a password.
    fn of(self, key: &Key) -> Self {
        match self {
            value if !key.is_secret() => value,
            Self::Text(text) | Self::Word(text) => Self::Secret(Secret::new(text.into_bytes())),
            // No string, so it is refused like one with nothing in it; but it may have been meant for one.
            Self::Int(_) | Self::List(_) => Self::Secret(Secret::new(Vec::new())),
            secret @ Self::Secret(_) => secret,
        }
    }
    /// Without the quotes that sentences put around it.
    pub(super) fn plain(&self) -> String {
        match self {
            Self::Word(word) => word.clone(),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for RawValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(number) => write!(f, "{number}"),
            Self::Text(text) => write!(f, "\"{text}\""),
            Self::List(numbers) => write!(f, "{numbers:?}"),
            Self::Word(word) => write!(f, "'{word}'"),
            Self::Secret(_) => f.write_str(HIDDEN),
        }
    }
}

/// One member of the file: its line and its keys.
pub type RawMember = BTreeMap<&'static str, Said<RawValue>>;

/// Everything that was said.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RawConfig {
    /// The settings, by key name.
    pub values: BTreeMap<&'static str, Said<RawValue>>,
    /// The members, each with the place of its table.
    pub members: Vec<Said<RawMember>>,
}

/// The flags given, by key name. Passwords may be among them, where a cluster is started with what the environment said.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Flags(BTreeMap<&'static str, String>);

impl Flags {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Deref for Flags {
    type Target = BTreeMap<&'static str, String>;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Flags {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl<const N: usize> From<[(&'static str, String); N]> for Flags {
    fn from(given: [(&'static str, String); N]) -> Self {
        given.into_iter().collect()
    }
}

impl FromIterator<(&'static str, String)> for Flags {
    fn from_iter<I: IntoIterator<Item = (&'static str, String)>>(given: I) -> Self {
        Self(given.into_iter().collect())
    }
}

impl IntoIterator for Flags {
    type Item = (&'static str, String);
    type IntoIter = std::collections::btree_map::IntoIter<&'static str, String>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(name, word)| (name, keys::shown(name, word)))).finish()
    }
}

impl RawConfig {
    /// Reads all three sources. `env` is the whole environment; the file has been read by the caller, so that this touches
    /// nothing.
    pub fn gather(
        file: Option<(&Path, &str)>,
        env: impl Iterator<Item = (String, String)>,
        flags: &Flags,
    ) -> Result<Self, Refusal> {
        let mut raw = Self::default();
        if let Some((path, text)) = file {
            FileReader { path, text }.read(&mut raw)?;
        }
        raw.overlay_env(env)?;
        for (&name, word) in flags.iter() {
            // Flags are made from the table of keys.
            let key = keys::find(name).expect("every flag has its key");
            let place = if key.flag.is_empty() { name.to_owned() } else { format!("--{}", key.flag) };
            raw.values.insert(key.name, Said { value: RawValue::Word(word.clone()).of(key), place });
        }
        Ok(raw)
    }

    fn overlay_env(&mut self, env: impl Iterator<Item = (String, String)>) -> Result<(), Refusal> {
        let ours = env.filter(|(name, _)| {
            // Only what begins like one of our tables: orchestrators set variables such as SYNOD_SERVICE_HOST for their
            // own ends.
            name.strip_prefix(ENV_PREFIX).is_some_and(|rest| {
                SECTIONS.iter().any(|section| {
                    rest.strip_prefix(&section.to_uppercase()).is_some_and(|rest| rest.starts_with('_'))
                }) && !rest.contains("_SERVICE_")
            })
        });
        for (name, word) in ours {
            let Some(key) = KEYS.iter().find(|key| key.env() == name) else {
                return Err(Refusal::EnvUnknown { name });
            };
            self.values.insert(key.name, Said { value: RawValue::Word(word).of(key), place: name });
        }
        Ok(())
    }
}

/// Walks one TOML file.
struct FileReader<'a> {
    path: &'a Path,
    text: &'a str,
}

impl FileReader<'_> {
    fn read(&self, raw: &mut RawConfig) -> Result<(), Refusal> {
        let table = DeTable::parse(self.text).map_err(|error| {
            self.syntax(error.span(), format!("{}; correct the file", one_line(error.message())))
        })?;
        for (name, value) in table.get_ref() {
            let section = name.get_ref().as_ref();
            if section == MEMBERS {
                self.read_members(value, raw)?;
            } else if SECTIONS.contains(&section) {
                self.read_section(section, value, raw)?;
            } else {
                let known = SECTIONS.iter().copied().chain([MEMBERS]);
                let why = unknown(
                    "table",
                    section,
                    known,
                    "[cluster], [node], [timing], [limits], [security] and [[members]]",
                );
                return Err(self.syntax(Some(name.span()), why));
            }
        }
        Ok(())
    }

    fn read_section(
        &self,
        section: &str,
        table: &Spanned<DeValue<'_>>,
        raw: &mut RawConfig,
    ) -> Result<(), Refusal> {
        let Some(entries) = table.get_ref().as_table() else {
            let why =
                format!("{section} is a table: write [{section}] on a line of its own and its keys below");
            return Err(self.syntax(Some(table.span()), why));
        };
        for (name, value) in entries {
            let full = format!("{section}.{}", name.get_ref());
            let Some(key) = keys::find(&full) else {
                let known = KEYS.iter().map(|key| key.name);
                return Err(self.syntax(
                    Some(name.span()),
                    unknown("key", &full, known, "what `synod config keys` lists"),
                ));
            };
            let Said { value, place } = self.value(key.name, name.span(), value)?;
            raw.values.insert(key.name, Said { value: value.of(key), place });
        }
        Ok(())
    }

    fn read_members(&self, list: &Spanned<DeValue<'_>>, raw: &mut RawConfig) -> Result<(), Refusal> {
        let shape = "members is a list of tables: write [[members]] above the keys of each member";
        let Some(tables) = list.get_ref().as_array() else {
            return Err(self.syntax(Some(list.span()), shape.to_owned()));
        };
        for (index, table) in tables.iter().enumerate() {
            let Some(entries) = table.get_ref().as_table() else {
                return Err(self.syntax(Some(table.span()), shape.to_owned()));
            };
            let mut member = RawMember::new();
            for (name, value) in entries {
                let Some(&key) = MEMBER_KEYS.iter().find(|&&key| key == name.get_ref().as_ref()) else {
                    let why = unknown(
                        "member key",
                        name.get_ref(),
                        MEMBER_KEYS.into_iter(),
                        &MEMBER_KEYS.join(", "),
                    );
                    return Err(self.syntax(Some(name.span()), why));
                };
                let label = format!("member {} {key}", index + 1);
                member.insert(key, self.value(&label, name.span(), value)?);
            }
            let place = self.place(table.span(), &format!("member {}", index + 1));
            raw.members.push(Said { value: member, place });
        }
        Ok(())
    }

    fn value(
        &self,
        label: &str,
        span: Range<usize>,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<Said<RawValue>, Refusal> {
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
            Some(value) => Ok(Said { value, place }),
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
    match keys::nearest(wrong, known) {
        Some(meant) => format!("there is no {what} \"{wrong}\"; did you mean \"{meant}\"?"),
        None => format!("there is no {what} \"{wrong}\"; there are {all}"),
    }
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}
