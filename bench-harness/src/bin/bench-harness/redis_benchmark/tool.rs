//! One run of the tool, and its output.

use serde::{Deserialize, Serialize};
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use synod::node::RunError;
use synod::stop::Stop;
use synod::supervise::spawn_bound_to_us;

/// How often to check whether the tool has ended.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// One of the tool's tests.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Test {
    /// SET of random keys.
    Set,
    /// GET of random keys.
    Get,
}

impl Test {
    /// The test's name in the tool's output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Set => "SET",
            Self::Get => "GET",
        }
    }
}

/// The tool's figures for one test.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct ToolFigures {
    /// Requests per second.
    pub rps: f64,
    /// Median latency.
    pub p50_latency_ms: f64,
    /// 99th percentile.
    pub p99_latency_ms: f64,
}

/// One run.
pub struct Run<'a> {
    /// The tool.
    pub program: &'a Path,
    /// `host:port`.
    pub target: &'a str,
    /// Whether the tool spreads its load over every master.
    pub cluster: bool,
    /// The test.
    pub test: Test,
    /// Requests per pipeline.
    pub depth: u32,
    /// Connections.
    pub clients: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Keys are drawn from this many; in cluster mode, from this many for each master.
    pub key_space: u32,
    /// Requests in total.
    pub requests: u32,
    /// A run that takes longer has failed.
    pub limit: Duration,
}

impl Run<'_> {
    /// Runs the tool to its end.
    ///
    /// # Errors
    /// [`RunError`] when the tool fails, takes too long or is interrupted, or when `trouble` reports
    /// something.
    pub fn perform(
        &self,
        stop: &Stop,
        mut trouble: impl FnMut() -> Option<String>,
    ) -> Result<ToolFigures, RunError> {
        let failed = |why: String| RunError::Failed(format!("redis-benchmark: {why}"));
        let child = spawn_bound_to_us(self.command()).map_err(|error| failed(error.to_string()))?;
        let mut child = Running(child);
        let (out, errors) = (read_all(child.0.stdout.take()), read_all(child.0.stderr.take()));
        let deadline = Instant::now() + self.limit;
        let status = loop {
            if let Some(status) = child.0.try_wait().map_err(|error| failed(error.to_string()))? {
                break status;
            }
            if stop.wait(LOOK_INTERVAL) {
                return Err(RunError::Failed("interrupted".to_owned()));
            }
            if let Some(what) = trouble() {
                return Err(RunError::Failed(what));
            }
            if Instant::now() > deadline {
                return Err(failed(format!("did not end within {} s", self.limit.as_secs())));
            }
        };
        // The pipes end with the process.
        let (out, errors) = (out.join().unwrap_or_default(), errors.join().unwrap_or_default());
        if !status.success() {
            return Err(failed(format!("{status}: {} {}", out.trim(), errors.trim())));
        }
        parse(&out, self.test).map_err(|why| failed(format!("{why}: {} {}", out.trim(), errors.trim())))
    }

    fn command(&self) -> Command {
        let (host, port) = self.target.rsplit_once(':').unwrap_or((self.target, ""));
        let number = |number: u32| number.to_string();
        let mut command = Command::new(self.program);
        command
            .args(["-h", host, "-p", port, "--csv", "-t", &self.test.name().to_lowercase()])
            .args(["-d", &number(self.value_size), "-r", &number(self.key_space)])
            .args(["-c", &number(self.clients), "-P", &number(self.depth), "-n", &number(self.requests)])
            .args(self.cluster.then_some("--cluster"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        command
    }
}

/// A child process that is killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already if all went well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn read_all(stream: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            // The bytes read before an error are worth showing.
            let _ = stream.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// The figures of `test` in the output of `--csv`. In cluster mode there are lines about the masters around
/// them.
fn parse(text: &str, test: Test) -> Result<ToolFigures, &'static str> {
    #[derive(Deserialize)]
    struct Row {
        test: String,
        rps: f64,
        p50_latency_ms: f64,
        p99_latency_ms: f64,
    }
    let lines: Vec<&str> =
        text.split(['\n', '\r']).map(str::trim).filter(|line| line.starts_with('"')).collect();
    let table = lines.join("\n");
    let mut rows = csv::Reader::from_reader(table.as_bytes());
    let row = rows.deserialize::<Row>().filter_map(Result::ok).find(|row| row.test == test.name());
    let Row { rps, p50_latency_ms, p99_latency_ms, .. } = row.ok_or("it printed no figures")?;
    Ok(ToolFigures { rps, p50_latency_ms, p99_latency_ms })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADING: &str = concat!(
        r#""test","rps","avg_latency_ms","min_latency_ms","#,
        r#""p50_latency_ms","p95_latency_ms","p99_latency_ms","max_latency_ms""#
    );

    #[test]
    fn figures_are_read_from_what_the_tool_prints() {
        let text = format!(
            "{HEADING}\n\"SET\",\"54945.05\",\"0.463\",\"0.200\",\"0.455\",\"0.600\",\"0.751\",\"1.2\"\n"
        );
        let figures = parse(&text, Test::Set).expect("figures");
        assert_eq!(figures, ToolFigures { rps: 54_945.05, p50_latency_ms: 0.455, p99_latency_ms: 0.751 });
        assert!(parse(&text, Test::Get).is_err(), "of another test");
        let among_others = format!("Cluster has 3 master nodes:\n\nMaster 0: a 127.0.0.1:1\n{text}\nbye");
        assert_eq!(parse(&among_others, Test::Set), Ok(figures));
    }

    #[test]
    fn what_is_no_figure_is_refused() {
        for text in ["", "Could not connect", HEADING, &format!("{HEADING}\n\"SET\",\"many\",\"1\"\n")] {
            assert!(parse(text, Test::Set).is_err(), "{text}");
        }
    }
}
