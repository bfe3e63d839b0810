//! `synod-client` with a real cluster: each operation, pipelines, leaders killed under increments, passwords,
//! a cluster that is gone, the example, and an application outside the workspace.

use crate::cluster::{Nodes, binary, until};
use crate::faults::leader_and_follower;
use futures_lite::future::block_on;
use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};
use synod_client::{
    Admission, AsyncClient, Cause, Client, Config, Consistency, Error, Pipeline, Refusal, Request, Response,
    SetOptions, TimeToLive,
};

/// More than the client has in flight at once, and more than a session remembers of one group.
const MANY: usize = 3_000;
/// Leaders killed under increments.
const KILLS: usize = 3;
/// More than the cluster's clock, by which the rest of a time is reckoned, is behind this machine's.
const BEHIND_MAX: Duration = Duration::from_secs(1);

fn connection_string(targets: &[String], options: &str) -> String {
    format!("synod://{}/{options}", targets.join(","))
}

#[test]
fn each_operation_does_what_it_says() {
    let mut nodes = Nodes::start("client-operations");
    nodes.wait_led();
    let mut client = Client::connect(&connection_string(&nodes.targets(), "")).expect("connected");

    assert_eq!(client.get("k"), Ok(None));
    assert_eq!(client.exists("k"), Ok(false));
    let first = client.set("k", "one").expect("set");
    assert_eq!(client.get("k"), Ok(Some(b"one".to_vec())));
    assert_eq!(client.exists("k"), Ok(true));
    assert_eq!(client.execute(Request::get("k").consistency(Consistency::Quorum)), Ok(Some(b"one".to_vec())));
    assert_eq!(client.execute(Request::get("k").namespace(1)), Ok(None), "another namespace");

    conditions(&mut client, first);
    expiries(&mut client);

    assert_eq!(client.increment("n", 5), Ok(5));
    assert_eq!(client.increment("n", -7), Ok(-2));
    client.set("text", "x").expect("set");
    let refused = client.increment("text", 1);
    assert!(matches!(refused, Err(Error::Refused { reason: Refusal::NotAnInteger, .. })), "{refused:?}");
    assert!(matches!(client.get(""), Err(Error::InvalidArgument(_))));
    let large = vec![7; 1 << 20];
    client.set("large", large.clone()).expect("the longest value");
    assert_eq!(client.get("large"), Ok(Some(large)));

    let topology = client.topology().expect("a topology");
    assert_eq!(topology.nodes.len(), 3);
    for node in topology.nodes {
        assert_eq!(client.status_of(node.node).map(|status| status.node), Ok(node.node));
    }
    assert!(client.status().is_ok());
}

fn conditions(client: &mut Client, first: synod_client::Version) {
    let set = |client: &mut Client, options| client.set_with("k", "two", options);
    assert_eq!(set(client, SetOptions::new().if_absent()), Err(Error::ConditionNotMet));
    let second = set(client, SetOptions::new().if_present()).expect("it exists");
    assert!(second > first, "versions rise");
    assert_eq!(client.compare_and_set("k", first, "three"), Err(Error::ConditionNotMet));
    let third = client.compare_and_set("k", second, "three").expect("nobody else wrote");
    let read = client.get_versioned("k").expect("read").expect("it exists");
    assert_eq!((read.value.as_slice(), read.version), (&b"three"[..], third));
    let old = client.get_and_set("k", "four", SetOptions::new()).expect("set").expect("it existed");
    assert_eq!(old.value, b"three");
    assert_eq!(client.delete_if_version("k", third), Err(Error::ConditionNotMet));
    assert_eq!(client.delete_if_equal("k", "three"), Ok(false));
    assert_eq!(client.delete_if_equal("k", "four"), Ok(true));
    assert_eq!(client.delete("k"), Ok(false));
    assert_eq!(client.delete_if_version("k", third), Ok(false));
}

fn expiries(client: &mut Client) {
    let (long, short) = (Duration::from_secs(600), Duration::from_millis(40));
    assert_eq!(client.ttl("e"), Ok(TimeToLive::NoKey));
    client.set_with("e", "v", SetOptions::new().expire_in(long)).expect("set");
    let left = client.ttl("e");
    assert!(
        matches!(left, Ok(TimeToLive::Left(left)) if left <= long + BEHIND_MAX && left > long / 2),
        "{left:?}"
    );
    client.set_with("e", "w", SetOptions::new().keep_ttl()).expect("set");
    assert!(matches!(client.ttl("e"), Ok(TimeToLive::Left(_))));
    assert_eq!(client.persist("e"), Ok(true));
    assert_eq!(client.ttl("e"), Ok(TimeToLive::Forever));
    assert_eq!(client.expire("e", long), Ok(true));
    assert_eq!(client.expire("absent", long), Ok(false));
    assert_eq!(client.expire_if_equal("e", "other", short), Ok(false));
    assert_eq!(client.expire_if_equal("e", "w", short), Ok(true));
    until("the key expires", || client.get("e") == Ok(None));
    client.set_with("e", "v", SetOptions::new().expire_at(SystemTime::now() + long)).expect("set");
    let left = client.ttl("e");
    assert!(matches!(left, Ok(TimeToLive::Left(left)) if left <= long + BEHIND_MAX), "{left:?}");
    client.set("e", "v").expect("set");
    assert_eq!(client.ttl("e"), Ok(TimeToLive::Forever), "a plain SET takes the expiry away");
}

#[test]
fn many_operations_at_once_are_answered_in_order() {
    let mut nodes = Nodes::start("client-pipeline");
    nodes.wait_led();
    let targets = nodes.targets();
    let mut client = Client::connect(&connection_string(&targets, "")).expect("connected");

    let sets = client.execute_all((0..MANY).map(|at| Request::set(format!("k{at}"), format!("v{at}"))));
    assert_eq!((sets.len(), sets.iter().find(|set| set.is_err())), (MANY, None));
    let gets = client.execute_all((0..MANY).map(|at| Request::get(format!("k{at}"))));
    for (at, get) in gets.into_iter().enumerate() {
        assert_eq!(get, Ok(Some(format!("v{at}").into_bytes())));
    }
    // All on one key: each sum is given once.
    let sums = client.execute_all((0..MANY).map(|_| Request::increment("sum", 1)));
    let sums: BTreeSet<i64> = sums.into_iter().map(|sum| sum.expect("added")).collect();
    assert_eq!((sums.len(), sums.last()), (MANY, Some(&3_000)));

    // Answers of different types; a fault is told for its own request only.
    let mut pipeline = Pipeline::new();
    let number = pipeline.add(Request::increment("mixed", 4));
    let faulty = pipeline.add(Request::get(""));
    let refused = pipeline.add(Request::increment("k1", 1));
    let value = pipeline.add(Request::get("k2"));
    let mut answers = client.run(pipeline);
    assert_eq!(answers.take(value), Ok(Some(b"v2".to_vec())));
    assert_eq!(answers.take(number), Ok(4));
    assert!(matches!(answers.take(faulty), Err(Error::InvalidArgument(_))));
    assert!(matches!(answers.take(refused), Err(Error::Refused { .. })));

    let tasks = block_on(AsyncClient::connect(&connection_string(&targets, ""))).expect("connected");
    let under_way: Vec<Response<Option<Vec<u8>>>> = (0..MANY).map(|at| tasks.get(format!("k{at}"))).collect();
    for (at, response) in under_way.into_iter().enumerate() {
        assert_eq!(block_on(response), Ok(Some(format!("v{at}").into_bytes())));
    }
    // A response outlives the clients.
    let last = tasks.clone().increment("sum", 1);
    drop(tasks);
    assert_eq!(block_on(last), Ok(3_001));
}

/// Counts one by one until told to stop. Every answer must be the next number.
fn count(target: &str, stop: &AtomicBool, counted: &AtomicU64) -> i64 {
    let mut client = Client::connect(target).expect("connected");
    let mut sum = 0;
    while !stop.load(Ordering::Relaxed) {
        sum += 1;
        assert_eq!(client.increment("blocking", 1), Ok(sum));
        counted.fetch_add(1, Ordering::Relaxed);
    }
    sum
}

/// The same with many increments in flight: every one has an answer of its own.
fn count_at_once(target: &str, stop: &AtomicBool, counted: &AtomicU64) -> i64 {
    let client = block_on(AsyncClient::connect(target)).expect("connected");
    let mut sums = BTreeSet::new();
    while !stop.load(Ordering::Relaxed) {
        let under_way: Vec<Response<i64>> = (0..20).map(|_| client.increment("async", 1)).collect();
        for response in under_way {
            assert!(sums.insert(block_on(response).expect("counted")), "an answer is given twice");
            counted.fetch_add(1, Ordering::Relaxed);
        }
    }
    let count = i64::try_from(sums.len()).expect("a number");
    assert_eq!(sums.last(), Some(&count), "a number is missing");
    count
}

#[test]
fn increments_are_executed_once_while_leaders_are_killed() {
    let mut nodes = Nodes::start("client-failover");
    nodes.wait_led();
    let target = connection_string(&nodes.targets(), "?timeout=1m");
    let (stop, blocking, at_once) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let counts = std::thread::scope(|scope| {
        let one = scope.spawn(|| count(&target, &stop, &blocking));
        let other = scope.spawn(|| count_at_once(&target, &stop, &at_once));
        // Even if this fails, the clients are stopped.
        let kills = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let wait_for_more = || {
                let before = [&blocking, &at_once].map(|counter| counter.load(Ordering::Relaxed));
                until("both count", || {
                    blocking.load(Ordering::Relaxed) > before[0] + 20
                        && at_once.load(Ordering::Relaxed) > before[1] + 100
                });
            };
            for _ in 0..KILLS {
                wait_for_more();
                let (leader, _) = leader_and_follower(&mut nodes);
                nodes.get().kill(leader).expect("killed");
                wait_for_more();
                nodes.get().restart(leader).expect("restarted");
                nodes.get().wait_node_ready(leader, Duration::from_secs(30)).expect("serves again");
            }
        }));
        stop.store(true, Ordering::Relaxed);
        let counts = (one.join().expect("it counts"), other.join().expect("it counts"));
        kills.expect("leaders are killed");
        counts
    });
    let mut client = Client::connect(&target).expect("connected");
    let sums = (client.increment("blocking", 0), client.increment("async", 0));
    assert_eq!(sums, (Ok(counts.0), Ok(counts.1)));
}

#[test]
fn a_password_is_wanted_and_shown_to_nobody() {
    let mut nodes = Nodes::with("client-password", 1, &[("security.password", "Rose/bud")]);
    let hosts = nodes.targets().join(",");
    let mut client = Client::connect(&format!("synod://:Rose%2Fbud@{hosts}")).expect("admitted");
    until("a leader is elected", || client.set("k", "v").is_ok());
    assert!(!format!("{client:?}").contains("Rose"));
    for (credentials, why) in [("", Admission::PasswordWanted), (":Xanadu@", Admission::WrongPassword)] {
        let target = format!("synod://{credentials}{hosts}");
        let error = Client::connect(&target).map(drop).expect_err("not admitted");
        assert_eq!(error, Error::NotAdmitted(why));
        let error = block_on(AsyncClient::connect(&target)).map(drop).expect_err("not admitted");
        assert_eq!(error, Error::NotAdmitted(why));
        assert!(!error.to_string().contains("Xanadu"), "{error}");
    }
}

#[test]
fn a_cluster_that_is_gone_is_told_within_the_timeout() {
    let mut nodes = Nodes::start("client-gone");
    nodes.wait_led();
    let targets = nodes.targets();
    // A port that was free a moment ago and has no listener: a lost node is no error.
    let dead = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let some = [dead.to_string(), targets[2].clone()];
    let mut client = Client::connect(&connection_string(&some, "?timeout=30s")).expect("connected");
    assert_eq!(client.increment("n", 1), Ok(1));
    let tasks = block_on(AsyncClient::connect(&connection_string(&some, "?timeout=30s"))).expect("connected");
    assert_eq!(block_on(tasks.increment("n", 1)), Ok(2));

    for index in 0..3 {
        nodes.get().kill(index).expect("killed");
    }
    let patience = Duration::from_millis(700);
    let began = Instant::now();
    let gone = Error::NotExecuted(Cause::Unreachable);
    assert_eq!(client.execute(Request::get("n").timeout(patience)), Err(gone.clone()));
    // No connection is left that this could have been sent on, so it was certainly not executed.
    assert_eq!(client.execute(Request::increment("n", 1).timeout(patience)), Err(gone.clone()));
    assert_eq!(block_on(tasks.execute(Request::get("n").timeout(patience))), Err(gone.clone()));
    let connected = Client::connect_with(Config::new().address("127.0.0.1", dead.port()).timeout(patience));
    assert_eq!(connected.map(drop), Err(gone));
    let took = began.elapsed();
    assert!(took >= 4 * patience && took < Duration::from_secs(15), "{took:?}");
}

/// What a command prints, when it succeeds.
fn output_of(command: &mut Command) -> String {
    let output = command.output().expect("it runs");
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}\n{out}\n{error}");
    out.into_owned()
}

/// Where this workspace is built.
fn target_dir() -> PathBuf {
    binary().parent().and_then(Path::parent).expect("a target directory").to_owned()
}

/// Cargo for a package that is built beside this workspace's own.
fn cargo(target_dir: &Path) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.env("CARGO_TARGET_DIR", target_dir).env_remove("RUSTFLAGS");
    cargo
}

#[test]
fn the_example_counts() {
    let mut nodes = Nodes::start("client-example");
    nodes.wait_led();
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target_dir = target_dir();
    // The workspace's test command builds the examples, too; this test alone builds it itself.
    let built = target_dir.join("debug/examples/counter");
    let mut run = if built.exists() {
        Command::new(built)
    } else {
        let mut run = cargo(&target_dir);
        run.current_dir(workspace).args(["run", "--quiet", "--offline", "-p", "synod-client"]);
        run.args(["--example", "counter", "--"]);
        run
    };
    run.arg("50").arg(connection_string(&nodes.targets(), ""));
    let printed = output_of(&mut run);
    assert!(printed.contains("counted from 0 to 50, one by one"), "{printed}");
    assert!(printed.contains("counted to 100, all at once"), "{printed}");
}

const APPLICATION: &str = r#"//! A program that uses Synod.

fn main() -> Result<(), synod_client::Error> {
    let target = std::env::args().nth(1).expect("a connection string");
    let mut client = synod_client::Client::connect(&target)?;
    client.set("application", "outside")?;
    let value = client.get("application")?.expect("it was set");
    println!("{} {}", String::from_utf8_lossy(&value), client.increment("runs", 1)?);
    Ok(())
}
"#;

#[test]
fn an_application_outside_the_workspace_is_built_and_runs() {
    let mut nodes = Nodes::start("client-application");
    nodes.wait_led();
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let package = tempfile::tempdir().expect("a directory");
    // With this workspace's profile, so that what both depend on is not compiled again.
    let ours = std::fs::read_to_string(workspace.join("Cargo.toml")).expect("a manifest");
    let profile = &ours[ours.find("[profile.dev]").expect("the last part of the manifest")..];
    let manifest = format!(
        "[package]\nname = \"application\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[dependencies]\n\
         synod-client = {{ path = {:?} }}\n\n[workspace]\n\n{profile}",
        workspace.join("client")
    );
    let put = |name: &str, text: &str| std::fs::write(package.path().join(name), text).expect("written");
    std::fs::create_dir(package.path().join("src")).expect("made");
    put("Cargo.toml", &manifest);
    put("src/main.rs", APPLICATION);
    // The versions of this workspace: they are at hand, so no registry is asked.
    std::fs::copy(workspace.join("Cargo.lock"), package.path().join("Cargo.lock")).expect("copied");
    let target_dir = target_dir();
    let target = connection_string(&nodes.targets(), "");
    for runs in 1..=2 {
        let mut run = cargo(&target_dir);
        run.current_dir(package.path()).args(["run", "--quiet", "--offline", "--"]).arg(&target);
        assert_eq!(output_of(&mut run), format!("outside {runs}\n"));
    }
}
