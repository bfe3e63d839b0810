//! `Line`: one event as it is written, in text or in JSON.
//!
//! ```text
//! 2026-11-29T23:01:02.345Z INFO  n1 core 0 group 7: elected leader in round 12
//! {"time":"2026-11-29T23:01:02.345Z","level":"info","node":1,"core":0,"group":7,"module":"election",
//!  "event":"election_won","message":"elected leader in round 12","ballot":"12.n1","slot":40}
//! ```

use std::fmt::{self, Write};
use std::hash::{DefaultHasher, Hash, Hasher};
use tracing::Level;
use tracing::field::{Field, Visit};

/// The most bytes of a line, with its end: what a pipe that has room takes without waiting (PIPE_BUF).
pub(super) const LINE_BYTES_MAX: usize = 4096;

/// How a line looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// For people.
    Text,
    /// For programs: one JSON object per line.
    Json,
}

/// The value of a field.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Value {
    Unsigned(u64),
    Signed(i64),
    Bool(bool),
    Text(String),
}

/// One event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Line {
    /// Milliseconds since the Unix epoch.
    pub at_ms: u64,
    pub level: Level,
    pub module: &'static str,
    /// 0 until the node is known.
    pub node: u16,
    pub core: Option<u64>,
    pub group: Option<u64>,
    /// The name of the event; empty for a library's own.
    pub event: String,
    pub message: String,
    /// All other fields, in the order of the event.
    pub fields: Vec<(&'static str, Value)>,
}

impl Line {
    /// A line without an event yet.
    pub fn new(at_ms: u64, level: Level, module: &'static str, node: u16) -> Self {
        let (event, message) = (String::new(), String::new());
        Self { at_ms, level, module, node, core: None, group: None, event, message, fields: Vec::new() }
    }

    /// What the line is about: the same event of the same core, group and peer has the same subject.
    pub fn subject(&self) -> u64 {
        let peer = self.fields.iter().find(|(name, _)| *name == "peer");
        let peer =
            peer.and_then(|(_, value)| if let Value::Unsigned(peer) = value { Some(*peer) } else { None });
        let mut hasher = DefaultHasher::new();
        (&self.event, self.module, self.level.as_str(), self.core, self.group, peer).hash(&mut hasher);
        if self.event.is_empty() {
            self.message.hash(&mut hasher);
        }
        hasher.finish()
    }

    /// The line as it is written, with its end. If it is too long, its texts are cut: the longest ones first,
    /// and so that JSON stays JSON.
    pub fn render(&self, format: Format) -> String {
        let mut out = self.render_whole(format);
        let mut text_bytes_max = LINE_BYTES_MAX;
        while out.len() > LINE_BYTES_MAX && text_bytes_max > 0 {
            text_bytes_max /= 2;
            out = self.shortened(text_bytes_max).render_whole(format);
        }
        out
    }

    /// The same with texts of at most so many bytes, and a mark where one was cut.
    fn shortened(&self, text_bytes_max: usize) -> Self {
        let mut line = self.clone();
        let texts = line.fields.iter_mut().filter_map(|(_, value)| match value {
            Value::Text(text) => Some(text),
            Value::Unsigned(_) | Value::Signed(_) | Value::Bool(_) => None,
        });
        for text in texts.chain([&mut line.message]) {
            if text.len() > text_bytes_max {
                text.truncate(text.floor_char_boundary(text_bytes_max));
                text.push('…');
            }
        }
        line
    }

    fn render_whole(&self, format: Format) -> String {
        let mut out = String::with_capacity(160);
        // Writing to a string cannot fail.
        let _ = match format {
            Format::Text => self.text(&mut out),
            Format::Json => self.json(&mut out),
        };
        out.push('\n');
        out
    }

    fn text(&self, out: &mut String) -> fmt::Result {
        write!(out, "{} {:<5}", Rfc3339(self.at_ms), self.level.as_str())?;
        if self.node > 0 {
            write!(out, " n{}", self.node)?;
        }
        if let Some(core) = self.core {
            write!(out, " core {core}")?;
        }
        if let Some(group) = self.group {
            write!(out, " group {group}")?;
        }
        out.push_str(": ");
        for c in self.message.chars() {
            // A name or an error from elsewhere must not begin a line of its own.
            if c.is_control() { write!(out, "{}", c.escape_default())? } else { out.push(c) }
        }
        Ok(())
    }

    fn json(&self, out: &mut String) -> fmt::Result {
        let level = self.level.as_str().to_ascii_lowercase();
        write!(out, "{{\"time\":\"{}\",\"level\":\"{level}\"", Rfc3339(self.at_ms))?;
        if self.node > 0 {
            write!(out, ",\"node\":{}", self.node)?;
        }
        for (name, number) in [("core", self.core), ("group", self.group)] {
            if let Some(number) = number {
                write!(out, ",\"{name}\":{number}")?;
            }
        }
        for (name, text) in [("module", self.module), ("event", &self.event), ("message", &self.message)] {
            write!(out, ",\"{name}\":{}", Quoted(text))?;
        }
        for (name, value) in &self.fields {
            write!(out, ",{}:", Quoted(name))?;
            match value {
                Value::Unsigned(number) => write!(out, "{number}")?,
                Value::Signed(number) => write!(out, "{number}")?,
                Value::Bool(is) => write!(out, "{is}")?,
                Value::Text(text) => write!(out, "{}", Quoted(text))?,
            }
        }
        out.push('}');
        Ok(())
    }

    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::Text(text)) => self.message = text,
            ("event", Value::Text(text)) => self.event = text,
            ("core", Value::Unsigned(core)) => self.core = Some(core),
            ("group", Value::Unsigned(group)) => self.group = Some(group),
            (name, value) => self.fields.push((name, value)),
        }
    }
}

impl Visit for Line {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Value::Unsigned(value));
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::Signed(value));
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::Bool(value));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, Value::Text(value.to_owned()));
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, Value::Text(format!("{value:?}")));
    }
}

/// A string of JSON.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                c if (c as u32) < 0x20 => write!(f, "\\u{:04x}", c as u32)?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

/// Milliseconds since the Unix epoch, as a time of day in UTC.
struct Rfc3339(u64);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, ms) = (self.0 / 1000, self.0 % 1000);
        let (days, second) = (seconds / 86_400, seconds % 86_400);
        let (year, month, day) = date(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
    }
}

/// The date that is `days` after 1970-01-01. A year is counted from March, so that the leap day is its last.
fn date(days: u64) -> (u64, u64, u64) {
    const DAYS_OF_400_YEARS: u64 = 146_097;
    // From 0000-03-01 to 1970-01-01.
    let days = days + 719_468;
    let (era, day) = (days / DAYS_OF_400_YEARS, days % DAYS_OF_400_YEARS);
    // The last day of 4, 100 and 400 years falls out of the regular pattern.
    let year = (day - day / 1460 + day / 36_524 - day / (DAYS_OF_400_YEARS - 1)) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // The months from March on have 31, 30, 31, 30, 31 days, again and again: 153 in five.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + carry, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line {
        let mut line = Line::new(1_795_993_262_345, Level::INFO, "election", 1);
        (line.core, line.group) = (Some(0), Some(7));
        (line.event, line.message) = ("election_won".to_owned(), "elected leader in round 12".to_owned());
        line.fields = vec![("ballot", Value::Text("12.n1".to_owned())), ("slot", Value::Unsigned(40))];
        line
    }

    #[test]
    fn text_is_one_line_for_people() {
        assert_eq!(
            line().render(Format::Text),
            "2026-11-29T23:01:02.345Z INFO  n1 core 0 group 7: elected leader in round 12\n"
        );
        let mut bare = Line::new(0, Level::ERROR, "node", 0);
        bare.message = "a name\nwith\ta line end".to_owned();
        let expected = "1970-01-01T00:00:00.000Z ERROR: a name\\nwith\\ta line end\n";
        assert_eq!(bare.render(Format::Text), expected);
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_and_stays_a_line() {
        let mut long = line();
        // Both grow when they are escaped.
        long.message = "é\n\u{1}".repeat(2000);
        long.fields.push(("members", Value::Text("\"".repeat(3000))));
        for format in [Format::Text, Format::Json] {
            let text = long.render(format);
            assert!(text.len() <= LINE_BYTES_MAX && text.len() > LINE_BYTES_MAX / 8, "{}", text.len());
            assert!(text.ends_with('\n') && text.matches('\n').count() == 1, "{text}");
        }
        let json: serde_json::Value = serde_json::from_str(&long.render(Format::Json)).unwrap();
        assert!(json["message"].as_str().unwrap().ends_with('…'));
        assert_eq!(json["ballot"], "12.n1", "what is short stays whole");
    }

    #[test]
    fn json_is_valid_and_holds_every_field() {
        let mut line = line();
        line.message = "quote \" backslash \\ bell \u{7} line\nend é".to_owned();
        line.fields.push(("skew_ms", Value::Signed(-5)));
        line.fields.push(("again", Value::Bool(true)));
        let text = line.render(Format::Json);
        assert_eq!(text.matches('\n').count(), 1, "{text}");
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let expected = serde_json::json!({
            "time": "2026-11-29T23:01:02.345Z", "level": "info", "node": 1, "core": 0, "group": 7,
            "module": "election", "event": "election_won", "message": line.message,
            "ballot": "12.n1", "slot": 40, "skew_ms": -5, "again": true,
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn dates_are_right_at_the_ends_of_months_and_years() {
        for (days, expected) in [
            (0, (1970, 1, 1)),
            (58, (1970, 2, 28)),
            (59, (1970, 3, 1)),
            (364, (1970, 12, 31)),
            (789, (1972, 2, 29)),
            (11_016, (2000, 2, 29)),
            (11_017, (2000, 3, 1)),
            (20_786, (2026, 11, 29)),
            (47_540, (2100, 2, 28)),
            (47_541, (2100, 3, 1)),
        ] {
            assert_eq!(date(days), expected, "{days}");
        }
    }

    #[test]
    fn the_subject_is_the_event_with_its_core_group_and_peer() {
        let with_peer = |peer| {
            let mut line = line();
            line.fields.push(("peer", Value::Unsigned(peer)));
            line.subject()
        };
        let mut later = line();
        (later.at_ms, later.message) = (later.at_ms + 1, "another text".to_owned());
        assert_eq!(later.subject(), line().subject());
        later.group = Some(8);
        assert_ne!(later.subject(), line().subject());
        assert_ne!(with_peer(2), with_peer(3));
        assert_ne!(with_peer(2), line().subject());
    }
}
