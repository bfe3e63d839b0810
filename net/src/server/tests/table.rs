//! COMMAND, HELP and ACL CAT: the table of commands in the forms that clients ask for, subcommands included.

use super::*;
use crate::resp::spec::{SPECS, SUBCOMMANDS};

#[test]
fn commands_and_subcommands_are_described_by_their_names() {
    let id =
        "*10|$9|client|id|:2|*4|+noscript|+loading|+stale|+fast|:0|:0|:0|*2|+@fast|+@connection|*0|*0|*0|";
    let get = "*10|$3|get|:2|*2|+readonly|+fast|:1|:1|:1|*3|+@read|+@string|+@fast|*0|*0|*0|";
    assert_eq!(say("COMMAND INFO Client|Id nope client|nope GET"), format!("*4|{id}*-1|*-1|{get}"));
    let client = say("COMMAND INFO client");
    assert!(client.starts_with("*1|*10|$6|client|:-2|") && client.contains(id), "{client}");
    assert!(say("COMMAND").contains(&client["*1|".len()..]), "{client}");
    let docs = "*6|$7|summary|$33|Returns configuration parameters.|$5|since|$5|1.0.0|$5|group|$6|server|";
    assert_eq!(say("COMMAND DOCS config|get nope"), format!("*2|$10|config|get|{docs}"));
    let config = say("COMMAND DOCS config");
    assert!(config.starts_with("*2|$6|config|*8|") && config.contains("|$11|subcommands|*10|"), "{config}");
    assert!(config.contains(docs), "{config}");
}

#[test]
fn names_are_listed_with_those_of_subcommands_and_left_out_by_what_is_asked() {
    let all = SPECS.len() + SUBCOMMANDS.len();
    assert!(say("COMMAND LIST").starts_with(&format!("*{all}|$3|acl|$7|acl|cat|")));
    let transaction = "*5|$7|discard|$4|exec|$5|multi|$7|unwatch|$5|watch|";
    for (line, want) in [
        ("COMMAND LIST FILTERBY PATTERN client|set*", "*2|$14|client|setinfo|$14|client|setname|"),
        ("COMMAND LIST FILTERBY ACLCAT Transaction", transaction),
        ("COMMAND LIST FILTERBY ACLCAT nope", "*0|"),
        ("COMMAND LIST FILTERBY MODULE x", "*0|"),
        ("COMMAND LIST FILTERBY FOO x", "-ERR syntax error|"),
        ("ACL CAT transaction", transaction),
        ("ACL CAT nope", "-ERR Unknown category 'nope'|"),
    ] {
        assert_eq!(say(line), want, "{line}");
    }
    assert!(say("ACL CAT").starts_with("*11|$8|keyspace|$4|read|"));
}

#[test]
fn keys_of_subcommands_and_counted_keys_are_found() {
    let bad_count = "-ERR Invalid arguments specified for command|";
    let bad_arity = "-ERR Invalid number of arguments specified for command|";
    for (line, want) in [
        ("COMMAND GETKEYS OBJECT ENCODING k", "*1|$1|k|"),
        ("COMMAND GETKEYS MEMORY USAGE k SAMPLES 5", "*1|$1|k|"),
        ("COMMAND GETKEYS EVALSHA x 1 k token", "*1|$1|k|"),
        ("COMMAND GETKEYS EVALSHA x 3 k token", bad_count),
        ("COMMAND GETKEYS CLIENT NOPE", "-ERR Invalid command specified|"),
        ("COMMAND GETKEYS CLIENT ID", "-ERR The command has no key arguments|"),
        ("COMMAND GETKEYS CLUSTER COUNTKEYSINSLOT 1", "-ERR The command has no key arguments|"),
        ("COMMAND GETKEYS COMMAND", "-ERR The command has no key arguments|"),
        ("COMMAND GETKEYS CLIENT", bad_arity),
        ("COMMAND GETKEYS OBJECT ENCODING", bad_arity),
    ] {
        assert_eq!(say(line), want, "{line}");
    }
}

#[test]
fn every_container_helps() {
    assert_eq!(
        say("script help"),
        "*9|+SCRIPT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:|\
         +EXISTS sha1 [sha1 ...]|+    Tells which of the scripts the server knows.|\
         +FLUSH [ASYNC | SYNC]|+    Answers OK; the known scripts stay known.|\
         +HELP|+    Prints this help.|\
         +LOAD script|+    Returns the digest of a script that the server knows.|"
    );
    for container in SPECS.iter().filter(|spec| spec.is_container()) {
        let said = say(&format!("{} HELP", container.name));
        assert!(said.starts_with(&format!("*{}|+", 1 + 2 * container.subcommands().len())), "{said}");
        let arity = format!("-ERR wrong number of arguments for '{}|help' command|", container.name);
        assert_eq!(say(&format!("{} HELP x", container.name)), arity);
    }
}

#[test]
fn every_subcommand_in_the_table_has_an_answer_of_its_own() {
    for row in SUBCOMMANDS {
        let mut line = row.name.replace('|', " ");
        for _ in 2..row.arity.unsigned_abs() {
            line.push_str(" 1");
        }
        let said = say(&line);
        assert!(!said.is_empty() && !said.contains("not available"), "{line}: {said}");
        assert!(!said.contains("unknown") && !said.contains("wrong number"), "{line}: {said}");
        if row.arity > 2 {
            let short = &line[..line.len() - 2];
            let want = format!("-ERR wrong number of arguments for '{}' command|", row.name);
            assert_eq!(say(short), want, "{short}");
        }
    }
    for (line, name) in [
        ("SLOWLOG LEN x", "slowlog|len"),
        ("SLOWLOG GET 1 2", "slowlog|get"),
        ("CLIENT CAPA", "client|capa"),
        ("CLIENT PAUSE 1 ALL x", "client|pause"),
        ("CONFIG SET a 1 b", "config|set"),
        ("MEMORY USAGE", "memory|usage"),
        ("ACL CAT a b", "acl|cat"),
        ("SCRIPT FLUSH SYNC x", "script|flush"),
        ("CLUSTER SLOTS x", "cluster|slots"),
    ] {
        assert_eq!(say(line), format!("-ERR wrong number of arguments for '{name}' command|"), "{line}");
    }
}

/// A name may be given a thousand times, and a container brings its subcommands along.
#[test]
fn what_is_described_at_once_has_a_limit() {
    let described = |count: usize| say(&format!("COMMAND INFO{}", " client".repeat(count)));
    assert!(described(50).starts_with("*50|*10|"));
    assert_eq!(described(100), "-ERR too many commands are described at once; ask for fewer|");
    assert!(say(&format!("COMMAND DOCS{}", " client".repeat(100))).starts_with("-ERR too many commands"));
    assert!(say(&format!("COMMAND INFO{}", " get".repeat(1022))).starts_with("*1022|"));
}
