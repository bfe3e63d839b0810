//! Runs scripts while a leader is killed, and collects their reports.

use crate::cluster::Nodes;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use synod_net::client::Client;

/// Writes that each script must have acknowledged in each phase of a failover. Some scripts start a process for
/// each of them.
const PHASE_WRITES: usize = 50;
/// How long a script may take until the next acknowledged writes, with a failover and its own back-off.
const PROGRESS_LIMIT: Duration = Duration::from_secs(60);
/// How long it may take to read everything back.
const END_LIMIT: Duration = Duration::from_secs(120);
/// Texts that an error seen by a client may contain, in lower case: the server's own words for "not now" and
/// "perhaps", and the failures of a connection whose other end is gone.
const KNOWN: [&str; 31] = [
    // From the server.
    "unknown the outcome is not known",
    "\"unknown\": the outcome is not known", // as redis-rs quotes it
    "http 504 unknown:",
    "http 503 no_leader:",
    "http 503 busy:",
    "clusterdown",
    "busy too much is waiting",
    "tryagain",
    "is loading the dataset in memory",
    "http 503 loading:",
    // From the connection.
    "refused",
    "couldn't connect to server",
    "connect call failed", // asyncio
    "connection lost",     // asyncio, where it ends between a write and its drain
    "connection reset",
    "broken pipe",
    "connection is closed",
    "connection closed",
    "closed the connection",
    "closed by server",
    "empty reply from server",
    "unexpected end of file",
    "timed out",
    "timeout",
    // From the client, when it found no node to ask.
    "redis cluster cannot be connected",
    "failed to fetch cluster configuration",
    "failed to update cluster slots configuration: could not find node", // the node led nothing then
    // The last words of redis-benchmark when the connection over which it asks for the new slots is cut; it
    // reports nothing about the cut itself.
    "cluster slots configuration changed, fetching new one",
    "could not fetch server config",
    "could not fetch node config",
    "failed to refresh slots cache",
];
/// Texts that no error may contain: each means that a request was not understood, or answered wrongly.
const SHAMES: [&str; 7] = [
    "unknown command",
    "unknown subcommand",
    "syntax",
    "wrong number",
    "Protocol Error",
    "ParserError",
    "not available",
];

/// How long a wait may take, counted in polls and not by the clock: it does not run out while this process
/// and the nodes are suspended, or starved together.
pub struct Patience(u32);

impl Patience {
    const LOOK: Duration = Duration::from_millis(20);

    /// Patience for `limit`.
    pub fn of(limit: Duration) -> Self {
        Self((limit.as_millis() / Self::LOOK.as_millis()) as u32) // minutes
    }
    /// Waits until the next poll; false if no poll is left.
    pub fn wait(&mut self) -> bool {
        std::thread::sleep(Self::LOOK);
        self.0 = self.0.saturating_sub(1);
        self.0 > 0
    }
}

/// A script's report so far.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// Numbers of acknowledged writes.
    pub acked: BTreeSet<u64>,
    /// Numbers acknowledged more than once: a writer never does that, nor do workers that take turns by a
    /// lock.
    pub twice: Vec<u64>,
    /// The values it read back, by number.
    pub read: BTreeMap<u64, Option<String>>,
    /// Reads that missed a write acknowledged before.
    pub stale: Vec<u64>,
    /// Errors, with the count of each.
    pub errors: BTreeMap<String, u64>,
    /// Whether it came to its end.
    pub done: bool,
}

impl Account {
    fn take(&mut self, line: &str) {
        let Ok(said) = serde_json::from_str::<Value>(line) else {
            *self.errors.entry(format!("Protocol Error: no JSON: {line}")).or_default() += 1;
            return;
        };
        if let Some(number) = said["ack"].as_u64() {
            if !self.acked.insert(number) {
                self.twice.push(number);
            }
        } else if let Some(number) = said["read"].as_u64() {
            self.read.insert(number, said["value"].as_str().map(str::to_owned));
        } else if let Some(number) = said["stale"].as_u64() {
            self.stale.push(number);
        } else if let Some(error) = said["error"].as_str() {
            *self.errors.entry(error.to_owned()).or_default() += 1;
        } else if said["done"].as_bool() == Some(true) {
            self.done = true;
        }
    }
}

/// Checks that `error`, which `who` saw while nodes came and went, is one that is expected then.
pub fn expect_known(who: &str, error: &str) {
    let lower = error.to_lowercase();
    assert!(KNOWN.iter().any(|known| lower.contains(known)), "{who}: an error of no known kind: {error:?}");
    let shame = SHAMES.iter().find(|shame| lower.contains(&shame.to_lowercase()));
    assert!(shame.is_none(), "{who}: {error:?}");
}

/// The value a script writes under `number`.
pub fn value_of(number: u64) -> String {
    format!("value-{number}")
}

/// A client at work.
pub struct Script {
    name: String,
    host: ScriptHost,
    account: Arc<Mutex<Account>>,
}

/// Where a client runs.
enum ScriptHost {
    /// In a process of its own; a line on its input stops it.
    Process(Child),
    /// In a thread; the flag stops it.
    Thread(Arc<AtomicBool>),
}

impl Script {
    /// Starts `command`; `name` is the prefix of its keys.
    pub fn start(name: &str, command: &mut Command) -> Self {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the client starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let account = Arc::new(Mutex::new(Account::default()));
        let taken = Arc::clone(&account);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                taken.lock().unwrap_or_else(PoisonError::into_inner).take(&line);
            }
        });
        Self { name: name.to_owned(), host: ScriptHost::Process(child), account }
    }

    /// Starts `work` in a thread. It writes until the flag is set, then reads everything back.
    pub fn spawn(name: &str, work: impl FnOnce(&AtomicBool, &Mutex<Account>) + Send + 'static) -> Self {
        let (flag, account) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Account::default())));
        let (stopped, told) = (Arc::clone(&flag), Arc::clone(&account));
        std::thread::spawn(move || work(&stopped, &told));
        Self { name: name.to_owned(), host: ScriptHost::Thread(flag), account }
    }

    /// The prefix of its keys.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn stop(&mut self) {
        match &mut self.host {
            ScriptHost::Process(child) => {
                child.stdin.as_mut().expect("piped").write_all(b"stop\n").expect("it listens");
            }
            ScriptHost::Thread(flag) => flag.store(true, Ordering::Relaxed),
        }
    }

    /// Its report so far.
    pub fn account(&self) -> Account {
        self.account.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until `reached` is true of its report.
    pub fn wait_until(&self, limit: Duration, what: &str, reached: impl Fn(&Account) -> bool) {
        let mut patience = Patience::of(limit);
        while !reached(&self.account()) {
            let account = self.account();
            assert!(
                patience.wait(),
                "{}: {what} not within {limit:?}: {} writes, {} read back, errors {:?}",
                self.name,
                account.acked.len(),
                account.read.len(),
                account.errors
            );
        }
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        match &mut self.host {
            ScriptHost::Process(child) => {
                let _ = child.kill();
                let _ = child.wait();
            }
            ScriptHost::Thread(flag) => flag.store(true, Ordering::Relaxed),
        }
    }
}

/// The groups that a node leads.
fn led(client: &mut Client, nodes: &mut Nodes, index: usize) -> usize {
    let status = client.status_of(nodes.node(index)).expect("the node answers");
    status.groups.iter().filter(|group| group.serving).count()
}

/// The node that leads the most groups, once each has a leader.
pub fn busiest(nodes: &mut Nodes) -> usize {
    nodes.wait_led();
    let mut client = Client::connect(&nodes.targets()).expect("connects");
    (0..3).max_by_key(|&index| led(&mut client, nodes, index)).expect("three nodes")
}

/// `host:port` of every node, `first` before the others.
pub fn targets_from(nodes: &mut Nodes, first: usize) -> Vec<String> {
    let mut targets = nodes.targets();
    targets.rotate_left(first);
    targets
}

/// `host:port` of every node, the busiest leader first: a client that uses one node at a time connects to it.
pub fn targets(nodes: &mut Nodes) -> Vec<String> {
    let first = busiest(nodes);
    targets_from(nodes, first)
}

/// The node to be killed as a leader no longer leads: if a machine does not run a node, or does not write its
/// log, for longer than a lease, another node is elected.
#[derive(Debug)]
pub struct Moved;

/// Kills a leader and brings it back. `go_on` is called in each phase, and returns once work was done in it.
pub fn through_a_failover(
    nodes: &mut Nodes,
    victim: impl FnOnce(&mut Nodes) -> usize,
    mut go_on: impl FnMut(&str),
) -> Result<(), Moved> {
    go_on("at all");
    let victim = victim(nodes);
    let mut client = Client::connect(&nodes.targets()).expect("connects");
    let led = led(&mut client, nodes, victim);
    if led == 0 {
        return Err(Moved);
    }
    eprintln!("killed: the leader of {led} groups");
    nodes.get().kill(victim).expect("killed");
    go_on("after a leader was killed");
    nodes.get().restart(victim).expect("restarted");
    nodes.get().wait_node_ready(victim, Duration::from_secs(120)).expect("serves again");
    go_on("after it came back");
    Ok(())
}

/// Runs a test that names the node to kill before it begins. The test starts over if that node leads nothing
/// when its turn comes.
pub fn until_a_leader_is_killed(mut test: impl FnMut() -> Result<(), Moved>) {
    const TRIES: u32 = 5;
    assert!((0..TRIES).any(|_| test().is_ok()), "leaders moved away before they were killed, {TRIES} times");
}

/// Waits until each script has this many more acknowledged writes.
pub fn wait_more(scripts: &[Script], count: usize, when: &str) {
    let before: Vec<usize> = scripts.iter().map(|script| script.account().acked.len()).collect();
    for (script, before) in scripts.iter().zip(before) {
        script.wait_until(PROGRESS_LIMIT, &format!("writes {when}"), |account| {
            account.acked.len() >= before + count
        });
    }
}

/// Stops the script and waits for its end. It must have seen no stale read and no error of an unknown kind.
pub fn finish(script: &mut Script) -> Account {
    script.stop();
    script.wait_until(END_LIMIT, "an end", |account| account.done);
    let account = script.account();
    eprintln!("{}: {} writes, errors {:?}", script.name, account.acked.len(), account.errors);
    assert!(account.stale.is_empty(), "{}: stale reads of {:?}", script.name, account.stale);
    assert!(account.twice.is_empty(), "{}: acknowledged twice: {:?}", script.name, account.twice);
    account.errors.keys().for_each(|error| expect_known(&script.name, error));
    account
}

/// Kills the node that leads the most groups under the scripts, brings it back, and checks their reports.
/// Every script must have made progress in each phase.
pub fn survive_a_killed_leader(nodes: &mut Nodes, mut scripts: Vec<Script>) {
    through_a_failover(nodes, busiest, |what| wait_more(&scripts, PHASE_WRITES, what))
        .expect("some node leads most");
    let mut client = Client::connect(&nodes.targets()).expect("connects");
    for script in &mut scripts {
        let account = finish(script);
        for number in &account.acked {
            let want = value_of(*number);
            let read = account.read.get(number);
            assert_eq!(read, Some(&Some(want.clone())), "{}: write {number} is lost to it", script.name);
            let key = format!("{}:{number}", script.name);
            let found = client.get(key.as_bytes()).expect("a read");
            assert_eq!(found.as_deref(), Some(want.as_bytes()), "{}: write {number} is lost", script.name);
        }
    }
}
