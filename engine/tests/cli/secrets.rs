//! The peer secret as a person handles it.

use crate::run::Sandbox;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

/// Node `id` of three nodes, each on a machine of its own.
fn node(id: u16) -> String {
    let mut text = format!(
        "[cluster]\nname = \"demo\"\n\n[node]\nid = {id}\ndata_dir = \"n{id}\"\nlisten = \"127.0.0.1\"\n\
         cores = 1\nreserve_mib = 0\n"
    );
    for id in 1..=3 {
        text.push_str(&format!(
            "\n[[members]]\nid = {id}\nhost = \"192.0.2.{id}\"\nclient_port = 1\npeer_port = 2\n"
        ));
    }
    text
}

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    for id in 1..=3 {
        sandbox.write(&format!("n{id}.toml"), &node(id));
    }
    sandbox
}

fn is_secret(line: &str) -> bool {
    line.len() == 64 && line.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[test]
fn format_makes_a_secret_or_takes_the_one_that_lies_there() {
    let sandbox = sandbox();
    sandbox.succeeds(&["format", "--config", "n1.toml"]);
    let file = sandbox.path().join("n1/peers.secret");
    let made = fs::read_to_string(&file).unwrap();
    assert!(is_secret(made.trim_end()), "64 digits and the end of a line");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(sandbox.succeeds(&["secret", "show", "--config", "n1.toml"]), made);

    fs::create_dir(sandbox.path().join("n2")).unwrap();
    fs::copy(&file, sandbox.path().join("n2/peers.secret")).unwrap();
    sandbox.succeeds(&["format", "--config", "n2.toml"]);
    assert_eq!(sandbox.succeeds(&["secret", "show", "--config", "n2.toml"]), made);

    sandbox.write("elsewhere", &made);
    sandbox.succeeds(&["format", "--config", "n3.toml", "--peer-secret-file", "elsewhere"]);
    assert!(!sandbox.path().join("n3/peers.secret").exists());
    let shown =
        sandbox.succeeds(&["secret", "show", "--config", "n3.toml", "--peer-secret-file", "elsewhere"]);
    assert_eq!(shown, made);
}

#[test]
fn nodes_that_only_their_own_machine_can_reach_are_made_without() {
    let sandbox = Sandbox::new();
    for (number, (listen, host, is_made)) in [
        ("127.0.0.1", "127.0.0.2", false),
        ("::1", "localhost", false),
        ("0.0.0.0", "127.0.0.2", true),
        ("127.0.0.1", "192.0.2.1", true),
    ]
    .into_iter()
    .enumerate()
    {
        let text = node(1)
            .replace("listen = \"127.0.0.1\"", &format!("listen = \"{listen}\""))
            .replace("192.0.2.", "127.0.0.")
            .replace("host = \"127.0.0.2\"", &format!("host = \"{host}\""))
            .replace("data_dir = \"n1\"", &format!("data_dir = \"d{number}\""));
        sandbox.write("node.toml", &text);
        sandbox.succeeds(&["format", "--config", "node.toml"]);
        assert_eq!(
            sandbox.path().join(format!("d{number}/peers.secret")).exists(),
            is_made,
            "{listen} {host}"
        );
    }
}

#[test]
fn what_is_no_secret_is_refused_by_everything_that_needs_one_and_not_repeated() {
    let sandbox = sandbox();
    sandbox.write("secret", "Rosebud-0451\n");
    let given = ["--config", "n1.toml", "--peer-secret-file", "secret"];
    for command in [&["format"][..], &["secret", "show"], &["secret", "rotate"], &["secret", "retire"]] {
        let sentence = sandbox.refuses(&[command, &given].concat());
        assert!(
            sentence.starts_with("secret is no file with a peer secret (line 1: a peer secret is 64 hex"),
            "{sentence}"
        );
        assert!(!sentence.contains("Rosebud"), "{sentence}");
    }
    let sentence = sandbox.refuses(&["dev", "--set", "security.peer_secret_file=secret"]);
    assert!(sentence.contains("secret is no file with a peer secret"), "{sentence}");
    let sentence = sandbox.refuses(&["secret", "rotate", "--config", "n1.toml", "--from", "secret"]);
    assert!(sentence.starts_with("secret is no file with a peer secret"), "{sentence}");
    let sentence = sandbox.refuses(&["secret", "rotate", "--config", "n1.toml", "--from", "nowhere"]);
    assert!(sentence.starts_with("cannot read nowhere"), "{sentence}");
}

#[test]
fn a_node_with_peers_and_without_a_secret_does_not_start() {
    let sandbox = sandbox();
    // Its own address exists on every machine; only this test uses the ports.
    let block = synod::supervise::PortBlock::reserve(2).unwrap();
    let text = node(1)
        .replace("client_port = 1", &format!("client_port = {}", block.base()))
        .replace("peer_port = 2", &format!("peer_port = {}", block.base() + 1));
    sandbox.write("n1.toml", &text);
    sandbox.succeeds(&["format", "--config", "n1.toml"]);
    fs::remove_file(sandbox.path().join("n1/peers.secret")).unwrap();
    for command in [&["serve"][..], &["secret", "show"], &["secret", "retire"]] {
        let sentence = sandbox.refuses(&[command, &["--config", "n1.toml"]].concat());
        assert!(sentence.starts_with("there is no peer secret in n1/peers.secret: "), "{sentence}");
        assert!(sentence.contains("`synod secret rotate`"), "{sentence}");
    }
    // The remedy that the error message names works.
    sandbox.succeeds(&["secret", "rotate", "--config", "n1.toml"]);
    assert!(is_secret(sandbox.succeeds(&["secret", "show", "--config", "n1.toml"]).trim_end()));
}

#[test]
fn a_secret_is_replaced_node_by_node() {
    let sandbox = sandbox();
    sandbox.succeeds(&["format", "--config", "n1.toml"]);
    fs::create_dir(sandbox.path().join("n2")).unwrap();
    fs::copy(sandbox.path().join("n1/peers.secret"), sandbox.path().join("n2/peers.secret")).unwrap();
    sandbox.succeeds(&["format", "--config", "n2.toml"]);
    let show = |file: &str| sandbox.succeeds(&["secret", "show", "--config", file]);
    let old = show("n1.toml");

    let new = sandbox.succeeds(&["secret", "rotate", "--config", "n1.toml"]);
    assert!(is_secret(new.trim_end()) && new != old);
    assert_eq!(show("n1.toml"), format!("{new}{old}"));
    // A second rotation is refused before the old secret is retired.
    let sentence = sandbox.refuses(&["secret", "rotate", "--config", "n1.toml"]);
    assert!(
        sentence.starts_with("n1/peers.secret is left as it is: two secrets are taken already"),
        "{sentence}"
    );
    sandbox.write("old", &old);
    let sentence = sandbox.refuses(&["secret", "rotate", "--config", "n1.toml", "--from", "old"]);
    assert!(sentence.contains("that is the old secret"), "{sentence}");

    // The second node takes the secret that the first node shows or printed, however often.
    for said in [&new, &show("n1.toml"), &new] {
        let mut command = sandbox.synod(["secret", "rotate", "--config", "n2.toml", "--from", "-"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(said.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        assert_eq!(String::from_utf8(output.stdout).unwrap(), new);
        assert_eq!(show("n2.toml"), format!("{new}{old}"));
    }
    for file in ["n1.toml", "n2.toml", "n2.toml"] {
        sandbox.succeeds(&["secret", "retire", "--config", file]);
        assert_eq!(show(file), new);
    }
}
