//! Turns of a core that took too long: counted by what was done, and told to the operator.
//!
//! Whatever is executed on a core keeps everything else on it waiting, heartbeats too. All that clients can ask for is cut so
//! that it stays far below [`SLOW`]; this is how one would notice that something is not, or that the machine is short of processors.

use synod_net::server::Ask;
use synod_types::{Mono, Nanos, Op, PeerMessage};

/// From here on a turn is slow: a tick.
pub(crate) const SLOW: Nanos = Nanos::from_ms(5);
/// Between two lines about it.
const SAY_INTERVAL: Nanos = Nanos::from_ms(10_000);

/// What a core does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Work {
    /// One key is read.
    Read,
    /// One key is written.
    Write,
    /// Several keys are written by one command.
    WriteMany,
    /// A page of keys, for KEYS, SCAN, RANDOMKEY, CLUSTER GETKEYSINSLOT.
    Walk,
    /// A group is emptied.
    Flush,
    /// INFO, CLUSTER, status.
    Report,
    /// What a connection answers by itself, long replies too.
    Local,
    /// Messages of a peer.
    Peer,
    /// Records became durable: entries are applied and answered.
    Apply,
    /// What gathered is proposed, written and sent.
    Propose,
    /// The timer: heartbeats, elections, expiry.
    Tick,
}

impl Work {
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

    /// What a connection asks for.
    pub fn of_ask(ask: &Ask) -> Self {
        match ask {
            Ask::Command { command, .. } => Self::of(command.op),
            Ask::Local { .. } => Self::Report,
            Ask::Pause | Ask::Close => Self::Local,
        }
    }

    /// What a command does.
    pub fn of(op: Op) -> Self {
        match op {
            Op::Scan { .. } | Op::RandomKey { .. } => Self::Walk,
            Op::Flush => Self::Flush,
            Op::SetMany { .. } => Self::WriteMany,
            op if op.is_write() => Self::Write,
            _ => Self::Read,
        }
    }

    /// What a peer's message leads to.
    pub fn of_message<P>(message: &PeerMessage<P>) -> Self {
        match message {
            PeerMessage::Forward { command, .. } => Self::of(command.op),
            _ => Self::Peer,
        }
    }

    /// Whether one of it is worth a look at the clock.
    pub fn is_long(self) -> bool {
        !matches!(self, Self::Read | Self::Write | Self::Peer)
    }
}

/// One turn as it goes on: how long it takes, and what took the most of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watch {
    began: Mono,
    looked: Mono,
    longest: (Nanos, Work),
}

impl Watch {
    /// A turn begins.
    pub fn new(now: Mono) -> Self {
        Self { began: now, looked: now, longest: (Nanos(0), Work::Local) }
    }

    /// What was done since the last look, or most of it, was `work`. Whether that makes this turn a slow one because of it.
    pub fn look(&mut self, now: Mono, work: Work) -> bool {
        let took = now.since(self.looked);
        self.looked = now;
        if took >= self.longest.0 {
            self.longest = (took, work);
            return now.since(self.began) >= SLOW;
        }
        false
    }

    /// When the clock was last looked at.
    pub fn looked(&self) -> Mono {
        self.looked
    }
}

/// What a core has counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SlowTurns {
    counts: [u64; Work::ALL.len()],
    said_at: Option<Mono>,
    unsaid: u64,
}

impl SlowTurns {
    /// A turn has ended. The line about it, if it was slow and enough time has passed since the last one; `command` is what the client
    /// called it.
    pub fn note(&mut self, watch: &Watch, command: Option<&str>) -> Option<String> {
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

    /// How many there were, by what was done.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Work::ALL.iter().zip(self.counts).map(|((_, name), count)| (*name, count))
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
        for (place, (work, name)) in Work::ALL.into_iter().enumerate() {
            assert_eq!((work as usize, work.name()), (place, name));
        }
    }

    #[test]
    fn a_slow_turn_is_counted_by_what_took_the_most_of_it() {
        let mut slow = SlowTurns::default();
        let mut watch = Watch::new(ms(100));
        assert!(!watch.look(ms(101), Work::Read));
        assert_eq!(slow.note(&watch, None), None, "not slow");
        assert!(watch.look(ms(108), Work::Walk));
        assert!(!watch.look(ms(109), Work::Read));
        let line = slow.note(&watch, Some("keys")).expect("a line");
        assert_eq!(line, "a turn took 9 ms, most of it for walk (KEYS); everything else waited meanwhile");
        assert_eq!(slow.counts().filter(|(_, count)| *count > 0).collect::<Vec<_>>(), [("walk", 1)]);
    }

    #[test]
    fn lines_are_rare_and_count_what_they_leave_out() {
        let mut slow = SlowTurns::default();
        let mut lines = Vec::new();
        for second in 0..25 {
            let mut watch = Watch::new(ms(second * 1000));
            watch.look(ms(second * 1000 + 5), Work::Tick);
            lines.extend(slow.note(&watch, None));
        }
        assert_eq!(lines.len(), 3);
        assert!(lines[1].ends_with("; 9 more since the last such line"), "{}", lines[1]);
        assert_eq!(slow.counts().map(|(_, count)| count).sum::<u64>(), 25);
    }
}
