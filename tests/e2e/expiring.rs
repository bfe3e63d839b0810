//! How late keys can still be read after their expiry while crowds of other keys expire (rule P-16b), and
//! that expired keys do not stay in memory. The test prints its measurements; its assertions leave room for
//! slow machines and debug builds.

use crate::cluster::Nodes;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The documented bound is a tick and the time to choose two slots.
const LATE_MAX: Duration = Duration::from_secs(1);

fn wall_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(now.as_millis()).expect("before the sun goes out")
}

/// A client that pipelines.
struct Resp(BufReader<TcpStream>);

impl Resp {
    fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).expect("the node takes clients");
        stream.set_nodelay(true).expect("a flag can be set");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout can be set");
        Self(BufReader::new(stream))
    }
    fn send(&mut self, commands: &str) {
        self.0.get_mut().write_all(commands.as_bytes()).expect("sent");
    }
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("an answer");
        line.trim_end().to_owned()
    }
    fn ask(&mut self, command: &str) -> String {
        self.send(&format!("{command}\r\n"));
        self.line()
    }
    fn is_there(&mut self, key: &str) -> bool {
        match self.ask(&format!("GET {key}")).as_str() {
            "$-1" | "_" => false,
            "$1" => {
                let mut value = [0; 3];
                self.0.read_exact(&mut value).expect("the value");
                true
            }
            other => panic!("{other}"),
        }
    }
    fn keys(&mut self) -> u64 {
        self.ask("DBSIZE").strip_prefix(':').expect("a number").parse().expect("a number")
    }
    /// Writes keys of one group, again if a machine that is too busy changed leaders; `expiry` as in SET.
    fn write_crowd(&mut self, name: &str, count: usize, expiry: &str) {
        let mut left: Vec<usize> = (0..count).collect();
        let mut again = 0;
        while !left.is_empty() {
            let part: Vec<usize> = left.drain(..left.len().min(500)).collect();
            let commands: String =
                part.iter().map(|number| format!("SET {{g}}{name}:{number} v {expiry}\r\n")).collect();
            self.send(&commands);
            for number in part {
                let reply = self.line();
                if reply != "+OK" {
                    assert!(again < count, "{reply}");
                    again += 1;
                    left.push(number);
                }
            }
        }
    }
    /// How long after its expiry the key was last found.
    fn watch(&mut self, key: &str, due: u64) -> Duration {
        let mut last_read = None;
        while wall_ms() < due + 20 || last_read.is_some_and(|read| read + 20 > wall_ms()) {
            let asked = wall_ms();
            if self.is_there(key) {
                last_read = Some(asked);
                assert!(asked < due + 60_000, "{key} does not expire");
            } else {
                // The leader's clock runs on from where the wall's was, in whole milliseconds.
                assert!(wall_ms() + 5 >= due, "{key} is gone {} ms too early", due - wall_ms());
            }
        }
        Duration::from_millis(last_read.map_or(0, |read| read.saturating_sub(due)))
    }
    fn wait_for_keys(&mut self, at_most: u64) -> Duration {
        let started = Instant::now();
        while self.keys() > at_most {
            assert!(started.elapsed() < Duration::from_secs(30), "{} keys are still there", self.keys());
            std::thread::sleep(Duration::from_millis(5));
        }
        started.elapsed()
    }
}

fn wait_until(wall: u64) {
    std::thread::sleep(Duration::from_millis(wall.saturating_sub(wall_ms())));
}

#[test]
fn no_key_is_read_late_while_a_crowd_expires() {
    const CROWD: usize = 100_000;
    let mut nodes = Nodes::start("expiring");
    nodes.wait_led();
    let mut client = Resp::connect(&nodes.targets()[0]);
    client.write_crowd("dry", CROWD, "PX 1000"); // a dry run; the next is timed
    let started = Instant::now();
    client.write_crowd("wet", CROWD, "PX 1000");
    let takes = u64::try_from(started.elapsed().as_millis()).expect("seconds");
    let due = wall_ms() + 2 * takes + 1_000;
    client.write_crowd("crowd", CROWD, &format!("PXAT {due}"));
    client.write_crowd("late", 1, &format!("PXAT {}", due + 500));
    let late = [client.watch("{g}crowd:77", due), client.watch("{g}late:0", due + 500)];
    let swept = client.wait_for_keys(0);
    println!(
        "{CROWD} keys expire together: one of them read {late:?} late with another of 0.5 s later; all swept \
         {swept:?} after that"
    );
    assert!(late.iter().all(|&late| late < LATE_MAX), "{late:?}");

    // The number of live keys does not grow, however long the stream goes on.
    let (started, mut rounds, mut most) = (Instant::now(), 0_u64, 0);
    while started.elapsed() < Duration::from_secs(8) {
        client.write_crowd(&format!("stream:{rounds}"), 500, "PX 200");
        rounds += 1;
        most = most.max(client.keys());
    }
    let written = 500 * rounds;
    println!("{written} keys of 200 ms each in {:?}: at most {most} at a time", started.elapsed());
    assert!(most < written / 4, "{most} of {written}");
}

#[test]
fn no_key_is_read_late_after_a_restart_with_a_crowd_that_has_expired() {
    const CROWD: usize = 250_000;
    let mut nodes = Nodes::start("expired");
    nodes.wait_led();
    let mut client = Resp::connect(&nodes.targets()[0]);
    client.write_crowd("early", CROWD / 2, "PX 100");
    let due = wall_ms() + 5_000;
    client.write_crowd("crowd", CROWD / 2, &format!("PXAT {due}"));
    for index in 0..3 {
        nodes.get().kill(index).expect("killed");
    }
    wait_until(due);
    for index in 0..3 {
        nodes.get().restart(index).expect("restarted");
    }
    nodes.get().wait_ready(Duration::from_secs(60)).expect("serve again");
    nodes.wait_led();
    let mut client = Resp::connect(&nodes.targets()[0]);
    let found = client.keys();
    let due = wall_ms() + 300;
    client.write_crowd("late", 1, "PX 300");
    let late = client.watch("{g}late:0", due);
    let swept = client.wait_for_keys(0);
    println!(
        "restart with {CROWD} expired keys: {found} in memory at first, one of 300 ms read {late:?} late, all \
         swept {swept:?} after that"
    );
    assert!(late < LATE_MAX, "{late:?}");
}
