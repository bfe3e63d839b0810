//! The measured servers, as child processes on loopback: started with fresh data, deleted with their data
//! when dropped.
//!
//! ```text
//!   DIR/synod/  DIR/redis/  DIR/etcd/   one marked directory each, so that only what we made is ever deleted
//! ```
//! However this process ends, the kernel ends the children. A directory left by a killed run is cleared by
//! the next run.

mod etcd;
mod processes;
mod redis;
mod synod;
mod waiting;

pub use processes::Processes;
pub use redis::Persistence;
pub use synod::{Nodes, NodesSpec};

use ::synod::node::RunError;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where the programs and the data are.
#[derive(clap::Args, Clone, Debug)]
pub struct Tools {
    /// The synod program [default: the one beside this program]
    #[arg(long, value_name = "FILE")]
    pub synod: Option<PathBuf>,
    /// The Redis server
    #[arg(long, value_name = "FILE", default_value = "redis-server")]
    pub redis_server: PathBuf,
    /// Directory for the data of the servers; what was made there is deleted at the end
    #[arg(long, value_name = "DIR", default_value = "target/bench-harness")]
    pub dir: PathBuf,
}

impl Tools {
    /// The synod program, if it exists; otherwise a sentence that says how to get it.
    pub fn synod(&self) -> Result<PathBuf, String> {
        let beside = || Some(std::env::current_exe().ok()?.parent()?.join("synod"));
        let binary =
            self.synod.clone().or_else(beside).ok_or("this program cannot find its own directory")?;
        if binary.is_file() {
            return Ok(binary);
        }
        let release = if cfg!(debug_assertions) { "" } else { " --release" };
        Err(format!(
            "there is no {}: build it with `cargo build{release} -p synod`, or name it with --synod",
            binary.display()
        ))
    }
}

/// A started server or cluster.
pub enum Servers {
    /// A Synod cluster.
    Synod(Nodes),
    /// Other programs.
    Others(Processes),
}

impl Servers {
    /// One Redis, in `DIR/redis`.
    pub fn redis(tools: &Tools, persistence: Persistence) -> Result<Self, RunError> {
        redis::start(&tools.redis_server, &tools.dir.join("redis"), persistence).map(Self::Others)
    }
    /// Three nodes of etcd, in `DIR/etcd`.
    pub fn etcd(binary: &Path, tools: &Tools) -> Result<Self, RunError> {
        etcd::start(binary, &tools.dir.join("etcd")).map(Self::Others)
    }
    /// A Synod cluster, in `DIR/synod`.
    pub fn synod(tools: &Tools, spec: &NodesSpec) -> Result<Self, RunError> {
        let binary = tools.synod().map_err(RunError::Failed)?;
        Nodes::start(binary, &tools.dir.join("synod"), spec).map(Self::Synod)
    }

    /// `host:port` of every node.
    pub fn targets(&self) -> Vec<String> {
        match self {
            Self::Synod(nodes) => nodes.targets(),
            Self::Others(processes) => processes.targets().to_vec(),
        }
    }
    /// A sentence about the first process that has ended, if there is one.
    pub fn death(&mut self) -> Option<String> {
        match self {
            Self::Synod(nodes) => nodes.death(),
            Self::Others(processes) => processes.death(),
        }
    }
    /// The last output lines of every process.
    pub fn tails(&self) -> String {
        match self {
            Self::Synod(nodes) => nodes.tails(),
            Self::Others(processes) => processes.tails(),
        }
    }
    /// Ends the processes and deletes their data.
    ///
    /// # Errors
    /// [`RunError`] when a Synod node does not end cleanly; other servers are not checked.
    pub fn end(self) -> Result<(), RunError> {
        match self {
            Self::Synod(nodes) => nodes.end(),
            Self::Others(_) => Ok(()),
        }
    }
}

/// The first line that `program argument` prints; `None` if there is no such program.
pub fn version(program: &Path, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    Some(text.lines().next().unwrap_or_default().trim().to_owned())
}
