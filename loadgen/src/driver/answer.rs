//! The meaning of answers, in either protocol: which of them settle an operation, which require another
//! attempt, and which contradict what was known. Pure: what follows from an answer is returned, not done.
//!
//! One rule governs this module: *certainly not executed* applies to a single send. If a write was sent
//! before with an unknown outcome, it stays doubtful until a later send with the same session number is
//! answered with the write's reply.

use super::op::{Op, OpId, Work};
use crate::admission::NotAdmitted;
use crate::ledger::Seen;
use crate::value::{self, Stamp};
use synod_net::binary::{FailureCode, Topology};
use synod_types::{ErrorKind, SessionId, Slot, Version};

/// Among the errors of a report: the answer does not fit the request.
pub(super) const WRONG_KIND: &str = "answer of the wrong kind";
/// Among the errors of a report: there was no such request.
pub(super) const NO_REQUEST: &str = "answer to no request";

/// What a server has said on a connection.
#[derive(Debug)]
pub(super) enum Heard<'a> {
    /// Nothing that the driver must act on.
    Nothing,
    /// The leaders as the server knows them.
    Topology(Topology),
    /// The answer to an operation.
    Answer(OpId, OpAnswer<'a>),
    /// The connection cannot be used any longer, for this reason.
    Broken(&'static str),
    /// The server does not admit the generator.
    NotAdmitted(NotAdmitted),
}

/// The answer to an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum OpAnswer<'a> {
    /// The write was executed. RESP has no versions.
    Done(Option<Version>),
    /// No such key.
    Nil,
    /// The key holds these bytes. RESP has no versions.
    Value { bytes: &'a [u8], version: Option<Version> },
    /// The session was opened.
    Session(SessionId),
    /// The command failed.
    Error(ErrorKind),
    /// A failure of the server, not of the command: this send was certainly not executed.
    Failed(FailureCode),
    /// An error by which the command was certainly not executed; only RESP has these.
    Refused(&'static str),
    /// An error that is not known, so the command may have been executed; only RESP has these.
    Obscure(&'static str),
    /// No operation has this answer.
    Absurd,
}

/// How a write ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum WriteFate {
    Acknowledged(Version),
    /// Certainly not executed.
    Refused(&'static str),
    Unknown(&'static str),
    /// A reply that is impossible for a write; it is not known whether the write was executed.
    Absurd(&'static str),
}

/// How a read ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum ReadFate {
    Saw(Seen),
    /// The bytes are not those of any write of this key.
    Corrupt(String),
    NoAnswer(&'static str),
    /// A reply that is impossible for a read.
    Absurd(&'static str),
}

/// What follows from an answer. The names are those of the errors in a report.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Consequence {
    /// The operation is sent again after a pause.
    Again(&'static str),
    /// The same, and what is known of the leaders is out of date.
    NoLeader(&'static str),
    /// The same for a write that this send may have executed.
    InDoubt(&'static str),
    /// The session of the write has expired. The session's replies are gone, and nothing else records whether
    /// the write was executed: if it is doubtful it ends, else it is sent again with another number.
    SessionExpired(&'static str),
    /// A session is open.
    Opened { lane: u32, session: SessionId },
    /// The write ends.
    EndWrite(WriteFate),
    /// The read ends.
    EndRead(ReadFate),
}

/// What follows from `answer` to `op`. `run` is the run whose values are the generator's own.
pub(super) fn consequence(op: &Op, answer: OpAnswer<'_>, run: u64) -> Consequence {
    match (&op.work, answer) {
        (_, OpAnswer::Error(kind)) => of_error(op, kind),
        (_, OpAnswer::Failed(failure)) => of_failure(op, failure),
        (Work::Write { ticket, .. }, OpAnswer::Done(version)) => {
            let version = version.unwrap_or_else(|| version_of(ticket.sequence()));
            Consequence::EndWrite(WriteFate::Acknowledged(version))
        }
        (Work::Read { .. }, OpAnswer::Nil) => Consequence::EndRead(ReadFate::Saw(Seen::Nothing)),
        (Work::Read { .. }, OpAnswer::Value { bytes, version }) => {
            Consequence::EndRead(judge_value(run, op.key, bytes, version))
        }
        (&Work::OpenSession { lane }, OpAnswer::Session(session)) => Consequence::Opened { lane, session },
        (Work::Write { .. }, OpAnswer::Refused(name)) => Consequence::EndWrite(WriteFate::Refused(name)),
        (Work::Write { .. }, OpAnswer::Obscure(name)) => Consequence::EndWrite(WriteFate::Unknown(name)),
        (Work::Read { .. }, OpAnswer::Refused(name) | OpAnswer::Obscure(name)) => {
            Consequence::EndRead(ReadFate::NoAnswer(name))
        }
        (Work::OpenSession { .. }, OpAnswer::Refused(name) | OpAnswer::Obscure(name)) => {
            Consequence::Again(name)
        }
        (Work::Write { .. }, _) => Consequence::EndWrite(WriteFate::Absurd(WRONG_KIND)),
        (Work::Read { .. }, _) => Consequence::EndRead(ReadFate::Absurd(WRONG_KIND)),
        (Work::OpenSession { .. }, _) => Consequence::Again(WRONG_KIND),
    }
}

fn of_error(op: &Op, kind: ErrorKind) -> Consequence {
    let name = error_name(kind);
    let patient = op.stage.waits_out_busy();
    match (&op.work, kind) {
        (_, ErrorKind::NoLeader) => Consequence::NoLeader(name),
        (Work::Write { slot: Some(_), .. }, ErrorKind::Unknown) => Consequence::InDoubt(name),
        (Work::Write { slot: Some(_), .. }, ErrorKind::SessionExpired) => Consequence::SessionExpired(name),
        // The last three of these errors concern the command, not this send: it may have been executed
        // before.
        (
            Work::Write { .. },
            ErrorKind::Unknown | ErrorKind::SequenceClosed | ErrorKind::ReadFailed | ErrorKind::ReplyDropped,
        ) => Consequence::EndWrite(WriteFate::Unknown(name)),
        (Work::Write { .. }, ErrorKind::Busy) if patient || op.doubtful => Consequence::Again(name),
        (Work::Write { .. }, _) if op.doubtful => Consequence::EndWrite(WriteFate::Unknown(name)),
        (Work::Write { .. }, _) => Consequence::EndWrite(WriteFate::Refused(name)),
        (Work::Read { .. }, ErrorKind::Unknown) => Consequence::Again(name),
        (Work::Read { .. }, ErrorKind::Busy | ErrorKind::ReadFailed) if patient => Consequence::Again(name),
        (Work::Read { .. }, _) => Consequence::EndRead(ReadFate::NoAnswer(name)),
        (Work::OpenSession { .. }, _) => Consequence::Again(name),
    }
}

fn of_failure(op: &Op, failure: FailureCode) -> Consequence {
    let name = failure_name(failure);
    let again = failure == FailureCode::Unavailable || op.stage.waits_out_busy() || op.doubtful;
    match op.work {
        _ if again => Consequence::Again(name),
        Work::Write { .. } => Consequence::EndWrite(WriteFate::Refused(name)),
        Work::Read { .. } => Consequence::EndRead(ReadFate::NoAnswer(name)),
        Work::OpenSession { .. } => Consequence::Again(name),
    }
}

fn judge_value(run: u64, key: u32, bytes: &[u8], version: Option<Version>) -> ReadFate {
    match value::verify(bytes) {
        Err(error) => ReadFate::Corrupt(error.to_string()),
        Ok(Stamp { run: of, .. }) if of != run => ReadFate::Saw(Seen::Foreign),
        Ok(Stamp { key: of, .. }) if of != u64::from(key) => {
            ReadFate::Corrupt(format!("a value that was written to key {of}"))
        }
        Ok(Stamp { sequence, .. }) => {
            let version = version.unwrap_or_else(|| version_of(sequence));
            ReadFate::Saw(Seen::Write { sequence, version })
        }
    }
}

/// The version that stands for the write `sequence` if the protocol has none. It never contradicts itself.
fn version_of(sequence: u64) -> Version {
    Version { slot: Slot::new(sequence), position: 0 }
}

fn error_name(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Unknown => "unknown",
        ErrorKind::NoLeader => "no leader",
        ErrorKind::Busy => "busy",
        ErrorKind::SessionExpired => "session expired",
        ErrorKind::SequenceClosed => "sequence closed",
        ErrorKind::NotAnInteger => "not an integer",
        ErrorKind::Overflow => "overflow",
        ErrorKind::BadExpiry => "bad expiry",
        ErrorKind::ReadFailed => "read failed",
        ErrorKind::Malformed => "malformed",
        ErrorKind::NoSpace => "no space",
        ErrorKind::ReplyDropped => "reply dropped",
    }
}

/// The name of a failure among the errors of a report.
pub(super) fn failure_name(failure: FailureCode) -> &'static str {
    match failure {
        FailureCode::Protocol => "protocol refused",
        FailureCode::Version => "version refused",
        FailureCode::AuthRequired => "authentication required",
        FailureCode::AuthFailed => "authentication failed",
        FailureCode::Unavailable => "unavailable",
        FailureCode::Protected => "protected",
    }
}

#[cfg(test)]
mod tests {
    use super::super::op::{OpSlot, Spot, Stage};
    use super::*;
    use crate::ledger::Ledger;
    use crate::sizes::ValueSizes;
    use crate::value::ValueWriter;
    use crate::workload::Kind;
    use synod_types::GroupId;

    fn op(work: Work) -> Op {
        Op {
            work,
            kind: Some(Kind::Write),
            key: 4,
            group: GroupId::new(1),
            stage: Stage::Measured,
            planned_ns: 0,
            deadline_ns: 0,
            late_noted: false,
            first_sent_ns: 0,
            sent_ns: 0,
            attempts: 0,
            doubtful: false,
            spot: Spot::Moving,
        }
    }

    fn write(with_slot: bool) -> Op {
        let ticket = Ledger::new(4..5).begin_write(4).expect("no other");
        let slot = OpSlot { lane: 0, session: SessionId::new(7), sequence: 1 };
        op(Work::Write { ticket, slot: with_slot.then_some(slot) })
    }

    fn read() -> Op {
        op(Work::Read { ticket: None, then: None })
    }

    fn after_error(op: &Op, kind: ErrorKind) -> Consequence {
        consequence(op, OpAnswer::Error(kind), 0)
    }

    #[test]
    fn only_a_write_with_a_session_may_be_repeated_when_its_outcome_is_unknown() {
        assert_eq!(after_error(&write(true), ErrorKind::Unknown), Consequence::InDoubt("unknown"));
        let ended = Consequence::EndWrite(WriteFate::Unknown("unknown"));
        assert_eq!(after_error(&write(false), ErrorKind::Unknown), ended);
        assert_eq!(after_error(&read(), ErrorKind::Unknown), Consequence::Again("unknown"));
        let expired = Consequence::SessionExpired("session expired");
        assert_eq!(after_error(&write(true), ErrorKind::SessionExpired), expired);
    }

    #[test]
    fn measured_load_is_refused_by_a_busy_cluster_unless_it_is_doubtful() {
        let refused = Consequence::EndWrite(WriteFate::Refused("busy"));
        assert_eq!(after_error(&write(true), ErrorKind::Busy), refused);
        let doubtful = Op { doubtful: true, ..write(true) };
        assert_eq!(after_error(&doubtful, ErrorKind::Busy), Consequence::Again("busy"));
        let unknown = Consequence::EndWrite(WriteFate::Unknown("no space"));
        assert_eq!(after_error(&doubtful, ErrorKind::NoSpace), unknown);
        let preload = Op { stage: Stage::Preload, ..write(true) };
        assert_eq!(after_error(&preload, ErrorKind::Busy), Consequence::Again("busy"));
        let failed = OpAnswer::Failed(FailureCode::Unavailable);
        assert_eq!(consequence(&read(), failed, 0), Consequence::Again("unavailable"));
    }

    #[test]
    fn a_value_must_be_one_that_was_written_to_the_key() {
        let mut bytes = Vec::new();
        let writer = ValueWriter::new(&ValueSizes::Fixed(64), 99);
        writer.write(&mut bytes, 4, 3);
        let version = Version { slot: Slot::new(8), position: 2 };
        let seen = |version| ReadFate::Saw(Seen::Write { sequence: 3, version });
        assert_eq!(judge_value(99, 4, &bytes, Some(version)), seen(version));
        assert_eq!(judge_value(99, 4, &bytes, None), seen(version_of(3)));
        assert_eq!(judge_value(98, 4, &bytes, None), ReadFate::Saw(Seen::Foreign));
        assert!(matches!(judge_value(99, 5, &bytes, None), ReadFate::Corrupt(_)));
        bytes[50] ^= 1;
        assert!(matches!(judge_value(99, 4, &bytes, None), ReadFate::Corrupt(_)));
    }

    #[test]
    fn an_answer_of_the_wrong_kind_is_absurd() {
        let session = OpAnswer::Session(SessionId::new(7));
        let absurd = Consequence::EndWrite(WriteFate::Absurd(WRONG_KIND));
        assert_eq!(consequence(&write(true), session, 0), absurd);
        let absurd = Consequence::EndRead(ReadFate::Absurd(WRONG_KIND));
        assert_eq!(consequence(&read(), OpAnswer::Done(None), 0), absurd);
        let opening = op(Work::OpenSession { lane: 2 });
        let opened = Consequence::Opened { lane: 2, session: SessionId::new(7) };
        assert_eq!(consequence(&opening, session, 0), opened);
        assert_eq!(consequence(&opening, OpAnswer::Nil, 0), Consequence::Again(WRONG_KIND));
    }
}
