//! An old copy of a node's directory is put back in its place. It has forgotten promises the node made, so
//! the node must not serve from it.

use crate::cluster::{Nodes, until};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use synod::identity::{self, DirState, HeardBook};
use synod_net::client::Client;
use synod_types::CoreId;

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a new directory");
    for entry in fs::read_dir(from).expect("it can be listed").flatten() {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, &to).expect("copied");
        }
    }
}

/// The last block of the third node's log that node `to` has noted on its disk.
fn known(nodes: &mut Nodes, to: usize) -> u64 {
    let DirState::Formatted(third) = identity::inspect(&nodes.get().data_dir(2)).expect("a directory") else {
        panic!("the third node has a directory");
    };
    let (book, wrong) = HeardBook::load(&nodes.get().data_dir(to), third.facts.cluster);
    assert_eq!(wrong, None);
    book.about(third.node, third.incarnation, CoreId::new(0)).sequence
}

fn write(nodes: &mut Nodes, name: &str) {
    let targets: Vec<String> = nodes.targets().into_iter().take(2).collect();
    let mut client = Client::connect(&targets).expect("they take clients");
    for number in 0..50 {
        client.set(format!("{name}:{number}").as_bytes(), b"written").expect("a write");
    }
}

fn starts(nodes: &mut Nodes, index: usize) {
    nodes.get().restart(index).expect("restarted");
    nodes.get().wait_node_ready(index, Duration::from_secs(60)).expect("it serves");
}

/// The third node ends instead of serving; returns its error.
fn is_refused(nodes: &mut Nodes) -> String {
    nodes.get().restart(2).expect("started");
    let error = nodes.get().wait_node_ready(2, Duration::from_secs(60)).expect_err("it must not serve");
    let text = error.to_string();
    assert!(text.contains("ended before it served"), "{text}");
    text
}

#[test]
fn an_old_copy_is_told_so_by_a_node_that_knew_more_even_after_a_restart() {
    let mut nodes = Nodes::start("copies");
    nodes.wait_led();
    let dir = nodes.get().data_dir(2);
    let (old, newest) = (nodes.dir().join("n3.old"), nodes.dir().join("n3.newest"));
    write(&mut nodes, "before");
    nodes.get().terminate(2).expect("stopped");
    copy(&dir, &old);
    starts(&mut nodes, 2);
    nodes.wait_led();
    // The notes may lag behind the end of the copy's own log. So more must be noted than when the notes had
    // settled.
    let mut then = (0, Instant::now());
    until("what is noted comes to rest", || {
        let noted = known(&mut nodes, 0).max(known(&mut nodes, 1));
        if noted != then.0 {
            then = (noted, Instant::now());
        }
        noted > 0 && then.1.elapsed() > Duration::from_secs(5)
    });
    write(&mut nodes, "after");
    until("both know more", || known(&mut nodes, 0) > then.0 && known(&mut nodes, 1) > then.0);
    nodes.get().terminate(2).expect("stopped");

    // The nodes that know the log were down in between, too; one of the two is enough.
    for index in [0, 1] {
        nodes.get().kill(index).expect("killed");
    }
    starts(&mut nodes, 1);
    fs::rename(&dir, &newest).expect("renamed");
    copy(&old, &dir);
    let said = is_refused(&mut nodes);
    assert!(said.contains("is an old copy (n2 has known block"), "{said}");
    // The verdict stays, whichever nodes are up.
    nodes.get().kill(1).expect("killed");
    let said = is_refused(&mut nodes);
    assert!(said.contains("is an old copy (n2 has known block"), "{said}");
    for index in [0, 1] {
        starts(&mut nodes, index);
    }
    nodes.wait_led();
    write(&mut nodes, "meanwhile");

    // Its newest data is accepted as ever.
    fs::remove_dir_all(&dir).expect("removed");
    fs::rename(&newest, &dir).expect("renamed");
    starts(&mut nodes, 2);
    let mut client = Client::connect(&nodes.targets()).expect("they take clients");
    for name in ["before", "after", "meanwhile"] {
        let value = client.get(format!("{name}:49").as_bytes()).expect("a read");
        assert_eq!(value.as_deref(), Some(&b"written"[..]), "{name}");
    }
}

/// If no node has notes of a node's log left, its session in the groups' logs reveals an old copy (P-21).
#[test]
fn an_old_copy_that_no_node_has_notes_of_ends_at_its_first_word_in_a_group() {
    let mut nodes = Nodes::start("copies-unnoted");
    nodes.wait_led();
    let dir = nodes.get().data_dir(2);
    let old = nodes.dir().join("n3.old");
    nodes.get().terminate(2).expect("stopped");
    copy(&dir, &old);
    // A start that the copy does not know of, but the groups do.
    starts(&mut nodes, 2);
    nodes.wait_led();
    write(&mut nodes, "after");
    for index in 0..3 {
        nodes.get().terminate(index).expect("stopped");
    }
    for index in [0, 1] {
        fs::remove_file(nodes.get().data_dir(index).join("peers.heard")).expect("removed");
        nodes.get().restart(index).expect("restarted");
    }
    fs::remove_dir_all(&dir).expect("removed");
    copy(&old, &dir);
    nodes.get().restart(2).expect("restarted");
    until("it has ended", || nodes.get().ended(2).is_some());
    let said = nodes.get().tail(2);
    assert!(said.contains("is an old copy (in group ") && said.contains("is this node"), "{said}");
    let said = is_refused(&mut nodes);
    assert!(said.contains("is an old copy (in group "), "{said}");
    let mut client = Client::connect(&nodes.targets()[..2]).expect("they take clients");
    assert!(client.get(b"after:49").expect("a read").is_some());
}
