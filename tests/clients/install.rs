//! Clients at pinned versions, installed once into directories of their own below the build directory.

use crate::cluster::binary;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};

const REDIS_PY: &str = "redis==8.1.0";
const IOREDIS: &str = "ioredis@5.11.1";

/// One installation at a time.
static INSTALLING: Mutex<()> = Mutex::new(());

/// A Python interpreter that has redis-py, or `None` after reporting why not.
pub fn redis_py() -> Option<PathBuf> {
    install("redis-py-8.1.0", |dir| {
        run(Command::new("python3").args(["-m", "venv"]).arg(dir))?;
        let quiet = ["install", "--quiet", "--disable-pip-version-check"];
        run(Command::new(dir.join("bin/pip")).args(quiet).arg(REDIS_PY))
    })
    .map(|dir| dir.join("bin/python"))
}

/// A `NODE_PATH` that has ioredis, or `None` after reporting why not.
pub fn ioredis() -> Option<PathBuf> {
    install("ioredis-5.11.1", |dir| {
        run(Command::new("node").arg("--version"))?;
        let quiet = ["install", "--no-audit", "--no-fund", "--silent"];
        run(Command::new("npm").args(quiet).arg("--prefix").arg(dir).arg(IOREDIS))
    })
    .map(|dir| dir.join("node_modules"))
}

/// A script of a client.
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/scripts").join(name)
}

/// The directory `name`, made by `make` unless an earlier run has made it.
fn install(name: &str, make: impl FnOnce(&Path) -> Result<(), String>) -> Option<PathBuf> {
    let _one = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = binary().parent().expect("the binary lies in a directory").join("clients").join(name);
    let mark = dir.join("complete");
    if mark.exists() {
        return Some(dir);
    }
    let _ = fs::remove_dir_all(&dir); // left by an installation that was cut short
    fs::create_dir_all(&dir).expect("the build directory can be written");
    match make(&dir) {
        Ok(()) => {
            fs::write(mark, "").expect("the build directory can be written");
            Some(dir)
        }
        Err(why) => {
            synod_tests::not_checked(&format!("{name} cannot be installed here: {why}"));
            None
        }
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    match command.output() {
        Ok(Output { status, .. }) if status.success() => Ok(()),
        Ok(Output { stderr, .. }) => {
            let text = String::from_utf8_lossy(&stderr);
            Err(text.trim().lines().last().unwrap_or("it failed without a word").to_owned())
        }
        Err(error) => Err(format!("{}: {error}", command.get_program().to_string_lossy())),
    }
}
