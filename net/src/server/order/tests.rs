//! Which commands of a pipeline wait for which: a connection sees its own writes, whatever keys they name.
//!
//! Two simple twins are compared with the rule: one that compares lists of keys, and a server that executes
//! one command at a time.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeSet;
use synod_types::operand::put_pair;
use synod_types::{Condition, Consistency, Expiry, Op, SessionStamp, Shared};

fn bytes(text: &str) -> Shared {
    Shared::new(text.as_bytes().to_vec())
}

fn pairs(keys: &[&str]) -> Shared {
    let mut packed = Vec::new();
    for key in keys {
        put_pair(&mut packed, key.as_bytes(), b"v");
    }
    Shared::new(packed)
}

fn ask(tag: u64, key: &str, op: Op) -> Ask {
    ask_with(tag, key, op, Shared::default())
}

fn ask_with(tag: u64, key: &str, op: Op, operand: Shared) -> Ask {
    let command = Command::new(bytes(key), op, operand);
    Ask::Command { tag: Tag::new(tag), group: None, consistency: Consistency::Linearizable, command }
}

/// The ask with a stamp of the client's own session, if it is a write and `in_session`.
fn in_session(ask: Ask, in_session: bool) -> Ask {
    match ask {
        Ask::Command { tag, group, consistency, mut command } => {
            if in_session && command.op.is_write() {
                command.stamp = SessionStamp { session: SessionId::new(5), sequence: 1, lowest_open: 1 };
            }
            Ask::Command { tag, group, consistency, command }
        }
        other => other,
    }
}

impl OpenCommands {
    fn waits(&mut self, ask: &Ask) -> bool {
        self.must_wait(ask)
    }
}

#[test]
fn a_read_waits_for_every_open_write_that_names_its_key() {
    let many = Op::SetMany { condition: Condition::Always, expiry: Expiry::None };
    for (op, operand, named) in [
        (Op::Rename { replace: true }, bytes("new"), &["old", "new"][..]),
        (Op::Copy { replace: false }, bytes("new"), &["old", "new"]),
        (many, pairs(&["old", "new", "third"]), &["old", "new", "third"]),
    ] {
        let mut open = OpenCommands::default();
        assert!(!open.waits(&ask_with(1, "old", op, operand)), "a write waits for nothing");
        assert!(!open.waits(&ask(2, "new", Op::Delete)), "a write after it neither");
        for key in named {
            for read in [Op::Get, Op::Exists, Op::Ttl, Op::ExpireTime] {
                assert!(open.waits(&ask(3, key, read)), "{key} after {op:?}");
            }
        }
        assert!(!open.waits(&ask(3, "other", Op::Get)), "other keys go on");
        assert!(open.waits(&ask(3, "", Op::CountKeys)), "the whole group has that key too");

        // Its answer frees all its keys except those that a later write names too.
        open.answered(Tag::new(1));
        assert!(!open.waits(&ask(3, "old", Op::Get)));
        assert!(open.waits(&ask(3, "new", Op::Get)), "the second write is still open");
        open.answered(Tag::new(2));
        assert!(!open.waits(&ask(3, "new", Op::Get)));
        assert!(!open.waits(&ask(3, "", Op::CountKeys)));
    }
}

#[test]
fn each_of_many_keys_is_waited_for() {
    let names: Vec<String> = (0..300).map(|key| format!("k{key}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let many = |tag| {
        let op = Op::SetMany { condition: Condition::Always, expiry: Expiry::None };
        ask_with(tag, "k0", op, pairs(&names))
    };
    let mut open = OpenCommands::default();
    assert!(!open.waits(&many(1)));
    for name in &names {
        assert!(open.waits(&ask(2, name, Op::Get)), "{name}");
    }
    assert!(!open.waits(&ask(2, "k300", Op::Get)));
    open.answered(Tag::new(1));
    for name in &names {
        assert!(!open.waits(&ask(3, name, Op::Get)), "{name}");
        assert!(open.waits(&many(4)), "a read of {name} is open");
        open.answered(Tag::new(3));
    }
}

/// A pipeline sees its own writes, and none that it sent later.
#[test]
fn a_read_waits_for_earlier_writes_of_its_key_and_a_write_for_earlier_reads() {
    let command = |key: &str, op| Command::plain(key.as_bytes().to_vec(), op);
    let get = |key| command(key, Op::Get);
    let delete = |key| command(key, Op::Delete);
    let rename = |from: &str, to: &str| {
        let [from, to] = [from, to].map(|key| key.as_bytes().to_vec());
        Command::new(from, Op::Copy { replace: true }, to)
    };
    let flush = || command("", Op::Flush);
    let tag = Tag::new;
    let mut open = OpenCommands::default();
    assert!(open.admit(tag(1), &delete("k")) && open.admit(tag(2), &get("other")));
    assert!(!open.admit(tag(3), &get("k")), "it would miss the write before it");
    assert!(open.admit(tag(3), &delete("k")), "writes are executed in order");
    open.answered(tag(1));
    assert!(!open.admit(tag(4), &get("k")), "of two writes one is open");
    open.answered(tag(3));
    assert!(open.admit(tag(4), &get("k")));
    assert!(!open.admit(tag(5), &delete("k")), "the read before it would see it");
    assert!(!open.admit(tag(5), &rename("x", "k")), "and by its other key too");
    assert!(!open.admit(tag(5), &flush()), "and with all keys");
    open.answered(tag(4));
    open.answered(tag(2));
    assert!(open.admit(tag(5), &rename("x", "k")));
    assert!(
        !open.admit(tag(6), &get("k")) && !open.admit(tag(6), &get("x")) && open.admit(tag(6), &get("y"))
    );
    open.answered(tag(5));
    open.answered(tag(6));
    assert!(open.admit(tag(7), &flush()));
    assert!(!open.admit(tag(8), &get("k")));
    open.answered(tag(7));
    assert!(open.reads.is_empty() && open.writes.is_empty(), "{open:?}");
}

/// Writes of a key go on together under the node's session; one of the client's own session waits, and is
/// waited for.
#[test]
fn a_write_in_a_clients_session_waits_for_those_before_it_and_is_waited_for() {
    let delete = |tag, key| ask(tag, key, Op::Delete);
    let own = |tag, key| in_session(delete(tag, key), true);
    let mut open = OpenCommands::default();
    assert!(!open.waits(&delete(1, "k")) && !open.waits(&delete(2, "k")));
    assert!(open.waits(&own(3, "k")) && !open.waits(&own(4, "other")));
    assert!(open.waits(&in_session(ask(3, "", Op::Flush), true)) && open.waits(&ask(3, "", Op::Flush)));
    open.answered(Tag::new(1));
    assert!(open.waits(&own(3, "k")), "the second is still open");
    open.answered(Tag::new(2));
    assert!(!open.waits(&own(3, "k")));
    assert!(open.waits(&delete(5, "k")) && open.waits(&own(5, "k")));
    open.answered(Tag::new(3));
    assert!(!open.waits(&delete(5, "k")));
}

/// A held command is given first, and no other command passes it.
#[test]
fn what_was_sent_after_a_command_that_waits_waits_too() {
    let mut sent = [ask(1, "k", Op::Delete), ask(2, "k", Op::Get), ask(3, "other", Op::Get)].into_iter();
    let mut order = CommandOrder::default();
    let mut next = |order: &mut CommandOrder| order.next_ask(|| sent.next());
    let tag_of = |ask: Option<Ask>| match ask {
        Some(Ask::Command { tag, .. }) => Some(tag.get()),
        _ => None,
    };
    assert_eq!(tag_of(next(&mut order)), Some(1));
    assert!(next(&mut order).is_none() && order.is_holding());
    assert!(next(&mut order).is_none(), "the third does not pass the second");
    order.answered(Tag::new(1));
    assert_eq!([tag_of(next(&mut order)), tag_of(next(&mut order))], [Some(2), Some(3)]);
    assert!(next(&mut order).is_none() && !order.is_holding());
}

#[test]
fn what_is_no_command_waits_for_nothing() {
    let mut order = CommandOrder::default();
    assert!(order.next_ask(|| Some(ask(1, "", Op::Flush))).is_some());
    let local = Ask::Local { tag: Tag::new(2), query: crate::server::LocalQuery::Time };
    for other in [local, Ask::Pause, Ask::Close] {
        let given = order.next_ask(|| Some(other.clone()));
        assert_eq!(given.as_ref(), Some(&other));
    }
}

const KEYS: [&str; 3] = ["a", "b", "c"];

/// A command on some of [`KEYS`].
#[derive(Clone, Copy, Debug)]
enum Act {
    Get(usize),
    Count,
    Set(usize),
    Delete(usize),
    SetMany(usize, usize),
    Rename(usize, usize),
    Flush,
}

impl Act {
    fn ask(self, tag: u64) -> Ask {
        let (condition, expiry) = (Condition::Always, Expiry::None);
        match self {
            Self::Get(key) => ask(tag, KEYS[key], Op::Get),
            Self::Count => ask(tag, "", Op::CountKeys),
            Self::Set(key) => {
                let op = Op::Set { value_crc: 0, condition, expiry, return_old: false };
                ask(tag, KEYS[key], op)
            }
            Self::Delete(key) => ask(tag, KEYS[key], Op::Delete),
            Self::SetMany(one, other) => {
                let op = Op::SetMany { condition, expiry };
                ask_with(tag, KEYS[one], op, pairs(&[KEYS[one], KEYS[other]]))
            }
            Self::Rename(from, to) => {
                ask_with(tag, KEYS[from], Op::Rename { replace: true }, bytes(KEYS[to]))
            }
            Self::Flush => ask(tag, "", Op::Flush),
        }
    }

    fn is_write(self) -> bool {
        !matches!(self, Self::Get(_) | Self::Count)
    }

    fn keys(self) -> BTreeSet<usize> {
        match self {
            Self::Get(key) | Self::Set(key) | Self::Delete(key) => [key].into(),
            Self::SetMany(one, other) | Self::Rename(one, other) => [one, other].into(),
            Self::Count | Self::Flush => (0..KEYS.len()).collect(),
        }
    }

    fn meets(self, other: Self) -> bool {
        !self.keys().is_disjoint(&other.keys())
    }

    /// Applies the command to the values and returns the client's answer; `number` is the value that it
    /// writes.
    fn execute(self, values: &mut [Option<u64>; 3], number: u64) -> Option<u64> {
        match self {
            Self::Get(key) => return values[key],
            Self::Count => return Some(values.iter().flatten().count() as u64),
            Self::Set(key) => values[key] = Some(number),
            Self::Delete(key) => return values[key].take(),
            Self::SetMany(one, other) => [values[one], values[other]] = [Some(number); 2],
            Self::Rename(from, to) => {
                let value = values[from].take()?;
                values[to] = Some(value);
            }
            Self::Flush => *values = [None; 3],
        }
        None
    }
}

/// An event around a connection.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The connection is asked for its next command.
    Ask,
    /// One of the open commands that are executable is executed.
    Execute(usize),
    /// The answer to one of the executed commands comes back.
    Answer(usize),
}

struct Open {
    number: usize,
    is_executed: bool,
}

/// A command, and whether it is sent in a session of the client's own if it is a write.
type Sent = (Act, bool);

/// One connection with everything that its commands meet.
struct Pipeline<'a> {
    acts: &'a [Sent],
    sent: usize,
    /// None if commands are let through as they come: the rule exists to prevent that.
    order: Option<CommandOrder>,
    open: Vec<Open>,
    values: [Option<u64>; 3],
    told: Vec<Option<u64>>,
}

impl<'a> Pipeline<'a> {
    fn new(acts: &'a [Sent], order: Option<CommandOrder>) -> Self {
        let told = vec![None; acts.len()];
        Self { acts, sent: 0, order, open: Vec::new(), values: [None; 3], told }
    }

    /// Asks for the next command. Returns whether one came through.
    fn ask(&mut self) -> bool {
        let Self { acts, sent, order, .. } = self;
        let mut source = || {
            let &(act, own) = acts.get(*sent)?;
            *sent += 1;
            Some(in_session(act.ask(*sent as u64 - 1), own))
        };
        let ask = match order {
            Some(order) => order.next_ask(source),
            None => source(),
        };
        let Some(Ask::Command { tag, .. }) = ask else { return false };
        self.open.push(Open { number: tag.get() as usize, is_executed: false });
        true
    }

    /// The open commands that the cluster may execute next: reads and writes in the client's session at any
    /// time, other writes in the order in which they were sent.
    fn executable(&self) -> Vec<usize> {
        let overtakes = |at: usize| {
            let (act, own) = self.acts[self.open[at].number];
            act.is_write()
                && !own
                && self.open[..at].iter().any(|open| {
                    let (before, own) = self.acts[open.number];
                    !open.is_executed && !own && before.is_write()
                })
        };
        (0..self.open.len()).filter(|&at| !self.open[at].is_executed && !overtakes(at)).collect()
    }

    fn execute(&mut self, at: usize) {
        let open = &mut self.open[at];
        open.is_executed = true;
        let number = open.number;
        self.told[number] = self.acts[number].0.execute(&mut self.values, number as u64);
    }

    fn answer(&mut self, at: usize) {
        let number = self.open.remove(at).number;
        if let Some(order) = &mut self.order {
            order.answered(Tag::new(number as u64));
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Ask => {
                self.ask();
            }
            Step::Execute(draw) => {
                let executable = self.executable();
                if !executable.is_empty() {
                    self.execute(executable[draw % executable.len()]);
                }
            }
            Step::Answer(draw) => {
                let executed: Vec<usize> =
                    (0..self.open.len()).filter(|&at| self.open[at].is_executed).collect();
                if !executed.is_empty() {
                    self.answer(executed[draw % executed.len()]);
                }
            }
        }
    }

    /// Executes the rest, the last command first wherever there is a choice. Returns the client's answers and
    /// the final values.
    fn finish(mut self) -> (Vec<Option<u64>>, [Option<u64>; 3]) {
        loop {
            while self.ask() {}
            while let Some(&last) = self.executable().last() {
                self.execute(last);
            }
            let Some(last) = self.open.len().checked_sub(1) else { break };
            self.answer(last);
        }
        assert_eq!(self.sent, self.acts.len(), "with nothing open nothing waits");
        if let Some(order) = &self.order {
            let open = &order.open;
            assert!(!order.is_holding() && open.reads.is_empty() && open.writes.is_empty(), "{order:?}");
        }
        (self.told, self.values)
    }
}

fn run(acts: &[Sent], steps: &[Step], order: Option<CommandOrder>) -> (Vec<Option<u64>>, [Option<u64>; 3]) {
    let mut pipeline = Pipeline::new(acts, order);
    steps.iter().for_each(|&step| pipeline.step(step));
    pipeline.finish()
}

/// The answers and values of a server that executes one command at a time.
fn one_by_one(acts: &[Sent]) -> (Vec<Option<u64>>, [Option<u64>; 3]) {
    let mut values = [None; 3];
    let told = acts.iter().zip(0..).map(|((act, _), number)| act.execute(&mut values, number)).collect();
    (told, values)
}

/// Without the rule each of the three faults that it prevents happens, so the model would notice them.
#[test]
fn without_the_rule_a_pipeline_is_told_something_else() {
    use Step::{Ask, Execute};
    let cases: [(&[Sent], &[Step]); 4] = [
        // The read is executed before the write that was sent before it.
        (&[(Act::Set(0), false), (Act::Get(0), false)], &[Ask, Ask, Execute(1)]),
        // The write is executed before the read that was sent before it.
        (&[(Act::Get(0), false), (Act::SetMany(1, 0), false)], &[Ask, Ask, Execute(1)]),
        // A write is executed before one in the client's session, and the other way round.
        (&[(Act::Set(0), true), (Act::Delete(0), false)], &[Ask, Ask, Execute(1)]),
        (&[(Act::Set(0), false), (Act::Delete(0), true)], &[Ask, Ask, Execute(1)]),
    ];
    for (acts, steps) in cases {
        assert_eq!(run(acts, steps, Some(CommandOrder::default())), one_by_one(acts), "{acts:?}");
        assert_ne!(run(acts, steps, None), one_by_one(acts), "{acts:?}");
    }
}

fn acts() -> impl Strategy<Value = Act> {
    let key = || 0..KEYS.len();
    prop_oneof![
        4 => key().prop_map(Act::Get),
        1 => Just(Act::Count),
        4 => key().prop_map(Act::Set),
        2 => key().prop_map(Act::Delete),
        2 => (key(), key()).prop_map(|(one, other)| Act::SetMany(one, other)),
        2 => (key(), key()).prop_map(|(from, to)| Act::Rename(from, to)),
        1 => Just(Act::Flush),
    ]
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Ask),
        3 => any::<usize>().prop_map(Step::Execute),
        3 => any::<usize>().prop_map(Step::Answer),
    ]
}

proptest! {
    #[test]
    fn a_pipeline_is_told_what_it_would_be_one_by_one(
        acts in vec((acts(), any::<bool>()), 0..12),
        steps in vec(steps(), 0..60),
    ) {
        prop_assert_eq!(run(&acts, &steps, Some(CommandOrder::default())), one_by_one(&acts));
    }

    /// No command waits needlessly.
    #[test]
    fn hashes_of_keys_decide_as_the_keys_themselves_would(
        steps in vec((acts(), any::<bool>(), any::<Option<usize>>()), 0..40),
    ) {
        let mut open = OpenCommands::default();
        let mut twin: Vec<(u64, Act, bool)> = Vec::new();
        for (tag, (act, own, answered)) in (0_u64..).zip(steps) {
            let waits = twin.iter().any(|(_, before, owned)| {
                let writes_pass = before.is_write() && act.is_write() && !own && !owned;
                (before.is_write() || act.is_write()) && !writes_pass && before.meets(act)
            });
            let is_told_to_wait = open.must_wait(&in_session(act.ask(tag), own));
            prop_assert_eq!(is_told_to_wait, waits, "{:?} with {:?} open", act, twin);
            if !waits {
                twin.push((tag, act, own));
            }
            if let Some(draw) = answered && !twin.is_empty() {
                let (tag, ..) = twin.swap_remove(draw % twin.len());
                open.answered(Tag::new(tag));
            }
        }
        prop_assert_eq!(open.reads.len() + open.writes.len(), twin.len());
    }
}
