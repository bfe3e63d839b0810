//! Decimal integers exactly as Redis reads them in arguments: every number has one spelling.

use super::error_line::{ErrorLine, NOT_AN_INTEGER};

/// The integer that `text` spells: no plus, no leading zero, no blank, not "-0".
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    // The count of a command's arguments nearly always.
    if let [digit @ b'0'..=b'9'] = text {
        return Some(i64::from(digit - b'0'));
    }
    let (negative, digits) = match text.split_first()? {
        (b'-', rest) => (true, rest),
        _ => (false, text),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] if digits.len() <= 19 => {}
        _ => return None,
    }
    let mut magnitude = 0_u64; // 19 digits fit
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        magnitude = magnitude * 10 + u64::from(digit - b'0');
    }
    if negative { 0_i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() }
}

/// The integer that an argument must spell.
///
/// # Errors
/// The error line to answer with.
pub fn integer(text: &[u8]) -> Result<i64, ErrorLine> {
    parse_i64(text).ok_or(NOT_AN_INTEGER)
}

/// Checks that an argument is the number of the only database.
///
/// # Errors
/// The error line to answer with.
pub fn check_database(text: &[u8]) -> Result<(), ErrorLine> {
    match integer(text)? {
        0 => Ok(()),
        index if i32::try_from(index).is_ok() => Err("ERR DB index is out of range".into()),
        _ => Err("ERR value is out of range, value must between -2147483648 and 2147483647".into()),
    }
}

/// Appends the decimal form of `number`.
pub fn put_i64(out: &mut Vec<u8>, number: i64) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    let mut rest = number.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8; // one digit
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_spelling_per_number() {
        for (text, want) in [
            ("0", Some(0)),
            ("-1", Some(-1)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("-9223372036854775809", None),
            ("99999999999999999999", None),
            ("", None),
            ("-", None),
            ("-0", None),
            ("01", None),
            ("+1", None),
            (" 1", None),
            ("1 ", None),
            ("1x", None),
        ] {
            assert_eq!(parse_i64(text.as_bytes()), want, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn numbers_survive_their_digits(number in any::<i64>(), text in "[-+ 0-9x]{0,21}") {
            let mut out = Vec::new();
            put_i64(&mut out, number);
            let want = number.to_string();
            prop_assert_eq!(&out, want.as_bytes());
            prop_assert_eq!(parse_i64(&out), Some(number));
            // The slow twin: std parses the text, and the text is std's own spelling of the number.
            let twin = text.parse::<i64>().ok().filter(|number| number.to_string() == text);
            prop_assert_eq!(parse_i64(text.as_bytes()), twin);
        }
    }
}
