//! Values made from the old ones: APPEND, SETRANGE, INCRBYFLOAT.
//!
//! The new value is made here, from a value just read. It is written by a command that takes effect only if
//! the key still has the version that was read; otherwise the work starts again. So the log carries whole
//! values, every replica stores what it receives, and no replica computes a number again.

use super::error_line::ErrorLine;
use std::borrow::Cow;
use synod_types::command::check_value_len;

/// How the new value is made from the old one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Derive {
    /// APPEND: adds the bytes at the end.
    Append(Vec<u8>),
    /// SETRANGE: overwrites a part with the bytes.
    Overwrite {
        /// The position of the first byte.
        offset: usize,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// INCRBYFLOAT: adds the number.
    Add(Float),
}

/// The new value and the answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Derived {
    /// The value to write, if there is anything to write.
    pub value: Option<Vec<u8>>,
    /// The length to answer with; without one the value itself is the answer.
    pub length: Option<usize>,
}

const TOO_LONG: ErrorLine = Cow::Borrowed("ERR string exceeds maximum allowed size (proto-max-bulk-len)");
const NOT_A_FLOAT: ErrorLine = Cow::Borrowed("ERR value is not a valid float");

impl Derive {
    /// Bytes of memory that it holds.
    pub fn held_bytes(&self) -> usize {
        match self {
            Self::Append(bytes) | Self::Overwrite { bytes, .. } => bytes.capacity(),
            Self::Add(_) => 0,
        }
    }

    /// Makes the new value.
    ///
    /// # Errors
    /// The error line to answer with; nothing may be changed then.
    pub fn apply(&self, old: Option<&[u8]>) -> Result<Derived, ErrorLine> {
        let before = old.unwrap_or_default();
        match self {
            Self::Append(bytes) => {
                let value = [before, bytes].concat();
                let length = Some(value.len());
                // Appending nothing still creates an empty key.
                let written = !bytes.is_empty() || old.is_none();
                bounded(Derived { value: written.then_some(value), length })
            }
            Self::Overwrite { bytes, .. } if bytes.is_empty() => {
                Ok(Derived { value: None, length: Some(before.len()) })
            }
            Self::Overwrite { offset, bytes } => {
                let end = offset.checked_add(bytes.len()).filter(|end| check_value_len(*end).is_ok());
                let end = end.ok_or(TOO_LONG)?;
                let mut value = before.to_vec();
                value.resize(value.len().max(end), 0);
                value[*offset..end].copy_from_slice(bytes);
                let length = Some(value.len());
                bounded(Derived { value: Some(value), length })
            }
            Self::Add(delta) => {
                let before =
                    if old.is_some() { parse_float(before).ok_or(NOT_A_FLOAT)? } else { Float::ZERO };
                let sum = before.add(*delta).ok_or("ERR increment would produce NaN or Infinity")?;
                Ok(Derived { value: Some(sum.spell().into_bytes()), length: None })
            }
        }
    }
}

fn bounded(derived: Derived) -> Result<Derived, ErrorLine> {
    match &derived.value {
        Some(value) if check_value_len(value.len()).is_err() => Err(TOO_LONG),
        _ => Ok(derived),
    }
}

/// Decimal places that are kept; Redis prints as many.
const PLACES: u32 = 17;
const SCALE: i128 = 10_i128.pow(PLACES);
/// Above this, scaled sums are no longer certain to fit.
const EXACT_MAX: i128 = i128::MAX / 4;

/// A decimal number: exact if it fits 17 places and 38 digits, else the nearest double.
///
/// Redis adds in `long double` and prints 17 places, so it shows the noise of binary fractions from about
/// five digits on. Here every sum that can be exact is exact.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Float {
    /// In units of 10^-17.
    Exact(i128),
    /// Anything else. It may be infinite: a sum with it is refused.
    Near(f64),
}

impl Eq for Float {}

impl Float {
    const ZERO: Self = Self::Exact(0);

    fn double(self) -> f64 {
        match self {
            Self::Exact(scaled) => scaled as f64 / SCALE as f64, // the nearest double is wanted
            Self::Near(double) => double,
        }
    }

    fn add(self, other: Self) -> Option<Self> {
        if let (Self::Exact(a), Self::Exact(b)) = (self, other) {
            let sum = a + b; // each at most a quarter of the range
            if sum.abs() <= EXACT_MAX {
                return Some(Self::Exact(sum));
            }
        }
        let sum = self.double() + other.double();
        sum.is_finite().then_some(Self::Near(sum))
    }

    /// The decimal form without an exponent, without trailing zeros, with at most 17 places.
    fn spell(self) -> String {
        let text = match self {
            Self::Exact(scaled) => {
                let (whole, part) =
                    (scaled.unsigned_abs() / SCALE as u128, scaled.unsigned_abs() % SCALE as u128);
                let sign = if scaled < 0 { "-" } else { "" };
                format!("{sign}{whole}.{part:017}")
            }
            Self::Near(double) => format!("{double:.17}"),
        };
        let text = text.trim_end_matches('0').trim_end_matches('.');
        if matches!(text, "-0" | "") { "0".to_owned() } else { text.to_owned() }
    }
}

/// The number that `text` spells: digits, optionally with a sign, a point and an exponent; or infinity, in any
/// of the ways Redis takes. No blanks, no NaN.
pub fn parse_float(text: &[u8]) -> Option<Float> {
    let text = str::from_utf8(text).ok().filter(|text| text.len() <= 256)?;
    let word = text.strip_prefix(['+', '-']).unwrap_or(text);
    if word.eq_ignore_ascii_case("inf") || word.eq_ignore_ascii_case("infinity") {
        let is_negative = text.starts_with('-');
        return Some(Float::Near(if is_negative { f64::NEG_INFINITY } else { f64::INFINITY }));
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E')) {
        return None;
    }
    let double = text.parse::<f64>().ok().filter(|double| double.is_finite())?;
    Some(exact(text).map_or(Float::Near(double), Float::Exact))
}

/// `text` in units of 10^-17, if that is exact. The caller has checked that it spells a number.
fn exact(text: &str) -> Option<i128> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let negative = mantissa.starts_with('-');
    let mantissa = mantissa.trim_start_matches(['+', '-']);
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits = 0_i128;
    for digit in whole.bytes().chain(part.bytes()) {
        digits = digits.checked_mul(10)?.checked_add(i128::from(digit - b'0'))?;
    }
    let places = i32::try_from(part.len()).ok()?.checked_sub(exponent)?;
    let shift = i32::try_from(PLACES).ok()?.checked_sub(places)?;
    let power = 10_i128.checked_pow(shift.unsigned_abs());
    let scaled = match (shift >= 0, power) {
        _ if digits == 0 => 0,
        (true, power) => digits.checked_mul(power?)?,
        (false, power) => {
            let power = power?;
            if digits % power != 0 {
                return None;
            }
            digits / power
        }
    };
    (scaled <= EXACT_MAX).then_some(if negative { -scaled } else { scaled })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use synod_types::limits::VALUE_BYTES_MAX;

    fn add(old: &str, delta: &str) -> Result<String, ErrorLine> {
        let derive = Derive::Add(parse_float(delta.as_bytes()).expect("a number"));
        let value = derive.apply(Some(old.as_bytes()))?.value.expect("written");
        Ok(String::from_utf8(value).expect("digits"))
    }

    #[test]
    fn sums_are_spelled_as_redis_spells_them() {
        for (old, delta, want) in [
            ("10.50", "0.1", "10.6"),
            ("5.0e3", "2.0e2", "5200"),
            ("3", "1.1", "4.1"),
            ("0.1", "0.2", "0.3"),
            ("1", "-1", "0"),
            ("-1.5", "0.5", "-1"),
            ("1e30", "1", "1000000000000000019884624838656"),
            ("0", "1e-17", "0.00000000000000001"),
            ("0", "1e-30", "0"),
            ("+1.", ".5", "1.5"),
            ("100", "0", "100"),
        ] {
            assert_eq!(add(old, delta).as_deref(), Ok(want), "{old} + {delta}");
        }
        assert_eq!(add("x", "1"), Err(NOT_A_FLOAT));
        assert_eq!(add("", "1"), Err(NOT_A_FLOAT));
        assert!(add("1.7e308", "1.7e308").is_err());
        for infinite in ["inf", "+inf", "-Inf", "infinity", "-INFINITY"] {
            let wanted = Err("ERR increment would produce NaN or Infinity".into());
            assert_eq!(add("1", infinite), wanted, "1 + {infinite}");
            assert_eq!(add(infinite, "1"), wanted, "{infinite} + 1");
            assert_eq!(add("inf", infinite), wanted, "inf + {infinite}");
            assert_eq!(add("x", infinite), Err(NOT_A_FLOAT));
        }
        for bad in [
            "", " 1", "1 ", "nan", "+nan", "+-inf", "infinit", "inf1", " inf", "1e400", "0x1", "1e", "-",
            ".", "e5",
        ] {
            assert_eq!(parse_float(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn bytes_are_appended_and_overwritten_within_the_limit() {
        let append = |bytes: &[u8], old: Option<&[u8]>| Derive::Append(bytes.to_vec()).apply(old);
        let made = |value: Option<&[u8]>, length| {
            Ok(Derived { value: value.map(<[u8]>::to_vec), length: Some(length) })
        };
        assert_eq!(append(b"b", Some(b"a")), made(Some(b"ab"), 2));
        assert_eq!(append(b"", None), made(Some(b""), 0));
        assert_eq!(append(b"", Some(b"a")), made(None, 1));
        assert_eq!(append(b"x", Some(&vec![0; VALUE_BYTES_MAX])), Err(TOO_LONG));
        let over = |offset, bytes: &[u8], old: Option<&[u8]>| {
            Derive::Overwrite { offset, bytes: bytes.to_vec() }.apply(old)
        };
        assert_eq!(over(2, b"X", Some(b"abcd")), made(Some(b"abXd"), 4));
        assert_eq!(over(2, b"X", None), made(Some(b"\0\0X"), 3));
        assert_eq!(over(3, b"XY", Some(b"abcd")), made(Some(b"abcXY"), 5));
        assert_eq!(over(9, b"", Some(b"abcd")), made(None, 4));
        assert_eq!(over(9, b"", None), made(None, 0));
        assert_eq!(over(VALUE_BYTES_MAX, b"X", None), Err(TOO_LONG));
        assert_eq!(over(usize::MAX, b"X", None), Err(TOO_LONG));
    }

    proptest! {
        #[test]
        fn decimals_add_exactly_and_read_back(
            a in -1_000_000_000_000_i64..1_000_000_000_000,
            b in -1_000_000_000_000_i64..1_000_000_000_000,
        ) {
            let sign = |n: i64| if n < 0 { "-" } else { "" };
            let spell = |n: i64| format!("{}{}.{:04}", sign(n), n.abs() / 10_000, n.abs() % 10_000);
            let sum = add(&spell(a), &spell(b)).expect("adds");
            prop_assert_eq!(parse_float(sum.as_bytes()), parse_float(spell(a + b).as_bytes()));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[-+.e0-9x]{0,40}") {
            if let Some(number) = parse_float(text.as_bytes()) {
                let again = parse_float(number.spell().as_bytes()).expect("spelled as a number");
                let (a, b) = (number.double(), again.double());
                prop_assert!((a - b).abs() <= a.abs() * 1e-15 + 1e-17, "{} {}", a, b);
            }
        }
    }
}
