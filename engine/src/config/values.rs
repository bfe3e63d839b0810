//! From raw values to typed ones, each with a complaint that says what would be right.

use super::facts::KeyHash;
use super::keys::Key;
use super::raw::{RawValue, Said};
use super::{Durability, Leadership, Redirect, Secret, limits};
use crate::identity::Pins;
use crate::refusal::Refusal;
use std::collections::BTreeMap;
use std::net::IpAddr;
use synod_net::access::check_password;
use synod_types::ClusterId;
use synod_types::limits::GROUP_COUNT_MAX;

/// Takes settings out of what was said, so that one left over is noticed.
pub(super) struct Taker<'a> {
    pub(super) values: &'a mut BTreeMap<&'static str, Said<RawValue>>,
}

impl Taker<'_> {
    pub(super) fn take<T>(
        &mut self,
        key: &Key,
        convert: impl FnOnce(RawValue) -> Result<T, String>,
    ) -> Result<Option<Said<T>>, Refusal> {
        self.values.remove(key.name).map(|said| said.parse(convert)).transpose()
    }
}

/// A whole number from `low` to `high`.
pub(super) fn range(raw: &RawValue, low: u64, high: u64) -> Result<u64, String> {
    let number = match raw {
        RawValue::Int(number) => Some(*number),
        RawValue::Word(word) => word.parse().ok(),
        RawValue::Text(_) | RawValue::List(_) | RawValue::Secret(_) => None,
    };
    number
        .filter(|number| (low..=high).contains(number))
        .ok_or_else(|| format!("{raw} is not a whole number from {low} to {high}"))
}

/// [`range`] within 16 bits.
pub(super) fn range16(raw: &RawValue, low: u16, high: u16) -> Result<u16, String> {
    // The range keeps it within 16 bits.
    range(raw, low.into(), high.into()).map(|number| number as u16)
}

/// [`range`] within 32 bits.
pub(super) fn range32(raw: &RawValue, low: u32, high: u32) -> Result<u32, String> {
    // The range keeps it within 32 bits.
    range(raw, low.into(), high.into()).map(|number| number as u32)
}

pub(super) fn port(raw: RawValue) -> Result<u16, String> {
    range16(&raw, 1, u16::MAX)
}

pub(super) fn port_or_none(raw: RawValue) -> Result<u16, String> {
    range16(&raw, 0, u16::MAX)
}

/// A string that is not empty.
pub(super) fn text(raw: RawValue) -> Result<String, String> {
    match raw {
        RawValue::Text(text) | RawValue::Word(text) if !text.is_empty() => Ok(text),
        other => Err(format!("{other} is not a string with something in it; write it in quotes")),
    }
}

pub(super) fn ip_address(raw: RawValue) -> Result<IpAddr, String> {
    let words = text(raw)?;
    words.parse().map_err(|_| format!("'{words}' is not an IP address, such as 127.0.0.1 or ::1 or 0.0.0.0"))
}

pub(super) fn cluster_name(raw: RawValue) -> Result<String, String> {
    let name = text(raw)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.len() > limits::CLUSTER_NAME_BYTES_MAX || !name.chars().all(allowed) {
        return Err(format!(
            "'{name}' is no cluster name: use letters, digits, '-', '_' and '.', at most {}",
            limits::CLUSTER_NAME_BYTES_MAX
        ));
    }
    Ok(name)
}

pub(super) fn cluster_id(raw: RawValue) -> Result<ClusterId, String> {
    let digits = text(raw)?;
    let right = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = right.then(|| u128::from_str_radix(&digits, 16).ok()).flatten().filter(|&id| id != 0);
    number
        .map(ClusterId::new)
        .ok_or_else(|| format!("'{digits}' is not 32 hexadecimal digits, or all of them are 0"))
}

pub(super) fn group_count(raw: RawValue) -> Result<u16, String> {
    let complaint = || format!("{raw} is not a power of two from 1 to {GROUP_COUNT_MAX}");
    let count = range16(&raw, 1, GROUP_COUNT_MAX).map_err(|_| complaint())?;
    if count.is_power_of_two() { Ok(count) } else { Err(complaint()) }
}

pub(super) fn key_hash(raw: RawValue) -> Result<KeyHash, String> {
    match text(raw)?.as_str() {
        "crc16" => Ok(KeyHash::Crc16),
        other => Err(format!("'{other}' is no key hash; there is only crc16")),
    }
}

pub(super) fn durability(raw: RawValue) -> Result<Durability, String> {
    match text(raw)?.as_str() {
        "sync" => Ok(Durability::Sync),
        mode @ ("async" | "none") => Err(format!(
            "durability '{mode}' is not available yet; use sync, which acknowledges only what is flushed"
        )),
        other => Err(format!("'{other}' is no durability; use sync")),
    }
}

pub(super) fn redirect(raw: RawValue) -> Result<Redirect, String> {
    match text(raw)?.as_str() {
        "proxy" => Ok(Redirect::Proxy),
        "moved" => Ok(Redirect::Moved),
        other => Err(format!(
            "'{other}' is no redirect; use proxy, which serves any key at any node, or moved, which sends Redis Cluster \
             clients to the key's leader"
        )),
    }
}

pub(super) fn leadership(raw: RawValue) -> Result<Leadership, String> {
    match text(raw)?.as_str() {
        "balance" => Ok(Leadership::Balance),
        "follow" => Ok(Leadership::Follow),
        "stay" => Ok(Leadership::Stay),
        other => Err(format!(
            "'{other}' is no leadership; use balance, which spreads the leaders over the nodes, follow, which lets a group be led \
             by the node that most of its requests come through, or stay, which leaves it with whoever was elected"
        )),
    }
}

/// A password. What was said is in no complaint.
pub(super) fn secret(raw: RawValue) -> Result<Secret, String> {
    let given = match raw {
        RawValue::Secret(given) => given,
        _ => Secret::new(Vec::new()), // of another setting
    };
    check_password(given.bytes()).map_err(|why| {
        format!("{why}; write one in quotes, or leave the setting out where there is to be none")
    })?;
    Ok(given)
}

pub(super) fn yes_or_no(raw: RawValue) -> Result<bool, String> {
    match text(raw)?.as_str() {
        "yes" => Ok(true),
        "no" => Ok(false),
        other => Err(format!("'{other}' is neither yes nor no")),
    }
}

/// `[0, 1]` in a file, `0,1` in a flag, or `none`.
pub(super) fn pins(raw: RawValue) -> Result<Pins, String> {
    let complaint = || format!("{raw} is neither none nor a list of CPU numbers such as [0, 1]");
    let numbers = match &raw {
        RawValue::Text(word) | RawValue::Word(word) if word == "none" => return Ok(Pins::None),
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
    let mut sorted = cpus.clone();
    sorted.sort_unstable();
    sorted.dedup();
    if sorted.len() != cpus.len() {
        return Err(format!("{raw} names a CPU twice; each core needs its own"));
    }
    Ok(Pins::Cpus(cpus))
}
