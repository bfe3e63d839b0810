//! The next request, and the meaning of an answer: keys, values, ledger and histogram of the load generator.
//! May not: know a socket.

use bytes::Bytes;
use std::collections::BTreeMap;
use synod_loadgen::Options;
use synod_loadgen::histogram::Latencies;
use synod_loadgen::ledger::{Ledger, ReadTicket, Seen, Violation, WriteTicket};
use synod_loadgen::random::{Random, mix};
use synod_loadgen::value::{self, ValueWriter};
use synod_loadgen::workload::{KeyNames, Kind, Workload};
use synod_types::{Slot, Version};

/// Findings beyond this many are counted but not described.
const FINDINGS_MAX: usize = 5;

/// A part of the run.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Part {
    /// Write every key once.
    Preload,
    /// Load of one kind; the time before `measured_ns` is its warm-up.
    Load {
        /// `Write` or `Read`.
        kind: Kind,
        /// Answers count from here on.
        measured_ns: u64,
        /// From here on no answer counts, and no request is begun.
        end_ns: u64,
    },
    /// Read every key back.
    Audit,
}

/// A request to send.
#[derive(Debug)]
pub enum EtcdRequest {
    /// A write.
    Put {
        /// To be settled with the answer.
        ticket: WriteTicket,
        /// The key's name.
        key: Bytes,
        /// The value.
        value: Bytes,
    },
    /// A read.
    Get {
        /// To be settled with the answer.
        ticket: ReadTicket,
        /// The key's name.
        key: Bytes,
    },
}

/// The counts of one measured phase.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    /// Latencies of the answers in the measured time.
    pub latencies: Latencies,
    /// All requests of the phase, including its warm-up.
    pub requests: u64,
}

/// The state of the load.
pub struct EtcdLoad {
    workload: Workload,
    names: KeyNames,
    values: ValueWriter,
    ledger: Ledger,
    part: Part,
    /// The next key, in a part that goes through all keys.
    next_key: u32,
    counted: Counted,
    errors: BTreeMap<String, u64>,
    violations: u64,
    findings: Vec<String>,
}

impl EtcdLoad {
    /// A state in which no key is written yet.
    pub fn new(options: &Options, run: u64) -> Self {
        let keys = 0..options.keys;
        Self {
            workload: Workload::new(keys.clone(), options.keys_dist(), Random::new(options.seed, 0)),
            names: KeyNames::new(&options.key_prefix),
            values: ValueWriter::new(&options.value_size, mix(run)),
            ledger: Ledger::new(keys),
            part: Part::Preload,
            next_key: 0,
            counted: Counted::default(),
            errors: BTreeMap::new(),
            violations: 0,
            findings: Vec::new(),
        }
    }

    /// Begins a part; no request of another part may be under way.
    pub fn begin(&mut self, part: Part) {
        self.part = part;
        self.next_key = 0;
    }
    /// The counts since the last call.
    pub fn take_counted(&mut self) -> Counted {
        std::mem::take(&mut self.counted)
    }
    /// Acknowledged writes.
    pub fn acked(&self) -> u64 {
        self.ledger.acked()
    }
    /// The faults so far, in words.
    pub fn faults(&self) -> Vec<String> {
        let errors = self.errors.iter().map(|(what, count)| format!("{count} requests failed: {what}"));
        let violations = (self.violations > 0).then(|| {
            format!(
                "{} answers contradict what was acknowledged: {}",
                self.violations,
                self.findings.join("; ")
            )
        });
        errors.chain(violations).collect()
    }

    /// The next request; `None` when the part is over.
    pub fn next(&mut self, now_ns: u64) -> Option<EtcdRequest> {
        match self.part {
            Part::Preload => self.next_in_row().map(|key| self.put(key)),
            Part::Audit => self.next_in_row().map(|key| self.get(key)),
            Part::Load { end_ns, .. } if now_ns >= end_ns => None,
            Part::Load { kind, .. } => {
                self.counted.requests += 1;
                if kind == Kind::Read {
                    let key = self.workload.draw_key();
                    return Some(self.get(key));
                }
                // A key has at most one write under way. There are more keys than requests may be, so this
                // loop ends.
                let key = loop {
                    let key = self.workload.draw_key();
                    if !self.ledger.is_writing(key) {
                        break key;
                    }
                };
                Some(self.put(key))
            }
        }
    }

    fn next_in_row(&mut self) -> Option<u32> {
        let key = self.next_key;
        self.next_key += 1;
        (key < self.ledger.range().end).then_some(key)
    }
    fn name(&self, key: u32) -> Bytes {
        let mut name = Vec::new();
        self.names.write(&mut name, key);
        name.into()
    }
    fn put(&mut self, key: u32) -> EtcdRequest {
        let ticket = self.ledger.begin_write(key).expect("no write of the key is under way");
        let mut value = Vec::new();
        self.values.write(&mut value, u64::from(key), ticket.sequence());
        EtcdRequest::Put { ticket, key: self.name(key), value: value.into() }
    }
    fn get(&mut self, key: u32) -> EtcdRequest {
        EtcdRequest::Get { ticket: self.ledger.begin_read(key), key: self.name(key) }
    }

    /// A write was answered: with its revision, or with an error. After an error it may still have been
    /// executed.
    pub fn on_put(&mut self, ticket: WriteTicket, answer: Result<u64, String>, begun_ns: u64, now_ns: u64) {
        match answer {
            Ok(revision) => {
                let judged = self.ledger.acknowledge(ticket, version_of(revision));
                self.judge(judged);
                self.count(begun_ns, now_ns);
            }
            Err(why) => {
                self.ledger.give_up(ticket);
                *self.errors.entry(why).or_default() += 1;
            }
        }
    }

    /// A read was answered: with value and revision, or with an error.
    pub fn on_get(
        &mut self,
        ticket: ReadTicket,
        answer: Result<Option<(Bytes, u64)>, String>,
        begun_ns: u64,
        now_ns: u64,
    ) {
        let found = match answer {
            Ok(found) => found,
            Err(why) => return *self.errors.entry(why).or_default() += 1,
        };
        let seen = match found.as_ref().map(|(bytes, revision)| (value::verify(bytes), *revision)) {
            None => Seen::Nothing,
            Some((Err(error), _)) => return self.find(format!("key {}: {error}", ticket.key())),
            Some((Ok(stamp), revision))
                if stamp.run == self.values.run() && stamp.key == u64::from(ticket.key()) =>
            {
                Seen::Write { sequence: stamp.sequence, version: version_of(revision) }
            }
            Some((Ok(_), _)) => Seen::Foreign,
        };
        let judged = self.ledger.end_read(ticket, seen);
        self.judge(judged);
        self.count(begun_ns, now_ns);
    }

    fn judge(&mut self, judged: Result<(), Violation>) {
        if let Err(violation) = judged {
            self.find(violation.to_string());
        }
    }
    fn find(&mut self, what: String) {
        self.violations += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(what);
        }
    }
    fn count(&mut self, begun_ns: u64, now_ns: u64) {
        if let Part::Load { measured_ns, end_ns, .. } = self.part
            && (measured_ns..end_ns).contains(&now_ns)
        {
            self.counted.latencies.record_ns(now_ns - begun_ns);
        }
    }
}

/// A revision rises with every write to the store.
fn version_of(revision: u64) -> Version {
    Version { slot: Slot::new(revision), position: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> EtcdLoad {
        EtcdLoad::new(&Options { keys: 4, value_size: 64.into(), ..Options::default() }, 7)
    }

    /// Answers all requests of a part as a correct server would; `store` holds the values by key.
    fn answer_all(
        state: &mut EtcdLoad,
        store: &mut BTreeMap<Bytes, (Bytes, u64)>,
        revision: &mut u64,
        now: u64,
    ) {
        for _ in 0..20 {
            match state.next(now) {
                None => return,
                Some(EtcdRequest::Put { ticket, key, value }) => {
                    *revision += 1;
                    store.insert(key, (value, *revision));
                    state.on_put(ticket, Ok(*revision), now, now + 1000);
                }
                Some(EtcdRequest::Get { ticket, key }) => {
                    state.on_get(ticket, Ok(store.get(&key).cloned()), now, now + 1000);
                }
            }
        }
    }

    #[test]
    fn a_sound_server_is_found_sound_and_only_the_measured_time_counts() {
        let (mut state, mut store, mut revision) = (state(), BTreeMap::new(), 0);
        answer_all(&mut state, &mut store, &mut revision, 0);
        assert_eq!((state.acked(), store.len()), (4, 4));
        for (kind, answered_at) in [(Kind::Write, 10_000), (Kind::Read, 10_000), (Kind::Read, 0)] {
            state.begin(Part::Load { kind, measured_ns: 5000, end_ns: 20_000 });
            answer_all(&mut state, &mut store, &mut revision, answered_at);
            assert!(state.next(20_000).is_none(), "nothing is begun after the end");
            let counted = state.take_counted();
            assert_eq!(counted.requests, 20);
            assert_eq!(counted.latencies.count(), if answered_at == 0 { 0 } else { 20 });
        }
        state.begin(Part::Audit);
        answer_all(&mut state, &mut store, &mut revision, 0);
        assert_eq!(state.faults(), Vec::<String>::new());
    }

    #[test]
    fn a_lost_write_and_broken_bytes_are_found() {
        let (mut state, mut store, mut revision) = (state(), BTreeMap::new(), 0);
        answer_all(&mut state, &mut store, &mut revision, 0);
        store.pop_first();
        store.first_entry().unwrap().get_mut().0 = Bytes::from_static(b"broken");
        state.begin(Part::Audit);
        answer_all(&mut state, &mut store, &mut revision, 0);
        let faults = state.faults().join("\n");
        assert!(faults.starts_with("2 answers contradict"), "{faults}");
        assert!(faults.contains("is absent") && faults.contains("cut short"), "{faults}");
    }

    #[test]
    fn failures_are_counted_by_what_they_say() {
        let mut state = state();
        for _ in 0..2 {
            let Some(EtcdRequest::Put { ticket, .. }) = state.next(0) else { panic!("a preload writes") };
            state.on_put(ticket, Err("too busy".to_owned()), 0, 0);
        }
        assert_eq!(state.faults(), ["2 requests failed: too busy"]);
    }
}
