//! Every event, as it is said, against docs/operations-log.md.

use super::line::{Format, Line};
use super::{NodeEvent, say, tell};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::{Arc, Mutex};
use synod_types::{
    Ballot, CoreId, ElectionEnd, Event, GroupId, LeadershipEnd, Level, Nanos, NodeId, SegmentId, Slot,
};
use tracing::Metadata;
use tracing::span::{Attributes, Id, Record};

/// Keeps the lines of events.
#[derive(Clone, Default)]
struct Ear(Arc<Mutex<Vec<Line>>>);

impl tracing::Subscriber for Ear {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn event(&self, event: &tracing::Event<'_>) {
        let metadata = event.metadata();
        let mut line = Line::new(0, *metadata.level(), metadata.target(), 1);
        event.record(&mut line);
        self.0.lock().unwrap().push(line);
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// The lines that `speak` leads to.
fn heard(speak: impl FnOnce()) -> Vec<Line> {
    let ear = Ear::default();
    tracing::subscriber::with_default(ear.clone(), speak);
    std::mem::take(&mut *ear.0.lock().unwrap())
}

const GROUP: GroupId = GroupId::new(7);
const BALLOT: Ballot = Ballot::new(12, NodeId::new(1));
const PEER: NodeId = NodeId::new(2);
const TOOK: Nanos = Nanos::from_ms(250);

/// Each event of the machines, with every reason.
fn machine_events() -> Vec<Event> {
    let (group, ballot, target) = (GROUP, BALLOT, PEER);
    let (slot, segment, bytes) = (Slot::new(40), SegmentId::new(3), 5 << 20);
    let lost = |why| Event::ElectionLost { group, ballot, why };
    let ended = |why| Event::LeadershipEnded { group, ballot, why };
    vec![
        Event::LeaderMissed { group, ballot: Ballot::new(11, PEER) },
        Event::ElectionBegun { group, ballot },
        Event::ElectionWon { group, ballot, slot },
        lost(ElectionEnd::HigherBallot),
        lost(ElectionEnd::NoQuorum),
        lost(ElectionEnd::GivenTo(PEER)),
        ended(LeadershipEnd::NoQuorum),
        ended(LeadershipEnd::Transferred),
        ended(LeadershipEnd::HigherBallot),
        ended(LeadershipEnd::Overtaken),
        ended(LeadershipEnd::NotCaughtUp),
        ended(LeadershipEnd::TransferFailed),
        Event::LeaderFollowed { group, ballot: Ballot::new(11, PEER) },
        Event::TransferBegun { group, ballot, target },
        Event::StalledHandover { group, ballot, target },
        Event::CutOff { group, peer: target, target },
        Event::TransferTaken { group, ballot: Ballot::new(11, PEER) },
        Event::TransferGivenUp { group, ballot, target },
        Event::LeaseLost { group, ballot },
        Event::LeaseRegained { group, ballot },
        Event::SilenceBegun { group },
        Event::SilenceEnded { group },
        Event::ClockUnset { group, ballot },
        Event::FellBehind { group, slot, missing: 2048 },
        Event::CaughtUp { group, slot },
        Event::LogStalled { records: 9 },
        Event::LogResumed { took: TOOK },
        Event::Slept { took: TOOK },
        Event::SlowFlush { took: TOOK, records: 9 },
        Event::OverloadBegun { group },
        Event::OverloadEnded { group, refused: 30 },
        Event::LevelRaised { group, level: Level::new(3), slot },
        Event::ReadDamaged { group, segment, offset: 8192 },
        Event::ReadRepaired { group, slot },
        Event::LogOpened { segments: 4, bytes },
        Event::ReplayProgress { records: 1024, bytes },
        Event::LogReplayed { records: 2000, bytes, segments: 2, took: TOOK, end: "clean" },
        Event::TailCut { blocks: 2, segment, offset: 8192 },
    ]
}

/// Each event of the shell.
fn node_events() -> Vec<NodeEvent<'static>> {
    let (peer, why, listen) = (PEER, "the reason", IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let file = Path::new("peers.secret");
    vec![
        NodeEvent::NodeStarting {
            version: "0.1.0",
            data_dir: Path::new("n1"),
            cluster: "demo",
            boot: 3,
            members: "n1 10.0.0.1:6379, n2 10.0.0.2:6379",
            cores: 2,
            groups: 16,
            cache_bytes: 512 << 20,
            memory_bytes_max: 2_072 << 20,
        },
        NodeEvent::NodeListening { ports: "clients on 10.0.0.1:6379" },
        NodeEvent::NodeServing { took_ms: 250 },
        NodeEvent::NodeStopping { cause: "SIGTERM" },
        NodeEvent::HandedOver { led: 0, took_ms: 12 },
        NodeEvent::HandedOver { led: 3, took_ms: 4000 },
        NodeEvent::ClientsLeft { count: 2 },
        NodeEvent::LogClosed { is_clean: true, led: 5, took_ms: 3 },
        NodeEvent::LogClosed { is_clean: false, led: 5, took_ms: 1000 },
        NodeEvent::NodeStopped { took_ms: 30 },
        NodeEvent::Fatal { why },
        NodeEvent::LinkUp { peer, down_ms: None },
        NodeEvent::LinkUp { peer, down_ms: Some(250) },
        NodeEvent::LinkLost { peer, up_ms: 9000, why: "the peer closed it" },
        NodeEvent::LinkFailed { peer, why },
        NodeEvent::MemberRefused { peer, from: "10.0.0.2", why },
        NodeEvent::PeerClosed { from: "10.0.0.9", why },
        NodeEvent::ClientClosed { client: 7, why: "the reason" },
        NodeEvent::AcceptFailed { of: "client", why: &"the reason" },
        NodeEvent::SecretChanged { file },
        NodeEvent::SecretKept { why: &"the reason" },
        NodeEvent::SecretOpen { file },
        NodeEvent::PositionsLost { why: &"the reason" },
        NodeEvent::PositionsNotKept { why: &"the reason" },
        NodeEvent::ClientsTurnedAway { listen },
        NodeEvent::OpenToAll { listen },
        NodeEvent::LogShort { what: "log: no segment can be made, …" },
        NodeEvent::LogShortOver { what: "log: segments can be made again, …" },
        NodeEvent::LogNotBegun { why: "cannot write core-0.begun: …" },
        NodeEvent::ReadFailed { why: &"the reason" },
        NodeEvent::SlowTurn { what: "a turn took 9 ms, …" },
        NodeEvent::ClockSkewed { group: GROUP, what: "the clock of group 7 is 90 s ahead of …" },
        NodeEvent::NotCondemned { why: &"the reason" },
    ]
}

/// One line for each sample, in the order of the samples.
fn all_lines() -> Vec<Line> {
    let machine = machine_events();
    let mut lines = heard(|| machine.iter().for_each(|event| tell(CoreId::new(0), event)));
    assert_eq!(lines.len(), machine.len(), "each event is said once");
    for (line, event) in lines.iter().zip(&machine) {
        assert_eq!((line.event.as_str(), line.core), (event.name(), Some(0)), "{event:?}");
    }
    let node = node_events();
    let said = heard(|| node.iter().for_each(|event| say(Some(CoreId::new(0)), *event)));
    assert_eq!(said.len(), node.len(), "each event is said once");
    for (line, event) in said.iter().zip(&node) {
        assert_eq!(line.event, event.name());
    }
    lines.extend(said);
    lines
}

#[test]
fn there_is_a_sample_of_every_event_and_no_name_is_used_twice() {
    let said: BTreeSet<String> = all_lines().into_iter().map(|line| line.event).collect();
    let names: Vec<&str> = Event::NAMES.iter().chain(NodeEvent::NAMES).copied().collect();
    let unique: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(unique.len(), names.len());
    assert_eq!(said, unique);
}

#[test]
fn every_module_is_one_that_a_filter_knows_and_every_line_is_valid_json() {
    for line in all_lines() {
        assert!(super::filter::MODULES.contains(&line.module), "{}", line.module);
        assert!(!line.message.is_empty() && !line.message.contains('\n'), "{}", line.event);
        let json: serde_json::Value = serde_json::from_str(&line.render(Format::Json)).unwrap();
        let fields = json.as_object().expect("an object");
        // Time, level, node, module, event, message; a core and a group if there is one; its own.
        let expected =
            6 + usize::from(line.core.is_some()) + usize::from(line.group.is_some()) + line.fields.len();
        assert_eq!(fields.len(), expected, "a field twice: {json}");
    }
}

/// What the table has in its first five columns.
fn documented() -> Vec<String> {
    #[derive(Default)]
    struct Row {
        levels: BTreeSet<String>,
        module: &'static str,
        fields: Vec<&'static str>,
        text: String,
    }
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    for line in all_lines() {
        let row = rows.entry(line.event.clone()).or_default();
        row.levels.insert(line.level.as_str().to_ascii_lowercase());
        row.module = line.module;
        let names = line.fields.iter().map(|(name, _)| *name).chain(line.group.map(|_| "group"));
        for name in names {
            if !row.fields.contains(&name) {
                row.fields.push(name);
            }
        }
        if row.text.is_empty() {
            row.text = line.message;
        }
    }
    let row = |name: &str| {
        let Row { levels, module, fields, text } = &rows[name];
        let levels: Vec<&str> = levels.iter().map(String::as_str).collect();
        let fields: Vec<String> = fields.iter().map(|field| format!("`{field}`")).collect();
        format!("| `{name}` | {} | {module} | {} | {text} |", levels.join(", "), fields.join(", "))
    };
    Event::NAMES.iter().chain(NodeEvent::NAMES).map(|name| row(name)).collect()
}

/// When this fails, the printed text is what the first five columns of the table should be.
#[test]
fn the_document_lists_every_event_once_as_it_is_said() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations-log.md");
    let text = std::fs::read_to_string(path).unwrap();
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| `")).collect();
    let wanted = documented();
    for want in &wanted {
        let found: Vec<&&str> = rows.iter().filter(|row| row.starts_with(want.as_str())).collect();
        let is_whole = found.len() == 1 && {
            let rest: Vec<&str> = found[0][want.len()..].split('|').map(str::trim).collect();
            rest.len() == 3 && rest[0].len() > 3 && rest[1].len() > 3
        };
        assert!(is_whole, "docs/operations-log.md lacks a row, or has it twice:\n{}", wanted.join("\n"));
    }
    assert_eq!(rows.len(), wanted.len(), "a row of no event");
}
