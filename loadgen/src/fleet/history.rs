//! The history file and the thread that writes it, so that a slow disk does not delay requests at once. A disk that is slower
//! than the generator slows it; one that stands still does not stop it: then the history is given up, and that is told.

use crate::error::LoadError;
use std::fs::File;
use std::io::{Error, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::time::{Duration, Instant};

/// Pieces of history on their way to the file.
const PIECES: usize = 256;
/// A disk that takes nothing is waited for this long. Less than what a generator thread may be late.
const STALL: Duration = Duration::from_secs(5);
/// How often the writer looks whether it is over.
const LOOK: Duration = Duration::from_millis(50);

pub(super) struct HistoryFile {
    path: String,
    pieces: Pieces,
    written: Receiver<std::io::Result<()>>,
}

/// Where a generator thread hands its history on.
#[derive(Clone)]
pub(crate) struct Pieces {
    sender: SyncSender<Vec<u8>>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// What does not come until now does not come. A thread that stands still keeps its sender.
    over: AtomicBool,
    given_up: AtomicBool,
}

impl HistoryFile {
    pub(super) fn open(path: &Path) -> Result<Self, LoadError> {
        let name = path.display().to_string();
        // Appended: the audit of a run that was done before goes into the same history.
        let opened = File::options().create(true).append(true).open(path);
        let start = |file| Self::start(name.clone(), file);
        opened.and_then(start).map_err(|source| LoadError::File { what: format!("history {name}"), source })
    }
    fn start(path: String, file: impl Write + Send + 'static) -> std::io::Result<Self> {
        let (sender, inbox) = mpsc::sync_channel(PIECES);
        let (tell, written) = mpsc::channel();
        let pieces = Pieces { sender, shared: Arc::default() };
        let shared = Arc::clone(&pieces.shared);
        std::thread::Builder::new().name("loadgen-history".into()).spawn(move || {
            let _ = tell.send(write(file, &inbox, &shared));
        })?;
        Ok(Self { path, pieces, written })
    }
    pub(super) fn pieces(&self) -> Pieces {
        self.pieces.clone()
    }
    /// Waits, within bounds, until all that was handed on is written.
    pub(super) fn close(self) -> Result<(), LoadError> {
        let Self { path, pieces, written } = self;
        pieces.shared.over.store(true, Ordering::Release);
        let is_given_up = pieces.shared.given_up.load(Ordering::Acquire);
        drop(pieces);
        let result = match written.recv_timeout(STALL) {
            Ok(Ok(())) if is_given_up => {
                Err(Error::other("the disk stood still, and operations are not in it"))
            }
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => Err(Error::other("the disk did not take all of it in time")),
            Err(RecvTimeoutError::Disconnected) => Err(Error::other("the writer broke off")),
        };
        result.map_err(|source| LoadError::File { what: format!("history {path}"), source })
    }
}

fn write(mut file: impl Write, inbox: &Receiver<Vec<u8>>, shared: &Shared) -> std::io::Result<()> {
    let mut result = Ok(());
    loop {
        match inbox.recv_timeout(LOOK) {
            // Even after an error the inbox is emptied, so that no generator waits for it.
            Ok(piece) if result.is_ok() => result = file.write_all(&piece),
            Ok(_) => {}
            Err(RecvTimeoutError::Timeout) if !shared.over.load(Ordering::Acquire) => {}
            Err(_) => return result.and_then(|()| file.flush()),
        }
    }
}

impl Pieces {
    /// Hands a piece on. Waits for a slow disk, within bounds.
    pub(crate) fn hand_on(&self, mut piece: Vec<u8>) {
        let end = Instant::now() + STALL;
        while !self.shared.given_up.load(Ordering::Acquire) {
            match self.sender.try_send(piece) {
                // A writer that broke off is reported when the file is closed.
                Ok(()) | Err(TrySendError::Disconnected(_)) => return,
                Err(TrySendError::Full(_)) if Instant::now() >= end => {
                    self.shared.given_up.store(true, Ordering::Release);
                }
                Err(TrySendError::Full(back)) => {
                    piece = back;
                    // The generator is to be slowed down, so nothing else is done meanwhile.
                    std::thread::sleep(Duration::from_millis(1));
                    continue;
                }
            }
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk that takes nothing until its other end is dropped.
    struct Hung(Receiver<()>);

    impl Write for Hung {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_disk_that_stands_still_stops_nobody_and_is_told() {
        let (release, hung) = mpsc::channel();
        let file = HistoryFile::start("x".into(), Hung(hung)).expect("a thread can be started");
        let pieces = file.pieces();
        let begun = Instant::now();
        (0..2 * PIECES).for_each(|_| pieces.hand_on(vec![0]));
        assert!(pieces.shared.given_up.load(Ordering::Acquire));
        let error = file.close().expect_err("it cannot be whole");
        assert!(error.to_string().starts_with("history x: "), "{error}");
        assert!(begun.elapsed() < 4 * STALL, "{:?}", begun.elapsed());
        drop(release);
    }

    #[test]
    fn a_thread_that_keeps_its_sender_does_not_keep_the_file() {
        let file = HistoryFile::start("x".into(), std::io::sink()).expect("a thread can be started");
        let kept = file.pieces();
        kept.hand_on(vec![0]);
        file.close().expect("all of it is written");
    }
}
