//! P-03, P-09, P-14: slots in flight, heartbeats, windows.

use super::solo::*;
use crate::Input;
use std::vec::Vec;

/// P-09b: a leader whose log stalls falls silent, whatever reads ask of it: a heartbeat for a ReadIndex would keep the
/// followers from electing one whose disk works.
#[test]
fn a_stalled_leader_sends_no_heartbeat_for_reads_either() {
    let mut n1 = Solo::new(1, &[1, 2, 3]);
    n1.until_leader(2);
    n1.pass_ms(100);
    assert!(n1.say(Input::Tick { stalled: true }).iter().all(|line| !line.starts_with("~>")));
    assert!(n1.paxos.read_ticket().is_some());
    let mut out = Vec::new();
    n1.paxos.beat_if_wanted(n1.now, &mut out);
    assert_eq!(out, []);
    // The log moves again.
    n1.tick();
    let _ = n1.paxos.read_ticket();
    n1.paxos.beat_if_wanted(n1.now, &mut out);
    assert_eq!(out.len(), 2);
}
