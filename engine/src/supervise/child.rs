//! One node as a child process: it dies with this process, and its output is read line by line.

use crate::node::SERVING_MARK;
use crate::output::println;
use crate::sys::{self, Signal};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, PipeReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::time::{Duration, Instant};

/// Number of lines of a node's output that are kept for a report.
const TAIL_LINES_MAX: usize = 200;
/// A longer line is cut into pieces: the output may lack line ends.
const LINE_BYTES_MAX: u64 = 16 << 10;

/// The parameters of a node's start.
#[derive(Clone, Debug)]
pub(super) struct Launch {
    pub(super) binary: PathBuf,
    pub(super) config: PathBuf,
    /// "n1", the prefix of its lines.
    pub(super) label: String,
    /// Whether to print its lines with the prefix.
    pub(super) echo: bool,
    /// The file to append its lines to.
    pub(super) log: Option<PathBuf>,
}

/// The output of a node so far.
#[derive(Debug, Default)]
struct Output {
    serving: bool,
    ended: bool,
    tail: VecDeque<String>,
}

#[derive(Debug, Default)]
struct ProcessState {
    output: Mutex<Output>,
    changed: Condvar,
}

impl ProcessState {
    fn lock(&self) -> MutexGuard<'_, Output> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running (or ended) node process.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    status: Option<ExitStatus>,
    shared: Arc<ProcessState>,
}

/// The result of waiting for a node.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    Serving,
    Ended,
    TimedOut,
}

impl Process {
    pub(super) fn spawn(launch: &Launch) -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        let log = match &launch.log {
            Some(path) => Some(File::options().create(true).append(true).open(path)?),
            None => None,
        };
        let mut command = Command::new(&launch.binary);
        command
            .args(["serve", "--config"])
            .arg(&launch.config)
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer)
            // Its own process group: a ctrl-c at the terminal reaches only this process, which then stops the
            // nodes cleanly.
            .process_group(0);
        // The file holds every setting; a variable meant for one node would reach all of them.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with(crate::config::row::ENV_PREFIX) {
                command.env_remove(name);
            }
        }
        let child = spawn_bound_to_us(command)?;
        let shared = Arc::new(ProcessState::default());
        let reading = Arc::clone(&shared);
        let prefix = launch.echo.then(|| launch.label.clone());
        // The thread ends when the node does.
        std::thread::spawn(move || read_output(reader, log, prefix.as_deref(), &reading));
        Ok(Self { child, status: None, shared })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The exit status, once the process has ended.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().ok().flatten();
        }
        self.status
    }

    /// Sends a signal, unless the process has ended: its pid may belong to another process by then.
    pub(super) fn signal(&mut self, signal: Signal) -> io::Result<()> {
        if self.ended().is_some() {
            return Ok(());
        }
        sys::send_signal(&self.child, signal)
    }

    /// Waits until the process has ended.
    pub(super) fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = match self.status {
            Some(status) => status,
            None => self.child.wait()?,
        };
        self.status = Some(status);
        Ok(status)
    }

    /// Waits until the process has ended, or until `deadline`. Returns whether it has ended.
    pub(super) fn wait_until(&mut self, deadline: Instant) -> bool {
        // The end of the output signals the end of the process; the exit status follows at once.
        let mut output = self.shared.lock();
        while !output.ended {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            output = wait_on(&self.shared.changed, output, left);
        }
        drop(output);
        self.wait().is_ok()
    }

    /// Waits until the node has printed that it serves, or until `deadline`.
    pub(super) fn wait_serving(&self, deadline: Instant) -> Readiness {
        let mut output = self.shared.lock();
        loop {
            if output.serving {
                return Readiness::Serving;
            }
            if output.ended {
                return Readiness::Ended;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Readiness::TimedOut;
            }
            output = wait_on(&self.shared.changed, output, left);
        }
    }

    /// Its last lines of output.
    pub(super) fn tail(&self) -> Vec<String> {
        self.shared.lock().tail.iter().cloned().collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A stopped process dies of SIGKILL too. An error only means that it is gone already.
        let _ = self.signal(Signal::SIGKILL);
        let _ = self.wait();
    }
}

/// "exit code 2" or "signal 9", for use in sentences.
pub(super) fn describe_exit(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

fn wait_on<'a>(changed: &Condvar, output: MutexGuard<'a, Output>, left: Duration) -> MutexGuard<'a, Output> {
    changed.wait_timeout(output, left).unwrap_or_else(PoisonError::into_inner).0
}

fn read_output(reader: PipeReader, mut log: Option<File>, prefix: Option<&str>, shared: &ProcessState) {
    let mut reader = BufReader::new(reader);
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        match reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes) {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
        // A log that cannot be written or a closed terminal must not stop the reading: the node would block
        // on its pipe.
        if let Some(log) = &mut log {
            let _ = writeln!(log, "{line}");
        }
        // If nobody reads the lines any more, the command that echoes them is told to stop.
        if let Some(label) = prefix {
            println!("{label} | {line}");
        }
        let mut output = shared.lock();
        output.serving |= line.starts_with(SERVING_MARK);
        if output.tail.len() == TAIL_LINES_MAX {
            output.tail.pop_front();
        }
        output.tail.push_back(line);
        drop(output);
        shared.changed.notify_all();
    }
    shared.lock().ended = true;
    shared.changed.notify_all();
}

type SpawnJob = (Command, mpsc::SyncSender<io::Result<Child>>);

/// Spawns `command` so that the kernel kills the child when this process dies, however it dies.
///
/// The kernel ties the child to the *thread* that spawned it, so one thread that never ends spawns all of
/// them.
///
/// # Errors
/// The errors of [`Command::spawn`]; also when the child cannot be bound.
pub fn spawn_bound_to_us(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<mpsc::Sender<SpawnJob>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (jobs, inbox) = mpsc::channel::<SpawnJob>();
        std::thread::spawn(move || {
            for (mut command, answer) in inbox {
                sys::kill_with_parent(&mut command);
                // The caller may be gone; then the child is dropped here instead of by the caller.
                let _ = answer.send(command.spawn());
            }
        });
        jobs
    });
    let gone = || io::Error::other("the thread that spawns nodes has ended");
    let (answer, result) = mpsc::sync_channel(1);
    spawner.send((command, answer)).map_err(|_| gone())?;
    result.recv().map_err(|_| gone())?
}
