//! P-16b and the sweep: how late a key may be read after its expiry, and how long an expired key takes up
//! memory. Many keys are written at a time, and the core's invariants are not checked after each step.

use super::lab::{Bytes, G1, G2, Lab, Setup, bytes, get, set, set_op};
use synod_types::{
    Command, Condition, Consistency, Expiry, GroupId, Op, Reply, WallMs, limits::VALUE_BYTES_MAX, operand,
};

const CROWD: u32 = 100_000;

/// One core alone: peers could change nothing in these tests.
fn lone(groups: u16) -> Lab {
    let mut lab = Lab::led_by_n1(Setup { nodes: 1, groups, ..Setup::default() });
    lab.is_walked = false;
    lab
}

/// Writes `count` keys that expire at `due`.
fn write_crowd(lab: &mut Lab, group: GroupId, count: u32, due: WallMs) {
    let mut written = 0;
    while written < count {
        let mut pairs = Vec::new();
        for number in written..(written + 1000).min(count) {
            operand::put_pair(&mut pairs, format!("crowd:{number}").as_bytes(), b"v");
        }
        assert!(pairs.len() < VALUE_BYTES_MAX);
        let op = Op::SetMany { condition: Condition::Always, expiry: Expiry::At(due) };
        let request = lab.request_as(
            1,
            group,
            Consistency::Linearizable,
            Command::new(bytes(&format!("crowd:{written}")), op, Bytes::new(pairs)),
        );
        lab.settle();
        assert_eq!(lab.reply(request), Some(&Reply::Int(1)));
        written += 1000;
    }
}

fn write_one(lab: &mut Lab, key: &str, expiry: Expiry) {
    assert!(matches!(lab.ask(1, set_op(key, "v", expiry, false)), Reply::Done { .. }));
}

fn is_there(lab: &mut Lab, key: &str) -> bool {
    match lab.ask(1, get(key)) {
        Reply::Value { .. } => true,
        Reply::Nil => false,
        other => panic!("{other:?}"),
    }
}

fn keys(lab: &Lab, group: GroupId) -> u64 {
    lab.shard(1).status().find(|status| status.group == group).expect("held").keys
}

/// Ticks until `until` and reads a key each time: it exists before its expiry, and is gone from the first
/// tick after it on.
fn watch(lab: &mut Lab, key: &str, due: WallMs, until: WallMs) {
    while lab.now().wall < until {
        lab.run_ms(5);
        let (now, there) = (lab.now().wall, is_there(lab, key));
        assert_eq!(there, now < due, "{key} {} ms after {}", now.0.wrapping_sub(due.0) as i64, due.0);
    }
}

/// P-16b: applied time passes an expiry that is due although no client writes, and does not move while none
/// is due.
#[test]
fn an_expiry_that_is_due_moves_applied_time_on() {
    let mut lab = Lab::led_by_n1(Setup::default());
    write_one(&mut lab, "k", Expiry::After(100));
    let due = lab.now().wall.plus_ms(100);
    let state = |lab: &Lab| lab.shard(1).status().next().map(|status| (status.applied_ts, status.applied));
    lab.run_ms(90);
    assert!(state(&lab).unwrap().0 < due);
    lab.run_ms(30);
    let after = state(&lab);
    assert!(after.unwrap().0 >= due);
    lab.run_ms(500);
    assert_eq!(state(&lab), after, "one empty slot is enough");
}

/// P-16b: expired keys that are not removed yet hide no later expiry.
#[test]
fn a_crowd_that_expires_together_keeps_no_other_key_alive() {
    let mut lab = lone(1);
    let due = lab.now().wall.plus_ms(5_000);
    write_crowd(&mut lab, G1, CROWD, due);
    write_one(&mut lab, "soon", Expiry::At(due.plus_ms(20)));
    write_one(&mut lab, "late", Expiry::At(due.plus_ms(503)));
    lab.run_ms(4_980);
    assert_eq!(keys(&lab, G1), u64::from(CROWD) + 2);
    watch(&mut lab, "soon", due.plus_ms(20), due.plus_ms(40));
    assert!(keys(&lab, G1) > u64::from(CROWD) / 2, "the crowd was gone before it could be in the way");
    watch(&mut lab, "late", due.plus_ms(503), due.plus_ms(600));
    lab.run_ms(400);
    assert_eq!(keys(&lab, G1), 0);
}

/// P-16b: applied time advances whatever else is written, at most two choices of a slot late.
#[test]
fn a_key_expires_in_time_under_load_on_a_slow_disk() {
    const COMMIT_MS: u64 = 20;
    let mut lab = lone(1);
    let due = lab.now().wall.plus_ms(400);
    write_one(&mut lab, "k", Expiry::At(due));
    lab.held_disks.insert(1);
    let mut gone_at = None;
    for turn in 0..160_u64 {
        lab.pass_ms(5);
        lab.tick(1);
        // Sometimes more than the pipeline holds, sometimes nothing.
        for number in 0..(turn / 16 % 3) * 5 {
            lab.request(1, set(&format!("other:{number}"), "v"));
            lab.turn_end(1);
        }
        if turn % (COMMIT_MS / 5) == 0 {
            lab.disk(1);
        }
        let read = lab.request(1, get("k"));
        lab.turn_end(1);
        match lab.reply(read) {
            Some(Reply::Nil) => gone_at = gone_at.or(Some(lab.now().wall)),
            Some(Reply::Value { .. }) => assert_eq!(gone_at, None, "it came back"),
            _ => {}
        }
    }
    let gone_at = gone_at.expect("it expires");
    assert!(gone_at >= due && gone_at <= due.plus_ms(5 + 2 * COMMIT_MS), "{gone_at:?}, due {due:?}");
}

/// Replay removes keys that expired while the log was written, and holds no more than the replica did.
#[test]
fn a_replay_expires_as_it_goes() {
    let mut lab = lone(1);
    for _ in 0..5 {
        let due = lab.now().wall.plus_ms(100);
        write_crowd(&mut lab, G1, 5_000, due);
        // The sweep steps that the crowd's expiries pay for find nothing to do.
        write_one(&mut lab, "k", Expiry::None);
        lab.run_ms(300);
        assert_eq!(keys(&lab, G1), 1);
    }
    // A record says what was chosen before it, so the last slot is not known as chosen.
    write_one(&mut lab, "k", Expiry::None);
    write_one(&mut lab, "last", Expiry::None);
    lab.crash(1);
    lab.start(1);
    assert_eq!(keys(&lab, G1), 1);
}

/// P-16b, after a restart: many keys that expired while no node ran do not delay another expiry.
#[test]
fn a_key_expires_in_time_while_the_crowd_of_before_the_restart_is_swept() {
    let mut lab = lone(1);
    let due = lab.now().wall.plus_ms(1_000);
    write_crowd(&mut lab, G1, 2 * CROWD + CROWD / 2, due);
    lab.crash(1);
    lab.pass_ms(2_000);
    lab.start(1);
    lab.until("serves again", |lab| lab.serves(1, G1));
    assert!(keys(&lab, G1) > u64::from(CROWD), "the crowd was gone before it could be in the way");
    let due = lab.now().wall.plus_ms(100);
    write_one(&mut lab, "k", Expiry::After(100));
    watch(&mut lab, "k", due, due.plus_ms(50));
    assert!(keys(&lab, G1) > u64::from(CROWD) / 2, "the crowd was gone before it could be in the way");
    lab.run_ms(1_000);
    assert_eq!(keys(&lab, G1), 0);
}

/// The sweep keeps up with the writes, so the number of keys stays that of the live ones.
#[test]
fn keys_that_are_written_and_expire_without_end_take_bounded_memory() {
    let mut lab = lone(1);
    let mut most = 0;
    for turn in 0..600 {
        for number in 0..45 {
            lab.request(1, set_op(&format!("{turn}:{number}"), "v", Expiry::After(1_000), false));
        }
        lab.run_ms(5);
        most = most.max(keys(&lab, G1));
    }
    assert!(most <= 9_000 + 9_000 / 50, "{most}");
}

/// The sweep of one group with many expired keys does not keep the other groups waiting.
#[test]
fn every_group_has_its_turn_in_the_sweep() {
    let mut lab = lone(2);
    let due = lab.now().wall.plus_ms(1_000);
    write_crowd(&mut lab, G1, CROWD, due);
    write_crowd(&mut lab, G2, 10, due);
    lab.run_ms(1_020);
    assert!(keys(&lab, G1) > u64::from(CROWD) / 2);
    assert_eq!(keys(&lab, G2), 0);
}
