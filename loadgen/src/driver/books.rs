//! The books of one generator thread: what was counted, what is known of every key, and the history. An
//! operation that ends is entered here, once.

use super::answer::{ReadFate, WriteFate};
use super::op::{Op, Stage};
use super::seconds::Seconds;
use super::tally::{End, Tally};
use crate::history::{Event, Outcome};
use crate::ledger::{Fault, Ledger, ReadTicket, Seen, Violation, WriteTicket};
use crate::workload::{Kind, Mix};

/// The ledger, the counts and the history.
#[derive(Debug)]
pub(super) struct Books {
    pub(super) ledger: Ledger,
    pub(super) tally: Tally,
    pub(super) seconds: Seconds,
    pub(super) history: Option<Vec<u8>>,
    /// Whether the versions of replies are the server's own.
    has_versions: bool,
}

/// When an operation ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct EndTime {
    pub(super) now_ns: u64,
    /// Whether this is the measured time of a phase of load.
    pub(super) is_measured: bool,
}

impl Books {
    /// Books that are empty except for the ledger.
    pub(super) fn new(ledger: Ledger, with_history: bool, has_versions: bool, now_ns: u64) -> Self {
        Self {
            ledger,
            tally: Tally::default(),
            seconds: Seconds::new(now_ns),
            history: with_history.then(Vec::new),
            has_versions,
        }
    }

    /// Counts an operation that begins.
    pub(super) fn count_offered(&mut self, kind: Kind, stage: Stage) {
        // In the open loop this figure of the second is replaced by the schedule's.
        let second = &mut self.seconds.current;
        second.offered += 1;
        second.kinds[kind.index()].offered += 1;
        if stage == Stage::Measured {
            self.tally.measured_mut(kind).offered += 1;
        }
        if matches!(stage, Stage::Warmup | Stage::Measured) {
            self.tally.load_requests += 1;
        }
    }
    /// Counts a planned request whose deadline passed before it could be sent.
    pub(super) fn count_unsent(&mut self, kind: Kind, stage: Stage) {
        self.count_offered(kind, stage);
        self.seconds.current.count(kind, End::Error);
        if stage == Stage::Measured {
            self.tally.measured_mut(kind).errors += 1;
        }
        self.tally.count_error("not sent in time");
    }
    /// Counts an operation that is sent again, because of `reason`.
    pub(super) fn count_retry(&mut self, reason: &'static str) {
        self.tally.count_error(reason);
        self.tally.retries += 1;
    }
    /// Counts the measured time of a phase of load.
    pub(super) fn count_measured_time(&mut self, mix: Mix, time_ns: u64) {
        for kind in Kind::ALL.into_iter().filter(|&kind| mix.measures(kind)) {
            self.tally.measured_ns[kind.index()] += time_ns;
        }
    }
    /// Counts the processor time of the thread in a phase of load that took `wall_ns`.
    pub(super) fn count_cpu(&mut self, cpu_ns: u64, wall_ns: u64) {
        *self.tally.cpu_ns.get_or_insert(0) += cpu_ns;
        let share = cpu_ns as f64 / wall_ns.max(1) as f64;
        self.tally.cpu_share = Some(self.tally.cpu_share.map_or(share, |before| before.max(share)));
    }

    /// Enters the end of a write.
    pub(super) fn end_write(&mut self, op: &Op, ticket: WriteTicket, fate: WriteFate, at: EndTime) {
        let mut event = event(op, true, at.now_ns);
        event.sequence = Some(ticket.sequence());
        let (told, end) = match fate {
            WriteFate::Acknowledged(version) => {
                event.version = Some(version);
                let latency_ns = at.now_ns - op.planned_ns;
                (self.ledger.acknowledge(ticket, version), End::Good { latency_ns })
            }
            WriteFate::Refused(name) => {
                self.tally.count_error(name);
                event.outcome = Outcome::Fail;
                (self.ledger.refuse(ticket), End::Error)
            }
            WriteFate::Unknown(name) => {
                self.tally.count_error(name);
                event.outcome = Outcome::Unknown;
                self.ledger.give_up(ticket);
                (Ok(()), End::Unknown)
            }
            WriteFate::Absurd(name) => {
                self.tally.count_error(name);
                event.outcome = Outcome::Unknown;
                self.ledger.give_up(ticket);
                let key = op.key;
                self.tally.find(|| format!("a write of key {key} got an {name}"));
                (Ok(()), End::VerifyFailure)
            }
        };
        self.record(event);
        let end = self.judge(told, end, op.stage);
        self.close(op, end, at);
    }

    /// Enters the end of a read. If a write of the same key was to follow it, with the ticket `then`, the
    /// ticket is returned when the read ended well; else the operation has ended.
    pub(super) fn end_read(
        &mut self,
        op: &Op,
        ticket: Option<ReadTicket>,
        then: Option<WriteTicket>,
        fate: ReadFate,
        at: EndTime,
    ) -> Option<WriteTicket> {
        let end = self.enter_read(op, ticket, fate, at);
        let end = match (then, end) {
            (None, _) => end,
            (Some(ticket), End::Good { .. }) => return Some(ticket),
            (Some(ticket), _) => {
                // The write was never sent, so no read can have seen it.
                let told = self.ledger.refuse(ticket);
                self.judge(told, end, op.stage)
            }
        };
        self.close(op, end, at);
        None
    }

    fn enter_read(&mut self, op: &Op, ticket: Option<ReadTicket>, fate: ReadFate, at: EndTime) -> End {
        let key = op.key;
        let mut event = event(op, false, at.now_ns);
        let is_audit = op.stage == Stage::Audit;
        let end = match fate {
            ReadFate::Saw(seen) => {
                let ticket = ticket.expect("what was answered was sent");
                (event.sequence, event.version) = match seen {
                    Seen::Write { sequence, version } => (Some(sequence), Some(version)),
                    Seen::Nothing | Seen::Foreign => (Some(0), None),
                };
                let told = self.ledger.end_read(ticket, seen);
                self.judge(told, End::Good { latency_ns: at.now_ns - op.planned_ns }, op.stage)
            }
            ReadFate::Corrupt(problem) => {
                event.outcome = Outcome::Corrupt;
                self.tally.audit.corrupt += u64::from(is_audit);
                self.tally.find(|| format!("key {key} holds {problem}"));
                End::VerifyFailure
            }
            ReadFate::Absurd(name) => {
                self.tally.count_error(name);
                event.outcome = Outcome::Corrupt;
                self.tally.audit.corrupt += u64::from(is_audit);
                self.tally.find(|| format!("a read of key {key} got an {name}"));
                End::VerifyFailure
            }
            ReadFate::NoAnswer(name) => {
                self.tally.count_error(name);
                event.outcome = Outcome::Fail;
                self.tally.audit.unread += u64::from(is_audit);
                End::Error
            }
        };
        self.record(event);
        end
    }

    /// The final end of an operation: a violation that the ledger found outweighs how the operation seemed to
    /// end.
    fn judge(&mut self, told: Result<(), Violation>, end: End, stage: Stage) -> End {
        let Err(violation) = told else { return end };
        self.tally.find(|| violation.to_string());
        if stage == Stage::Audit {
            let audit = &mut self.tally.audit;
            match violation.fault {
                Fault::Absent => audit.absent += 1,
                Fault::Stale => audit.stale += 1,
                Fault::NeverIssued | Fault::Refused | Fault::Repeated | Fault::VersionWentBack => {
                    audit.invented += 1;
                }
            }
        }
        End::VerifyFailure
    }

    fn close(&mut self, op: &Op, end: End, at: EndTime) {
        let kind = op.kind.expect("what is closed is part of the load");
        self.seconds.current.count(kind, end);
        if end == End::VerifyFailure && op.stage != Stage::Audit {
            self.tally.verify_failures += 1;
        }
        let measured = self.tally.measured_mut(kind);
        if at.is_measured && matches!(end, End::Good { .. }) {
            measured.achieved_in_time += 1;
        }
        if op.stage == Stage::Measured {
            match end {
                End::Good { latency_ns } => {
                    measured.achieved += 1;
                    measured.latencies.record_ns(latency_ns);
                }
                End::Error => measured.errors += 1,
                End::Unknown => measured.unknown += 1,
                End::VerifyFailure => measured.verify_failures += 1,
            }
        }
    }

    fn record(&mut self, mut event: Event) {
        if !self.has_versions {
            event.version = None;
        }
        // An operation that was never sent was never invoked.
        if event.invoke_ns > 0
            && let Some(history) = &mut self.history
        {
            event.write(history);
        }
    }
}

fn event(op: &Op, is_write: bool, now_ns: u64) -> Event {
    let sent_ns = if is_write { op.first_sent_ns } else { op.sent_ns };
    Event {
        key: op.key,
        is_write,
        sequence: None,
        invoke_ns: sent_ns,
        complete_ns: now_ns,
        outcome: Outcome::Ok,
        version: None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::op::{Spot, Work};
    use super::*;
    use synod_types::{GroupId, Slot, Version};

    const NOW: EndTime = EndTime { now_ns: 50, is_measured: true };

    fn books() -> Books {
        Books::new(Ledger::new(4..5), true, true, 0)
    }

    fn op(kind: Kind) -> Op {
        Op {
            work: Work::Read { ticket: None, then: None },
            kind: Some(kind),
            key: 4,
            group: GroupId::new(1),
            stage: Stage::Measured,
            planned_ns: 10,
            deadline_ns: 100,
            late_noted: true,
            first_sent_ns: 20,
            sent_ns: 30,
            attempts: 0,
            doubtful: false,
            spot: Spot::Moving,
        }
    }

    #[test]
    fn an_acknowledged_write_is_counted_known_and_recorded() {
        let mut books = books();
        let ticket = books.ledger.begin_write(4).expect("no other");
        let version = Version { slot: Slot::new(7), position: 0 };
        books.end_write(&op(Kind::Write), ticket, WriteFate::Acknowledged(version), NOW);
        let counted = &books.tally.measured[Kind::Write.index()];
        assert_eq!((counted.achieved, counted.achieved_in_time, counted.errors), (1, 1, 0));
        assert_eq!((books.ledger.acked(), books.seconds.current.achieved), (1, 1));
        let history = String::from_utf8(books.history.expect("kept")).expect("ASCII");
        assert!(history.contains("\"invoke\":20,\"complete\":50") && history.contains("[7,0]"), "{history}");
    }

    #[test]
    fn a_write_that_is_to_follow_a_read_follows_only_a_good_one() {
        let mut books = books();
        let then = books.ledger.begin_write(4);
        let ticket = Some(books.ledger.begin_read(4));
        let op = op(Kind::ReadModifyWrite);
        let then = books.end_read(&op, ticket, then, ReadFate::Saw(Seen::Nothing), NOW);
        assert!(then.is_some());
        assert_eq!(books.seconds.current.achieved, 0, "the operation goes on");
        assert!(books.end_read(&op, None, then, ReadFate::NoAnswer("timeout"), NOW).is_none());
        assert!(!books.ledger.is_writing(4), "its write was given back");
        assert_eq!(books.tally.measured[Kind::ReadModifyWrite.index()].errors, 1);
    }

    #[test]
    fn a_violation_outweighs_a_good_end() {
        let mut books = books();
        let ticket = books.ledger.begin_write(4).expect("no other");
        books.ledger.acknowledge(ticket, Version::default()).expect("the first");
        let read = Some(books.ledger.begin_read(4));
        books.end_read(&op(Kind::Read), read, None, ReadFate::Saw(Seen::Nothing), NOW);
        let counted = &books.tally.measured[Kind::Read.index()];
        assert_eq!((counted.achieved, counted.verify_failures, books.tally.verify_failures), (0, 1, 1));
        assert!(books.tally.findings[0].contains("is absent"));
    }

    #[test]
    fn a_request_that_was_never_sent_is_an_error_and_no_part_of_the_history() {
        let mut books = books();
        books.count_unsent(Kind::Read, Stage::Measured);
        let counted = &books.tally.measured[Kind::Read.index()];
        assert_eq!((counted.offered, counted.errors), (1, 1));
        let op = Op { first_sent_ns: 0, sent_ns: 0, ..op(Kind::Read) };
        books.end_read(&op, None, None, ReadFate::NoAnswer("timeout"), NOW);
        assert_eq!(books.history, Some(Vec::new()));
    }
}
