//! Tests of the generated configurations. The end-to-end tests cover clusters of real processes.

use super::*;

fn spec(nodes: u16, cores: u16, ports: Ports) -> ClusterSpec {
    ClusterSpec {
        binary: PathBuf::from("/nonexistent/synod"),
        name: "2024".to_owned(),
        nodes,
        cores,
        ports,
        cpus: Vec::new(),
        settings: Flags::from([
            ("cluster.groups", "4".to_owned()),
            ("node.pins", "none".to_owned()),
            ("node.redirect", "moved".to_owned()),
            ("node.leadership", "follow".to_owned()),
            ("timing.heartbeat_ms", "20".to_owned()),
        ]),
        fresh: false,
        echo: false,
        logs: false,
    }
}

#[test]
fn generated_configurations_are_what_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let spec = spec(3, 2, Ports::From(7000));
    let (members, _) = members_of(&spec).unwrap();
    for own in &members {
        let plan = plan(dir.path(), &spec, &members, own).unwrap();
        assert!(!plan.formatted);
        let declared = &plan.config.declared;
        assert_eq!(declared.members.as_ref().unwrap().value, members);
        assert_eq!(declared.own_member().unwrap(), own);
        assert_eq!(declared.cluster_name, "2024", "a name of digits stays text");
        assert_eq!(declared.group_count.as_ref().unwrap().value, 4);
        assert_eq!(plan.config.data_dir, dir.path().join(own.id.to_string()));
    }
    assert_eq!(members[2].client_port, 7002);
    assert_eq!(members[2].core_port_base, 27_004);
    assert_eq!(members[2].peer_port, 17_004);
}

#[test]
fn the_password_of_a_cluster_is_in_its_files_and_shown_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let mut spec = spec(1, 1, Ports::From(7000));
    spec.settings.insert("security.password", "Rosebud".to_owned());
    let (members, _) = members_of(&spec).unwrap();
    let plan = plan(dir.path(), &spec, &members, &members[0]).unwrap();
    let text = String::from_utf8_lossy(plan.text.bytes());
    assert!(text.lines().any(|line| line == "password = \"Rosebud\""), "{text}");
    let in_numbers = b"Rosebud".map(|byte| byte.to_string()).join(", ");
    let shown = format!("{spec:?} {plan:?}");
    assert!(!shown.contains("Rosebud") && !shown.contains(&in_numbers), "{shown}");
}

#[test]
fn cpus_are_dealt_out_node_after_node() {
    let mut spec = spec(2, 2, Ports::From(7000));
    spec.cpus = vec![4, 5, 6, 7];
    let (members, _) = members_of(&spec).unwrap();
    for (own, pins) in members.iter().zip(["pins = [4, 5]", "pins = [6, 7]"]) {
        let text = config_text(&spec, &members, own);
        assert!(text.lines().any(|line| line == pins), "{text}");
    }
}

#[test]
fn impossible_clusters_are_refused_before_anything_is_written() {
    let base = tempfile::tempdir().unwrap();
    let dir = base.path().join("cluster");
    let refusal = |spec: &ClusterSpec| match Cluster::start(&dir, Maker::Test, spec) {
        Err(RunError::Refused(refusal)) => refusal.to_string(),
        other => panic!("{other:?}"),
    };
    assert!(refusal(&spec(0, 1, Ports::Free)).contains("at least one node"));
    assert!(refusal(&spec(10, 1, Ports::Free)).contains("at most 9 can vote"));
    assert!(refusal(&spec(3, 1, Ports::From(60_000))).contains("port 70000 would be needed"));
    let mut bad = spec(3, 1, Ports::Free);
    bad.settings.insert("node.cache_mib", "much".to_owned());
    assert_eq!(refusal(&bad), "--cache-mib: 'much' is not a whole number from 1 to 1048576");

    let block = PortBlock::reserve(3).unwrap();
    let _taken = std::net::TcpListener::bind((LOCALHOST, block.base() + 1)).unwrap();
    let sentence = refusal(&spec(3, 1, Ports::From(block.base())));
    assert!(sentence.contains("is already in use"), "{sentence}");
    assert!(!dir.exists(), "nothing touched");
}

#[test]
fn a_binary_that_is_not_there_is_a_failure() {
    let base = tempfile::tempdir().unwrap();
    match Cluster::start(&base.path().join("cluster"), Maker::Test, &spec(1, 1, Ports::Free)) {
        Err(RunError::Failed(why)) => assert!(why.starts_with("cannot start /nonexistent/synod"), "{why}"),
        other => panic!("{other:?}"),
    }
}
