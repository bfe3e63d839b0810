//! The history file and the thread that writes it, so that a slow disk does not delay requests at once. A
//! disk that is slower than the generator slows it down. A disk that hangs does not stop it: the history is
//! then given up, and the report says so.

use crate::error::LoadError;
use std::fs::File;
use std::io::{Error, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::time::{Duration, Instant};

/// Most pieces of history that wait for the writer.
const PIECES: usize = 256;
/// How long to wait for a disk that takes nothing. This is less than a generator thread may be late.
const STALL: Duration = Duration::from_secs(5);
/// How often the writer checks whether the run is over.
const LOOK: Duration = Duration::from_millis(50);

pub(super) struct HistoryFile {
    path: String,
    pieces: Pieces,
    written: Receiver<std::io::Result<()>>,
}

/// The channel through which a generator thread hands on its history.
#[derive(Clone)]
pub(crate) struct Pieces {
    sender: SyncSender<Vec<u8>>,
    shared: Arc<WriterState>,
}

#[derive(Default)]
struct WriterState {
    /// The run is over: the writer waits for no further pieces. It cannot wait for the senders to be dropped,
    /// because a hung thread keeps its sender.
    over: AtomicBool,
    given_up: AtomicBool,
}

impl HistoryFile {
    pub(super) fn open(path: &Path) -> Result<Self, LoadError> {
        let name = path.display().to_string();
        // Opened for appending: a later audit of the same run goes into the same history.
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
    /// Waits, for a bounded time, until all pieces that were handed on are written.
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

fn write(mut file: impl Write, inbox: &Receiver<Vec<u8>>, shared: &WriterState) -> std::io::Result<()> {
    let mut result = Ok(());
    loop {
        match inbox.recv_timeout(LOOK) {
            // The inbox is emptied even after an error, so that no generator thread waits for it.
            Ok(piece) if result.is_ok() => result = file.write_all(&piece),
            Ok(_) => {}
            Err(RecvTimeoutError::Timeout) if !shared.over.load(Ordering::Acquire) => {}
            Err(_) => return result.and_then(|()| file.flush()),
        }
    }
}

impl Pieces {
    /// Hands a piece on. Waits for a slow disk, for a bounded time.
    pub(crate) fn hand_on(&self, mut piece: Vec<u8>) {
        let end = Instant::now() + STALL;
        while !self.shared.given_up.load(Ordering::Acquire) {
            match self.sender.try_send(piece) {
                // A writer that has died is reported when the file is closed.
                Ok(()) | Err(TrySendError::Disconnected(_)) => return,
                Err(TrySendError::Full(_)) if Instant::now() >= end => {
                    self.shared.given_up.store(true, Ordering::Release);
                }
                Err(TrySendError::Full(back)) => {
                    piece = back;
                    // A slow disk slows the generator down on purpose, so the thread does nothing else
                    // meanwhile.
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
    fn a_disk_that_stands_still_stops_no_thread_and_is_told() {
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
