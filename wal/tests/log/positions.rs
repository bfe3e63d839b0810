//! The history of a log, as identified by one of its blocks.

use crate::rig::{MemRig, append, open, record, run_mem, settle, small};
use synod_types::LogPosition;
use synod_wal::mem::MemImage;

/// Appends this many records that no other log has.
async fn go_on(rig: &MemRig, salt: u64, count: u64) -> LogPosition {
    let (mut wal, ..) = open(rig.image.disk(), small()).expect("it opens");
    let before = wal.position();
    assert!(wal.holds(before));
    for number in 0..count {
        append(&mut wal, &record(salt + number, 3000));
        settle(rig, &mut wal).await;
    }
    let position = wal.position();
    assert!(position.sequence >= before.sequence + count && wal.holds(position) && wal.holds(before));
    position
}

fn holds(image: &MemImage, position: LogPosition) -> bool {
    let (wal, ..) = open(image.disk(), small()).expect("it opens");
    wal.holds(position)
}

#[test]
fn a_log_holds_what_it_was_and_neither_an_old_copy_nor_another_history_does() {
    run_mem(async |rig| {
        let first = go_on(rig, 100, 40).await;
        rig.image.crash(1);
        let copy = rig.image.copy();
        let later = go_on(rig, 200, 40).await;
        rig.image.crash(2);
        assert!(holds(&rig.image, first) && holds(&rig.image, later), "over restarts, and segments");
        rig.image.crash(3);

        // The older copy is put back. It then goes on with other records, to more blocks than the first log
        // had.
        let real = rig.image.copy();
        rig.image.put_back(&copy);
        assert!(holds(&rig.image, first) && !holds(&rig.image, later));
        rig.image.crash(4);
        let other = go_on(rig, 300, 80).await;
        rig.image.crash(5);
        assert!(other.sequence > later.sequence);
        assert!(holds(&rig.image, first) && holds(&rig.image, other) && !holds(&rig.image, later));
        rig.image.crash(6);
        rig.image.put_back(&real);
        assert!(holds(&rig.image, later) && !holds(&rig.image, other));
    });
}
