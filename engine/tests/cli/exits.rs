//! The exit codes of refusals; those of requests need a cluster and are tested in tests/processes.

use crate::run::Sandbox;
use std::net::TcpListener;
use synod::exit::Exit;
use synod::supervise::PortBlock;

#[test]
fn each_kind_of_refusal_has_an_exit_code_of_its_own() {
    let sandbox = Sandbox::new();
    sandbox.write("bad.toml", "[node]\ncoers = 1\n");
    sandbox.write("thesis/thesis.tex", "x");
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = held.local_addr().unwrap().port().to_string();
    for (args, exit) in [
        (&["swerve"][..], Exit::Usage),
        (&["get", "k", "--target", "nowhere"], Exit::Usage),
        (&["dev", "--nodes", "0"], Exit::Usage),
        (&["man", "swerve"], Exit::Usage),
        (&["serve", "--config", "bad.toml"], Exit::Configuration),
        (&["serve", "--config", "none.toml"], Exit::Configuration),
        (&["serve", "--cores", "0"], Exit::Configuration),
        (&["config", "explain", "--cores", "0"], Exit::Configuration),
        (&["serve", "--cluster", "demo"], Exit::DataDirectory),
        (&["format", "--data-dir", "thesis"], Exit::DataDirectory),
        (&["secret", "show"], Exit::DataDirectory),
        (&["serve", "--cores", "1", "--pins", "1023"], Exit::Machine),
        (&["format", "--cores", "1", "--pins", "1023"], Exit::Machine),
        (&["serve", "--client-port", &port], Exit::Port),
    ] {
        let output = sandbox.synod(args).output().unwrap();
        assert_eq!(output.status.code(), Some(exit.code().into()), "{args:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn a_misspelt_variable_is_refused_by_every_command_that_reads_variables() {
    let sandbox = Sandbox::new();
    for args in [
        &["serve"][..],
        &["format"],
        &["dev"],
        &["bench"],
        &["config", "explain"],
        &["secret", "show"],
        &["get", "k"],
        &["set", "k", "v"],
        &["del", "k"],
        &["status"],
    ] {
        let mut command = sandbox.synod(args);
        let (exit, sentence) = sandbox.refusal(command.env("SYNOD_TARGTE", "10.0.0.1:6379"));
        assert_eq!(exit, Some(Exit::Configuration.code().into()), "{args:?}");
        assert_eq!(
            sentence,
            "the environment variable SYNOD_TARGTE names no setting; did you mean SYNOD_TARGET?"
        );
    }
    for args in [&["config", "keys"][..], &["man"], &["completions", "bash"], &["help"], &["--version"]] {
        let output = sandbox.synod(args).env("SYNOD_TARGTE", "x").output().unwrap();
        assert!(output.status.success(), "{args:?}");
    }
    // What an orchestrator sets for a service called "synod".
    let mut command = sandbox.synod(["config", "explain"]);
    command.env("SYNOD_SERVICE_HOST", "10.0.0.1").env("SYNOD_PORT", "tcp://10.0.0.1:6379");
    assert!(command.output().unwrap().status.success());
}

#[test]
fn format_refuses_pins_and_numbers_of_members_that_cannot_be() {
    let sandbox = Sandbox::new();
    let (exit, sentence) = sandbox.refusal(&mut sandbox.synod(["format", "--cores", "1", "--pins", "1023"]));
    assert_eq!(exit, Some(Exit::Machine.code().into()));
    assert!(
        sentence.starts_with("--pins: pins names CPU 1023, and this process may run on CPUs 0"),
        "{sentence}"
    );
    let twice = sandbox.refuses(&["format", "--cores", "2", "--pins", "0,0"]);
    assert_eq!(twice, "--pins: '0,0' names CPU 0 twice; each core needs its own");

    let members = |count: u16| {
        let head = "[cluster]\nname = \"demo\"\n[node]\nid = 1\nreserve_mib = 0\ndata_dir = \"data\"\n";
        let member = |id: u16| {
            format!("[[members]]\nid = {id}\nhost = \"127.0.0.{id}\"\nclient_port = 1\npeer_port = 2\n")
        };
        sandbox.write("node.toml", &(1..=count).map(member).fold(head.to_owned(), |text, one| text + &one));
    };
    members(2);
    let two = sandbox.refuses(&["format", "--config", "node.toml"]);
    assert!(two.starts_with("node.toml: it lists 2 members (n1, n2): both would be needed"), "{two}");
    members(10);
    let ten = sandbox.refuses(&["format", "--config", "node.toml"]);
    assert_eq!(ten, "node.toml: it lists 10 members; at most 9 can vote");
    members(4);
    let output = sandbox.synod(["format", "--config", "node.toml"]).output().unwrap();
    assert!(output.status.success());
    let advice = String::from_utf8(output.stderr).unwrap();
    assert!(advice.starts_with("synod: a cluster of 4 survives the loss of 1 nodes, no more"), "{advice}");
}

#[test]
fn a_cluster_that_is_not_there_is_no_server() {
    let sandbox = Sandbox::new();
    // Reserved, so that nothing listens there until the test ends.
    let block = PortBlock::reserve(1).unwrap();
    let target = format!("127.0.0.1:{}", block.base());
    for args in [&["get", "k"][..], &["set", "k", "v"], &["del", "k"], &["status"], &["status", "--check"]] {
        let mut command = sandbox.synod(args);
        let (exit, sentence) = sandbox.refusal(command.args(["--target", &target, "--timeout", "100ms"]));
        assert_eq!(exit, Some(Exit::NoServer.code().into()), "{args:?}: {sentence}");
        assert!(sentence.starts_with(&format!("no answer from {target}: ")), "{sentence}");
    }
}
