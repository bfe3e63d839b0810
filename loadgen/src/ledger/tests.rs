//! The ledger against a real register (no false alarm) and against a brute-force linearizability check (no
//! missed and no false complaint).

use super::*;
use proptest::prelude::*;
use synod_types::Slot;

fn version(slot: u64) -> Version {
    Version { slot: Slot::new(slot), position: 0 }
}

fn saw(sequence: u64) -> Seen {
    // Tests that are not about versions give every write a version of its own.
    Seen::Write { sequence, version: version(sequence) }
}

fn fault(result: Result<(), Violation>) -> Option<Fault> {
    result.err().map(|violation| violation.fault)
}

fn read(ledger: &mut Ledger, seen: Seen) -> Option<Fault> {
    let ticket = ledger.begin_read(0);
    fault(ledger.end_read(ticket, seen))
}

fn acked_write(ledger: &mut Ledger) {
    let ticket = ledger.begin_write(0).expect("none in flight");
    let at = version(ticket.sequence());
    assert_eq!(ledger.acknowledge(ticket, at), Ok(()));
}

fn unknown_write(ledger: &mut Ledger) {
    let ticket = ledger.begin_write(0).expect("none in flight");
    ledger.give_up(ticket);
}

#[test]
fn an_acknowledged_write_must_be_seen() {
    let mut ledger = Ledger::new(0..1);
    assert_eq!(read(&mut ledger, Seen::Nothing), None);
    assert_eq!(read(&mut ledger, Seen::Foreign), None);
    acked_write(&mut ledger);
    acked_write(&mut ledger);
    assert_eq!(read(&mut ledger, saw(2)), None);
    assert_eq!(read(&mut ledger, saw(1)), Some(Fault::Stale));
    assert_eq!(read(&mut ledger, saw(3)), Some(Fault::NeverIssued));
    assert_eq!(read(&mut ledger, saw(0)), Some(Fault::NeverIssued));
    assert_eq!(read(&mut ledger, Seen::Nothing), Some(Fault::Absent));
    assert_eq!(read(&mut ledger, Seen::Foreign), Some(Fault::Absent));
    assert_eq!((ledger.acked(), ledger.unknown()), (2, 0));
}

#[test]
fn one_write_of_a_key_at_a_time() {
    let mut ledger = Ledger::new(0..2);
    let ticket = ledger.begin_write(1).expect("the first");
    assert!(ledger.is_writing(1) && !ledger.is_writing(0));
    assert_eq!(ledger.begin_write(1), None);
    assert!(ledger.begin_write(0).is_some());
    ledger.give_up(ticket);
    assert_eq!(ledger.begin_write(1).map(|ticket| ticket.sequence()), Some(2));
    assert_eq!(ledger.written_keys().collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn a_write_in_flight_may_be_seen_or_not_until_it_was_seen() {
    let mut ledger = Ledger::new(0..1);
    acked_write(&mut ledger);
    let second = ledger.begin_write(0).expect("none in flight");
    assert_eq!(read(&mut ledger, saw(1)), None);
    assert_eq!(read(&mut ledger, saw(2)), None);
    assert_eq!(read(&mut ledger, saw(1)), Some(Fault::Stale), "new, then old");
    assert_eq!(ledger.acknowledge(second, version(2)), Ok(()));
    assert_eq!(read(&mut ledger, saw(2)), None);
}

#[test]
fn a_read_that_began_before_an_acknowledgement_may_miss_the_write() {
    let mut ledger = Ledger::new(0..1);
    acked_write(&mut ledger);
    let early = ledger.begin_read(0);
    acked_write(&mut ledger);
    assert_eq!(fault(ledger.end_read(early, saw(1))), None);
    assert_eq!(read(&mut ledger, saw(1)), Some(Fault::Stale));
}

#[test]
fn an_unknown_write_may_overtake_later_ones_once() {
    let mut ledger = Ledger::new(0..1);
    acked_write(&mut ledger);
    unknown_write(&mut ledger);
    acked_write(&mut ledger);
    assert_eq!(read(&mut ledger, saw(3)), None);
    assert_eq!(read(&mut ledger, saw(1)), Some(Fault::Stale));
    assert_eq!(read(&mut ledger, saw(2)), None, "it took effect late");
    assert_eq!(read(&mut ledger, saw(3)), Some(Fault::Stale), "and buried the third, which took effect once");
    assert_eq!(read(&mut ledger, saw(2)), None);
    acked_write(&mut ledger);
    assert_eq!(read(&mut ledger, saw(2)), Some(Fault::Stale), "it cannot take effect a second time");
    assert_eq!(read(&mut ledger, saw(4)), None);
    assert_eq!((ledger.acked(), ledger.unknown()), (3, 1));
}

#[test]
fn a_write_that_was_seen_before_it_was_given_up_is_not_unknown() {
    let mut ledger = Ledger::new(0..1);
    let ticket = ledger.begin_write(0).expect("none in flight");
    assert_eq!(read(&mut ledger, saw(1)), None);
    ledger.give_up(ticket);
    acked_write(&mut ledger);
    assert_eq!(read(&mut ledger, saw(1)), Some(Fault::Stale));
}

#[test]
fn two_unknown_writes_do_not_take_turns() {
    let mut ledger = Ledger::new(0..1);
    unknown_write(&mut ledger);
    unknown_write(&mut ledger);
    assert_eq!(read(&mut ledger, saw(2)), None);
    assert_eq!(read(&mut ledger, saw(1)), None);
    assert_eq!(read(&mut ledger, saw(2)), Some(Fault::Stale));
    assert_eq!(read(&mut ledger, Seen::Nothing), Some(Fault::Absent));
}

#[test]
fn a_refused_write_is_never_seen() {
    let mut ledger = Ledger::new(0..1);
    acked_write(&mut ledger);
    let ticket = ledger.begin_write(0).expect("none in flight");
    assert_eq!(ledger.refuse(ticket), Ok(()));
    assert_eq!(read(&mut ledger, saw(2)), Some(Fault::Refused));
    assert_eq!(read(&mut ledger, saw(1)), None);
    let ticket = ledger.begin_write(0).expect("none in flight");
    assert_eq!(read(&mut ledger, saw(3)), None);
    assert_eq!(fault(ledger.refuse(ticket)), Some(Fault::Refused), "it was seen before it was refused");
}

#[test]
fn one_write_has_one_version_and_later_ones_have_later_versions() {
    let seen = |sequence, slot| Seen::Write { sequence, version: version(slot) };
    let mut ledger = Ledger::new(0..1);
    acked_write(&mut ledger);
    assert_eq!(read(&mut ledger, seen(1, 9)), Some(Fault::Repeated));
    let ticket = ledger.begin_write(0).expect("none in flight");
    assert_eq!(read(&mut ledger, seen(2, 7)), None);
    assert_eq!(fault(ledger.acknowledge(ticket, version(8))), Some(Fault::Repeated));
    let ticket = ledger.begin_write(0).expect("none in flight");
    assert_eq!(fault(ledger.acknowledge(ticket, version(5))), Some(Fault::VersionWentBack));
    unknown_write(&mut ledger);
    assert_eq!(read(&mut ledger, seen(4, 20)), None);
    assert_eq!(read(&mut ledger, seen(4, 21)), Some(Fault::Repeated));
}

// ---- against a register -----------------------------------------------------------------------------------

/// One step of a history of one key.
#[derive(Clone, Copy, Debug)]
enum Step {
    BeginWrite,
    /// The write in flight takes effect now.
    Apply,
    /// An abandoned write takes effect now.
    ApplyLate(usize),
    Acknowledge,
    Refuse,
    GiveUp,
    BeginRead(usize),
    /// The read's value is taken now.
    Sample(usize),
    EndRead(usize),
}

const READERS: usize = 3;

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::BeginWrite),
        3 => Just(Step::Apply),
        1 => (0_usize..4).prop_map(Step::ApplyLate),
        3 => Just(Step::Acknowledge),
        1 => Just(Step::Refuse),
        2 => Just(Step::GiveUp),
        2 => (0..READERS).prop_map(Step::BeginRead),
        2 => (0..READERS).prop_map(Step::Sample),
        2 => (0..READERS).prop_map(Step::EndRead),
    ]
}

#[derive(Default)]
struct Register {
    value: Option<(u64, u64)>,
    slot: u64,
    /// Write in flight: ticket, and the slot it took effect at.
    flying: Option<(WriteTicket, Option<u64>)>,
    /// Abandoned writes that have not taken effect.
    pending: Vec<u64>,
    readers: [Option<(ReadTicket, Option<Seen>)>; READERS],
}

impl Register {
    fn apply(&mut self, sequence: u64) -> u64 {
        self.slot += 1;
        self.value = Some((sequence, self.slot));
        self.slot
    }
    fn look(&self) -> Seen {
        match self.value {
            None => Seen::Nothing,
            Some((sequence, slot)) => Seen::Write { sequence, version: version(slot) },
        }
    }
    /// Performs the step if it is possible; the ledger must not complain.
    fn run(&mut self, ledger: &mut Ledger, step: Step) -> Result<(), Violation> {
        match step {
            Step::BeginWrite => {
                if let Some(ticket) = ledger.begin_write(0) {
                    assert!(self.flying.is_none(), "two writes in flight");
                    self.flying = Some((ticket, None));
                }
            }
            Step::Apply => {
                if let Some((ticket, None)) = &self.flying {
                    let slot = self.apply(ticket.sequence);
                    self.flying.as_mut().expect("just matched").1 = Some(slot);
                }
            }
            Step::ApplyLate(which) => {
                if which < self.pending.len() {
                    let sequence = self.pending.swap_remove(which);
                    self.apply(sequence);
                }
            }
            Step::Acknowledge => {
                if let Some((ticket, effect)) = self.flying.take() {
                    let slot = effect.unwrap_or_else(|| self.apply(ticket.sequence));
                    return ledger.acknowledge(ticket, version(slot));
                }
            }
            Step::Refuse => {
                if let Some((ticket, effect)) = self.flying.take() {
                    if effect.is_none() {
                        return ledger.refuse(ticket);
                    }
                    self.flying = Some((ticket, effect));
                }
            }
            Step::GiveUp => {
                if let Some((ticket, effect)) = self.flying.take() {
                    if effect.is_none() {
                        self.pending.push(ticket.sequence);
                    }
                    ledger.give_up(ticket);
                }
            }
            Step::BeginRead(reader) => {
                if self.readers[reader].is_none() {
                    self.readers[reader] = Some((ledger.begin_read(0), None));
                }
            }
            Step::Sample(reader) => {
                let seen = self.look();
                if let Some((_, sample @ None)) = &mut self.readers[reader] {
                    *sample = Some(seen);
                }
            }
            Step::EndRead(reader) => {
                if let Some((ticket, sample)) = self.readers[reader].take() {
                    return ledger.end_read(ticket, sample.unwrap_or_else(|| self.look()));
                }
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn a_correct_register_is_never_accused(steps in prop::collection::vec(step(), 1..120)) {
        let (mut ledger, mut register) = (Ledger::new(0..1), Register::default());
        for step in steps {
            prop_assert_eq!(register.run(&mut ledger, step), Ok(()));
        }
        let seen = register.look();
        prop_assert_eq!(read(&mut ledger, seen), None, "the audit");
    }
}

// ---- against brute force ----------------------------------------------------------------------------------

/// A finished operation on one register: when it began, when it ended (`u64::MAX` for unknown), and what it
/// wrote or saw.
#[derive(Clone, Copy, Debug)]
struct Done {
    begun: u64,
    ended: u64,
    action: Action,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Write(u64),
    Read(u64),
}

/// Whether some order of all ended and some unknown operations explains every read; tries all orders.
fn is_linearizable(history: &[Done], taken: u32, value: u64) -> bool {
    let open = |at: usize| taken & (1 << at) == 0;
    let must = |at: usize| history[at].ended != u64::MAX;
    if (0..history.len()).all(|at| !open(at) || !must(at)) {
        return true;
    }
    let horizon =
        (0..history.len()).filter(|&at| open(at)).map(|at| history[at].ended).min().unwrap_or(u64::MAX);
    (0..history.len()).filter(|&at| open(at) && history[at].begun < horizon).any(|at| {
        match history[at].action {
            Action::Write(sequence) => is_linearizable(history, taken | 1 << at, sequence),
            Action::Read(seen) => seen == value && is_linearizable(history, taken | 1 << at, value),
        }
    })
}

/// One step of the test; a read sees the value given to it.
#[derive(Clone, Copy, Debug)]
enum Move {
    BeginWrite,
    Acknowledge,
    Refuse,
    GiveUp,
    BeginRead(usize),
    EndRead(usize, u64),
}

fn a_move() -> impl Strategy<Value = Move> {
    prop_oneof![
        4 => Just(Move::BeginWrite),
        3 => Just(Move::Acknowledge),
        1 => Just(Move::Refuse),
        2 => Just(Move::GiveUp),
        2 => (0..READERS).prop_map(Move::BeginRead),
        2 => ((0..READERS), 0_u64..5).prop_map(|(reader, seen)| Move::EndRead(reader, seen)),
    ]
}

/// Runs `moves`; returns the history, and whether the ledger complained.
fn both(moves: &[Move], last_read: Option<u64>) -> (Vec<Done>, bool) {
    let mut ledger = Ledger::new(0..1);
    let mut history: Vec<Done> = Vec::new();
    let mut flying: Option<(WriteTicket, usize)> = None;
    let mut readers: [Option<(ReadTicket, u64)>; READERS] = [None; READERS];
    let mut complained = false;
    let seen = |sequence| if sequence == 0 { Seen::Nothing } else { saw(sequence) };
    for (now, &step) in (1_u64..).zip(moves) {
        if history.len() > 9 {
            break;
        }
        match step {
            Move::BeginWrite => {
                if let Some(ticket) = ledger.begin_write(0) {
                    let action = Action::Write(ticket.sequence);
                    history.push(Done { begun: now, ended: u64::MAX, action });
                    flying = Some((ticket, history.len() - 1));
                }
            }
            Move::Acknowledge => {
                if let Some((ticket, at)) = flying.take() {
                    history[at].ended = now;
                    let at = version(ticket.sequence);
                    // The order of versions carries more information than this history; it is not tested
                    // here.
                    let _ = ledger.acknowledge(ticket, at);
                }
            }
            Move::Refuse => {
                if let Some((ticket, at)) = flying.take() {
                    // Certainly not executed: a value that no read can see.
                    history[at].action = Action::Write(u64::MAX);
                    complained |= ledger.refuse(ticket).is_err();
                }
            }
            Move::GiveUp => {
                if let Some((ticket, _)) = flying.take() {
                    ledger.give_up(ticket);
                }
            }
            Move::BeginRead(reader) => {
                if readers[reader].is_none() {
                    readers[reader] = Some((ledger.begin_read(0), now));
                }
            }
            Move::EndRead(reader, value) => {
                if let Some((ticket, begun)) = readers[reader].take() {
                    history.push(Done { begun, ended: now, action: Action::Read(value) });
                    complained |= ledger.end_read(ticket, seen(value)).is_err();
                }
            }
        }
    }
    if let Some(value) = last_read {
        let now = moves.len() as u64 + 1;
        let ticket = ledger.begin_read(0);
        history.push(Done { begun: now, ended: now + 1, action: Action::Read(value) });
        complained |= ledger.end_read(ticket, seen(value)).is_err();
    }
    (history, complained)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8192))]

    #[test]
    fn every_complaint_is_a_proof(moves in prop::collection::vec(a_move(), 1..40)) {
        let (history, complained) = both(&moves, None);
        if complained {
            prop_assert!(!is_linearizable(&history, 0, 0), "false alarm: {history:?}");
        }
    }

    #[test]
    fn for_writes_and_one_read_the_verdict_is_exact(
        moves in prop::collection::vec(a_move(), 1..25), last_read in 0_u64..6,
    ) {
        let writes: Vec<_> =
            moves.into_iter().filter(|step| !matches!(step, Move::BeginRead(_) | Move::EndRead(..))).collect();
        let (history, complained) = both(&writes, Some(last_read));
        prop_assert_eq!(complained, !is_linearizable(&history, 0, 0), "{:?}", history);
    }

    #[test]
    fn reads_one_after_another_are_judged_exactly(
        moves in prop::collection::vec(a_move(), 1..25), values in prop::collection::vec(0_u64..4, 1..4),
    ) {
        // Reads that overlap only unknown writes, as in one or two audits.
        let mut script: Vec<_> =
            moves.into_iter().filter(|step| !matches!(step, Move::BeginRead(_) | Move::EndRead(..))).collect();
        script.push(Move::GiveUp);
        for value in values {
            script.extend([Move::BeginRead(0), Move::EndRead(0, value)]);
        }
        let (history, complained) = both(&script, None);
        prop_assert_eq!(complained, !is_linearizable(&history, 0, 0), "{:?}", history);
    }
}
