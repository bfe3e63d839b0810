//! Refused configurations, data directories and ports.

use crate::run::Sandbox;
use std::fs;
use std::fs::File;
use std::net::TcpListener;
use synod::supervise::PortBlock;

const NODE: &str =
    "[cluster]\nname = \"demo\"\n\n[node]\nid = 1\ndata_dir = \"data\"\ncores = 1\nreserve_mib = 0\n";

/// A sandbox with `node.toml` and a formatted directory.
fn formatted() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("node.toml", NODE);
    let said = sandbox.succeeds(&["format", "--config", "node.toml"]);
    assert!(said.starts_with("formatted data: node n1 of cluster \"demo\""), "{said}");
    sandbox
}

#[test]
fn a_wrong_command_line_ends_with_2() {
    let sandbox = Sandbox::new();
    for args in [
        &["serve", "--coers", "1"][..],
        &["swerve"],
        &[],
        &["dev", "--set", "node.coers=1"],
        &["set", "k", "v", "--ex", "0"],
        &["get", "k", "--timeout", "0"],
    ] {
        let output = sandbox.synod(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty());
    }
    assert_eq!(fs::read_dir(sandbox.path()).unwrap().count(), 0);
    for args in [["--help"], ["--version"]] {
        assert!(sandbox.synod(args).output().unwrap().status.success());
    }
}

#[test]
fn a_password_on_the_command_line_is_refused_and_not_repeated() {
    let sandbox = Sandbox::new();
    for command in ["dev", "bench"] {
        for key in ["security.password", "security.password_old"] {
            let sentence = sandbox.refuses(&[command, "--set", &format!("{key}=Rosebud-0451")]);
            assert!(
                sentence.starts_with(&format!("--set: {key} is not taken from a command line")),
                "{sentence}"
            );
            assert!(
                sentence.contains("SYNOD_SECURITY_PASSWORD") && !sentence.contains("Rosebud"),
                "{sentence}"
            );
        }
    }
    assert_eq!(fs::read_dir(sandbox.path()).unwrap().count(), 0);
}

#[test]
fn a_wrong_configuration_is_refused_with_file_line_and_key() {
    let sandbox = Sandbox::new();
    let missing = sandbox.refuses(&["serve", "--config", "none.toml"]);
    assert!(missing.starts_with("cannot read the configuration file none.toml"), "{missing}");

    for (text, wanted) in [
        ("[node\n", "node.toml line 1: "),
        (
            "[node]\ncoers = 1\n",
            "node.toml line 2: there is no key \"node.coers\"; did you mean \"node.cores\"?",
        ),
        ("[noed]\n", "node.toml line 1: there is no table \"noed\"; did you mean \"node\"?"),
        ("[node]\ncores = 0\n", "node.toml line 2 (node.cores): 0 is not a whole number from 1 to 256"),
        (
            "[node]\ndurability = \"none\"\n",
            "node.toml line 2 (node.durability): durability 'none' is not available",
        ),
        ("[cluster]\ngroups = 10\n", "node.toml line 2 (cluster.groups): 10 is not a power of two"),
    ] {
        sandbox.write("node.toml", text);
        for command in ["format", "serve"] {
            let sentence = sandbox.refuses(&[command, "--config", "node.toml"]);
            assert!(sentence.starts_with(wanted), "{sentence}");
        }
    }
}

#[test]
fn flags_and_variables_are_judged_like_the_file() {
    let sandbox = Sandbox::new();
    assert!(sandbox.refuses(&["serve", "--pins", "x"]).starts_with("--pins: 'x' is neither none nor a list"));
    let mut command = sandbox.synod(["serve"]);
    let sentence = sandbox.command_refuses(command.env("SYNOD_NODE_CORES", "many"));
    assert!(sentence.starts_with("SYNOD_NODE_CORES: 'many' is not a whole number"), "{sentence}");
    let mut command = sandbox.synod(["serve"]);
    let sentence = sandbox.command_refuses(command.env("SYNOD_NODE_COERS", "1"));
    let wanted = "the environment variable SYNOD_NODE_COERS names no setting; did you mean SYNOD_NODE_CORES?";
    assert_eq!(sentence, wanted);
}

#[test]
fn an_unformatted_directory_is_refused_when_a_cluster_is_named() {
    let sandbox = Sandbox::new();
    sandbox.write("node.toml", NODE);
    let wanted = "the data directory data is not formatted";
    assert!(sandbox.refuses(&["serve", "--config", "node.toml"]).starts_with(wanted));
    assert!(sandbox.refuses(&["serve", "--cluster", "demo", "--data-dir", "data"]).starts_with(wanted));
    fs::create_dir(sandbox.path().join("data")).unwrap();
    assert!(
        sandbox.refuses(&["serve", "--config", "node.toml"]).starts_with(wanted),
        "empty is unformatted too"
    );
    // Without a configuration an existing empty directory is not used either: it may be a failed mount.
    assert!(sandbox.refuses(&["serve", "--data-dir", "data"]).starts_with(wanted));
}

#[test]
fn a_foreign_directory_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.write("node.toml", NODE);
    fs::create_dir(sandbox.path().join("data")).unwrap();
    sandbox.write("data/thesis.tex", "x");
    for command in ["format", "serve"] {
        let sentence = sandbox.refuses(&[command, "--config", "node.toml"]);
        assert!(sentence.starts_with("the directory data holds thesis.tex and no synod.id"), "{sentence}");
    }
    let sentence = sandbox.refuses(&["serve", "--data-dir", "node.toml"]);
    assert!(sentence.starts_with("node.toml is not a directory"), "{sentence}");
}

#[test]
fn a_formatted_directory_is_not_formatted_again() {
    let sandbox = formatted();
    let sentence = sandbox.refuses(&["format", "--config", "node.toml"]);
    assert!(
        sentence.starts_with("the data directory data is already formatted: node n1 of cluster \"demo\"")
    );
}

#[test]
fn another_cluster_or_node_is_refused() {
    let sandbox = formatted();
    let sentence = sandbox.refuses(&["serve", "--config", "node.toml", "--cluster", "prod"]);
    assert!(
        sentence.contains("belongs to cluster \"demo\"") && sentence.contains("names cluster \"prod\""),
        "{sentence}"
    );
    let sentence = sandbox.refuses(&["serve", "--config", "node.toml", "--node", "2"]);
    assert_eq!(
        sentence,
        "the data directory data belongs to node n1 and --node says node n2; \
         check the data directory and the configuration"
    );
}

#[test]
fn changed_cores_pins_and_facts_are_refused_naming_both() {
    let sandbox = formatted();
    for (flag, value, says, was) in [
        ("--cores", "2", "--cores says cores = 2", "for cores = 1"),
        ("--pins", "0", "--pins says pins = [0]", "with pins = none"),
        ("--groups", "32", "--groups says groups = 32", "with groups = 16"),
        ("--lease-ms", "900", "--lease-ms says lease_ms = 900", "with lease_ms = 300"),
    ] {
        let sentence = sandbox.refuses(&["serve", "--config", "node.toml", flag, value]);
        assert!(sentence.contains(says) && sentence.contains(was), "{sentence}");
    }
    let members =
        format!("{NODE}[[members]]\nid = 1\nhost = \"127.0.0.1\"\nclient_port = 1\npeer_port = 2\n");
    sandbox.write(
        "node.toml",
        &format!("{members}[[members]]\nid = 2\nhost = \"127.0.0.2\"\nclient_port = 1\npeer_port = 2\n"),
    );
    let sentence = sandbox.refuses(&["serve", "--config", "node.toml"]);
    assert!(
        sentence.contains("lists the members n1, n2") && sentence.contains("formatted for the members n1:"),
        "{sentence}"
    );
}

#[test]
fn damaged_and_lost_identities_are_refused() {
    let sandbox = formatted();
    let id = sandbox.path().join("data/synod.id");
    let good = fs::read(&id).unwrap();
    let mut bad = good.clone();
    bad[33] ^= 0x40;
    fs::write(&id, bad).unwrap();
    let sentence = sandbox.refuses(&["serve", "--config", "node.toml"]);
    assert!(sentence.starts_with("data/synod.id is damaged (its checksum is wrong)"), "{sentence}");

    fs::remove_file(&id).unwrap();
    sandbox.write("data/core-0/segment", "x");
    for command in ["serve", "format"] {
        let sentence = sandbox.refuses(&[command, "--config", "node.toml"]);
        assert!(sentence.contains("the identity of this node is lost"), "{sentence}");
    }

    fs::write(&id, good).unwrap();
    fs::write(sandbox.path().join("data/peers.id"), "x").unwrap();
    let sentence = sandbox.refuses(&["serve", "--config", "node.toml"]);
    assert!(sentence.starts_with("data/peers.id is damaged"), "{sentence}");
}

#[test]
fn a_directory_in_use_is_refused() {
    let sandbox = formatted();
    let holder = File::open(sandbox.path().join("data")).unwrap();
    holder.lock().unwrap();
    let sentence = sandbox.refuses(&["serve", "--config", "node.toml"]);
    let pid = std::process::id();
    assert_eq!(
        sentence,
        format!("the data directory data is in use by another process (process {pid}); stop that one first")
    );
}

#[test]
fn a_port_in_use_is_refused_even_before_the_first_format() {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = held.local_addr().unwrap().port().to_string();
    let wanted = format!(
        "port {port} on 127.0.0.1 (clients) is already in use by process {} (", // and the name of this test binary
        std::process::id()
    );
    let sandbox = Sandbox::new();
    let sentence = sandbox.refuses(&["serve", "--client-port", &port]);
    assert!(sentence.starts_with(&wanted), "{sentence}");

    let sandbox = formatted();
    let sentence = sandbox.refuses(&["serve", "--config", "node.toml", "--client-port", &port]);
    assert!(sentence.starts_with(&wanted), "{sentence}");
}

#[test]
fn peer_and_core_ports_are_tried_too() {
    // The ports are reserved until the test ends, so that "free" stays true.
    let block = PortBlock::reserve(2).unwrap();
    let (free, port) = (block.base().to_string(), (block.base() + 1).to_string());
    let _held = TcpListener::bind(("127.0.0.1", block.base() + 1)).unwrap();
    let sandbox = Sandbox::new();
    let sentence =
        sandbox.refuses(&["serve", "--cores", "1", "--client-port", &free, "--core-port-base", &port]);
    assert!(sentence.starts_with(&format!("port {port} on 127.0.0.1 (clients of core 0)")), "{sentence}");

    let members = format!(
        "{NODE}[[members]]\nid = 1\nhost = \"127.0.0.1\"\nclient_port = {free}\npeer_port = {port}\n\
         [[members]]\nid = 2\nhost = \"127.0.0.2\"\nclient_port = 1\npeer_port = 2\n\
         [[members]]\nid = 3\nhost = \"127.0.0.3\"\nclient_port = 1\npeer_port = 2\n"
    );
    sandbox.write("node.toml", &members);
    sandbox.succeeds(&["format", "--config", "node.toml"]);
    let sentence = sandbox.refuses(&["serve", "--config", "node.toml"]);
    assert!(sentence.starts_with(&format!("port {port} on 127.0.0.1 (peers of core 0)")), "{sentence}");
}

#[test]
fn dev_refuses_before_it_starts_anything() {
    // The nodes are tried in order; the second node's client port is the first one that is held.
    let block = PortBlock::reserve(2).unwrap();
    let _held = TcpListener::bind(("127.0.0.1", block.base() + 1)).unwrap();
    let sandbox = Sandbox::new();
    let sentence = sandbox.refuses(&["dev", "--nodes", "2", "--base-port", &block.base().to_string()]);
    let wanted = format!("port {} on 127.0.0.1 (clients) is already in use", block.base() + 1);
    assert!(sentence.starts_with(&wanted), "{sentence}");
    assert!(sandbox.refuses(&["dev", "--nodes", "0"]).starts_with("a cluster has at least one node"));
    assert!(sandbox.refuses(&["dev", "--nodes", "10"]).contains("at most 9 can vote"));
    assert!(sandbox.refuses(&["dev", "--base-port", "60000"]).starts_with("port 70000 would be needed"));
    assert!(sandbox.refuses(&["dev", "--base-port", "0"]).starts_with("no node can listen on port 0"));
    for command in ["dev", "bench"] {
        for numbers in [["0", "1"], ["1", "0"], ["65535", "65535"], ["1", "65535"], ["65535", "1"]] {
            sandbox.refuses(&[command, "--nodes", numbers[0], "--cores", numbers[1]]);
        }
    }
    for target in ["127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:-1"] {
        assert!(sandbox.refuses(&["get", "k", "--target", target]).contains("is not an address"), "{target}");
    }
    fs::create_dir(sandbox.path().join("mine")).unwrap();
    sandbox.write("mine/thesis.tex", "x");
    let sentence = sandbox.refuses(&["dev", "--dir", "mine"]);
    assert!(
        sentence.starts_with("the directory mine holds thesis.tex and was not made by synod dev"),
        "{sentence}"
    );
}

#[test]
fn settings_are_listed_and_explained() {
    let sandbox = Sandbox::new();
    sandbox.write("node.toml", NODE);
    let keys = sandbox.succeeds(&["config", "keys"]);
    assert!(
        keys.contains("node.data_dir") && keys.contains("SYNOD_NODE_DATA_DIR") && keys.contains("--data-dir")
    );
    let explained = sandbox.succeeds(&["config", "explain", "--config", "node.toml", "--cache-mib", "7"]);
    assert!(explained.contains("# node.toml line 2 (cluster.name)"), "{explained}");
    assert!(explained.contains("# --cache-mib"), "{explained}");
}
