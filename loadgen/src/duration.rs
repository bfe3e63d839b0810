//! Parsing of durations such as `15`, `1.5s` or `500ms`, and latencies for display.

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

/// Formats microseconds for display.
pub(crate) fn milliseconds(us: u64) -> String {
    match us {
        0..10_000 => format!("{}.{:03} ms", us / 1000, us % 1000),
        10_000..1_000_000 => format!("{:.1} ms", us as f64 / 1e3),
        _ => format!("{:.2} s", us as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_shown_with_a_unit_that_fits() {
        let shown = [0, 412, 9_999, 12_345, 2_500_000].map(milliseconds);
        assert_eq!(shown, ["0.000 ms", "0.412 ms", "9.999 ms", "12.3 ms", "2.50 s"]);
    }

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
