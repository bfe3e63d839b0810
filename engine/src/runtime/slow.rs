//! Turns of a core that took too long: counted by kind of work, and reported to the operator.
//!
//! While a core executes one thing, everything else on it waits, heartbeats too. All work that clients can
//! ask for is cut into pieces that stay far below [`SLOW`]. This file shows when some work does not, or when
//! the machine is short of processors.

use synod_net::server::Ask;
use synod_types::{Mono, Nanos, Op, PeerMessage};

/// A turn of this length or more is slow: one tick.
pub(crate) const SLOW: Nanos = Nanos::from_ms(5);
/// Interval between two log lines about slow turns.
const SAY_INTERVAL: Nanos = Nanos::from_ms(10_000);

/// The kinds of work of a core.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum WorkKind {
    /// One key is read.
    Read,
    /// One key is written.
    Write,
    /// Several keys are written by one command.
    WriteMany,
    /// A page of keys is listed, for KEYS, SCAN, RANDOMKEY, CLUSTER GETKEYSINSLOT.
    Walk,
    /// A group is emptied.
    Flush,
    /// INFO, CLUSTER, status.
    Report,
    /// A connection answers by itself, long replies too.
    Local,
    /// Messages of a peer are processed.
    Peer,
    /// Records became durable: entries are applied and answered.
    Apply,
    /// Gathered commands are proposed, written and sent.
    Propose,
    /// The timer: heartbeats, elections, expiry.
    Tick,
}

impl WorkKind {
    /// Every kind, in the order in which it is counted, with its name.
    pub const ALL: [(Self, &'static str); 11] = [
        (Self::Read, "read"),
        (Self::Write, "write"),
        (Self::WriteMany, "write_many"),
        (Self::Walk, "walk"),
        (Self::Flush, "flush"),
        (Self::Report, "report"),
        (Self::Local, "local"),
        (Self::Peer, "peer"),
        (Self::Apply, "apply"),
        (Self::Propose, "propose"),
        (Self::Tick, "tick"),
    ];

    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// The kind of work that a connection asks for.
    pub fn of_ask(ask: &Ask) -> Self {
        match ask {
            Ask::Command { command, .. } => Self::of(command.op),
            Ask::Local { .. } => Self::Report,
            Ask::Pause | Ask::Close => Self::Local,
        }
    }

    /// The kind of work of an operation.
    pub fn of(op: Op) -> Self {
        match op {
            Op::Scan { .. } | Op::RandomKey { .. } => Self::Walk,
            Op::Flush => Self::Flush,
            Op::SetMany { .. } => Self::WriteMany,
            op if op.is_write() => Self::Write,
            _ => Self::Read,
        }
    }

    /// The kind of work that a peer's message causes.
    pub fn of_message<P>(message: &PeerMessage<P>) -> Self {
        match message {
            PeerMessage::Forward { command, .. } => Self::of(command.op),
            _ => Self::Peer,
        }
    }

    /// Whether a single piece of this work is long enough to check the clock after it.
    pub fn is_long(self) -> bool {
        !matches!(self, Self::Read | Self::Write | Self::Peer)
    }
}

/// One turn in progress: its duration so far, and the work that took the most of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TurnWatch {
    began: Mono,
    looked: Mono,
    longest: (Nanos, WorkKind),
}

impl TurnWatch {
    /// A turn begins.
    pub fn new(now: Mono) -> Self {
        Self { began: now, looked: now, longest: (Nanos(0), WorkKind::Local) }
    }

    /// Takes note of the time `now`: `work` is what was done since the last look, or most of it. Returns
    /// whether this work made the turn slow.
    pub fn look(&mut self, now: Mono, work: WorkKind) -> bool {
        let took = now.since(self.looked);
        self.looked = now;
        if took >= self.longest.0 {
            self.longest = (took, work);
            return now.since(self.began) >= SLOW;
        }
        false
    }

    /// The time of the last look.
    pub fn looked(&self) -> Mono {
        self.looked
    }
}

/// The slow turns that a core has counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SlowTurns {
    counts: [u64; WorkKind::ALL.len()],
    said_at: Option<Mono>,
    unsaid: u64,
}

impl SlowTurns {
    /// Records the end of a turn. Returns the log line about it if the turn was slow and enough time has
    /// passed since the last line. `command` is the client's name of the command.
    pub fn note(&mut self, watch: &TurnWatch, command: Option<&str>) -> Option<String> {
        let took = watch.looked.since(watch.began);
        if took < SLOW {
            return None;
        }
        let work = watch.longest.1;
        self.counts[work as usize] += 1;
        if self.said_at.is_some_and(|said| watch.looked.since(said) < SAY_INTERVAL) {
            self.unsaid += 1;
            return None;
        }
        self.said_at = Some(watch.looked);
        let unsaid = std::mem::take(&mut self.unsaid);
        let command = command.map_or(String::new(), |command| format!(" ({})", command.to_ascii_uppercase()));
        let more =
            if unsaid > 0 { format!("; {unsaid} more since the last such line") } else { String::new() };
        Some(format!(
            "a turn took {} ms, most of it for {}{command}; everything else waited meanwhile{more}",
            took.as_ms(),
            work.name()
        ))
    }

    /// The number of slow turns by kind of work.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        WorkKind::ALL.iter().zip(self.counts).map(|((_, name), count)| (*name, count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Mono {
        Mono(Nanos::from_ms(ms).0)
    }

    #[test]
    fn every_kind_is_counted_in_its_own_place() {
        for (place, (work, name)) in WorkKind::ALL.into_iter().enumerate() {
            assert_eq!((work as usize, work.name()), (place, name));
        }
    }

    #[test]
    fn a_slow_turn_is_counted_by_what_took_the_most_of_it() {
        let mut slow = SlowTurns::default();
        let mut watch = TurnWatch::new(ms(100));
        assert!(!watch.look(ms(101), WorkKind::Read));
        assert_eq!(slow.note(&watch, None), None, "not slow");
        assert!(watch.look(ms(108), WorkKind::Walk));
        assert!(!watch.look(ms(109), WorkKind::Read));
        let line = slow.note(&watch, Some("keys")).expect("a line");
        assert_eq!(line, "a turn took 9 ms, most of it for walk (KEYS); everything else waited meanwhile");
        assert_eq!(slow.counts().filter(|(_, count)| *count > 0).collect::<Vec<_>>(), [("walk", 1)]);
    }

    #[test]
    fn lines_are_rare_and_count_what_they_leave_out() {
        let mut slow = SlowTurns::default();
        let mut lines = Vec::new();
        for second in 0..25 {
            let mut watch = TurnWatch::new(ms(second * 1000));
            watch.look(ms(second * 1000 + 5), WorkKind::Tick);
            lines.extend(slow.note(&watch, None));
        }
        assert_eq!(lines.len(), 3);
        assert!(lines[1].ends_with("; 9 more since the last such line"), "{}", lines[1]);
        assert_eq!(slow.counts().map(|(_, count)| count).sum::<u64>(), 25);
    }
}
