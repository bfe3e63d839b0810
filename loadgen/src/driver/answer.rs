//! The meaning of answers: which of them settle an operation, which require another attempt, and which
//! contradict what was known.
//!
//! One rule governs this module: *certainly not executed* applies to a single send. If a write was sent
//! before with an unknown outcome, it stays doubtful until a later send with the same session number is
//! answered with the write's reply.

use super::link::LinkState;
use super::op::{Op, OpId, Spot, Stage, Work};
use super::state::{Active, Driver};
use super::tally::End;
use crate::admission::NotAdmitted;
use crate::history::{Event, Outcome};
use crate::ledger::{Fault, Seen, Violation, WriteTicket};
use crate::options::Protocol;
use crate::value::{self, Stamp};
use crate::workload::Kind;
use synod_net::ProtocolError;
use synod_net::binary::{Failure, ResponseBody, ResponseBodyRef, ResponseRef};
use synod_types::{ErrorKind, Reply, Version};

/// How a write ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum WriteFate {
    Acknowledged(Version),
    /// Certainly not executed.
    Refused(&'static str),
    Unknown(&'static str),
    /// A reply that is impossible for a write; it is not known whether the write was executed.
    Absurd(&'static str),
}

/// How a read ends.
#[derive(Clone, Debug)]
pub(super) enum ReadFate {
    Saw(Seen),
    /// The bytes are not those of any write of this key.
    Corrupt(String),
    NoAnswer(&'static str),
    /// A reply that is impossible for a read.
    Absurd(&'static str),
}

impl Driver {
    /// Handles received bytes. Afterwards the shell closes the link if [`Driver::is_open`] is false.
    pub fn on_bytes(&mut self, link: usize, bytes: &[u8], now_ns: u64) {
        if !self.is_open(link) {
            return;
        }
        if self.options.protocol == Protocol::Resp {
            return self.on_resp_bytes(link, bytes, now_ns);
        }
        let mut decoder = std::mem::take(&mut self.links[link].decoder);
        decoder.feed(bytes);
        loop {
            match decoder.next_ref() {
                Ok(Some(response)) => self.on_response(link, response, now_ns),
                Ok(None) => break,
                Err(error) => self.lose(link, protocol_error_name(error), now_ns),
            }
            if !self.is_open(link) {
                return;
            }
        }
        self.links[link].decoder = decoder;
    }

    fn on_response(&mut self, link: usize, response: ResponseRef<'_>, now_ns: u64) {
        if let ResponseBodyRef::Other(ResponseBody::Failed(failure), _) = &response.body
            && let Some(why) = NotAdmitted::of_failure(*failure)
        {
            return self.on_not_admitted(link, why, now_ns);
        }
        if response.id == OpId::AUTH {
            return self.on_auth(link, response.body, now_ns);
        }
        if self.links[link].state == LinkState::Probing {
            self.links[link].come_up();
        }
        if response.id & OpId::CONTROL != 0 {
            return self.on_control(link, response.body, now_ns);
        }
        if let (0, ResponseBodyRef::Other(ResponseBody::Failed(failure), _)) = (response.id, &response.body) {
            return self.lose(link, failure_name(*failure), now_ns);
        }
        let id = OpId::from_wire(response.id);
        if !self.ops.was_issued(id) {
            return self.lose(link, "answer to no request", now_ns);
        }
        let Some(id) = self.take_answered(link, id, now_ns) else { return };
        match response.body {
            ResponseBodyRef::Reply(reply, _) => self.on_reply(id, reply, now_ns),
            ResponseBodyRef::Other(ResponseBody::Failed(failure), _) => self.on_failure(id, failure, now_ns),
            ResponseBodyRef::Other(..) => self.on_absurd(id, now_ns),
        }
    }

    /// Matches an answer to `id` with its operation. `None` if the operation was given up meanwhile, or was
    /// not sent on this link.
    pub(super) fn take_answered(&mut self, link: usize, id: OpId, now_ns: u64) -> Option<OpId> {
        match self.ops.get_mut(id) {
            Some(op) if op.spot == Spot::Sent(link) => op.spot = Spot::Moving,
            // It was given up meanwhile and counted as such; the answer only makes room on the link.
            _ if self.links[link].note_answered_late(now_ns) => {
                self.tally.replies_late += 1;
                return None;
            }
            _ => {
                self.lose(link, "answered twice", now_ns);
                return None;
            }
        }
        self.links[link].note_answered(now_ns);
        Some(id)
    }

    fn on_control(&mut self, link: usize, body: ResponseBodyRef<'_>, now_ns: u64) {
        self.links[link].note_told(now_ns);
        match body {
            ResponseBodyRef::Other(ResponseBody::Topology(view), _) => self.learn(link, &view, now_ns),
            ResponseBodyRef::Other(ResponseBody::Failed(Failure::Unavailable), _) => {}
            ResponseBodyRef::Other(ResponseBody::Failed(failure), _) => {
                self.lose(link, failure_name(failure), now_ns);
            }
            _ => self.lose(link, "answer of the wrong kind", now_ns),
        }
    }

    /// Handles the answer to AUTH. The request sent behind it is answered next.
    fn on_auth(&mut self, link: usize, body: ResponseBodyRef<'_>, now_ns: u64) {
        self.links[link].note_told(now_ns);
        match body {
            ResponseBodyRef::Other(ResponseBody::Ok, _) => {}
            // The password is longer than any password may be.
            ResponseBodyRef::Reply(Reply::Error(_), _) => {
                self.on_not_admitted(link, NotAdmitted::PasswordWrong, now_ns);
            }
            ResponseBodyRef::Other(ResponseBody::Failed(failure), _) => {
                self.lose(link, failure_name(failure), now_ns);
            }
            _ => self.lose(link, "answer of the wrong kind", now_ns),
        }
    }

    fn on_reply(&mut self, id: OpId, reply: Reply<&[u8]>, now_ns: u64) {
        let op = self.ops.get(id).expect("found just before");
        match (&op.work, reply) {
            (_, Reply::Error(kind)) => self.on_error(id, kind, now_ns),
            (Work::Write { .. }, Reply::Done { version }) => {
                self.end_write(id, WriteFate::Acknowledged(version), now_ns);
            }
            (Work::Read { .. }, Reply::Nil) => self.end_read(id, ReadFate::Saw(Seen::Nothing), now_ns),
            (Work::Read { .. }, Reply::Value { value, version }) => {
                let fate = self.judge_value(op.key, value, version);
                self.end_read(id, fate, now_ns);
            }
            (&Work::OpenSession { lane }, Reply::Session(session)) => {
                let group = op.group;
                self.ops.remove(id);
                self.sessions.opened(group, lane, session);
            }
            _ => self.on_absurd(id, now_ns),
        }
    }

    pub(super) fn judge_value(&self, key: u32, bytes: &[u8], version: Version) -> ReadFate {
        match value::verify(bytes) {
            Err(error) => ReadFate::Corrupt(error.to_string()),
            Ok(Stamp { run, .. }) if run != self.values.run() => ReadFate::Saw(Seen::Foreign),
            Ok(Stamp { key: of, .. }) if of != u64::from(key) => {
                ReadFate::Corrupt(format!("a value that was written to key {of}"))
            }
            Ok(Stamp { sequence, .. }) => ReadFate::Saw(Seen::Write { sequence, version }),
        }
    }

    pub(super) fn on_error(&mut self, id: OpId, kind: ErrorKind, now_ns: u64) {
        let name = error_name(kind);
        let op = self.ops.get_mut(id).expect("found just before");
        let patient = op.stage.waits_out_busy();
        match (&mut op.work, kind) {
            (_, ErrorKind::NoLeader) => {
                self.topology_urgent = true;
                self.rest(id, name, now_ns);
            }
            (Work::Write { place, .. }, ErrorKind::Unknown) => {
                op.doubtful = true;
                match place {
                    Some(_) => self.rest(id, name, now_ns),
                    None => self.end_write(id, WriteFate::Unknown(name), now_ns),
                }
            }
            (Work::Write { place: place @ Some(_), .. }, ErrorKind::SessionExpired) => {
                let (group, expired) = (op.group, place.take().expect("just matched"));
                let doubtful = op.doubtful;
                if self.sessions.expired(group, expired) {
                    self.to_open.push((group, expired.lane));
                }
                if doubtful {
                    // The session's replies are gone, and nothing else records whether the write was
                    // executed.
                    self.end_write(id, WriteFate::Unknown(name), now_ns);
                } else {
                    self.rest(id, name, now_ns);
                }
            }
            // These errors concern the command, not this send: it may have been executed before.
            (
                Work::Write { .. },
                ErrorKind::SequenceClosed | ErrorKind::ReadFailed | ErrorKind::ReplyDropped,
            ) => {
                self.end_write(id, WriteFate::Unknown(name), now_ns);
            }
            (Work::Write { .. }, ErrorKind::Busy) if patient || op.doubtful => self.rest(id, name, now_ns),
            (Work::Write { .. }, _) if op.doubtful => {
                self.end_write(id, WriteFate::Unknown(name), now_ns);
            }
            (Work::Write { .. }, _) => self.end_write(id, WriteFate::Refused(name), now_ns),
            (Work::Read { .. }, ErrorKind::Unknown) => self.rest(id, name, now_ns),
            (Work::Read { .. }, ErrorKind::Busy | ErrorKind::ReadFailed) if patient => {
                self.rest(id, name, now_ns)
            }
            (Work::Read { .. }, _) => self.end_read(id, ReadFate::NoAnswer(name), now_ns),
            (Work::OpenSession { .. }, _) => self.rest(id, name, now_ns),
        }
    }

    /// Handles a failure of the server, not of the command: this send was certainly not executed.
    fn on_failure(&mut self, id: OpId, failure: Failure, now_ns: u64) {
        let name = failure_name(failure);
        let op = self.ops.get(id).expect("found just before");
        let again = failure == Failure::Unavailable || op.stage.waits_out_busy() || op.doubtful;
        match op.work {
            _ if again => self.rest(id, name, now_ns),
            Work::Write { .. } => self.end_write(id, WriteFate::Refused(name), now_ns),
            Work::Read { .. } => self.end_read(id, ReadFate::NoAnswer(name), now_ns),
            Work::OpenSession { .. } => self.rest(id, name, now_ns),
        }
    }

    pub(super) fn on_absurd(&mut self, id: OpId, now_ns: u64) {
        let name = "answer of the wrong kind";
        match self.ops.get(id).expect("found just before").work {
            Work::Write { .. } => self.end_write(id, WriteFate::Absurd(name), now_ns),
            Work::Read { .. } => self.end_read(id, ReadFate::Absurd(name), now_ns),
            Work::OpenSession { .. } => self.rest(id, name, now_ns),
        }
    }

    /// Ends a write.
    pub(super) fn end_write(&mut self, id: OpId, fate: WriteFate, now_ns: u64) {
        let mut op = self.ops.remove(id).expect("an operation ends once");
        let work = std::mem::replace(&mut op.work, Work::Read { ticket: None, then: None });
        let Work::Write { ticket, place } = work else { panic!("a read ended as a write") };
        if let Some(place) = place {
            self.sessions.finish(op.group, place);
        }
        let mut event = self.event(&op, true, now_ns);
        event.sequence = Some(ticket.sequence());
        let (told, end) = match fate {
            WriteFate::Acknowledged(version) => {
                event.version = Some(version);
                (self.ledger.acknowledge(ticket, version), End::Good { latency_ns: now_ns - op.planned_ns })
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
        if op.kind == Some(Kind::Insert) {
            self.workload.inserted(op.key);
        }
        self.close(&op, end, now_ns);
    }

    /// Ends a read; a read-modify-write goes on with its write.
    pub(super) fn end_read(&mut self, id: OpId, fate: ReadFate, now_ns: u64) {
        let mut op = self.ops.remove(id).expect("an operation ends once");
        let work = std::mem::replace(&mut op.work, Work::Read { ticket: None, then: None });
        let Work::Read { ticket, then } = work else { panic!("a write ended as a read") };
        let key = op.key;
        let mut event = self.event(&op, false, now_ns);
        let is_audit = op.stage == Stage::Audit;
        let end = match fate {
            ReadFate::Saw(seen) => {
                let ticket = ticket.expect("what was answered was sent");
                (event.sequence, event.version) = match seen {
                    Seen::Write { sequence, version } => (Some(sequence), Some(version)),
                    Seen::Nothing | Seen::Foreign => (Some(0), None),
                };
                let told = self.ledger.end_read(ticket, seen);
                self.judge(told, End::Good { latency_ns: now_ns - op.planned_ns }, op.stage)
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
        match (then, end) {
            (None, _) => self.close(&op, end, now_ns),
            (Some(ticket), End::Good { .. }) => self.write_after_read(op, ticket, now_ns),
            (Some(ticket), _) => {
                // The write was never sent, so no read can have seen it.
                let told = self.ledger.refuse(ticket);
                let end = self.judge(told, end, op.stage);
                self.close(&op, end, now_ns);
            }
        }
    }

    /// Begins the second part of a read-modify-write, with the planned time and the deadline of the first.
    fn write_after_read(&mut self, read: Op, ticket: WriteTicket, now_ns: u64) {
        let work = Work::Write { ticket, place: None };
        let op = Op {
            work,
            first_sent_ns: 0,
            sent_ns: 0,
            attempts: 0,
            doubtful: false,
            spot: Spot::Moving,
            ..read
        };
        let id = self.ops.insert(op);
        self.dispatch(id, now_ns);
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

    fn close(&mut self, op: &Op, end: End, now_ns: u64) {
        let kind = op.kind.expect("what is closed is part of the load");
        self.load_open -= 1;
        self.second.count(kind, end);
        if end == End::VerifyFailure && op.stage != Stage::Audit {
            self.tally.verify_failures += 1;
        }
        let is_in_time = matches!(self.active, Active::Load { measured_ns, end_ns, .. }
            if (measured_ns..end_ns).contains(&now_ns));
        let measured = self.tally.measured_mut(kind);
        if is_in_time && matches!(end, End::Good { .. }) {
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

    fn event(&self, op: &Op, is_write: bool, now_ns: u64) -> Event {
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

    fn record(&mut self, mut event: Event) {
        if self.options.protocol == Protocol::Resp {
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

fn failure_name(failure: Failure) -> &'static str {
    match failure {
        Failure::Protocol => "protocol refused",
        Failure::Version => "version refused",
        Failure::AuthRequired => "authentication required",
        Failure::AuthFailed => "authentication failed",
        Failure::Unavailable => "unavailable",
        Failure::Protected => "protected",
    }
}

fn protocol_error_name(error: ProtocolError) -> &'static str {
    match error {
        ProtocolError::Checksum => "damaged answer",
        _ => "malformed answer",
    }
}
