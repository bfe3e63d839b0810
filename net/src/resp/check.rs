//! Checks of single arguments (a key, a value, an integer, the number of the database) and of whole commands.

use super::number::parse_i64;
use super::refusal::{NOT_AN_INTEGER, Refusal};
use synod_types::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use synod_types::{Illegal, Op, command};

/// Checks that `key` is a valid key.
///
/// # Errors
/// The error line to answer with.
pub fn key(key: &[u8]) -> Result<&[u8], Refusal> {
    command::check_key(key).map(|()| key).map_err(|illegal| match illegal {
        Illegal::KeyEmpty => "ERR empty keys are not supported".into(),
        _ => format!("ERR key too long: {} bytes, the limit is {KEY_BYTES_MAX}", key.len()).into(),
    })
}

/// Checks that `value` is a valid value.
///
/// # Errors
/// The error line to answer with.
pub fn value(value: &[u8]) -> Result<&[u8], Refusal> {
    command::check_value_len(value.len()).map(|()| value).map_err(|_| {
        format!("ERR value too long: {} bytes, the limit is {VALUE_BYTES_MAX}", value.len()).into()
    })
}

/// The integer that `text` spells.
///
/// # Errors
/// The error line to answer with.
pub fn integer(text: &[u8]) -> Result<i64, Refusal> {
    parse_i64(text).ok_or(NOT_AN_INTEGER)
}

/// Checks that `text` is the number of the only database.
///
/// # Errors
/// The error line to answer with.
pub fn database(text: &[u8]) -> Result<(), Refusal> {
    match integer(text)? {
        0 => Ok(()),
        index if i32::try_from(index).is_ok() => Err("ERR DB index is out of range".into()),
        _ => Err("ERR value is out of range, value must between -2147483648 and 2147483647".into()),
    }
}

/// Applies the rule of every entry point, after the arguments were checked one by one.
///
/// # Errors
/// The error line to answer with.
pub fn whole(key: &[u8], op: Op, operand: &[u8]) -> Result<(), Refusal> {
    op.check(key, operand).map_err(|illegal| match illegal {
        Illegal::ValueTooLong => {
            format!("ERR command too long: {} bytes, the limit is {VALUE_BYTES_MAX}", operand.len()).into()
        }
        other => format!("ERR {other}").into(),
    })
}
