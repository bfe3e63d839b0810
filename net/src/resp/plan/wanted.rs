//! The comparison with the present value: IFEQ, IFNE, IFDEQ, IFDNE.

use crate::resp::check;
use crate::resp::refusal::{Refusal, SYNTAX};
use synod_types::Compare;

/// A comparison as SET and DELEX spell it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Wanted {
    pub(super) compare: Compare,
    pub(super) bytes: Vec<u8>,
}

impl Wanted {
    /// The comparison that `option` begins, if it is one.
    pub(super) fn of(option: &[u8], argument: Option<&[u8]>) -> Option<Result<Self, Refusal>> {
        let compare = match option.to_ascii_uppercase().as_slice() {
            b"IFEQ" => Compare::Equal,
            b"IFNE" => Compare::NotEqual,
            b"IFDEQ" => Compare::DigestEqual,
            b"IFDNE" => Compare::DigestNotEqual,
            _ => return None,
        };
        let Some(bytes) = argument else { return Some(Err(SYNTAX)) };
        if matches!(compare, Compare::Equal | Compare::NotEqual) {
            return Some(check::value(bytes).map(|bytes| Self { compare, bytes: bytes.to_vec() }));
        }
        let digits = str::from_utf8(bytes).ok().filter(|text| text.len() == 16);
        let digits = digits.filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()));
        Some(match digits.and_then(|text| u64::from_str_radix(text, 16).ok()) {
            Some(digest) => Ok(Self { compare, bytes: digest.to_le_bytes().to_vec() }),
            None => Err("ERR must be exactly 16 hexadecimal characters".into()),
        })
    }
}
