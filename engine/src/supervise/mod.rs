//! A cluster of node processes on this machine, for `synod dev`, `synod bench` and the end-to-end tests.
//!
//! The child processes run `synod serve --config …` with generated files, in their own process groups. The
//! kernel kills them when this process dies. Everything that can be refused (directory, facts, ports,
//! machine) is refused before a file is written or a process started.

mod child;
mod led;
mod ports;
mod workdir;

pub use child::spawn_bound_to_us;
pub use led::settled;
pub use ports::PortBlock;
pub use workdir::{Maker, Workdir, check as check_workdir, made_by};

use crate::config::{Config, Flags, Secret, settings};
use crate::identity::{self, DataDir, DirState, secret};
use crate::node::{Member, RunError, listeners};
use crate::preflight;
use crate::refusal::{Refusal, list};
use crate::serve;
use crate::sys::Signal;
use child::{Launch, Process, Readiness, describe_exit};
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};
use synod_net::client::Client;
use synod_shard::Leadership;
use synod_types::NodeId;

/// How long a node may take to end after SIGTERM before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(12);

/// Interval between two checks of the leaders.
const LEADERS_INTERVAL: Duration = Duration::from_millis(20);

/// The ports that the nodes listen on, all on 127.0.0.1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ports {
    /// Client ports from this one, one per node; peer ports 10000 above, core ports 20000 above.
    From(u16),
    /// Any free ports.
    Free,
}

/// The description of a cluster.
#[derive(Clone, Debug)]
pub struct ClusterSpec {
    /// The `synod` binary.
    pub binary: PathBuf,
    /// The cluster's name.
    pub name: String,
    /// Number of nodes.
    pub nodes: u16,
    /// Number of cores per node.
    pub cores: u16,
    /// Their ports.
    pub ports: Ports,
    /// CPUs to bind the cores to, node after node; empty to bind none.
    pub cpus: Vec<u32>,
    /// Further settings for every node, by key name (`cluster.groups`), with values as a flag would have
    /// them.
    pub settings: Flags,
    /// Start afresh: delete what the same maker left in the directory.
    pub fresh: bool,
    /// Print the nodes' output lines, each marked with its node.
    pub echo: bool,
    /// Keep the nodes' output lines in `n1.log` …
    pub logs: bool,
}

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    // The nodes stand before the directory: a node must be gone before its data may be deleted.
    nodes: Vec<LaunchedNode>,
    members: Vec<Member>,
    workdir: Workdir,
    /// Leaders are spread over the nodes, so leadership moves after a start.
    spreads_leaders: bool,
    _ports: Option<PortBlock>,
}

#[derive(Debug)]
struct LaunchedNode {
    launch: Launch,
    process: Process,
}

impl Cluster {
    /// Checks everything, then writes the configurations, formats the new directories and starts the nodes.
    /// [`Cluster::wait_ready`] waits until they serve.
    pub fn start(dir: &std::path::Path, maker: Maker, spec: &ClusterSpec) -> Result<Self, RunError> {
        check_workdir(dir, maker)?;
        // The further settings are checked by themselves first, so that an error names the flag and not a
        // file that is not written yet.
        let further = Config::read(None, std::iter::empty(), &spec.settings)?;
        let spreads_leaders = further.leadership() == Leadership::Balance;
        let (members, reserved) = members_of(spec)?;
        let plans = members.iter().map(|own| plan(dir, spec, &members, own));
        let plans = plans.collect::<Result<Vec<_>, _>>().map_err(blame_flags)?;
        // All ports of all nodes together: two nodes could also collide with each other.
        let wanted: Vec<_> =
            members.iter().flat_map(|member| listeners(&members, member.id, LOCALHOST)).collect();
        preflight::ports(&wanted)?;

        let workdir = Workdir::open(dir, maker)?;
        if spec.fresh {
            workdir.clear()?;
        }
        for plan in &plans {
            write_private(&plan.path, plan.text.bytes())
                .map_err(|error| Refusal::io("write", &plan.path, &error))?;
            secret::ensure(&plan.config.peer_secret_file)?;
            if !plan.formatted {
                serve::format(&plan.config)?;
            }
        }
        let mut nodes = Vec::with_capacity(plans.len());
        for (plan, member) in plans.iter().zip(&members) {
            let label = member.id.to_string();
            let log = spec.logs.then(|| dir.join(format!("{label}.log")));
            let config = plan.path.clone();
            let launch = Launch { binary: spec.binary.clone(), config, label, echo: spec.echo, log };
            let process = spawn(&launch)?;
            nodes.push(LaunchedNode { launch, process });
        }
        Ok(Self { nodes, members, workdir, spreads_leaders, _ports: reserved })
    }

    /// Waits until every node has printed that it serves. If a node ends instead, this fails and shows the
    /// node's last lines.
    pub fn wait_ready(&mut self, limit: Duration) -> Result<(), RunError> {
        let deadline = Instant::now() + limit;
        (0..self.nodes.len()).try_for_each(|index| self.wait_ready_until(index, deadline))
    }

    /// [`Cluster::wait_ready`] for one node, after a restart.
    pub fn wait_node_ready(&mut self, index: usize, limit: Duration) -> Result<(), RunError> {
        self.wait_ready_until(index, Instant::now() + limit)
    }

    fn wait_ready_until(&mut self, index: usize, deadline: Instant) -> Result<(), RunError> {
        let label = &self.nodes[index].launch.label;
        let what = match self.nodes[index].process.wait_serving(deadline) {
            Readiness::Serving => return Ok(()),
            Readiness::TimedOut => format!("node {label} did not begin to serve in time"),
            Readiness::Ended => {
                let label = label.clone();
                let status = self.nodes[index].process.wait();
                let how = status.map_or_else(|error| error.to_string(), describe_exit);
                format!("node {label} ended before it served ({how})")
            }
        };
        Err(RunError::Failed(format!("{what}; its last lines:\n{}", self.tail(index))))
    }

    /// How many groups each node leads and serves, in the order of nodes: [`settled`] over all members.
    pub fn leaders(&self) -> Option<Vec<usize>> {
        let mut states = Vec::with_capacity(self.members.len());
        for (member, address) in self.members.iter().zip(self.addresses()) {
            let mut client = Client::connect(&[address.to_string()]).ok()?;
            states.push((member.id, client.status_of(member.id).ok()?.groups));
        }
        settled(&states)
    }

    /// Waits until each group is served and, where leaders are to be spread, until no node leads more than
    /// its share plus one. Returns the result of [`Cluster::leaders`] at that point.
    ///
    /// # Errors
    /// When this takes longer than `limit`, or `stop` returns true.
    pub fn wait_led(&self, limit: Duration, stop: impl Fn() -> bool) -> Result<Vec<usize>, RunError> {
        let deadline = Instant::now() + limit;
        loop {
            let leaders = self.leaders();
            if let Some(leaders) = &leaders
                && (!self.spreads_leaders || is_spread(leaders))
            {
                return Ok(leaders.clone());
            }
            if stop() {
                return Err(RunError::Failed("interrupted".to_owned()));
            }
            if Instant::now() > deadline {
                let seen = leaders.map_or("some group has no leader that serves".to_owned(), |leaders| {
                    format!("groups per node: {leaders:?}")
                });
                let limit = limit.as_secs();
                return Err(RunError::Failed(format!("leaders are not spread after {limit} s: {seen}")));
            }
            std::thread::sleep(LEADERS_INTERVAL);
        }
    }

    /// The number of nodes.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }
    /// Whether there are no nodes; there always are some.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }
    /// The members, in order.
    pub fn members(&self) -> &[Member] {
        &self.members
    }
    /// The shared client ports, in order.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.members.iter().map(|member| SocketAddr::new(LOCALHOST, member.client_port)).collect()
    }
    /// The directory.
    pub fn workdir(&self) -> &Workdir {
        &self.workdir
    }
    /// The data directory of a node.
    pub fn data_dir(&self, index: usize) -> PathBuf {
        self.workdir.path().join(self.members[index].id.to_string())
    }
    /// The configuration file of a node.
    pub fn config_file(&self, index: usize) -> PathBuf {
        self.nodes[index].launch.config.clone()
    }
    /// The process of a node.
    pub fn pid(&self, index: usize) -> u32 {
        self.nodes[index].process.pid()
    }
    /// The exit status of a node that has ended.
    pub fn ended(&mut self, index: usize) -> Option<ExitStatus> {
        self.nodes[index].process.ended()
    }
    /// [`Cluster::ended`] in words.
    pub fn ended_how(&mut self, index: usize) -> Option<String> {
        self.ended(index).map(describe_exit)
    }
    /// A sentence about the first node that has ended, if any.
    pub fn death(&mut self) -> Option<String> {
        (0..self.len()).find_map(|index| {
            let how = self.ended_how(index)?;
            Some(format!("node {} ended during the run ({how})", self.members[index].id))
        })
    }
    /// The last lines of a node, indented.
    pub fn tail(&self, index: usize) -> String {
        let node = &self.nodes[index];
        let lines = node.process.tail();
        lines.iter().fold(String::new(), |text, line| text + &format!("  {} | {line}\n", node.launch.label))
    }
    /// The last lines of every node.
    pub fn tails(&self) -> String {
        (0..self.len()).map(|index| self.tail(index)).collect()
    }

    /// Kills a node (SIGKILL) and waits until it is gone.
    pub fn kill(&mut self, index: usize) -> io::Result<ExitStatus> {
        self.nodes[index].process.signal(Signal::SIGKILL)?;
        self.nodes[index].process.wait()
    }
    /// Asks a node to shut down cleanly (SIGTERM) and waits. Kills the node if it takes too long.
    pub fn terminate(&mut self, index: usize) -> io::Result<ExitStatus> {
        let process = &mut self.nodes[index].process;
        process.signal(Signal::SIGTERM)?;
        if !process.wait_until(Instant::now() + STOP_LIMIT) {
            process.signal(Signal::SIGKILL)?;
        }
        process.wait()
    }
    /// Freezes a node (SIGSTOP).
    pub fn stop(&mut self, index: usize) -> io::Result<()> {
        self.nodes[index].process.signal(Signal::SIGSTOP)
    }
    /// Resumes a frozen node (SIGCONT).
    pub fn cont(&mut self, index: usize) -> io::Result<()> {
        self.nodes[index].process.signal(Signal::SIGCONT)
    }
    /// Starts a node that has ended, with the same configuration.
    pub fn restart(&mut self, index: usize) -> Result<(), RunError> {
        let node = &mut self.nodes[index];
        if node.process.ended().is_none() {
            return Err(RunError::Failed(format!("node {} still runs", node.launch.label)));
        }
        node.process = spawn(&node.launch)?;
        Ok(())
    }

    /// Shuts all nodes down cleanly, at the same time, and returns the directory. A node that does not end in
    /// time is killed. That is a failure, and so is an exit code other than 0. Nodes that had ended before do
    /// not count.
    pub fn shutdown(mut self) -> (Workdir, Result<(), RunError>) {
        let running: Vec<usize> = (0..self.len()).filter(|&index| self.ended(index).is_none()).collect();
        for &index in &running {
            let process = &mut self.nodes[index].process;
            // A frozen node must run to receive SIGTERM. A node that has just ended needs neither signal.
            let _ = process.signal(Signal::SIGTERM);
            let _ = process.signal(Signal::SIGCONT);
        }
        let deadline = Instant::now() + STOP_LIMIT;
        let mut problems = String::new();
        for index in running {
            let label = self.members[index].id;
            let process = &mut self.nodes[index].process;
            if process.wait_until(deadline) {
                match process.wait() {
                    Ok(status) if status.success() => continue,
                    Ok(status) => _ = writeln!(problems, "node {label} ended with {}", describe_exit(status)),
                    Err(error) => _ = writeln!(problems, "node {label} cannot be waited for: {error}"),
                }
            } else {
                _ = writeln!(
                    problems,
                    "node {label} did not end within {} s and was killed",
                    STOP_LIMIT.as_secs()
                );
            }
            problems.push_str(&self.tail(index));
        }
        let Self { nodes, workdir, .. } = self;
        drop(nodes);
        let result = if problems.is_empty() { Ok(()) } else { Err(RunError::Failed(problems)) };
        (workdir, result)
    }
}

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn spawn(launch: &Launch) -> Result<Process, RunError> {
    Process::spawn(launch)
        .map_err(|error| RunError::Failed(format!("cannot start {}: {error}", launch.binary.display())))
}

/// A node's configuration, checked and not yet written.
#[derive(Debug)]
struct NodePlan {
    path: PathBuf,
    /// It may contain a password.
    text: Secret,
    config: Config,
    formatted: bool,
}

fn plan(dir: &Path, spec: &ClusterSpec, members: &[Member], own: &Member) -> Result<NodePlan, Refusal> {
    let path = dir.join(format!("{}.toml", own.id));
    let text = config_text(spec, members, own);
    // No environment: the child processes get none either.
    let config = Config::read(Some((&path, &text)), std::iter::empty(), &Flags::new())?;
    if !spec.fresh || !config.peer_secret_file.starts_with(dir) {
        secret::read(&config.peer_secret_file)?;
    }
    let state = if spec.fresh { DirState::Missing } else { identity::inspect(&config.data_dir)? };
    let formatted = match state {
        DirState::Formatted(found) => {
            config.declared.verify(&config.data_dir, &found)?;
            // Opened briefly, to learn now whether another process has it open.
            drop(DataDir::open(&config.data_dir)?);
            serve::preflight_machine(&config, &found)?;
            true
        }
        DirState::Missing | DirState::Empty => {
            serve::preflight_machine(&config, &serve::new_identity(&config)?)?;
            false
        }
    };
    Ok(NodePlan { path, text: Secret::new(text.into_bytes()), config, formatted })
}

fn members_of(spec: &ClusterSpec) -> Result<(Vec<Member>, Option<PortBlock>), Refusal> {
    if spec.nodes == 0 || spec.cores == 0 {
        return Err(Refusal::Usage(
            "a cluster has at least one node, and a node at least one core".to_owned(),
        ));
    }
    if spec.ports == Ports::From(0) {
        return Err(Refusal::Usage("no node can listen on port 0; name the first client port".to_owned()));
    }
    // Wide enough for any numbers: too large a number is refused instead of overflowing.
    let (nodes, cores) = (u64::from(spec.nodes), u64::from(spec.cores));
    let per_node = 1 + 2 * cores;
    let (base, peer_base, core_base, reserved) = match spec.ports {
        Ports::From(base) => (u64::from(base), u64::from(base) + 10_000, u64::from(base) + 20_000, None),
        Ports::Free => {
            let count = u16::try_from(nodes * per_node)
                .map_err(|_| Refusal::Usage("so many nodes and cores have not enough ports".to_owned()))?;
            let block = PortBlock::reserve(count)?;
            let base = u64::from(block.base());
            (base, base + nodes, base + nodes * (1 + cores), Some(block))
        }
    };
    let port = |number: u64| {
        u16::try_from(number).map_err(|_| {
            Refusal::Usage(format!("port {number} would be needed and does not exist; start lower"))
        })
    };
    let members = (0..nodes).map(|index| {
        Ok(Member {
            // At most 9 nodes are accepted (the configuration checks it), and even 65535 would fit.
            id: NodeId::new(index as u16 + 1),
            host: LOCALHOST.to_string(),
            client_port: port(base + index)?,
            // A cluster client finds a core's own share of the keys at the core's own port. A single core can do
            // without one.
            core_port_base: match port(core_base + index * cores) {
                Err(_) if cores == 1 => 0,
                found => found?,
            },
            peer_port: port(peer_base + index * cores)?,
            cores: spec.cores,
        })
    });
    Ok((members.collect::<Result<_, Refusal>>()?, reserved))
}

fn config_text(spec: &ClusterSpec, members: &[Member], own: &Member) -> String {
    let mut given = spec.settings.clone();
    given.insert(settings::CLUSTER_NAME.row.name, spec.name.clone());
    given.insert(settings::NODE_ID.row.name, own.id.get().to_string());
    given.insert(settings::DATA_DIR.row.name, own.id.to_string());
    // All nodes share one file beside their directories, unless another file is configured. A configured path
    // is relative to the working directory.
    let secret_file = match given.get(settings::PEER_SECRET_FILE.row.name) {
        Some(path) => {
            std::path::absolute(path).map_or_else(|_| path.clone(), |path| path.display().to_string())
        }
        None => secret::SECRET_FILE.to_owned(),
    };
    given.insert(settings::PEER_SECRET_FILE.row.name, secret_file);
    let first = usize::from(own.id.get() - 1) * usize::from(own.cores);
    if let Some(cpus) = spec.cpus.get(first..first + usize::from(own.cores)) {
        given.insert(settings::PINS.row.name, list(cpus));
    }

    let mut text = String::from("# Written by synod at every start; changes are lost.\n");
    let mut open_section = "";
    // The map is ordered by name, so the keys of each section are contiguous.
    for (name, word) in given.iter() {
        let row = settings::find(name).expect("every flag has its row");
        let (section, key) = row.section();
        if section != open_section {
            let _ = write!(text, "\n[{section}]\n");
            open_section = section;
        }
        let _ = writeln!(text, "{key} = {}", row.shape.toml_kind().literal(word));
    }
    for member in members {
        let keys = [
            (&settings::MEMBER_ID.row, member.id.get().to_string()),
            (&settings::MEMBER_HOST.row, member.host.clone()),
            (&settings::MEMBER_CLIENT_PORT.row, member.client_port.to_string()),
            (&settings::MEMBER_CORE_PORT_BASE.row, member.core_port_base.to_string()),
            (&settings::MEMBER_PEER_PORT.row, member.peer_port.to_string()),
            (&settings::MEMBER_CORES.row, member.cores.to_string()),
        ];
        let _ = write!(text, "\n[[{}]]\n", settings::MEMBERS);
        for (row, word) in keys {
            let _ = writeln!(text, "{} = {}", row.key(), row.shape.toml_kind().literal(&word));
        }
    }
    text
}

/// The generated files repeat the command line, so the refusal must blame the flag and not the file.
fn blame_flags(refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::CoresChanged { path, found, wanted, .. } => {
            Refusal::CoresChanged { path, found, wanted, place: "--cores".to_owned() }
        }
        Refusal::MembersChanged { path, found, wanted, .. } => {
            Refusal::MembersChanged { path, found, wanted, place: "--nodes".to_owned() }
        }
        Refusal::FactChanged { path, name, found, wanted, .. } => {
            Refusal::FactChanged { path, name, found, wanted, place: "--set".to_owned() }
        }
        Refusal::PinsChanged { path, found, wanted, .. } => {
            Refusal::PinsChanged { path, found, wanted, place: "--set".to_owned() }
        }
        other => other,
    }
}

/// Writes a file that may hold a password, readable by this user only.
fn write_private(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    // `mode` applies to a new file only: a file that already existed would keep its old mode.
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    file.write_all(text)
}

/// Whether no node leads more than its share of the groups plus one.
fn is_spread(leaders: &[usize]) -> bool {
    let share = leaders.iter().sum::<usize>().div_ceil(leaders.len().max(1));
    leaders.iter().all(|&count| count <= share + 1)
}

#[cfg(test)]
mod tests;
