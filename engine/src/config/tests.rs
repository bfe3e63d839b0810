//! Valid configurations, and every reason to refuse one.

use super::facts::{ClusterFacts, KeyHash};
use super::row::{DefaultValue, Row, Scope};
use super::settings::{self, MEMBER_ROWS, ROWS};
use super::shape::Shape;
use super::*;
use crate::identity::{Identity, Pins};
use crate::refusal::Refusal;
use std::path::Path;
use synod_shard::Timing;
use synod_types::{ClusterId, Incarnation, Nanos, NodeId};

const CLUSTER: &str = r#"
[cluster]
name = "demo"
groups = 8

[node]
id = 2
data_dir = "n2"
cores = 2
pins = [0, 1]

[[members]]
id = 3
host = "10.0.0.3"
client_port = 6379
peer_port = 16379

[[members]]
id = 2
host = "10.0.0.2"
client_port = 7000
core_port_base = 8000
peer_port = 9000

[[members]]
id = 1
host = "10.0.0.1"
client_port = 6379
peer_port = 16379
"#;

fn load(text: &str, env: &[(&str, &str)], flags: &[(&'static str, &str)]) -> Result<Config, Refusal> {
    let path = Path::new("conf/node.toml");
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let flags = flags.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Config::read(Some((path, text)), env, &flags)
}

fn bare(flags: &[(&'static str, &str)]) -> Result<Config, Refusal> {
    let flags = flags.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Config::read(None, std::iter::empty(), &flags)
}

fn refused(text: &str) -> String {
    let sentence = load(text, &[], &[]).expect_err(text).to_string();
    assert!(!sentence.contains('\n'), "one line: {sentence}");
    sentence
}

fn generated() -> GeneratedFacts {
    GeneratedFacts { cluster: ClusterId::new(77), incarnation: Incarnation::new(88), cores: 4 }
}

#[test]
fn a_whole_configuration_is_read() {
    let config = load(CLUSTER, &[], &[]).unwrap();
    let identity = config.declared.identity(generated()).unwrap();
    assert_eq!(identity.facts.cluster, facts::cluster_id_of_name("demo"));
    assert_eq!(identity.facts.group_count, 8);
    assert_eq!(identity.facts.founders, [1, 2, 3].map(NodeId::new));
    assert_eq!((identity.node, identity.cores), (NodeId::new(2), 2));
    assert_eq!(identity.pins, Pins::Cpus(vec![0, 1]));
    assert_eq!(identity.incarnation, Incarnation::new(88));
    assert_eq!(config.data_dir, Path::new("conf/n2"), "relative to the file");
    assert_eq!(config.listen.to_string(), "10.0.0.2");
    assert!(config.names_cluster());

    let members = config.members(&identity.facts, 2).unwrap();
    let ports: Vec<u16> = members.iter().map(|member| member.client_port).collect();
    assert_eq!(ports, [6379, 7000, 6379], "ascending by id");
    assert!(
        members.iter().all(|member| member.cores == 2),
        "cores of the node hold for members that say nothing"
    );
    let addrs: Vec<String> = crate::node::listeners(&members, NodeId::new(2), config.listen)
        .iter()
        .map(|listener| format!("{} {}", listener.addr.port(), listener.role))
        .collect();
    let wanted = [
        "7000 clients",
        "8000 clients of core 0",
        "9000 peers of core 0",
        "8001 clients of core 1",
        "9001 peers of core 1",
    ];
    assert_eq!(addrs, wanted);
    // With less spread than the simulator, which looks for what happens when candidates meet.
    let timing = Timing { election_jitter: Nanos::from_ms(30), ..Timing::default() };
    assert_eq!(config.options(&identity.facts).unwrap().timing, timing);
}

#[test]
fn nothing_said_is_a_cluster_of_one() {
    let config = bare(&[]).unwrap();
    assert!(!config.names_cluster());
    assert_eq!(config.data_dir, Path::new("synod-data"));
    let identity = config.declared.identity(generated()).unwrap();
    assert_eq!((identity.facts.cluster, identity.cores), (ClusterId::new(77), 4));
    assert_eq!(identity.facts.founders, [NodeId::new(1)]);
    let members = config.members(&identity.facts, 4).unwrap();
    let listeners = crate::node::listeners(&members, NodeId::new(1), config.listen);
    assert_eq!(listeners.len(), 1, "no peers, no peer ports");
    assert_eq!(listeners[0].addr.to_string(), "127.0.0.1:6379");
    assert_eq!(bare(&[("node.client_port", "65535")]).unwrap().ports.peer_port, 55_535);
}

/// What `synod config explain` shows of the configuration alone.
fn explained(config: &Config) -> String {
    config.explained().iter().map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_value_that_follows_from_another_is_explained_by_it() {
    let lone = explained(&load("[cluster]\nname = \"demo\"\n[node]\ndata_dir = \"d\"\n", &[], &[]).unwrap());
    let id = super::facts::cluster_id_of_name("demo").to_string();
    for (name, value, source) in [
        ("cluster.id", id.as_str(), "from cluster.name"),
        ("node.data_dir", "conf/d", "conf/node.toml line 4 (node.data_dir)"),
        ("node.listen", "127.0.0.1", "default"),
        ("node.peer_port", "16379", "from node.client_port"),
        ("security.peer_secret_file", "conf/d/peers.secret", "from node.data_dir"),
        ("timing.rank_delay_ms", "60", "from cluster.lease_ms"),
    ] {
        let line = lone.lines().find(|line| line.starts_with(name)).unwrap();
        assert!(line.contains(&format!("= {value} ")) && line.ends_with(&format!("# {source}")), "{line}");
    }
    let listed = explained(&load(CLUSTER, &[], &[]).unwrap());
    for name in ["node.listen", "node.client_port", "node.core_port_base", "node.peer_port"] {
        let line = listed.lines().find(|line| line.starts_with(name)).unwrap();
        assert!(line.ends_with("# from [[members]]"), "{line}");
    }
}

#[test]
fn flags_beat_the_environment_which_beats_the_file_which_beats_the_default() {
    let text = "[node]\ncache_mib = 10\nsegment_mib = 10\nclient_port = 10\ndata_dir = \"d\"\n";
    let env = [("SYNOD_NODE_CACHE_MIB", "20"), ("SYNOD_NODE_SEGMENT_MIB", "20"), ("SYNOD_SERVICE_HOST", "x")];
    let flags = [("node.cache_mib", "30"), ("node.data_dir", "e")];
    let config = load(text, &env, &flags).unwrap();
    let facts = config.declared.identity(generated()).unwrap().facts;
    let options = config.options(&facts).unwrap();
    assert_eq!((options.cache_bytes, options.segment_bytes), (30 << 20, 20 << 20));
    assert_eq!((config.ports.client_port, options.connections_max), (10, 4096));
    assert_eq!(config.data_dir, Path::new("e"), "a flag is relative to the working directory");

    let explained = explained(&config);
    for line in [
        "node.cache_mib             = 30                       # --cache-mib",
        "node.segment_mib           = 20                       # SYNOD_NODE_SEGMENT_MIB",
        "node.client_port           = 10                       # conf/node.toml line 4 (node.client_port)",
        "limits.connections         = 4096                     # default",
    ] {
        assert!(explained.lines().any(|explained| explained == line), "{line}\n{explained}");
    }
}

#[test]
fn misspelt_tables_keys_and_variables_are_refused_with_a_suggestion() {
    assert_eq!(
        refused("[nodes]\n"),
        "conf/node.toml line 1: there is no table \"nodes\"; did you mean \"node\"?"
    );
    assert_eq!(
        refused("[node]\n\ncoers = 1\n"),
        "conf/node.toml line 3: there is no key \"node.coers\"; did you mean \"node.cores\"?"
    );
    assert!(
        refused("[xyzzy]\n")
            .contains("there are [cluster], [node], [timing], [limits], [security], [log] and [[members]]")
    );
    assert!(refused("[[members]]\nport = 1\n").contains("line 2: there is no member key \"port\""));
    let stray = load("", &[("SYNOD_NODE_CORE", "1")], &[]).unwrap_err().to_string();
    assert!(stray.contains("SYNOD_NODE_CORE names no setting; did you mean SYNOD_NODE_CORES?"), "{stray}");
}

#[test]
fn what_is_not_toml_or_has_the_wrong_shape_is_refused() {
    assert!(refused("[node\n").starts_with("conf/node.toml line 1: "));
    assert!(refused("node = 3\n").contains("write [node] on a line of its own"));
    assert!(refused("members = 3\n").contains("write [[members]] above"));
    assert!(refused("members = [3]\n").contains("write [[members]] above"));
    for value in ["-1", "1.5", "true", "[\"a\"]", "1979-05-27", "{a = 1}", "99999999999999999999999"] {
        let sentence = refused(&format!("[node]\ncores = {value}\n"));
        assert!(sentence.starts_with("conf/node.toml line 2 (node.cores): "), "{sentence}");
    }
    assert!(refused("[node]\ncores = 1\ncores = 2\n").starts_with("conf/node.toml line 3"));
}

#[test]
fn values_out_of_range_are_refused_with_the_range() {
    let place = "conf/node.toml line 2";
    for (section, line, why) in [
        ("cluster", "name = \"\"", "is not a string with something in it"),
        ("cluster", "name = \"a b\"", "use letters, digits"),
        ("cluster", "id = \"12\"", "is not 32 hexadecimal digits"),
        ("cluster", "id = \"00000000000000000000000000000000\"", "or all of them are 0"),
        ("cluster", "groups = 0", "0 is not a power of two from 1 to 1024"),
        ("cluster", "groups = 12", "12 is not a power of two from 1 to 1024"),
        ("cluster", "groups = 2048", "2048 is not a power of two from 1 to 1024"),
        ("cluster", "hash = \"md5\"", "'md5' is no key hash; there is only crc16"),
        ("cluster", "lease_ms = 5", "5 is not a whole number from 20 to 60000"),
        ("node", "id = 0", "0 is not a whole number from 1 to 65535"),
        ("node", "id = 65536", "65536 is not a whole number from 1 to 65535"),
        ("node", "cores = \"2\"", "\"2\" is not a whole number from 1 to 256"),
        ("node", "cores = 257", "257 is not a whole number from 1 to 256"),
        ("node", "pins = []", "an empty list pins nothing"),
        ("node", "pins = [1, 1]", "[1, 1] names CPU 1 twice"),
        ("node", "pins = \"all\"", "\"all\" is neither none nor a list of CPU numbers"),
        ("node", "listen = \"localhost\"", "'localhost' is not an IP address"),
        ("node", "client_port = 0", "0 is not a whole number from 1 to 65535"),
        ("node", "durability = \"async\"", "durability 'async' is not available yet; use sync"),
        ("node", "durability = \"none\"", "durability 'none' is not available yet; use sync"),
        ("node", "durability = \"fast\"", "'fast' is no durability; use sync"),
        ("node", "redirect = \"ask\"", "'ask' is no redirect; use proxy"),
        ("node", "leadership = \"lead\"", "'lead' is no leadership; use balance"),
        ("node", "cache_mib = 0", "0 is not a whole number from 1 to"),
        ("node", "segment_mib = 2", "2 is not a whole number from 4 to 1024"),
        ("limits", "pending_mib = 1", "1 is not a whole number from 2 to 1024"),
        ("timing", "heartbeat_ms = 1", "1 is not a whole number from 5 to 60000"),
        ("limits", "pipeline_slots = 257", "257 is not a whole number from 1 to 256"),
    ] {
        let sentence = refused(&format!("[{section}]\n{line}\n"));
        assert!(sentence.starts_with(place) && sentence.contains(why), "{line}: {sentence}");
    }
    let flag = bare(&[("node.client_port", "70000")]).unwrap_err().to_string();
    assert_eq!(flag, "--client-port: '70000' is not a whole number from 1 to 65535");
    let variable = load("", &[("SYNOD_NODE_PINS", "a,b")], &[]).unwrap_err().to_string();
    assert!(variable.starts_with("SYNOD_NODE_PINS: 'a,b' is neither none nor a list"), "{variable}");
}

#[test]
fn a_new_cluster_has_a_number_of_members_that_makes_sense() {
    let members = |count: u16| {
        let mut text = "[cluster]\nname = \"demo\"\n[node]\nid = 1\n".to_owned();
        for id in 1..=count {
            let host = format!("id = {id}\nhost = \"10.0.0.{id}\"\nclient_port = 1\npeer_port = 2\n");
            text.push_str(&format!("[[members]]\n{host}"));
        }
        load(&text, &[], &[])
    };
    let two = members(2).unwrap().declared.check_member_count().unwrap_err().to_string();
    assert!(two.starts_with("conf/node.toml: it lists 2 members (n1, n2)"), "{two}");
    assert!(two.contains("list 1 member, or 3"), "{two}");
    for (count, advice) in [(1, false), (3, false), (4, true), (5, false), (8, true), (9, false)] {
        let said = members(count).unwrap().declared.check_member_count().unwrap();
        assert_eq!(said.is_some(), advice, "{count}: {said:?}");
    }
    assert!(members(10).unwrap_err().to_string().contains("it lists 10 members; at most 9 can vote"));
    assert_eq!(bare(&[]).unwrap().declared.check_member_count(), Ok(None));
}

#[test]
fn contradictions_are_refused() {
    let replaced = |from: &str, to: &str| {
        assert!(CLUSTER.contains(from), "{from}");
        refused(&CLUSTER.replacen(from, to, 1))
    };
    for (from, to, why) in [
        ("name = \"demo\"", "", "it lists members but no cluster; add cluster.name"),
        ("id = 2\ndata", "data", "it lists members but not which one this node is; add node.id"),
        ("id = 2\ndata", "id = 5\ndata", "node.id is 5 and no member has that id (members: n1, n2, n3)"),
        ("id = 3", "id = 1", "it lists the member id 1 twice"),
        ("pins = [0, 1]", "pins = [0]", "[0] pins 1 cores and there are 2"),
        ("host = \"10.0.0.3\"", "", "(member 1): this member has no host; add it"),
        ("host = \"10.0.0.3\"", "host = \"10.0.0.3:80\"", "is neither an IP address nor a host name"),
        ("host = \"10.0.0.3\"", "host = \"10.0.0.3\"\ncores = 1", "all members must have the same number"),
        ("client_port = 7000", "client_port = 9001", "meet at port 9001"),
        ("core_port_base = 8000", "core_port_base = 8999", "meet at port 9000"),
        ("peer_port = 9000", "peer_port = 65535", "do not fit below 65536"),
        ("10.0.0.3", "10.0.0.1", "meet at port 6379"),
        (
            "cores = 2",
            "cores = 2\nclient_port = 1",
            "node.client_port is 1, but the members list tells everybody 7000",
        ),
        ("host = \"10.0.0.2\"", "host = \"db-2\"", "so node.listen must say which IP address"),
        ("groups = 8", "lease_ms = 100\ndrift_ms = 50", "a drift of 50 ms eats up a lease of 100 ms"),
    ] {
        let sentence = replaced(from, to);
        assert!(sentence.starts_with("conf/node.toml") && sentence.contains(why), "{to}: {sentence}");
    }
    let many: String = (1..=10)
        .map(|id| format!("[[members]]\nid = {id}\nhost = \"10.0.0.{id}\"\nclient_port = 1\npeer_port = 2\n"))
        .collect();
    assert!(refused(&many).contains("it lists 10 members; at most 9 can vote"));
    let cores = load(
        "[cluster]\nname = \"a\"\n[node]\nid = 1\n\
         [[members]]\nid = 1\nhost = \"::1\"\nclient_port = 1\npeer_port = 2\ncores = 3\n",
        &[],
        &[("node.cores", "4")],
    );
    assert_eq!(
        cores.unwrap_err().to_string(),
        "--cores: this says 4 cores and the members have 3; make them equal, or leave one out"
    );
}

#[test]
fn a_heartbeat_must_fit_the_lease_that_the_directory_holds() {
    let config = bare(&[("timing.heartbeat_ms", "200")]).unwrap();
    let mut facts = config.declared.identity(generated()).unwrap().facts;
    let sentence = config.options(&facts).unwrap_err().to_string();
    assert!(sentence.starts_with("--heartbeat-ms: heartbeats every 200 ms"), "{sentence}");
    facts.lease_ms = 400;
    assert!(config.options(&facts).is_ok());
}

#[test]
fn ranks_stand_closer_together_where_leases_are_short() {
    let delay = |settings: &[(&'static str, &'static str)], lease_ms| {
        let config = bare(settings).unwrap();
        let mut facts = config.declared.identity(generated()).unwrap().facts;
        facts.lease_ms = lease_ms;
        config.options(&facts).unwrap().timing.rank_delay.as_ms()
    };
    assert_eq!([150, 300, 2000].map(|lease_ms| delay(&[], lease_ms)), [30, 60, 60]);
    let given = [("timing.rank_delay_ms", "45")];
    assert_eq!([150, 300].map(|lease_ms| delay(&given, lease_ms)), [45, 45]);
}

fn found() -> Identity {
    Identity {
        facts: ClusterFacts {
            cluster: facts::cluster_id_of_name("demo"),
            group_count: 8,
            hash: KeyHash::Crc16,
            lease_ms: 300,
            drift_ms: 10,
            founders: [1, 2, 3].map(NodeId::new).to_vec(),
        },
        cluster_name: "demo".to_owned(),
        node: NodeId::new(2),
        incarnation: Incarnation::new(1),
        cores: 2,
        pins: Pins::Cpus(vec![0, 1]),
    }
}

#[test]
fn a_configuration_that_fits_its_directory_is_accepted_and_so_is_one_that_says_less() {
    let dir = Path::new("data");
    assert_eq!(load(CLUSTER, &[], &[]).unwrap().declared.verify(dir, &found()), Ok(()));
    assert_eq!(bare(&[]).unwrap().declared.verify(dir, &found()), Ok(()));
    // But a node with peers needs their addresses.
    let sentence = bare(&[]).unwrap().members(&found().facts, 2).unwrap_err().to_string();
    assert!(
        sentence.contains("belongs to a cluster of 3 members, so their addresses must be configured"),
        "{sentence}"
    );
}

#[test]
fn every_mismatch_with_the_directory_has_its_own_sentence_that_names_both() {
    let verify = |from: &str, to: &str| {
        assert!(CLUSTER.contains(from), "{from}");
        let config = load(&CLUSTER.replacen(from, to, 1), &[], &[]).unwrap();
        config.declared.verify(Path::new("data"), &found()).unwrap_err()
    };
    let foreign = verify("\"demo\"", "\"other\"");
    assert!(matches!(foreign, Refusal::ForeignCluster { .. }));
    let sentence = foreign.to_string();
    assert!(sentence.contains("belongs to cluster \"demo\"") && sentence.contains("names cluster \"other\""));

    let node = verify("id = 2\ndata", "id = 1\ndata");
    assert!(matches!(node, Refusal::OtherNode { .. }));
    assert!(
        node.to_string().contains("belongs to node n2") && node.to_string().contains("says node n1"),
        "{node}"
    );

    let cores = verify("cores = 2\npins = [0, 1]", "cores = 4");
    assert!(matches!(cores, Refusal::CoresChanged { found: 2, wanted: 4, .. }));
    assert!(cores.to_string().contains("line 9 (node.cores) says cores = 4"), "{cores}");
    assert!(cores.to_string().contains("was formatted for cores = 2"), "{cores}");

    let pins = verify("[0, 1]", "[1, 0]");
    assert!(matches!(pins, Refusal::PinsChanged { .. }));
    assert!(
        pins.to_string().contains("pins = [1, 0]") && pins.to_string().contains("pins = [0, 1]"),
        "{pins}"
    );
    let unpinned = verify("[0, 1]", "\"none\"").to_string();
    assert!(unpinned.contains("says pins = none"), "{unpinned}");

    for (to, says, was) in [
        ("groups = 16", "says groups = 16", "with groups = 8"),
        ("groups = 8\nlease_ms = 500", "says lease_ms = 500", "with lease_ms = 300"),
        ("groups = 8\ndrift_ms = 20", "says drift_ms = 20", "with drift_ms = 10"),
    ] {
        let fact = verify("groups = 8", to);
        assert!(matches!(fact, Refusal::FactChanged { .. }));
        assert!(fact.to_string().contains(says) && fact.to_string().contains(was), "{fact}");
    }

    let members = verify("[[members]]\nid = 3", "[[members]]\nid = 4");
    assert!(matches!(members, Refusal::MembersChanged { .. }));
    let sentence = members.to_string();
    assert!(
        sentence.contains("lists the members n1, n2, n4") && sentence.contains("for the members n1, n2, n3")
    );
}

/// Every number of the settings at its ends and one past each. A new setting must be classified here.
#[test]
fn numbers_at_their_ends_are_taken_or_refused() {
    use super::limits as most;
    // Further settings that are needed so that two settings do not contradict each other.
    const DRIFT: &[(&str, &str)] = &[("cluster.drift_ms", "1")];
    const LEASE: &[(&str, &str)] = &[("cluster.lease_ms", "60000")];
    // The setting's name, its ends, and the further settings.
    type Row = (&'static str, u64, u64, &'static [(&'static str, &'static str)]);
    let numbers: [Row; 27] = [
        ("cluster.groups", 1, 1024, &[]),
        ("cluster.lease_ms", 20, 60_000, DRIFT),
        ("cluster.drift_ms", 1, 10_000, LEASE),
        ("node.id", 1, 65_535, &[]),
        ("node.cores", 1, most::CORE_COUNT_MAX.into(), &[]),
        ("node.client_port", 1, 65_535, &[]),
        ("node.core_port_base", 0, 65_535, &[]),
        ("node.peer_port", 1, 65_535, &[]),
        ("node.cache_mib", 1, most::CACHE_MIB_MAX, &[]),
        ("node.segment_mib", most::SEGMENT_MIB_MIN, most::SEGMENT_MIB_MAX, &[]),
        ("node.reserve_mib", 0, most::RESERVE_MIB_MAX, &[]),
        ("timing.heartbeat_ms", most::HEARTBEAT_MS_MIN, most::SPAN_MS_MAX, &[]),
        ("timing.election_jitter_ms", 1, most::SPAN_MS_MAX, &[]),
        ("timing.rank_delay_ms", 0, most::SPAN_MS_MAX, &[]),
        ("timing.resend_ms", 1, most::SPAN_MS_MAX, &[]),
        ("timing.patience_ms", 1, most::SPAN_MS_MAX, &[]),
        ("timing.request_max_ms", 1, most::SPAN_MS_MAX, &[]),
        ("timing.skew_max_ms", 1, 3_600_000, &[]),
        ("limits.connections", 1, most::CONNECTIONS_MAX, &[]),
        ("limits.tcp_keepalive_s", 0, most::TCP_KEEPALIVE_S_MAX, &[]),
        ("limits.pending_mib", 2, most::PENDING_MIB_MAX, &[]),
        ("limits.requests_mib", most::REQUESTS_MIB_MIN, most::REQUESTS_MIB_MAX, &[]),
        ("limits.clients_mib", most::CLIENTS_MIB_MIN, most::CLIENTS_MIB_MAX, &[]),
        ("limits.command_s", 1, most::COMMAND_S_MAX, &[]),
        ("limits.drain_s", 0, most::DRAIN_S_MAX, &[]),
        ("limits.pipeline_slots", 1, most::PIPELINE_SLOTS_MAX, &[]),
        ("node.pins", 0, u32::MAX.into(), &[]),
    ];
    let others = ["cluster.name", "cluster.id", "cluster.hash", "node.data_dir", "node.listen"];
    let others = others.into_iter().chain(["log.level", "log.format"]);
    let others = others.chain(["node.durability", "node.redirect", "node.leadership"]);
    let others = others.chain(["security.password", "security.password_old", "security.protected_mode"]);
    let others = others.chain(["security.peer_secret_file"]);
    let mut named: Vec<&str> = numbers.iter().map(|row| row.0).chain(others).collect();
    named.sort_unstable();
    let mut all: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
    all.sort_unstable();
    assert_eq!(named, all, "every setting is in one of the two lists");

    for (name, low, high, beside) in numbers {
        let said = |number: &str| {
            let flags: Vec<_> = beside.iter().copied().chain([(name, number)]).collect();
            let config = bare(&flags)?;
            let facts = config.declared.identity(generated())?.facts;
            // This checks that nothing overflows when the value meets the other settings. A heartbeat that
            // does not fit its lease is tested elsewhere.
            if name != "timing.heartbeat_ms" {
                config.options(&facts)?;
            }
            Ok::<_, Refusal>(())
        };
        // Two rules are tested elsewhere: a heartbeat must fit its lease, and there must be as many cores as
        // pins.
        for good in [low, high] {
            let verdict = said(&good.to_string());
            let is_contradiction =
                verdict.as_ref().is_err_and(|why| why.to_string().contains("leave no room for a lost one"));
            assert!(verdict.is_ok() || is_contradiction, "{name} = {good}: {verdict:?}");
        }
        let mut bad =
            vec!["-1".to_owned(), (high + 1).to_string(), u64::MAX.to_string(), format!("{}0", u64::MAX)];
        bad.extend(low.checked_sub(1).map(|number| number.to_string()));
        for bad in bad {
            let sentence = said(&bad).expect_err(&format!("{name} = {bad}")).to_string();
            assert!(sentence.contains(&bad), "{name} = {bad}: {sentence}");
        }
        let (section, key) = name.split_once('.').expect("a section");
        let negative = refused(&format!("[{section}]\n{key} = -1\n"));
        assert!(negative.contains("neither a string, nor a whole number from 0 up"), "{name}: {negative}");
    }
}

#[test]
fn no_step_to_a_configuration_shows_a_password() {
    let words =
        [("security.password", "Rosebud"), ("security.password_old", "Xanadu"), ("cluster.groups", "4")];
    let flags: Flags = words.iter().map(|(name, word)| (*name, (*word).to_owned())).collect();
    let gather = |text: &str, env: &[(&str, &str)], flags: &Flags| {
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        sources::gather(Some((Path::new("conf/node.toml"), text)), env, flags).unwrap()
    };
    let none = Flags::new();
    let file = "[security]\npassword = \"Rosebud\"\npassword_old = \"Xanadu\"\n[cluster]\ngroups = 4\n";
    let env = [("SYNOD_SECURITY_PASSWORD", "Rosebud"), ("SYNOD_SECURITY_PASSWORD_OLD", "Xanadu")];
    let raws = [gather(file, &[], &none), gather("", &env, &none), gather("", &[], &flags)];
    for raw in &raws {
        let given = |name: &str| settings::PASSWORD.shape.read(&raw.values[name].value).unwrap();
        assert_eq!(given("security.password").bytes(), b"Rosebud", "it is there all the same");
        assert_eq!(raw.values["security.password_old"].value.plain(), "********");
    }
    // A number is not a valid password, but may have been meant as one.
    let number = gather("[security]\npassword = 14111941\n", &[], &none);
    let shown = format!("{raws:?} {number:?} {flags:?}");
    for word in ["Rosebud", "Xanadu", "14111941"] {
        assert!(!shown.contains(word), "{shown}");
    }
    assert_eq!(
        format!("{flags:?}"),
        r#"{"cluster.groups": "4", "security.password": "********", "security.password_old": "********"}"#
    );
}

#[test]
fn a_password_is_taken_from_file_and_variable_and_never_shown() {
    let options = |config: &Config| {
        let facts = config.declared.identity(generated()).unwrap().facts;
        config.options(&facts).unwrap()
    };
    let admitted = |config: &Config, given: &str| options(config).access.admits(true, given.as_bytes());
    let text = "[security]\npassword = \"in the file\"\npassword_old = \"1234\"\n";
    let file = load(text, &[], &[]).unwrap();
    assert!(admitted(&file, "in the file") && admitted(&file, "1234") && !admitted(&file, "other"));
    let both = load(text, &[("SYNOD_SECURITY_PASSWORD", "in a variable")], &[]).unwrap();
    assert!(admitted(&both, "in a variable") && !admitted(&both, "in the file"));
    for shown in [explained(&both), explained(&file), format!("{both:?} {file:?}")] {
        assert!(
            !shown.contains("in the file") && !shown.contains("in a variable") && !shown.contains("1234"),
            "{shown}"
        );
    }
    let line =
        "security.password          = ********                 # conf/node.toml line 2 (security.password)";
    assert!(explained(&file).lines().any(|shown| shown == line), "{}", explained(&file));
    let none = bare(&[]).unwrap();
    assert!(!options(&none).access.wants_password() && options(&none).access.is_protected());
    let open = bare(&[("security.protected_mode", "no")]).unwrap();
    assert!(!options(&open).access.is_protected());

    let long = format!("[security]\npassword = \"{}\"\n", "x".repeat(1025));
    for (text, why) in [
        (
            "[security]\npassword = 1234567\n",
            "a password is a string of 1 to 1024 bytes; write one in quotes",
        ),
        ("[security]\npassword = \"none\"\n", "leave the setting out where there is to be none"),
        ("[security]\npassword = \"\"\n", "a password is a string of 1 to 1024 bytes"),
        (&long, "a password is a string of 1 to 1024 bytes"),
        ("[security]\npassword_old = \"1234567\"\n", "there is an old password and no new one"),
        ("[security]\nprotected_mode = \"maybe\"\n", "'maybe' is neither yes nor no"),
    ] {
        let said = refused(text);
        assert!(said.contains(why) && !said.contains("1234567") && !said.contains("xxx"), "{said}");
    }
}

/// The tables of docs/configuration.md, made from the rows.
fn documented() -> String {
    let cells = |cells: [&str; 6]| format!("| {} |\n", cells.join(" | "));
    let mut out = String::new();
    for section in settings::SECTIONS {
        out.push_str(&format!("### [{section}]\n\n"));
        out.push_str(&cells(["key", "flag", "takes", "default", "fixed at format", "meaning"]));
        out.push_str(&cells(["---"; 6]));
        for row in ROWS.iter().filter(|row| row.section().0 == section) {
            let flag = row.flag.map_or_else(|| "none".to_owned(), |flag| format!("`--{flag}`"));
            out.push_str(&cells([
                &format!("`{}`", row.key()),
                &flag,
                &row.shape.describe(),
                row.default.text(),
                fixed(row),
                row.help,
            ]));
        }
        out.push('\n');
    }
    out.push_str("### [[members]]\n\n| key | takes | default | fixed at format | meaning |\n");
    out.push_str("| --- | --- | --- | --- | --- |\n");
    for row in MEMBER_ROWS {
        let (takes, default) = (row.shape.describe(), row.default.text());
        let line = format!("| `{}` | {takes} | {default} | {} | {} |\n", row.key(), fixed(row), row.help);
        out.push_str(&line);
    }
    out
}

fn fixed(row: &Row) -> &'static str {
    match row.scope {
        Scope::ClusterFact => "for the cluster",
        Scope::NodeFact => "for the node",
        Scope::Node => "no",
    }
}

/// The tables of the document match the rows. When this fails, put the printed text between the two marks.
#[test]
fn the_document_lists_every_setting_as_its_row_has_it() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, rest) = text.split_once("<!-- settings begin -->\n\n").expect("the first mark");
    let (tables, _) = rest.split_once("\n<!-- settings end -->").expect("the second mark");
    let wanted = documented();
    assert!(tables == wanted, "docs/configuration.md should say:\n\n{wanted}");
}

/// Every default, given as a value, changes nothing.
#[test]
fn a_default_that_is_given_is_as_good_as_one_that_is_not() {
    let plain = bare(&[]).unwrap();
    for row in ROWS {
        let DefaultValue::Word(word) = row.default else { continue };
        let (section, key) = row.section();
        let literal = row.shape.toml_kind().literal(word);
        let in_file = load(&format!("[{section}]\n{key} = {literal}\n"), &[], &[]).unwrap();
        let as_flag = bare(&[(row.name, word)]).unwrap();
        for given in [&in_file, &as_flag] {
            let (given, plain) = (given.declared.identity(generated()), plain.declared.identity(generated()));
            assert_eq!(given, plain, "{}", row.name);
        }
        let facts = plain.declared.identity(generated()).unwrap().facts;
        for given in [&in_file, &as_flag] {
            assert_eq!(given.options(&facts), plain.options(&facts), "{}", row.name);
        }
        assert_eq!((as_flag.listen, as_flag.ports), (plain.listen, plain.ports), "{}", row.name);
        assert_eq!(as_flag.data_dir, plain.data_dir, "{}", row.name);
    }
}
