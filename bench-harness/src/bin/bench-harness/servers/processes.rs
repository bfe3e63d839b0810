//! Child processes of other projects' programs, their output in files, and the directory they live in.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use synod::node::RunError;
use synod::supervise::{Maker, PortBlock, Workdir, spawn_bound_to_us};

/// Lines of a process's output that a report shows.
const TAIL_LINES: usize = 10;

/// Running processes. Dropping them kills them and deletes their directory.
pub struct Processes {
    running: Vec<Running>,
    targets: Vec<String>,
    workdir: Option<Workdir>,
    _ports: PortBlock,
}

struct Running {
    name: String,
    log: PathBuf,
    child: Child,
}

impl Processes {
    /// No process yet: an empty, marked directory, in which processes with these ports can be started.
    pub fn in_new_directory(dir: &Path, ports: PortBlock) -> Result<Self, RunError> {
        let workdir = Workdir::open(dir, Maker::Harness)?;
        workdir.clear()?;
        Ok(Self { running: Vec::new(), targets: Vec::new(), workdir: Some(workdir), _ports: ports })
    }

    /// Starts a process that will serve clients at `target`.
    pub fn start(
        &mut self,
        name: &str,
        program: &Path,
        arguments: &[String],
        target: String,
    ) -> Result<(), RunError> {
        let failed = |error: io::Error| {
            RunError::Failed(format!("cannot start {} as {name}: {error}", program.display()))
        };
        let log = self.dir().join(format!("{name}.log"));
        let output = File::create(&log).map_err(failed)?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null());
        command.stdout(output.try_clone().map_err(failed)?).stderr(output);
        // A process group of its own: a Ctrl-C at the terminal reaches only this process.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = spawn_bound_to_us(command).map_err(failed)?;
        self.running.push(Running { name: name.to_owned(), log, child });
        self.targets.push(target);
        Ok(())
    }

    /// Their directory.
    pub fn dir(&self) -> &Path {
        self.workdir.as_ref().expect("held until drop").path()
    }
    /// `host:port` of each process.
    pub fn targets(&self) -> &[String] {
        &self.targets
    }
    /// A sentence about the first process that has ended, if there is one.
    pub fn death(&mut self) -> Option<String> {
        self.running.iter_mut().find_map(|running| {
            let status = running.child.try_wait().ok().flatten()?;
            Some(format!("{} ended during the run ({status})", running.name))
        })
    }
    /// The last output lines of each process.
    pub fn tails(&self) -> String {
        let mut out = String::new();
        for Running { name, log, .. } in &self.running {
            let text = std::fs::read(log).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let lines: Vec<_> = text.lines().collect();
            for line in &lines[lines.len().saturating_sub(TAIL_LINES)..] {
                out.push_str(&format!("  {name} | {line}\n"));
            }
        }
        out
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for running in &mut self.running {
            // Their data is deleted, so they need not end cleanly. It is no fault here if one has ended
            // already.
            let _ = running.child.kill();
        }
        for running in &mut self.running {
            let _ = running.child.wait();
        }
        if let Some(Err(refusal)) = self.workdir.take().map(Workdir::remove) {
            eprintln!("bench-harness: {refusal}");
        }
    }
}
