//! The password is sent first on every connection. A generator that is not admitted reports it once and does
//! nothing more.

use super::*;
use synod_net::access::Secret;

/// A cluster that requires a password, and a generator with or without one.
fn guarded(given: Option<&str>) -> World {
    let password = given.map(|given| Secret::new(given.as_bytes().to_vec()));
    let mut world = World::new(Options { password, ..options() }, Faults::default(), 3);
    world.cluster.set_password("Rosebud");
    world
}

#[test]
fn the_password_is_said_on_every_connection() {
    let mut world = guarded(Some("Rosebud"));
    world.open();
    assert_eq!(world.driver.failure(), None);
    world.preload();
    world.cluster.faults = Faults { break_connection: 10, ..Faults::default() };
    let order = world.load(Mix::ReadShare(0.5), 1000);
    world.perform(order);
    world.audit();
    let connects = world.connects.values().sum::<u64>();
    assert!(connects > 6, "some connections were made anew");
    assert_eq!(world.cluster.admissions, connects);
    let (tally, _) = world.driver.finish();
    assert_sums(&tally);
    assert_eq!(tally.audit, AuditTally { keys: 500, ..AuditTally::default() });
    assert!(tally.error_kinds.keys().all(|kind| !kind.contains("authentication")), "{:?}", tally.error_kinds);
}

#[test]
fn a_cluster_without_a_password_takes_any() {
    let mut world = guarded(Some("other"));
    world.cluster.passwords.clear();
    world.open();
    world.preload();
    world.audit();
    let (tally, _) = world.driver.finish();
    assert_eq!(tally.audit, AuditTally { keys: 500, ..AuditTally::default() });
}

/// Asserts that the order to connect ends at the first answer, with one sentence.
fn kept_out(mut world: World, why: &str) {
    let begun_ns = world.now_ns;
    world.open();
    let failure = world.driver.failure().expect("the generator is not admitted").to_owned();
    let addrs = ["127.0.0.1:1 ", "127.0.0.1:2 ", "127.0.0.1:3 "];
    assert!(addrs.iter().any(|addr| failure.starts_with(addr)), "it says where: {failure}");
    assert!(failure.contains(why) && failure.contains("SYNOD_PASSWORD"), "{failure}");
    assert!(!failure.contains("Rosebud") && !failure.contains("guess"), "{failure}");
    assert!(world.now_ns < begun_ns + 50 * MS, "nothing is waited for");
    assert!(world.connects.values().all(|&count| count == 1), "nothing is tried again: {:?}", world.connects);
    assert_eq!((world.cluster.requests, world.cluster.admissions), (0, 0));
    // Any later order ends at once.
    let order = world.load(Mix::Only(Kind::Write), 1000);
    world.perform(order);
    assert!(world.now_ns < begun_ns + 100 * MS);
    assert_eq!(world.driver.finish().0.load_requests, 0, "nothing was offered that could fail");
}

#[test]
fn a_generator_without_a_password_is_kept_out_at_once() {
    kept_out(guarded(None), "wants a password");
}

#[test]
fn a_generator_with_a_wrong_password_is_kept_out_at_once() {
    kept_out(guarded(Some("guess")), "refuses the password");
}

#[test]
fn a_generator_on_another_machine_is_kept_out_at_once() {
    for given in [None, Some("guess")] {
        let mut world = guarded(given);
        world.cluster.passwords.clear();
        world.cluster.is_protected = true;
        kept_out(world, "protected mode");
    }
}

#[test]
fn one_node_that_wants_another_password_is_named() {
    let mut world = guarded(Some("Rosebud"));
    world.cluster.passwords.insert(2, b"Xanadu".to_vec());
    world.open();
    let failure = world.driver.failure().expect("one node does not admit it");
    assert!(failure.starts_with("127.0.0.1:2 refuses the password"), "{failure}");
}

#[test]
fn a_password_that_changes_under_the_load_ends_it() {
    let mut world = guarded(Some("Rosebud"));
    world.open();
    world.preload();
    let order = world.load(Mix::ReadShare(0.5), 10_000);
    let change_ns = world.now_ns + 700 * MS;
    let mut changed = false;
    world.perform_with(order, |world| {
        if world.now_ns > change_ns && !changed {
            changed = true;
            world.cluster.set_password("Xanadu");
            // Admitted connections stay admitted until they break.
            world.driver.on_closed(0, world.now_ns);
        }
    });
    let failure = world.driver.failure().expect("it is not let in again");
    assert!(failure.contains("refuses the password"), "{failure}");
    assert!(changed && world.now_ns < change_ns + 200 * MS, "seconds before the load was to end");
    let (tally, _) = world.driver.finish();
    assert_eq!(tally.error_kinds.get("authentication failed"), Some(&1));
}

#[test]
fn a_driver_that_is_shown_shows_no_password() {
    for protocol in [Protocol::Binary, Protocol::Resp] {
        let mut world = guarded(Some("Rosebud"));
        world.driver.options.protocol = protocol;
        let (link, _) = world.driver.next_connect(world.now_ns).expect("it begins by connecting");
        world.driver.on_connected(link, world.now_ns);
        let says_it = world.driver.out(link).windows(7).any(|part| part == b"Rosebud");
        assert!(says_it, "it is the first that is sent");
        let in_numbers = b"Rosebud".map(|byte| byte.to_string()).join(", ");
        let shown = format!("{:?}", world.driver);
        assert!(!shown.contains("Rosebud") && !shown.contains(&in_numbers), "{shown}");
    }
}
