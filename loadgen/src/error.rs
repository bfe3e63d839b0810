//! Why a run could not be done, by what the caller can do about it.
//!
//! A run that was done and found a fault is not an error: its [`crate::Report`] says so ([`crate::Report::passed`]).

/// A run that could not be done.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The options contradict each other or pass a limit; nothing was sent.
    #[error("{0}")]
    Options(String),
    /// The cluster could not be reached, or not made ready, within the bounds of the run, or does not let the generator in.
    #[error("{0}")]
    Cluster(String),
    /// A file could not be written.
    #[error("{what}: {source}")]
    File {
        /// Which file and what for.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A thread or an executor could not be started.
    #[error("cannot start a generator thread: {0}")]
    Thread(String),
}

impl LoadError {
    /// The exit status a program ends with: 2 for options a user can correct, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Options(_) => 2,
            Self::Cluster(_) | Self::File { .. } | Self::Thread(_) => 1,
        }
    }
}
