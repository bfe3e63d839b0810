//! `Op::IfEqual`: only the owner of a lock can release or extend it.

use super::rig::{Asked, Rig, command, set, set_with};
use crate::CacheHint;
use crate::sessions::SESSION_LIMITS;
use synod_types::{Condition, ErrorKind, Expiry, IfEqualAction, Op, Reply};

fn if_equal(value: &[u8], then: IfEqualAction) -> Asked {
    Asked(Op::IfEqual { then }, value.to_vec())
}

fn locked(rig: &mut Rig, token: &[u8], ms: u64) {
    let taken = rig.at(1000).run(command("lock", set_with(token, Condition::IfAbsent, Expiry::After(ms))));
    assert!(matches!(taken, Reply::Done { .. }), "{taken:?}");
}

#[test]
fn only_the_owner_gives_a_lock_back() {
    let mut rig = Rig::new();
    locked(&mut rig, b"mine", 500);
    for other in [&b"your"[..], b"mine ", b"min", b""] {
        assert_eq!(rig.run(command("lock", if_equal(other, IfEqualAction::Delete))), Reply::Int(0));
    }
    assert_eq!(rig.get("lock").as_deref(), Some(&b"mine"[..]));
    assert_eq!(rig.run(command("lock", if_equal(b"mine", IfEqualAction::Delete))), Reply::Int(1));
    assert_eq!(rig.get("lock"), None);
    assert_eq!(
        rig.run(command("lock", if_equal(b"mine", IfEqualAction::Delete))),
        Reply::Int(0),
        "given back twice"
    );
}

#[test]
fn a_lock_that_has_expired_has_no_owner() {
    let mut rig = Rig::new();
    locked(&mut rig, b"mine", 500);
    rig.at(1500);
    for then in [
        IfEqualAction::Delete,
        IfEqualAction::ExpireAfter(9),
        IfEqualAction::RenewFor(9),
        IfEqualAction::ExtendBy(9),
    ] {
        assert_eq!(rig.run(command("lock", if_equal(b"mine", then))), Reply::Int(0), "{then:?}");
    }
}

#[test]
fn the_time_left_is_set_renewed_or_extended() {
    let mut rig = Rig::new();
    locked(&mut rig, b"mine", 500);
    for (then, left) in [
        (IfEqualAction::ExpireAfter(300), 300),
        (IfEqualAction::RenewFor(700), 700),
        (IfEqualAction::ExtendBy(1000), 1700),
    ] {
        assert_eq!(rig.run(command("lock", if_equal(b"mine", then))), Reply::Int(1));
        assert_eq!(rig.ttl("lock"), left, "{then:?}");
        assert_eq!(rig.run(command("lock", if_equal(b"your", then))), Reply::Int(0));
        assert_eq!(rig.ttl("lock"), left, "{then:?} by another");
    }
    for then in [
        IfEqualAction::ExpireAfter(u64::MAX),
        IfEqualAction::ExtendBy(u64::MAX),
        IfEqualAction::RenewFor(i64::MAX as u64),
    ] {
        let reply = rig.run(command("lock", if_equal(b"mine", then)));
        assert_eq!(reply, Reply::Error(ErrorKind::BadExpiry), "{then:?}");
    }
    assert_eq!(rig.ttl("lock"), 1700);
    assert_eq!(rig.run(command("lock", if_equal(b"mine", IfEqualAction::ExpireAfter(0)))), Reply::Int(1));
    assert_eq!(rig.get("lock"), None, "no time left");
}

#[test]
fn a_key_that_does_not_expire_is_not_extended() {
    let mut rig = Rig::new();
    rig.at(1000).run(command("lock", set(b"mine")));
    for then in [IfEqualAction::RenewFor(9), IfEqualAction::ExtendBy(9)] {
        assert_eq!(rig.run(command("lock", if_equal(b"mine", then))), Reply::Int(0), "{then:?}");
        assert_eq!(rig.ttl("lock"), -1);
    }
    assert_eq!(rig.run(command("lock", if_equal(b"mine", IfEqualAction::ExpireAfter(9)))), Reply::Int(1));
    assert_eq!(rig.ttl("lock"), 9);
}

#[test]
fn a_cold_value_is_read_only_when_its_length_fits() {
    let mut rig = Rig::with(0, 7, SESSION_LIMITS);
    rig.keep = CacheHint::Skip;
    let token = [b'm'; 200];
    rig.at(1000).run(command("lock", set(&token)));
    assert_eq!(rig.run(command("lock", if_equal(&token[1..], IfEqualAction::Delete))), Reply::Int(0));
    assert_eq!(rig.reads, 0);
    let mut other = token;
    other[199] = b'y';
    assert_eq!(rig.run(command("lock", if_equal(&other, IfEqualAction::Delete))), Reply::Int(0));
    assert_eq!(rig.reads, 1);
    assert_eq!(rig.run(command("lock", if_equal(&token, IfEqualAction::Delete))), Reply::Int(1));
    assert_eq!(rig.get("lock"), None);
}
