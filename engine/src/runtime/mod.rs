//! The shell around the machines: executors, files, sockets.

use crate::node::{NodeSetup, RunError};

/// Runs a node until its stop is requested.
pub fn run(_setup: NodeSetup) -> Result<(), RunError> {
    Err(RunError::Failed("this build has no runtime".to_owned()))
}
