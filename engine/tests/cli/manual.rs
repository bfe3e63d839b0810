//! Completions and manual pages.

use crate::run::Sandbox;
use std::fs;
use std::process::Command;

const COMMANDS: [&str; 16] = [
    "",
    "format",
    "serve",
    "dev",
    "bench",
    "get",
    "set",
    "del",
    "status",
    "config",
    "config-keys",
    "config-explain",
    "secret",
    "secret-rotate",
    "completions",
    "man",
];

#[test]
fn bash_takes_its_completions_and_completes_commands_and_flags() {
    let sandbox = Sandbox::new();
    let script = sandbox.succeeds(&["completions", "bash"]);
    let file = sandbox.write("synod.bash", &script);
    let checked = Command::new("bash").arg("-n").arg(&file).output().unwrap();
    assert!(checked.status.success() && checked.stderr.is_empty(), "{checked:?}");

    // What bash does when somebody types the words and presses the tab key.
    let completes = |words: &[&str], wanted: &str| {
        let typed = words.join(" ");
        let last = words.len() - 1;
        let script = format!(
            "source synod.bash; COMP_WORDS=({typed}); COMP_CWORD={last}; COMP_LINE='{typed}'; \
             COMP_POINT={}; _synod synod '{}' '{}'; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            typed.len(),
            words[last],
            words[last - 1]
        );
        let output = Command::new("bash").args(["-c", &script]).current_dir(sandbox.path()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.lines().any(|line| line == wanted), "{typed}: {output:?}");
    };
    completes(&["synod", "sta"], "status");
    completes(&["synod", "status", "--che"], "--check");
    completes(&["synod", "config", "expl"], "explain");
    completes(&["synod", "serve", "--cache"], "--cache-mib");
}

#[test]
fn zsh_and_fish_have_completions_too() {
    let sandbox = Sandbox::new();
    assert!(sandbox.succeeds(&["completions", "zsh"]).starts_with("#compdef synod"));
    assert!(sandbox.succeeds(&["completions", "fish"]).contains("complete -c synod"));
    assert!(sandbox.refusal_of_usage(&["completions", "tcsh"]).contains("bash, zsh, fish"));
}

#[test]
fn every_command_has_a_manual_page() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path().join("man")).unwrap();
    let said = sandbox.succeeds(&["man", "--dir", "man"]);
    assert!(said.ends_with("pages written to man\n"), "{said}");
    for command in COMMANDS {
        let name = if command.is_empty() { "synod".to_owned() } else { format!("synod-{command}") };
        let page = fs::read_to_string(sandbox.path().join("man").join(format!("{name}.1"))).unwrap();
        assert!(page.contains(".SH NAME") && page.contains(".SH SYNOPSIS"), "{name}: {page}");
        let words: Vec<&str> =
            std::iter::once("man").chain(command.split('-').filter(|word| !word.is_empty())).collect();
        assert_eq!(sandbox.succeeds(&words), page, "the same page alone");
        if !command.is_empty() {
            // A page is not that of its parent: it is about this command.
            assert!(page.contains(&format!(".TH {name} 1")), "{page}");
        }
    }
    let status = sandbox.succeeds(&["man", "status"]);
    assert!(status.contains("\\-\\-check") && status.contains("\\fBsynod status\\fR"), "{status}");
    let top = sandbox.succeeds(&["man"]);
    assert!(top.contains("Exit codes") && top.contains("synod\\-status"), "{top}");
}
