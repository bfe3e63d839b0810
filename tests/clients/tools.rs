//! Helpers for the tests of command line tools.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Whether `tool`, of the system's `package`, is missing; if so, reports it.
pub fn missing(tool: &str, package: &str) -> bool {
    let found = Command::new(tool).arg("--version").output().is_ok();
    if !found {
        synod_tests::not_checked(&format!("{tool} is not installed here (package {package})"));
    }
    !found
}

/// The port of `host:port`.
pub fn port(target: &str) -> &str {
    target.rsplit(':').next().expect("host:port")
}

/// redis-cli at `target`, without input.
pub fn cli(target: &str) -> Command {
    let mut command = Command::new("redis-cli");
    command.args(["-p", port(target)]).stdin(Stdio::null());
    command
}

/// The output of a tool that must succeed.
pub fn output(command: &mut Command) -> String {
    let output = command.output().expect("runs");
    let text = String::from_utf8_lossy(&output.stdout).replace('\r', "\n");
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// Waits until the node at `target` knows a leader of every group.
pub fn wait_led_at(target: &str) {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let info = output(cli(target).args(["cluster", "info"]));
        if info.contains("cluster_state:ok") {
            return;
        }
        assert!(Instant::now() < until, "some group has no leader: {info}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
