//! The events of the machines in words: one macro call for each, with its level, module and fields.

use synod_types::{CoreId, ElectionEnd, Event, LeadershipEnd};
use tracing::{debug, error, info, warn};

/// Tells the operator about an event of this core.
pub fn tell(core: CoreId, event: &Event) {
    let core = core.get();
    match event {
        Event::LogStalled { .. }
        | Event::LogResumed { .. }
        | Event::SlowFlush { .. }
        | Event::Slept { .. }
        | Event::ReadDamaged { .. }
        | Event::ReadRepaired { .. }
        | Event::LogOpened { .. }
        | Event::ReplayProgress { .. }
        | Event::LogReplayed { .. }
        | Event::TailCut { .. } => tell_of_log(core, event),
        Event::ClockUnset { .. }
        | Event::FellBehind { .. }
        | Event::CaughtUp { .. }
        | Event::OverloadBegun { .. }
        | Event::OverloadEnded { .. }
        | Event::LevelRaised { .. } => tell_of_group(core, event),
        _ => tell_of_leader(core, event),
    }
}

/// Elections, leaderships, transfers, leases.
fn tell_of_leader(core: u16, told: &Event) {
    let event = told.name();
    match *told {
        Event::LeaderMissed { group, ballot } => warn!(
            target: "election", event, core, group = group.get(), %ballot, leader = ballot.node().get(),
            "has not heard its leader {} for an election timeout; asks whether an election could be won",
            ballot.node()
        ),
        Event::ElectionBegun { group, ballot } => debug!(
            target: "election", event, core, group = group.get(), %ballot,
            "stands for election in round {}", ballot.round()
        ),
        Event::ElectionWon { group, ballot, slot } => info!(
            target: "election", event, core, group = group.get(), %ballot, slot = slot.get(),
            "elected leader in round {}; serves once slot {} is applied", ballot.round(), slot.get()
        ),
        Event::ElectionLost { group, ballot, why } => info!(
            target: "election", event, core, group = group.get(), %ballot, why = election_end(why).0,
            "not elected in round {}: {}", ballot.round(), election_end(why).1
        ),
        Event::LeadershipEnded { group, ballot, why: LeadershipEnd::Transferred } => info!(
            target: "election", event, core, group = group.get(), %ballot, why = "transferred",
            "leads no more since round {}: the node that it handed over to leads now", ballot.round()
        ),
        Event::LeadershipEnded { group, ballot, why } => warn!(
            target: "election", event, core, group = group.get(), %ballot, why = leadership_end(why).0,
            "leads no more since round {}: {}", ballot.round(), leadership_end(why).1
        ),
        Event::LeaderFollowed { group, ballot } => debug!(
            target: "election", event, core, group = group.get(), %ballot, leader = ballot.node().get(),
            "follows {} in round {}", ballot.node(), ballot.round()
        ),
        Event::TransferBegun { group, ballot, target } => info!(
            target: "election", event, core, group = group.get(), %ballot, peer = target.get(),
            "hands over to {target}"
        ),
        Event::StalledHandover { group, ballot, target } => warn!(
            target: "election", event, core, group = group.get(), %ballot, peer = target.get(),
            "hands over to {target} at once: this node's disk does not answer"
        ),
        Event::CutOff { group, peer, target } => warn!(
            target: "election", event, core, group = group.get(), peer = peer.get(), to = target.get(),
            "{peer} does not reach this node, {target} reaches both: hands over to {target}"
        ),
        Event::TransferTaken { group, ballot } => debug!(
            target: "election", event, core, group = group.get(), %ballot, peer = ballot.node().get(),
            "takes over from {}", ballot.node()
        ),
        Event::TransferGivenUp { group, ballot, target } => warn!(
            target: "election", event, core, group = group.get(), %ballot, peer = target.get(),
            "does not hand over to {target}, which did not keep up or cannot be reached; leads on"
        ),
        Event::LeaseLost { group, ballot } => warn!(
            target: "election", event, core, group = group.get(), %ballot,
            "the lease of round {} has ended: no quorum answers; reads wait", ballot.round()
        ),
        Event::LeaseRegained { group, ballot } => info!(
            target: "election", event, core, group = group.get(), %ballot,
            "holds a lease in round {} again", ballot.round()
        ),
        Event::SilenceBegun { group } => debug!(
            target: "election", event, core, group = group.get(),
            "promises nothing for one lease, as after every start"
        ),
        Event::SilenceEnded { group } => debug!(
            target: "election", event, core, group = group.get(), "votes again"
        ),
        other => unreachable!("{other:?} is not about leaders"),
    }
}

/// The log of a core.
fn tell_of_log(core: u16, told: &Event) {
    let event = told.name();
    match *told {
        Event::LogStalled { records } => error!(
            target: "log", event, core, records,
            "the log has made no progress for a lease, {records} records wait: its leaders hand over where they can"
        ),
        Event::LogResumed { took } => warn!(
            target: "log", event, core, took_ms = took.as_ms(),
            "the log makes progress again, after {} ms", took.as_ms()
        ),
        Event::Slept { took } => warn!(
            target: "node", event, core, took_ms = took.as_ms(),
            "this core did nothing for {} ms: it was not scheduled, or the process was stopped", took.as_ms()
        ),
        Event::SlowFlush { took, records } => warn!(
            target: "log", event, core, took_ms = took.as_ms(), records,
            "the disk took {} ms to make {records} records durable", took.as_ms()
        ),
        Event::ReadDamaged { group, segment, offset } => error!(
            target: "log", event, core, group = group.get(), segment = segment.get(), offset,
            "bytes of the log are damaged or cannot be read, at offset {offset} of segment {}", segment.get()
        ),
        Event::ReadRepaired { group, slot } => warn!(
            target: "log", event, core, group = group.get(), slot = slot.get(),
            "a damaged value of slot {} was read from a peer instead", slot.get()
        ),
        Event::LogOpened { segments, bytes } => info!(
            target: "log", event, core, segments, bytes,
            "opens its log: {segments} segments, {} MiB", bytes >> 20
        ),
        Event::ReplayProgress { records, bytes } => info!(
            target: "log", event, core, records, bytes,
            "replays: {records} records, {} MiB so far", bytes >> 20
        ),
        Event::LogReplayed { records, bytes, segments, took, end } => info!(
            target: "log", event, core, records, bytes, segments, took_ms = took.as_ms(), end,
            "replayed {records} records, {bytes} bytes, from {segments} segments in {} ms; end of the log: {end}",
            took.as_ms()
        ),
        Event::TailCut { blocks, segment, offset } => warn!(
            target: "log", event, core, blocks, segment = segment.get(), offset,
            "the end of the log was torn: {blocks} blocks that were never acknowledged are cut off; it ends at \
             offset {offset} of segment {}", segment.get()
        ),
        other => unreachable!("{other:?} is not about a log"),
    }
}

/// Everything else about one group.
fn tell_of_group(core: u16, told: &Event) {
    let event = told.name();
    match *told {
        Event::ClockUnset { group, ballot } => warn!(
            target: "clock", event, core, group = group.get(), %ballot,
            "leads without a clock: too few wall clocks agree; nothing is written until a majority does, or for 3 s"
        ),
        Event::FellBehind { group, slot, missing } => warn!(
            target: "peer", event, core, group = group.get(), slot = slot.get(), missing,
            "lacks {missing} slots after slot {}, and fetches them", slot.get()
        ),
        Event::CaughtUp { group, slot } => info!(
            target: "peer", event, core, group = group.get(), slot = slot.get(),
            "has caught up, at slot {}", slot.get()
        ),
        Event::OverloadBegun { group } => warn!(
            target: "client", event, core, group = group.get(),
            "too much waits: requests are refused as busy"
        ),
        Event::OverloadEnded { group, refused } => info!(
            target: "client", event, core, group = group.get(), refused,
            "takes all requests again, after it refused {refused}"
        ),
        Event::LevelRaised { group, level, slot } => info!(
            target: "node", event, core, group = group.get(), raised_to = level.get(), slot = slot.get(),
            "raised to level {} in slot {}", level.get(), slot.get()
        ),
        other => unreachable!("{other:?} is not about a group"),
    }
}

/// The reason as a word for programs, and in words.
fn election_end(why: ElectionEnd) -> (&'static str, String) {
    match why {
        ElectionEnd::HigherBallot => {
            ("higher_ballot", "another node stands or leads in a higher ballot".to_owned())
        }
        ElectionEnd::NoQuorum => ("no_quorum", "no quorum promised in time".to_owned()),
        ElectionEnd::GivenTo(node) => {
            ("given_away", format!("it is far behind {node}, and told that node to stand"))
        }
    }
}

/// The same for a leadership.
fn leadership_end(why: LeadershipEnd) -> (&'static str, &'static str) {
    match why {
        LeadershipEnd::Transferred => ("transferred", "it handed over"),
        LeadershipEnd::HigherBallot => ("higher_ballot", "another node stands or leads in a higher ballot"),
        LeadershipEnd::Overtaken => ("overtaken", "another leader had a value chosen"),
        LeadershipEnd::NoQuorum => ("no_quorum", "no quorum has answered for two leases"),
        LeadershipEnd::NotCaughtUp => ("not_caught_up", "it could not apply what was chosen before it led"),
        LeadershipEnd::TransferFailed => {
            ("transfer_failed", "it gave up its lease to hand over, and the target did not take over")
        }
    }
}
