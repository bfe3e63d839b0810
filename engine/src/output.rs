//! Standard output and standard error of the commands: one writer for all of them.
//!
//! The policy for output that nobody reads, as in `synod config keys | head -1`: SIGPIPE stays ignored, as the
//! standard library leaves it, because a node must not die with its terminal. A write to the closed pipe fails
//! instead. A command that prints and ends then ends quietly with exit code 0. A command that goes on (`bench`,
//! `dev`) is told to stop, cleans up, and ends quietly too. Any other write error, as on a full disk, is a
//! failure.
//!
//! `println!` and `eprintln!` here take the place of the standard library's macros of that name, which panic
//! when a write fails: a file that prints names them in its `use`.

use crate::node::RunError;
use crate::stop::Stop;
use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether a write found that nobody reads standard output any more.
static CLOSED: AtomicBool = AtomicBool::new(false);

/// Prints one line of a command that goes on ([`say`]).
macro_rules! print_line {
    ($($words:tt)*) => { $crate::output::say(format_args!($($words)*)) };
}
/// Prints one line to standard error ([`complain`]).
macro_rules! eprint_line {
    ($($words:tt)*) => { $crate::output::complain(format_args!($($words)*)) };
}
pub(crate) use {eprint_line as eprintln, print_line as println};

/// Whether standard output was closed by its reader.
pub fn is_closed() -> bool {
    CLOSED.load(Ordering::Relaxed)
}

/// Prints the whole result of a command.
///
/// # Errors
/// When it cannot be written. A closed pipe is no error: nobody wants the rest.
pub fn write(bytes: &[u8]) -> Result<(), RunError> {
    write_to(io::stdout().lock(), bytes)
        .map_err(|error| RunError::Failed(format!("cannot write to standard output: {error}")))
}

/// Prints one line of a command that goes on. If it cannot be written, the command is told to stop.
pub fn say(words: fmt::Arguments<'_>) {
    let was_closed = is_closed();
    let written = write_to(io::stdout().lock(), format!("{words}\n").as_bytes());
    if let Err(error) = &written {
        complain(format_args!("synod: cannot write to standard output: {error}"));
    }
    if written.is_err() || (is_closed() && !was_closed) {
        Stop::request_as_signals_do();
    }
}

/// Prints one line to standard error. There is no place left to report an error of this write.
pub fn complain(words: fmt::Arguments<'_>) {
    // One write for the line, so that lines of several threads do not mix.
    let _ = io::stderr().lock().write_all(format!("{words}\n").as_bytes());
}

fn write_to(mut out: impl Write, bytes: &[u8]) -> io::Result<()> {
    if is_closed() {
        return Ok(());
    }
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {
            CLOSED.store(true, Ordering::Relaxed);
            Ok(())
        }
        written => written,
    }
}
