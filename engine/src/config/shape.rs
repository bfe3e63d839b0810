//! `Shape`: which values a setting takes. It reads values, refuses wrong ones, and describes valid ones.
//!
//! ```text
//! RawValue ──▶ Shape::read ──▶ u64, IpAddr, Redirect …
//!                  └────────▶ "70000 is not a whole number from 1 to 65535"
//! ```
//! A shape knows one value and nothing else. Rules between two settings are in `relations.rs`.

use super::choice::Choice;
use super::limits::CLUSTER_NAME_BYTES_MAX;
use super::raw::RawValue;
use crate::identity::Pins;
use crate::voice::filter::{Filter, LEVELS, MODULES};
use std::marker::PhantomData;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use synod_net::access::{Secret, check_password};
use synod_types::ClusterId;

/// The word for no pinned CPUs.
const NO_CPUS: &str = "none";

/// The form in which a file writes a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TomlKind {
    /// `"text"`
    String,
    /// `16`
    Integer,
    /// `[0, 1]`, or the string `"none"`
    Integers,
}

impl TomlKind {
    /// Turns a value as a flag has it into the form that a file has.
    pub fn literal(self, word: &str) -> String {
        match self {
            Self::Integer => word.to_owned(),
            Self::Integers if word != NO_CPUS => format!("[{word}]"),
            Self::String | Self::Integers => toml::Value::String(word.to_owned()).to_string(),
        }
    }
}

/// The values that a setting takes.
pub trait Shape: Sync + 'static {
    /// The type of the value in the program.
    type Value;
    /// The type of the value in a file.
    const TOML: TomlKind;
    /// Whether the value is never shown.
    const IS_SECRET: bool = false;

    /// Returns the value, or an error that names the fault and the valid values.
    fn read(&self, raw: &RawValue) -> Result<Self::Value, String>;
    /// The values it takes, in words: "1 to 65535".
    fn takes(&self) -> String;
}

/// A [`Shape`] whose type is erased.
pub trait AnyShape: Sync {
    /// Checks that [`Shape::read`] takes the value.
    fn check(&self, raw: &RawValue) -> Result<(), String>;
    /// See [`Shape::takes`].
    fn describe(&self) -> String;
    /// See [`Shape::TOML`].
    fn toml_kind(&self) -> TomlKind;
    /// See [`Shape::IS_SECRET`].
    fn is_secret(&self) -> bool;
}

impl<S: Shape> AnyShape for S {
    fn check(&self, raw: &RawValue) -> Result<(), String> {
        self.read(raw).map(drop)
    }
    fn describe(&self) -> String {
        self.takes()
    }
    fn toml_kind(&self) -> TomlKind {
        S::TOML
    }
    fn is_secret(&self) -> bool {
        S::IS_SECRET
    }
}

/// A whole number within a range that `T` can hold.
#[derive(Debug)]
pub struct Number<T> {
    range: RangeInclusive<u64>,
    unit: &'static str,
    of: PhantomData<fn() -> T>,
}

impl<T> Number<T> {
    /// A number without a unit.
    pub const fn within(range: RangeInclusive<u64>) -> Self {
        Self { range, unit: "", of: PhantomData }
    }
    /// Milliseconds.
    pub const fn ms(range: RangeInclusive<u64>) -> Self {
        Self { range, unit: " ms", of: PhantomData }
    }
    /// MiB.
    pub const fn mib(range: RangeInclusive<u64>) -> Self {
        Self { range, unit: " MiB", of: PhantomData }
    }
}

impl<T: TryFrom<u64> + 'static> Shape for Number<T> {
    type Value = T;
    const TOML: TomlKind = TomlKind::Integer;

    fn read(&self, raw: &RawValue) -> Result<T, String> {
        whole_number(raw)
            .filter(|number| self.range.contains(number))
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| {
                format!("{raw} is not a whole number from {} to {}", self.range.start(), self.range.end())
            })
    }
    fn takes(&self) -> String {
        format!("{} to {}{}", self.range.start(), self.range.end(), self.unit)
    }
}

/// A power of two.
#[derive(Debug)]
pub struct PowerOfTwo {
    /// The largest.
    pub max: u16,
}

impl Shape for PowerOfTwo {
    type Value = u16;
    const TOML: TomlKind = TomlKind::Integer;

    fn read(&self, raw: &RawValue) -> Result<u16, String> {
        whole_number(raw)
            .and_then(|number| u16::try_from(number).ok())
            .filter(|number| number.is_power_of_two() && *number <= self.max)
            .ok_or_else(|| format!("{raw} is not a power of two from 1 to {}", self.max))
    }
    fn takes(&self) -> String {
        format!("a power of two from 1 to {}", self.max)
    }
}

/// One word of a [`Choice`].
#[derive(Debug)]
pub struct OneOf<T>(PhantomData<fn() -> T>);

impl<T: Choice> OneOf<T> {
    /// The only instance; the type parameter holds everything else.
    pub const NEW: Self = Self(PhantomData);

    fn listed() -> String {
        let which: Vec<String> =
            T::WORDS.iter().map(|(_, word, which)| format!("{word}, which {which}")).collect();
        match which.as_slice() {
            [] => String::new(),
            [only] => only.clone(),
            [first, last] => format!("{first}, or {last}"),
            [first @ .., last] => format!("{}, or {last}", first.join(", ")),
        }
    }
}

impl<T: Choice> Shape for OneOf<T> {
    type Value = T;
    const TOML: TomlKind = TomlKind::String;

    fn read(&self, raw: &RawValue) -> Result<T, String> {
        let word = text(raw)?;
        if let Some((value, ..)) = T::WORDS.iter().find(|(_, known, _)| *known == word) {
            return Ok(*value);
        }
        let what = T::WHAT;
        Err(match T::WORDS {
            _ if T::PLANNED.contains(&word) => {
                format!("{what} '{word}' is not available yet; use {}", Self::listed())
            }
            [(_, only, _)] if T::PLANNED.is_empty() => {
                format!("'{word}' is no {what}; there is only {only}")
            }
            _ => format!("'{word}' is no {what}; use {}", Self::listed()),
        })
    }
    fn takes(&self) -> String {
        Self::listed()
    }
}

/// The word yes or no.
#[derive(Debug)]
pub struct YesOrNo;

impl Shape for YesOrNo {
    type Value = bool;
    const TOML: TomlKind = TomlKind::String;

    fn read(&self, raw: &RawValue) -> Result<bool, String> {
        match text(raw)? {
            "yes" => Ok(true),
            "no" => Ok(false),
            other => Err(format!("'{other}' is neither yes nor no")),
        }
    }
    fn takes(&self) -> String {
        "yes or no".to_owned()
    }
}

/// The name of a cluster.
#[derive(Debug)]
pub struct ClusterName;

impl Shape for ClusterName {
    type Value = String;
    const TOML: TomlKind = TomlKind::String;

    fn read(&self, raw: &RawValue) -> Result<String, String> {
        let name = text(raw)?;
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.len() > CLUSTER_NAME_BYTES_MAX || !name.chars().all(allowed) {
            return Err(format!("'{name}' is no cluster name: use {}", self.takes()));
        }
        Ok(name.to_owned())
    }
    fn takes(&self) -> String {
        format!("letters, digits, '-', '_' and '.', at most {CLUSTER_NAME_BYTES_MAX}")
    }
}

/// The id of a cluster.
#[derive(Debug)]
pub struct ClusterIdDigits;

impl Shape for ClusterIdDigits {
    type Value = ClusterId;
    const TOML: TomlKind = TomlKind::String;

    fn read(&self, raw: &RawValue) -> Result<ClusterId, String> {
        let digits = text(raw)?;
        let right = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = right.then(|| u128::from_str_radix(digits, 16).ok()).flatten().filter(|&id| id != 0);
        number
            .map(ClusterId::new)
            .ok_or_else(|| format!("'{digits}' is not 32 hexadecimal digits, or all of them are 0"))
    }
    fn takes(&self) -> String {
        "32 hexadecimal digits, not all 0".to_owned()
    }
}

/// An IP address.
#[derive(Debug)]
pub struct IpAddress;

impl Shape for IpAddress {
    type Value = IpAddr;
    const TOML: TomlKind = TomlKind::String;

    fn read(&self, raw: &RawValue) -> Result<IpAddr, String> {
        let words = text(raw)?;
        words.parse().map_err(|_| format!("'{words}' is not {}", self.takes()))
    }
    fn takes(&self) -> String {
        "an IP address, such as 127.0.0.1 or ::1 or 0.0.0.0".to_owned()
    }
}

/// An IP address or a name that has one.
#[derive(Debug)]
pub struct Host;

impl Shape for Host {
    type Value = String;
    const TOML: TomlKind = TomlKind::String;

    fn read(&self, raw: &RawValue) -> Result<String, String> {
        let host = text(raw)?;
        let right = host.parse::<IpAddr>().is_ok()
            || host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        if right {
            Ok(host.to_owned())
        } else {
            Err(format!("'{host}' is neither an IP address nor a host name"))
        }
    }
    fn takes(&self) -> String {
        "an IP address or a host name".to_owned()
    }
}

/// The path of a file or a directory.
#[derive(Debug)]
pub struct FilePath;

/// A path as it was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WrittenPath {
    path: PathBuf,
    is_in_file: bool,
}

impl WrittenPath {
    /// Resolves the path for a configuration file in `dir`. A path in the file is relative to the file's
    /// directory; a path in a flag or a variable is relative to the working directory.
    pub fn resolve(self, dir: &Path) -> PathBuf {
        if self.is_in_file { dir.join(self.path) } else { self.path }
    }
}

impl Shape for FilePath {
    type Value = WrittenPath;
    const TOML: TomlKind = TomlKind::String;

    fn read(&self, raw: &RawValue) -> Result<WrittenPath, String> {
        let path = PathBuf::from(text(raw)?);
        Ok(WrittenPath { path, is_in_file: matches!(raw, RawValue::Text(_)) })
    }
    fn takes(&self) -> String {
        "a path".to_owned()
    }
}

/// The CPUs that cores are bound to: `[0, 1]` in a file, `0,1` in a flag, or `none`.
#[derive(Debug)]
pub struct CpuList;

impl Shape for CpuList {
    type Value = Pins;
    const TOML: TomlKind = TomlKind::Integers;

    fn read(&self, raw: &RawValue) -> Result<Pins, String> {
        let complaint = || format!("{raw} is neither none nor a list of CPU numbers such as [0, 1]");
        let numbers = match raw {
            RawValue::Text(word) | RawValue::Word(word) if word == NO_CPUS => return Ok(Pins::None),
            RawValue::List(numbers) => numbers.clone(),
            RawValue::Word(words) => words
                .split(',')
                .map(|word| word.trim().parse::<u64>())
                .collect::<Result<_, _>>()
                .map_err(|_| complaint())?,
            RawValue::Text(_) | RawValue::Int(_) | RawValue::Secret(_) => return Err(complaint()),
        };
        let cpus: Vec<u32> = numbers
            .iter()
            .map(|&number| u32::try_from(number))
            .collect::<Result<_, _>>()
            .map_err(|_| complaint())?;
        if cpus.is_empty() {
            return Err("an empty list pins nothing; write \"none\"".to_owned());
        }
        let twice = cpus.iter().enumerate().find(|(at, cpu)| cpus[..*at].contains(cpu));
        if let Some((_, cpu)) = twice {
            return Err(format!("{raw} names CPU {cpu} twice; each core needs its own"));
        }
        Ok(Pins::Cpus(cpus))
    }
    fn takes(&self) -> String {
        "CPU numbers, [0, 1] in a file and 0,1 elsewhere, or none".to_owned()
    }
}

/// The levels of the log, in general and by module.
#[derive(Debug)]
pub struct LogLevels;

impl Shape for LogLevels {
    type Value = Filter;
    const TOML: TomlKind = TomlKind::String;

    fn read(&self, raw: &RawValue) -> Result<Filter, String> {
        Filter::parse(text(raw)?)
    }
    fn takes(&self) -> String {
        let levels = LEVELS.map(|(word, _)| word).join(", ");
        format!("{levels}, and module=level for {}, separated by commas: info,peer=debug", MODULES.join(", "))
    }
}

/// A password. Error messages never contain the given value.
#[derive(Debug)]
pub struct Password;

impl Shape for Password {
    type Value = Secret;
    const TOML: TomlKind = TomlKind::String;
    const IS_SECRET: bool = true;

    fn read(&self, raw: &RawValue) -> Result<Secret, String> {
        let given = match raw {
            RawValue::Secret(given) => given.clone(),
            // Values of secret settings are wrapped as secrets when they are gathered.
            _ => Secret::new(Vec::new()),
        };
        check_password(given.bytes()).map_err(|why| {
            format!("{why}; write one in quotes, or leave the setting out where there is to be none")
        })?;
        Ok(given)
    }
    fn takes(&self) -> String {
        "a string".to_owned()
    }
}

fn whole_number(raw: &RawValue) -> Option<u64> {
    match raw {
        RawValue::Int(number) => Some(*number),
        RawValue::Word(word) => word.parse().ok(),
        RawValue::Text(_) | RawValue::List(_) | RawValue::Secret(_) => None,
    }
}

/// A string that is not empty.
fn text(raw: &RawValue) -> Result<&str, String> {
    match raw {
        RawValue::Text(word) | RawValue::Word(word) if !word.is_empty() => Ok(word.as_str()),
        other => Err(format!("{other} is not a string with something in it; write it in quotes")),
    }
}
