//! The errors of a run, by what the caller can do about them.
//!
//! A run that completed and found a fault is not an error: its [`crate::Report`] says so
//! ([`crate::Report::passed`]).

/// A run that could not be done.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The options contradict each other or exceed a limit; nothing was sent.
    #[error("{0}")]
    Options(String),
    /// The cluster could not be reached or did not become ready within the bounds of the run, or it does not
    /// admit the generator.
    #[error("{0}")]
    Cluster(String),
    /// A file could not be written.
    #[error("{what}: {source}")]
    File {
        /// The file and its purpose.
        what: String,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// A thread or an executor could not be started.
    #[error("cannot start a generator thread: {0}")]
    Thread(String),
}

impl LoadError {
    /// The exit status for this error: 2 for options that the user can correct, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Options(_) => 2,
            Self::Cluster(_) | Self::File { .. } | Self::Thread(_) => 1,
        }
    }
}
