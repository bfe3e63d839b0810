//! `config explain`: values in force, their sources, and what follows from them.

use crate::run::Sandbox;
use serde_json::Value;

const NODE: &str =
    "[cluster]\nname = \"demo\"\n\n[node]\nid = 1\ndata_dir = \"data\"\ncores = 1\nreserve_mib = 0\n";

/// The line of `text` about `name`: the value and what stands behind it.
fn line<'t>(text: &'t str, name: &str) -> &'t str {
    let found = text.lines().find(|line| line.split_whitespace().next() == Some(name));
    found.unwrap_or_else(|| panic!("{name} is not in {text}"))
}

#[test]
fn each_value_has_its_source_and_the_data_directory_is_one() {
    let sandbox = Sandbox::new();
    sandbox.write("node.toml", NODE);
    let mut command = sandbox.synod(["config", "explain", "--config", "node.toml", "--cache-mib", "7"]);
    let output = command.env("SYNOD_NODE_SEGMENT_MIB", "8").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for (name, value, source) in [
        ("node.cache_mib", "7", "--cache-mib"),
        ("node.segment_mib", "8", "SYNOD_NODE_SEGMENT_MIB"),
        ("cluster.name", "demo", "node.toml line 2 (cluster.name)"),
        ("node.peer_port", "16379", "from node.client_port"),
        ("cluster.groups", "16", "default"),
    ] {
        let line = line(&text, name);
        assert!(line.contains(&format!("= {value} ")) && line.ends_with(&format!("# {source}")), "{line}");
    }
    assert!(line(&text, "data_directory").ends_with("= not formatted"));
    assert!(line(&text, "quorum").ends_with("= 1 of 1"));
    assert!(line(&text, "listeners").ends_with("= 127.0.0.1:6379 (clients)"));
    assert!(line(&text, "clients").contains("protected mode"));

    sandbox.succeeds(&["format", "--config", "node.toml", "--groups", "4", "--lease-ms", "150"]);
    let text = sandbox.succeeds(&["config", "explain", "--config", "node.toml"]);
    let groups = line(&text, "cluster.groups");
    assert!(groups.contains("= 4 ") && groups.ends_with("# the data directory data"), "{groups}");
    let follows = line(&text, "timing.rank_delay_ms");
    assert!(follows.contains("= 30 ") && follows.ends_with("# the data directory data"), "{follows}");
    assert!(line(&text, "data_directory").contains("formatted: node n1 of cluster \"demo\""));

    // A contradiction is named, and the rest is shown all the same.
    let text = sandbox.succeeds(&["config", "explain", "--config", "node.toml", "--groups", "8"]);
    assert!(line(&text, "cluster.groups").contains("= 8 "));
    assert!(line(&text, "data_directory").contains("refused: --groups says groups = 8"), "{text}");
}

#[test]
fn the_number_of_cores_is_that_of_the_machine_if_nobody_gives_one() {
    let sandbox = Sandbox::new();
    let text = sandbox.succeeds(&["config", "explain"]);
    let cores = line(&text, "node.cores");
    let cpus = synod::preflight::allowed_cpus().len().min(16);
    assert!(
        cores.contains(&format!("= {cpus} ")) && cores.ends_with("# the CPUs of this machine"),
        "{cores}"
    );
}

#[test]
fn the_json_says_the_same_and_no_password() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.synod(["config", "explain", "--json", "--client-port", "7000"]);
    let output = command.env("SYNOD_SECURITY_PASSWORD", "Rosebud-0451").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains("Rosebud"), "{text}");
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["format"], 1);
    let setting = |name: &str| {
        let settings = json["settings"].as_array().unwrap();
        settings.iter().find(|setting| setting["name"] == name).unwrap().clone()
    };
    assert_eq!(setting("node.client_port")["value"], "7000");
    assert_eq!(setting("node.client_port")["given"], true);
    assert_eq!(setting("node.client_port")["source"], "--client-port");
    assert_eq!(setting("node.peer_port")["value"], "17000");
    assert_eq!(setting("security.password")["value"], "********");
    assert_eq!(setting("security.password")["flag"], Value::Null);
    assert_eq!(setting("node.cores")["variable"], "SYNOD_NODE_CORES");
    assert_eq!(json["derived"]["clients"], "from everywhere, with the password");
}
