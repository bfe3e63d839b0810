//! The examples under the help of each command.

use crate::exit::Exit;

/// Under `synod --help`: a first walk, and the exit codes.
pub fn of_synod() -> String {
    format!(
        "A first walk:\n  synod dev                          three nodes on this machine, data in ./synod-data\n  \
         synod set greeting hello           in another terminal\n  \
         synod get greeting\n  \
         synod status\n\n{}",
        Exit::table()
    )
}

/// Under `synod format --help`.
pub const FORMAT: &str = "Examples:
  synod format --config n1.toml
  synod format --cluster demo --data-dir /var/lib/synod --cores 4 --pins 0,1,2,3";
/// Under `synod serve --help`.
pub const SERVE: &str = "Examples:
  synod serve
  synod serve --config n1.toml --cache-mib 512
  SYNOD_SECURITY_PASSWORD=… synod serve --config n1.toml --listen 0.0.0.0";
/// Under `synod dev --help`.
pub const DEV: &str = "Examples:
  synod dev
  synod dev --nodes 5 --base-port 7000 --dir try --set cluster.groups=32";
/// Under `synod bench --help`.
pub const BENCH: &str = "Examples:
  synod bench
  synod bench --rate 5000 --duration 30s --value-size 512 --json report.json
  synod bench --find-max --slo p99=10ms
  synod bench --target 10.0.0.1:6379 --read-share 0.9";
/// Under `synod get --help`.
pub const GET: &str = "Examples:
  synod get greeting
  synod get greeting --consistency quorum --target 10.0.0.1:6379,10.0.0.2:6379
  synod get greeting || test $? = 3 && echo 'there is no such key'";
/// Under `synod set --help`.
pub const SET: &str = "Examples:
  synod set greeting hello
  synod set lock \"$HOSTNAME\" --nx --ex 30
  synod set photo < photo.jpg";
/// Under `synod del --help`.
pub const DEL: &str = "Examples:
  synod del greeting lock";
/// Under `synod status --help`.
pub const STATUS: &str = "Examples:
  synod status
  synod status --json | jq '.groups[] | select(.led | not)'
  synod status --check --timeout 2s || page somebody";
/// Under `synod config keys --help`.
pub const CONFIG_KEYS: &str = "Examples:
  synod config keys | grep timing";
/// Under `synod config explain --help`.
pub const CONFIG_EXPLAIN: &str = "Examples:
  synod config explain --config n1.toml
  synod config explain --config n1.toml --cache-mib 512 --json";
/// Under `synod secret show --help`.
pub const SECRET_SHOW: &str = "Examples:
  synod secret show --config n1.toml";
/// Under `synod secret rotate --help`.
pub const SECRET_ROTATE: &str = "Examples:
  synod secret rotate --config n1.toml > new
  synod secret rotate --config n2.toml --from new";
/// Under `synod secret retire --help`.
pub const SECRET_RETIRE: &str = "Examples:
  synod secret retire --config n1.toml";
/// Under `synod completions --help`.
pub const COMPLETIONS: &str = "Examples:
  synod completions bash > ~/.local/share/bash-completion/completions/synod
  synod completions zsh > ~/.zfunc/_synod
  synod completions fish > ~/.config/fish/completions/synod.fish";
/// Under `synod man --help`.
pub const MAN: &str = "Examples:
  synod man | man -l -
  synod man config explain | man -l -
  synod man --dir ~/.local/share/man/man1";
