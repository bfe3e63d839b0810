//! Leaders are killed again and again under clients that count: each increment is executed once, whichever
//! client sends it and however often.

use crate::cluster::Nodes;
use crate::faults::leader_and_follower;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use synod_loadgen::clock::monotonic_ns;
use synod_net::client::{Client, ClientConfig, ClientError, TcpDial};
use synod_types::Nanos;

const KILLS: usize = 9;
/// Clients with sessions of their own that count at once.
const CLIENTS: usize = 64;
/// Clients without sessions, each through one node. A node sends requests for groups it does not lead under a
/// session of its own.
const PLAIN_CLIENTS: usize = 6;

/// The answers to one client.
#[derive(Default)]
struct Told {
    acknowledged: i64,
    unknown: i64,
    last: i64,
}

/// Increments one key until told to stop. With a session, any answer but the next number is an error.
fn count(targets: &[String], key: &str, sessions: bool, stop: &AtomicBool, acknowledged: &AtomicU64) -> Told {
    let config = ClientConfig {
        deadline: Nanos::from_ms(60_000),
        attempts_max: 10_000,
        sessions,
        routing: sessions,
        ..ClientConfig::default()
    };
    let mut told = Told::default();
    let mut client = None;
    while !stop.load(Ordering::Relaxed) {
        let connected = match client.take() {
            Some(client) => Ok(client),
            None => Client::connect_with(targets, config.clone(), Box::new(TcpDial)),
        };
        let Ok(mut connected) = connected else {
            assert!(!sessions, "{key}: no node answers");
            continue; // the client's node is down
        };
        match connected.incr(key.as_bytes(), 1) {
            Ok(sum) => {
                assert!(sum > told.last, "{key}: {sum} after {}", told.last);
                assert!(!sessions || sum == told.last + 1, "{key}: {sum} after {}", told.last);
                told.last = sum;
                told.acknowledged += 1;
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Err(ClientError::Unknown) if !sessions => told.unknown += 1,
            Err(ClientError::NotExecuted(_) | ClientError::Unreachable) if !sessions => {}
            Err(error) => panic!("{key}: {error}"),
        }
        client = Some(connected);
    }
    told
}

#[test]
fn each_increment_is_executed_once_while_leaders_are_killed() {
    let mut nodes = Nodes::start("exactly-once");
    nodes.wait_led();
    let targets = nodes.targets();
    let (stop, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
    let (stop, acknowledged) = (&stop, &acknowledged);
    let by_session: Vec<String> = (0..=CLIENTS).map(|client| format!("session-{client}")).collect();
    let plain: Vec<String> = (0..PLAIN_CLIENTS).map(|client| format!("plain-{client}")).collect();
    let begun = monotonic_ns();
    let told: Vec<(&String, bool, Told)> = std::thread::scope(|scope| {
        let targets = &targets;
        let mut threads = Vec::new();
        for key in &by_session {
            threads.push((key, true, scope.spawn(move || count(targets, key, true, stop, acknowledged))));
        }
        for (at, key) in plain.iter().enumerate() {
            let one = &targets[at % 3..=at % 3];
            threads.push((key, false, scope.spawn(move || count(one, key, false, stop, acknowledged))));
        }
        // Even if this fails, the clients are stopped.
        let kills = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..KILLS {
                let before = acknowledged.load(Ordering::Relaxed);
                crate::cluster::until("they count", || {
                    acknowledged.load(Ordering::Relaxed) > before + 10 * CLIENTS as u64
                });
                let (leader, _) = leader_and_follower(&mut nodes);
                nodes.get().kill(leader).expect("killed");
                let before = acknowledged.load(Ordering::Relaxed);
                crate::cluster::until("they count without it", || {
                    acknowledged.load(Ordering::Relaxed) > before + 10 * CLIENTS as u64
                });
                nodes.get().restart(leader).expect("restarted");
                nodes.get().wait_node_ready(leader, Duration::from_secs(30)).expect("serves again");
            }
        }));
        stop.store(true, Ordering::Relaxed);
        let join = |(key, sessions, thread): (_, _, std::thread::ScopedJoinHandle<'_, Told>)| {
            (key, sessions, thread.join().expect("a client that counts"))
        };
        let told = threads.into_iter().map(join).collect();
        kills.expect("leaders are killed");
        told
    });
    let mut client = Client::connect(&targets).expect("the nodes take clients");
    let mut unknown = 0;
    for (key, sessions, Told { acknowledged, unknown: unclear, .. }) in &told {
        let sum = client.incr(key.as_bytes(), 0).expect("it is read");
        let most = acknowledged + unclear;
        assert!((*acknowledged..=most).contains(&sum), "{key}: {sum}, told {acknowledged} to {most}");
        assert!(!sessions || sum == *acknowledged);
        unknown += unclear;
    }
    eprintln!(
        "{KILLS} leaders killed within {} s: {} increments acknowledged, each executed once; {unknown} of clients \
         without sessions unknown",
        (monotonic_ns() - begun) / 1_000_000_000,
        acknowledged.load(Ordering::Relaxed),
    );
}
