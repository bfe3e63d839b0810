//! Decimal integers as Redis reads and writes them. Each number has one spelling, so that INCR keeps the form
//! that SET wrote.

/// Longest spelling: `i64::MIN`.
const DIGITS_MAX: usize = 20;
const _: () = assert!(DIGITS_MAX <= synod_types::limits::INLINE_VALUE_BYTES_MAX);

/// The number that `bytes` spell; no spaces, `+`, leading zeros or `-0`.
pub(crate) fn parse(bytes: &[u8]) -> Option<i64> {
    let (negative, digits) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, bytes),
    };
    match digits {
        [] => return None,
        [b'0'] => return (!negative).then_some(0),
        [b'0', ..] => return None,
        _ if bytes.len() > DIGITS_MAX => return None,
        _ => {}
    }
    // The number is built below zero, where i64::MIN fits.
    let mut number = 0_i64;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number.checked_mul(10)?.checked_sub(i64::from(digit))?;
    }
    if negative { Some(number) } else { number.checked_neg() }
}

/// Writes `number` at the start of `out`; returns the number of bytes.
pub(crate) fn spell(number: i64, out: &mut [u8; synod_types::limits::INLINE_VALUE_BYTES_MAX]) -> usize {
    let mut reversed = [0_u8; DIGITS_MAX];
    let mut rest = number.unsigned_abs();
    let mut count = 0;
    loop {
        reversed[count] = b'0' + (rest % 10) as u8; // below 10
        rest /= 10;
        count += 1;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        reversed[count] = b'-';
        count += 1;
    }
    for (to, from) in out.iter_mut().zip(reversed[..count].iter().rev()) {
        *to = *from;
    }
    debug_assert_eq!(parse(&out[..count]), Some(number), "a number is read as it was spelled");
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::ToString;

    #[test]
    fn only_the_one_spelling_of_a_number_is_read() {
        for bad in [
            "",
            "-",
            "+1",
            " 1",
            "1 ",
            "01",
            "-01",
            "-0",
            "00",
            "1.0",
            "0x1",
            "1_0",
            "--1",
            "١",
            "9223372036854775808",
            "-9223372036854775809",
            "99999999999999999999",
            "100000000000000000000",
        ] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad:?}");
        }
        for good in ["0", "7", "-1", "10", "9223372036854775807", "-9223372036854775808"] {
            assert_eq!(parse(good.as_bytes()).map(|n| n.to_string()).as_deref(), Some(good));
        }
    }

    proptest! {
        #[test]
        fn what_is_spelled_is_read_back(number in any::<i64>()) {
            let mut out = [0; 22];
            let count = spell(number, &mut out);
            let text = number.to_string();
            prop_assert_eq!(&out[..count], text.as_bytes());
            prop_assert_eq!(parse(&out[..count]), Some(number));
        }

        #[test]
        fn anything_read_has_that_spelling(bytes in "[-+ 0-9]{0,22}") {
            let parsed = parse(bytes.as_bytes());
            let twin = bytes.parse::<i64>().ok().filter(|n| n.to_string() == bytes);
            prop_assert_eq!(parsed, twin);
        }
    }
}
