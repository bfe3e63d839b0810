//! Holds back durable records until it is noted on disk that the core's log was begun: until then an empty
//! log would be taken for a fresh one.

use std::path::{Path, PathBuf};
use synod_types::{Mono, Nanos};

/// Interval between two attempts to write the note.
const INTERVAL: Nanos = Nanos::from_ms(1_000);

/// The note that the log was begun, and the durable position of the log, held back until the note is written.
#[derive(Debug)]
pub(crate) struct BegunNote<T> {
    /// The file of the note, until it is written.
    file: Option<PathBuf>,
    /// The durable position that may not be told yet, and the time of the last attempt to write the note.
    waits: Option<(T, Mono)>,
}

/// The durable position that may be told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Told<T> {
    /// Everything up to this position.
    UpTo(T),
    /// Nothing yet.
    Nothing,
    /// Nothing yet, with the reason for the operator.
    Failed(String),
}

impl<T: Copy> BegunNote<T> {
    /// `file` is the path of the note; `None` if an earlier start of the node has written it.
    pub fn new(file: Option<PathBuf>) -> Self {
        Self { file, waits: None }
    }

    /// The durable position that waits to be told.
    pub fn waits(&self) -> Option<T> {
        self.waits.map(|(durable, _)| durable)
    }

    /// Everything up to `durable` is durable. If `note` cannot write the note, a call at least one second
    /// later tries again: it is better that the log waits than that it may be taken for a fresh one after a
    /// restart.
    pub fn durable(
        &mut self,
        durable: T,
        now: Mono,
        note: impl FnOnce(&Path) -> std::io::Result<()>,
    ) -> Told<T> {
        let Some(file) = &self.file else { return Told::UpTo(durable) };
        if let Some((_, tried)) = self.waits
            && now.since(tried) < INTERVAL
        {
            self.waits = Some((durable, tried));
            return Told::Nothing;
        }
        if let Err(error) = note(file) {
            let said =
                format!("cannot write {}: {error}; nothing is acknowledged before that", file.display());
            self.waits = Some((durable, now));
            return Told::Failed(said);
        }
        *self = Self::new(None);
        Told::UpTo(durable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Error, ErrorKind};
    use synod_types::Lsn;

    fn at(ms: u64) -> Mono {
        Mono::ZERO.plus(Nanos::from_ms(ms))
    }

    #[test]
    fn nothing_is_told_until_the_note_is_made_and_then_everything_up_to_the_last() {
        let mut begun = BegunNote::new(Some("core-0.begun".into()));
        let full = |_: &Path| Err(Error::from(ErrorKind::StorageFull));
        let Told::Failed(said) = begun.durable(Lsn::new(1), at(10), full) else { panic!("the disk is full") };
        assert!(said.contains("core-0.begun") && said.contains("nothing is acknowledged"), "{said}");
        let early = |_: &Path| -> std::io::Result<()> { panic!("tried again at once") };
        assert_eq!(begun.durable(Lsn::new(2), at(11), early), Told::Nothing);
        assert_eq!(begun.waits(), Some(Lsn::new(2)));
        assert!(matches!(begun.durable(Lsn::new(2), at(1_010), full), Told::Failed(_)));
        assert_eq!(begun.durable(Lsn::new(3), at(1_100), early), Told::Nothing);
        assert_eq!(begun.durable(Lsn::new(3), at(2_010), |_| Ok(())), Told::UpTo(Lsn::new(3)));
        assert_eq!(begun.waits(), None);
        assert_eq!(begun.durable(Lsn::new(4), at(2_011), early), Told::UpTo(Lsn::new(4)), "noted once");
    }

    #[test]
    fn who_was_begun_in_an_earlier_life_notes_nothing() {
        let mut begun = BegunNote::new(None);
        let told = begun.durable(Lsn::new(7), at(1), |_| panic!("it is noted already"));
        assert_eq!(told, Told::UpTo(Lsn::new(7)));
    }
}
