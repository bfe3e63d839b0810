//! The history of a run for a linearizability checker: every operation on its own line, as a JSON object.
//!
//! ```text
//! {"key":12,"op":"write","seq":3,"invoke":1000,"complete":2000,"outcome":"ok","version":[7,0]}
//! {"key":12,"op":"write","seq":4,"invoke":3000,"complete":null,"outcome":"unknown"}
//! {"key":12,"op":"write","seq":5,"invoke":4000,"complete":5000,"outcome":"fail"}
//! {"key":12,"op":"read","seq":4,"invoke":6000,"complete":7000,"outcome":"ok","version":[9,1]}
//! {"key":13,"op":"read","seq":0,"invoke":6000,"complete":7000,"outcome":"ok"}
//! {"key":13,"op":"read","seq":null,"invoke":6000,"complete":7000,"outcome":"fail"}
//! ```
//!
//! * `key` is the index of the key. Keys are registers that hold 0 at the start.
//! * `seq` is the sequence that was written, or that a read saw: 0 for no value or for a value of an earlier
//!   run, `null` if it is not known what the read saw (outcome `fail`, or `corrupt` for bytes that no write
//!   wrote).
//! * `invoke` and `complete` are CLOCK_MONOTONIC in nanoseconds, comparable with other programs on the same
//!   machine. For a write, `invoke` is when it was first sent; it is executed once even if it was sent
//!   several times. For a read, `invoke` is when it was last sent: earlier attempts saw nothing. `complete`
//!   is `null` for a write whose outcome is unknown: it may take effect at any time after its `invoke`, or
//!   never.
//! * `outcome` `fail` of a write means that it was certainly not executed.
//! * `version` (slot, position) is present if the reply carried one.
//!
//! Lines are in order of completion. All phases are included, also preload and audit.

use std::io::Write as _;
use synod_types::Version;

/// The outcome of an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The operation was executed and answered.
    Ok,
    /// A write was certainly not executed, or a read got no answer.
    Fail,
    /// A write may have been executed, or may still be.
    Unknown,
    /// A read returned bytes that no write wrote.
    Corrupt,
}

/// One operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event {
    /// The key.
    pub key: u32,
    /// Whether it is a write.
    pub is_write: bool,
    /// The sequence that was written or seen.
    pub sequence: Option<u64>,
    /// When it was sent.
    pub invoke_ns: u64,
    /// When it was answered or given up.
    pub complete_ns: u64,
    /// Its outcome.
    pub outcome: Outcome,
    /// The version in the reply.
    pub version: Option<Version>,
}

impl Event {
    /// Appends the event to `out` as one line.
    pub fn write(&self, out: &mut Vec<u8>) {
        let taken = self.try_write(out);
        taken.expect("a Vec takes all that is written to it");
    }

    fn try_write(&self, out: &mut Vec<u8>) -> std::io::Result<()> {
        let op = if self.is_write { "write" } else { "read" };
        write!(out, "{{\"key\":{},\"op\":\"{op}\",\"seq\":", self.key)?;
        match self.sequence {
            Some(sequence) => write!(out, "{sequence}")?,
            None => write!(out, "null")?,
        }
        write!(out, ",\"invoke\":{},\"complete\":", self.invoke_ns)?;
        match self.outcome {
            Outcome::Unknown => write!(out, "null")?,
            _ => write!(out, "{}", self.complete_ns)?,
        }
        let outcome = match self.outcome {
            Outcome::Ok => "ok",
            Outcome::Fail => "fail",
            Outcome::Unknown => "unknown",
            Outcome::Corrupt => "corrupt",
        };
        write!(out, ",\"outcome\":\"{outcome}\"")?;
        if let Some(Version { slot, position }) = self.version {
            write!(out, ",\"version\":[{},{position}]", slot.get())?;
        }
        out.write_all(b"}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod_types::Slot;

    #[test]
    fn lines_are_as_documented() {
        let event = Event {
            key: 12,
            is_write: true,
            sequence: Some(3),
            invoke_ns: 1000,
            complete_ns: 2000,
            outcome: Outcome::Ok,
            version: Some(Version { slot: Slot::new(7), position: 0 }),
        };
        let mut out = Vec::new();
        event.write(&mut out);
        Event { sequence: Some(4), outcome: Outcome::Unknown, version: None, ..event }.write(&mut out);
        Event { is_write: false, sequence: None, outcome: Outcome::Fail, version: None, ..event }
            .write(&mut out);
        let text = String::from_utf8(out).expect("ASCII");
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines,
            [
                r#"{"key":12,"op":"write","seq":3,"invoke":1000,"complete":2000,"outcome":"ok","version":[7,0]}"#,
                r#"{"key":12,"op":"write","seq":4,"invoke":1000,"complete":null,"outcome":"unknown"}"#,
                r#"{"key":12,"op":"read","seq":null,"invoke":1000,"complete":2000,"outcome":"fail"}"#,
            ]
        );
        for line in lines {
            serde_json::from_str::<serde_json::Value>(line).expect("each line is JSON");
        }
    }
}
