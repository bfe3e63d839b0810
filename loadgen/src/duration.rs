//! Parsing of durations such as `15`, `1.5s` or `500ms`.

use std::time::Duration;

/// Parses `15`, `1.5s`, `500ms` or `2m`; a number without a unit means seconds.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit_s = match unit {
        "" | "s" => 1.0,
        "us" => 1e-6,
        "ms" => 1e-3,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("unit {unit:?} is not one of us, ms, s, m, h")),
    };
    let number: f64 = number.parse().map_err(|_| format!("{text:?} is not a time such as 15s or 500ms"))?;
    Duration::try_from_secs_f64(number * unit_s).map_err(|_| format!("{text:?} is too long"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_units() {
        assert_eq!(parse_duration("15"), Ok(Duration::from_secs(15)));
        assert_eq!(parse_duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("250us"), Ok(Duration::from_micros(250)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        for bad in ["", "s", "1d", "1.2.3", "-1", "1e9", "99999999999999999999h"] {
            assert!(parse_duration(bad).is_err(), "{bad:?} was taken");
        }
    }
}
