//! Three nodes as processes: started, addressed and cleaned up.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use synod::config::Flags;
use synod::supervise::{Cluster, ClusterSpec, Maker, Ports, settled};
use synod_net::access::Secret;
use synod_net::client::{Client, ClientConfig, TcpDial};
use synod_types::NodeId;

/// One test at a time: a cluster, its load and its faults take the whole machine.
static ALONE: Mutex<()> = Mutex::new(());

/// A running cluster; it is shut down when dropped.
pub struct Nodes {
    pub cluster: Option<Cluster>,
    dir: PathBuf,
    password: Option<String>,
    _alone: MutexGuard<'static, ()>,
}

/// Polls until `done`; the awaited event has no signal of its own.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < Duration::from_secs(30), "not within 30 s: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The `synod` binary of this build.
pub fn binary() -> PathBuf {
    let mut dir = std::env::current_exe().expect("a test has a path");
    dir.pop(); // deps/
    if dir.ends_with("deps") {
        dir.pop();
    }
    let binary = dir.join("synod");
    // `cargo test --workspace` builds it; a run of this test alone may not have built it.
    static FRESH: OnceLock<()> = OnceLock::new();
    FRESH.get_or_init(|| {
        if is_fresh(&binary) {
            return;
        }
        let mut build = std::process::Command::new(env!("CARGO"));
        build.args(["build", "--package", "synod", "--bin", "synod", "--target-dir"]).arg(dir.join(".."));
        if dir.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().expect("cargo runs").success(), "the synod binary does not build");
    });
    binary
}

/// Whether the binary exists and none of the sources it could be made from is newer.
fn is_fresh(binary: &Path) -> bool {
    fn newest(dir: &Path) -> Option<SystemTime> {
        let entries = std::fs::read_dir(dir).ok()?.filter_map(Result::ok);
        entries
            .filter_map(|entry| {
                let (path, name) = (entry.path(), entry.file_name());
                if path.is_dir() {
                    return (name != "tests" && name != "benches" && name != "target")
                        .then(|| newest(&path))?;
                }
                path.extension()
                    .is_some_and(|extension| extension == "rs")
                    .then(|| entry.metadata().ok()?.modified().ok())?
            })
            .max()
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let sources =
        ["engine", "loadgen", "net", "wal"].iter().filter_map(|room| newest(&workspace.join(room))).max();
    let built = binary.metadata().and_then(|metadata| metadata.modified()).ok();
    built.is_some() && built > sources
}

fn build_dir() -> PathBuf {
    binary().parent().expect("the binary lies in a directory").to_owned()
}

impl Nodes {
    /// Three nodes of one core each.
    pub fn start(name: &str) -> Self {
        Self::with_cores(name, 1)
    }

    /// Three nodes of `cores` cores each.
    pub fn with_cores(name: &str, cores: u16) -> Self {
        Self::with(name, cores, &[])
    }

    /// The same with further settings, by key name.
    pub fn with(name: &str, cores: u16, settings: &[(&'static str, &str)]) -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = build_dir().join(format!("e2e-{name}-{}", std::process::id()));
        let spec = ClusterSpec {
            binary: binary(),
            name: format!("e2e-{name}"),
            nodes: 3,
            cores,
            ports: Ports::Free,
            cpus: Vec::new(),
            settings: settings.iter().map(|(key, value)| (*key, (*value).to_owned())).collect::<Flags>(),
            fresh: true,
            echo: false,
            logs: true,
        };
        let mut cluster = Cluster::start(&dir, Maker::Test, &spec).expect("the cluster starts");
        cluster.wait_ready(Duration::from_secs(60)).expect("the cluster serves");
        let password = settings.iter().find(|(key, _)| *key == "security.password");
        let password = password.map(|(_, password)| (*password).to_owned());
        let mut nodes = Self { cluster: Some(cluster), dir, password, _alone: alone };
        // Writes proposed while leaders displace one another may end as unknown.
        nodes.wait_led();
        nodes
    }

    pub fn get(&mut self) -> &mut Cluster {
        self.cluster.as_mut().expect("held until drop")
    }

    /// `host:port` of every node.
    pub fn targets(&mut self) -> Vec<String> {
        self.get().addresses().iter().map(ToString::to_string).collect()
    }

    pub fn node(&mut self, index: usize) -> NodeId {
        self.get().members()[index].id
    }

    /// Waits until the nodes that answer agree on a leader, which serves, for every data group.
    pub fn wait_led(&mut self) {
        let targets = self.targets();
        let nodes: Vec<_> = (0..targets.len()).map(|index| self.node(index)).collect();
        let password = self.password.as_ref().map(|password| Secret::new(password.clone().into_bytes()));
        until("every group has a leader on which the nodes agree", || {
            let password = password.clone();
            let config = ClientConfig { password, ..ClientConfig::default() };
            let Ok(mut client) = Client::connect_with(&targets, config, Box::new(TcpDial)) else {
                return false;
            };
            let states: Vec<_> =
                nodes.iter().filter_map(|&node| Some((node, client.status_of(node).ok()?.groups))).collect();
            settled(&states).is_some()
        });
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        if let Some(mut cluster) = self.cluster.take() {
            if std::thread::panicking() {
                eprintln!("{}", cluster.tails());
                for index in 0..cluster.len() {
                    // A stopped process would not handle the signal that ends it.
                    let _ = cluster.cont(index);
                }
            }
            let (workdir, result) = cluster.shutdown();
            if let Err(error) = workdir.remove() {
                eprintln!("left behind: {}: {error}", self.dir.display());
            }
            if !std::thread::panicking() {
                result.expect("every node that still runs ends in good order");
            }
        }
    }
}
