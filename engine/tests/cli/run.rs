//! Runs `synod` and checks what it did to a directory.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use synod::exit::Exit;
use tempfile::TempDir;

/// A refusal takes milliseconds; this bounds a test that fails.
const LIMIT: Duration = Duration::from_secs(20);

/// A working directory of its own for one test, with helpers.
pub struct Sandbox {
    dir: TempDir,
}

impl Sandbox {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
    /// Writes a file, and the directory that it is to lie in.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }
    /// `synod` with `args`, run in this directory with an environment that holds no settings.
    pub fn synod<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_synod"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("SYNOD_") {
                command.env_remove(name);
            }
        }
        command.args(args).current_dir(self.path()).stdin(Stdio::null()).env("RUST_BACKTRACE", "0");
        command
    }
    /// Runs it and requires success.
    pub fn succeeds(&self, args: &[&str]) -> String {
        let output = self.synod(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }
    /// Runs it and requires a refusal: an exit code of a refusal, one sentence, nothing touched. Returns the
    /// sentence.
    pub fn refuses(&self, args: &[&str]) -> String {
        self.command_refuses(&mut self.synod(args))
    }
    /// The same for a command made by [`Sandbox::synod`].
    pub fn command_refuses(&self, command: &mut Command) -> String {
        let (exit, sentence) = self.refusal(command);
        let refusals = [Exit::Usage, Exit::Configuration, Exit::DataDirectory, Exit::Machine, Exit::Port];
        assert!(refusals.map(|known| Some(known.code().into())).contains(&exit), "{exit:?}: {sentence}");
        sentence
    }
    /// Runs it and requires that the command line is wrong. Returns what it says of that.
    pub fn refusal_of_usage(&self, args: &[&str]) -> String {
        let output = self.synod(args).output().unwrap();
        assert_eq!(output.status.code(), Some(Exit::Usage.code().into()), "{args:?}");
        text(&output.stderr)
    }
    /// Runs it and requires that nothing was touched. Returns the exit code and the sentence.
    pub fn refusal(&self, command: &mut Command) -> (Option<i32>, String) {
        let before = Snapshot::of(self.path());
        let output = output_in_time(command);
        let sentence = sentence_of(&output);
        assert_eq!(Snapshot::of(self.path()), before, "touched something: {sentence}");
        (output.status.code(), sentence)
    }
}

/// Runs `command` to its end. A command that serves instead of refusing would never end; it is killed and the
/// test fails.
fn output_in_time(command: &mut Command) -> Output {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = child.id().cast_signed();
    let (done, wait) = mpsc::channel();
    std::thread::spawn(move || done.send(child.wait_with_output()));
    match wait.recv_timeout(LIMIT) {
        Ok(output) => output.unwrap(),
        Err(_) => {
            // The child has not been reaped, because its end was not reported. If it ends just now, there is
            // nothing to kill.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            panic!("{command:?} does not end: it was not refused");
        }
    }
}

fn sentence_of(output: &Output) -> String {
    let stderr = text(&output.stderr);
    assert_eq!(text(&output.stdout), "", "a refusal says nothing on standard output");
    let sentence =
        stderr.strip_prefix("synod: ").unwrap_or_else(|| panic!("not a sentence of ours: {stderr}"));
    assert_eq!(sentence.matches('\n').count(), 1, "one line: {sentence}");
    sentence.trim_end().to_owned()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Every name below a directory, with everything that a careless program could have changed.
#[derive(PartialEq, Eq, Debug)]
pub struct Snapshot(BTreeMap<PathBuf, PathState>);

#[derive(PartialEq, Eq, Debug)]
struct PathState {
    mode: u32,
    modified: (i64, i64),
    content: Option<Vec<u8>>,
}

impl Snapshot {
    pub fn of(dir: &Path) -> Self {
        let mut found = BTreeMap::new();
        let mut open = vec![dir.to_owned()];
        while let Some(path) = open.pop() {
            let meta = fs::symlink_metadata(&path).unwrap();
            if meta.is_dir() {
                open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
            let content = meta.is_file().then(|| fs::read(&path).unwrap());
            let (mode, modified) = (meta.permissions().mode(), (meta.mtime(), meta.mtime_nsec()));
            found.insert(path, PathState { mode, modified, content });
        }
        Self(found)
    }
}
