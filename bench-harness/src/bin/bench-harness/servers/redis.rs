//! One Redis server.

use super::processes::Processes;
use super::waiting::{PAUSE, READY_LIMIT};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};
use synod::node::RunError;
use synod::supervise::PortBlock;

/// Whether Redis keeps its data on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Persistence {
    /// `appendfsync always`: each write is flushed to the disk before it is answered.
    Always,
    /// In memory.
    Memory,
}

/// Starts the server and waits until it answers.
pub fn start(program: &Path, dir: &Path, persistence: Persistence) -> Result<Processes, RunError> {
    let ports = PortBlock::reserve(1)?;
    let port = ports.base();
    let mut processes = Processes::in_new_directory(dir, ports)?;
    // Snapshots and rewrites of the log are off: they would fall into some rounds and not into others.
    let log = match persistence {
        Persistence::Always => "yes",
        Persistence::Memory => "no",
    };
    let arguments = [
        ["--port", &port.to_string()],
        ["--bind", "127.0.0.1"],
        ["--dir", &processes.dir().display().to_string()],
        ["--save", ""],
        ["--appendonly", log],
        ["--appendfsync", "always"],
        ["--auto-aof-rewrite-percentage", "0"],
    ];
    let arguments: Vec<String> = arguments.concat().into_iter().map(str::to_owned).collect();
    let target = format!("127.0.0.1:{port}");
    processes.start("redis", program, &arguments, target.clone())?;

    let deadline = Instant::now() + READY_LIMIT;
    while !answers(&target) {
        if let Some(death) = processes.death() {
            return Err(RunError::Failed(format!("{death}; its last lines:\n{}", processes.tails())));
        }
        if Instant::now() > deadline {
            return Err(RunError::Failed(format!(
                "Redis does not answer; its last lines:\n{}",
                processes.tails()
            )));
        }
        std::thread::sleep(PAUSE);
    }
    Ok(processes)
}

fn answers(target: &str) -> bool {
    let ask = || {
        let mut stream = TcpStream::connect(target)?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(b"PING\r\n")?;
        let mut answer = [0; 7];
        stream.read_exact(&mut answer)?;
        Ok::<_, std::io::Error>(&answer == b"+PONG\r\n")
    };
    ask().unwrap_or(false)
}
