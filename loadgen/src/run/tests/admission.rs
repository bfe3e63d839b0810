//! Targets that require a password, over both protocols: a generator that has it is admitted everywhere; one
//! that has not gets an error at once.

use super::*;
use std::path::Path;
use synod_net::access::Secret;

fn given(password: &str) -> Option<Secret> {
    Some(Secret::new(password.as_bytes().to_vec()))
}

/// Asserts how a run ends that is not admitted: with one sentence, long before its patience is over.
fn kept_out(options: &Options, why: &str) {
    let begun = Instant::now();
    let told = Options { patience: Duration::from_secs(60), ..options.clone() };
    let error = run(&told, &mut |_| {}).expect_err("it is not let in");
    let said = error.to_string();
    assert_eq!((error.exit_code(), said.lines().count()), (1, 1), "{said}");
    assert!(
        told.target.iter().any(|target| said.starts_with(&format!("{target} "))),
        "it says where: {said}"
    );
    assert!(said.contains(why) && said.contains("SYNOD_PASSWORD"), "{said}");
    assert!(!said.contains("Rosebud") && !said.contains("guess"), "{said}");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

fn says_it(path: &Path) -> bool {
    std::fs::read_to_string(path).expect("it was written").contains("Rosebud")
}

#[test]
fn a_cluster_that_wants_a_password_is_loaded_and_asked_with_it() {
    let servers = FakeServers::start(3, 4, 30);
    servers.cluster().set_password("Rosebud");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let [json, html, history] = ["run.json", "run.html", "run.jsonl"].map(|name| dir.path().join(name));
    let told = Options {
        password: given("Rosebud"),
        read_share: Some(0.5),
        threads: 2,
        json: Some(json.clone()),
        html: Some(html.clone()),
        history: Some(history.clone()),
        ..options(&servers)
    };
    let report = quietly(&told);
    assert!(report.passed(), "{:?}", report.findings);
    let sum = |count: fn(&OperationReport) -> u64| report.operations.values().map(count).sum::<u64>();
    assert_eq!((sum(|op| op.offered), sum(|op| op.achieved)), (600, 600));
    assert_eq!((report.leader_changes, report.durability.as_str()), (Some(0), "sync"), "status is asked too");
    let admissions = servers.cluster().admissions;
    assert!(
        admissions >= 1 + 6 + 6,
        "the topology, status of each node twice, all connections: {admissions}"
    );
    crate::write_files(&report, &told).expect("they can be written");
    assert!(![&json, &html, &history].into_iter().any(|path| says_it(path)));
    assert!(!report.table().contains("Rosebud") && !format!("{report:?}").contains("Rosebud"));
}

#[test]
fn a_cluster_admits_no_generator_without_its_password() {
    let servers = FakeServers::start(2, 2, 31);
    servers.cluster().set_password("Rosebud");
    kept_out(&options(&servers), "wants a password");
    kept_out(&Options { password: given("guess"), ..options(&servers) }, "refuses the password");
    servers.cluster().passwords.clear();
    servers.cluster().is_protected = true;
    kept_out(&options(&servers), "protected mode");
    assert_eq!(servers.cluster().requests, 0, "nothing was even tried");
}

#[test]
fn one_node_with_another_password_ends_the_run_before_it_begins() {
    let servers = FakeServers::start(2, 2, 32);
    servers.cluster().set_password("Rosebud");
    servers.cluster().passwords.insert(2, b"Xanadu".to_vec());
    let told = Options { password: given("Rosebud"), threads: 2, ..options(&servers) };
    // The first node reports the whole topology, so only the load connects to the second.
    kept_out(&told, &format!("{} refuses the password", told.target[1]));
    assert_eq!(servers.cluster().requests, 0, "nothing was even tried");
}

#[test]
fn a_password_that_changes_under_the_load_ends_the_run() {
    let servers = FakeServers::start(2, 2, 33);
    servers.cluster().set_password("Rosebud");
    let hour = Duration::from_secs(3600);
    let told = Options { password: given("Rosebud"), threads: 2, duration: hour, ..options(&servers) };
    let begun = Instant::now();
    let error = run(&told, &mut |progress| {
        if progress.phase == Phase::Write {
            servers.cluster().set_password("Xanadu");
            servers.set_down(1, true);
            servers.set_down(1, false);
        }
    })
    .expect_err("it is not let in again");
    let said = error.to_string();
    assert!(said.starts_with(&format!("{} refuses the password", told.target[0])), "{said}");
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
}

#[test]
fn a_resp_server_that_wants_a_password_is_loaded_with_it() {
    let server = FakeResp::start(RespFaults { break_connection: 97, ..RespFaults::default() });
    server.set_password("Rosebud");
    server.set_trouble(true);
    let told = Options { password: given("Rosebud"), read_share: Some(0.5), ..resp_options(&server) };
    let report = quietly(&told);
    assert_eq!((report.verify_failures, report.generator.reconnects > 0), (0, true), "{:?}", report.findings);
    assert_eq!(report.audit.as_ref().map(|audit| (audit.missing, audit.unread)), Some((0, 0)));
    assert!(report.operations.values().all(|op| op.achieved > op.offered / 2), "{:?}", report.operations);
    assert!(server.admissions() > 1 + 4, "the look at it, all connections, and those that were made anew");
}

#[test]
fn a_resp_server_admits_no_generator_without_its_password() {
    let server = FakeResp::start(RespFaults::default());
    let guess = Options { password: given("guess"), ..resp_options(&server) };
    kept_out(&guess, "has no password and refuses the one in SYNOD_PASSWORD");
    server.set_password("Rosebud");
    kept_out(&guess, "refuses the password");
    kept_out(&resp_options(&server), "wants a password");
    server.protect();
    kept_out(&resp_options(&server), "protected mode");
    kept_out(&guess, "protected mode");
    assert_eq!((server.key_count(), server.admissions()), (0, 0), "nothing was even tried");
}
