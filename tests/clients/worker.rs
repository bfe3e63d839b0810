//! The same writer as the scripts in other languages, for clients driven from this process.

use crate::run::{Account, value_of};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A client; it reports failures in its own words.
pub trait Store {
    /// Writes; `Ok` is an acknowledgement.
    fn set(&mut self, key: &str, value: &str) -> Result<(), String>;
    /// Reads.
    fn get(&mut self, key: &str) -> Result<Option<String>, String>;
}

/// Writes until told to stop, then reads everything back.
pub fn work(prefix: &str, mut store: impl Store, stopped: &AtomicBool, account: &Mutex<Account>) {
    let tell =
        |change: &dyn Fn(&mut Account)| change(&mut account.lock().unwrap_or_else(PoisonError::into_inner));
    let failed = |error: String| {
        tell(&|account| *account.errors.entry(error.clone()).or_default() += 1);
        std::thread::sleep(Duration::from_millis(20));
    };
    let key = |number: u64| format!("{prefix}:{number}");
    let mut number = 0;
    let mut acked = BTreeMap::new();
    while !stopped.load(Ordering::Relaxed) {
        number += 1;
        match store.set(&key(number), &value_of(number)) {
            Ok(()) => {
                acked.insert(number, value_of(number));
                tell(&|account| assert!(account.acked.insert(number), "numbers rise"));
            }
            Err(error) => failed(error),
        }
        let Some((&last, value)) = acked.last_key_value().filter(|_| number % 10 == 0) else { continue };
        match store.get(&key(last)) {
            Ok(found) if found.as_ref() == Some(value) => {}
            Ok(_) => tell(&|account| account.stale.push(last)),
            Err(error) => failed(error),
        }
    }
    for &number in acked.keys() {
        for _ in 0..20 {
            match store.get(&key(number)) {
                Ok(found) => {
                    tell(&|account| drop(account.read.insert(number, found.clone())));
                    break;
                }
                Err(error) => failed(error),
            }
        }
    }
    tell(&|account| account.done = true);
}

/// Asks one node at a time, and moves to the next after a failure.
pub struct Turns {
    targets: Vec<String>,
    turn: usize,
}

impl Turns {
    /// Starts with the first of `targets`.
    pub fn new(targets: Vec<String>) -> Self {
        Self { targets, turn: 0 }
    }
    /// `host:port` of the current node.
    pub fn now(&self) -> &str {
        &self.targets[self.turn % self.targets.len()]
    }
    /// Moves to the next node.
    pub fn pass(&mut self) {
        self.turn += 1;
    }
}
