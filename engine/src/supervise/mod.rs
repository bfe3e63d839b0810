//! A cluster of node processes on this machine: for `synod dev`, `synod bench` and the end-to-end tests.
//!
//! Children run `synod serve --config …` with generated files, in their own process groups, tied to this process by the
//! kernel. Everything that can be refused (directory, facts, ports, machine) is refused before a file is written or a process
//! started.

mod child;
mod ports;
mod workdir;

pub use child::spawn_bound_to_us;
pub use ports::PortBlock;
pub use workdir::{Maker, Workdir, check as check_workdir, made_by};

use crate::config::{Config, Flags, Leadership, RawConfig, Secret, keys};
use crate::identity::{self, DataDir, DirState, secret};
use crate::node::{Member, RunError, listeners};
use crate::preflight;
use crate::refusal::{Refusal, list};
use crate::serve;
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
use synod_types::NodeId;

/// How long a node may take to end after SIGTERM before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// Between two looks at who leads.
const LEADERS_INTERVAL: Duration = Duration::from_millis(20);

/// Where the nodes listen, all on 127.0.0.1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ports {
    /// Client ports from here, one per node; peer ports 10000 above, core ports 20000 above.
    From(u16),
    /// Whatever is free.
    Free,
}

/// What cluster is wanted.
#[derive(Clone, Debug)]
pub struct ClusterSpec {
    /// The `synod` binary.
    pub binary: PathBuf,
    /// The cluster's name.
    pub name: String,
    /// Number of nodes.
    pub nodes: u16,
    /// Cores of each.
    pub cores: u16,
    /// Their ports.
    pub ports: Ports,
    /// CPUs to bind the cores to, node after node; empty to bind none.
    pub cpus: Vec<u32>,
    /// Further settings for every node, by key name (`cluster.groups`), as a flag would have them.
    pub settings: Flags,
    /// Begin anew: delete what the same maker left in the directory.
    pub fresh: bool,
    /// Print the nodes' lines, each with its node.
    pub echo: bool,
    /// Keep the nodes' lines in `n1.log` …
    pub logs: bool,
}

/// The cluster, running.
#[derive(Debug)]
pub struct Cluster {
    // Nodes before the directory: a node must be gone before its data may be deleted.
    nodes: Vec<Node>,
    members: Vec<Member>,
    workdir: Workdir,
    /// Leaders are spread over the nodes, so they move after a start.
    spreads_leaders: bool,
    _ports: Option<PortBlock>,
}

#[derive(Debug)]
struct Node {
    launch: Launch,
    process: Process,
}

impl Cluster {
    /// Checks everything, then writes the configurations, formats what is new, and starts the nodes. They serve when
    /// [`Cluster::wait_ready`] says so.
    pub fn start(dir: &std::path::Path, maker: Maker, spec: &ClusterSpec) -> Result<Self, RunError> {
        check_workdir(dir, maker)?;
        // The further settings by themselves first, so that a complaint names the flag and not a file nobody wrote.
        let settings = Config::from_raw(None, RawConfig::gather(None, std::iter::empty(), &spec.settings)?)?;
        let spreads_leaders = settings.leadership() == Leadership::Balance;
        let (members, reserved) = members_of(spec)?;
        let plans = members.iter().map(|own| plan(dir, spec, &members, own));
        let plans = plans.collect::<Result<Vec<_>, _>>().map_err(blame_flags)?;
        // All ports of all nodes at once: two of them could collide with each other, too.
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
            nodes.push(Node { launch, process });
        }
        Ok(Self { nodes, members, workdir, spreads_leaders, _ports: reserved })
    }

    /// Waits until every node has said that it serves. A node that ends instead is a failure, with its last lines.
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

    /// How many groups each node leads and serves, in the order of nodes; nothing unless each group is served by one.
    pub fn leaders(&self) -> Option<Vec<usize>> {
        let mut leaders = Vec::with_capacity(self.members.len());
        let mut all = 0;
        for (member, address) in self.members.iter().zip(self.addresses()) {
            let mut client = Client::connect(&[address.to_string()]).ok()?;
            let groups = client.status_of(member.id).ok()?.groups;
            all = groups.len();
            leaders.push(groups.iter().filter(|group| group.serving).count());
        }
        (leaders.iter().sum::<usize>() == all).then_some(leaders)
    }

    /// Waits until each group is served, and leaders are spread where they are to be: no node leads more than its share plus one.
    /// Returns what [`Cluster::leaders`] says then.
    ///
    /// # Errors
    /// When it has not come to that within `limit`, or the caller had enough of it.
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

    /// How many nodes.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }
    /// Whether there are none; there always are some.
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
    /// How a node ended, if it has.
    pub fn ended(&mut self, index: usize) -> Option<ExitStatus> {
        self.nodes[index].process.ended()
    }
    /// [`Cluster::ended`] in words.
    pub fn ended_how(&mut self, index: usize) -> Option<String> {
        self.ended(index).map(describe_exit)
    }
    /// A sentence about the first node that has ended, if one has.
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
        self.nodes[index].process.signal(libc::SIGKILL)?;
        self.nodes[index].process.wait()
    }
    /// Asks a node to end in good order (SIGTERM) and waits; kills it when it takes too long.
    pub fn terminate(&mut self, index: usize) -> io::Result<ExitStatus> {
        let process = &mut self.nodes[index].process;
        process.signal(libc::SIGTERM)?;
        if !process.wait_until(Instant::now() + STOP_LIMIT) {
            process.signal(libc::SIGKILL)?;
        }
        process.wait()
    }
    /// Freezes a node (SIGSTOP).
    pub fn stop(&mut self, index: usize) -> io::Result<()> {
        self.nodes[index].process.signal(libc::SIGSTOP)
    }
    /// Lets a frozen node go on (SIGCONT).
    pub fn cont(&mut self, index: usize) -> io::Result<()> {
        self.nodes[index].process.signal(libc::SIGCONT)
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

    /// Ends all nodes in good order, at the same time; gives the directory back. A node that does not end in time is killed,
    /// and that, like an exit code other than 0, is a failure. Nodes that had ended before do not count.
    pub fn shutdown(mut self) -> (Workdir, Result<(), RunError>) {
        let running: Vec<usize> = (0..self.len()).filter(|&index| self.ended(index).is_none()).collect();
        for &index in &running {
            let process = &mut self.nodes[index].process;
            // A frozen node must run to hear of it. A node that has just ended needs neither.
            let _ = process.signal(libc::SIGTERM);
            let _ = process.signal(libc::SIGCONT);
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
struct Plan {
    path: PathBuf,
    /// A password may be in it.
    text: Secret,
    config: Config,
    formatted: bool,
}

fn plan(dir: &Path, spec: &ClusterSpec, members: &[Member], own: &Member) -> Result<Plan, Refusal> {
    let path = dir.join(format!("{}.toml", own.id));
    let text = config_text(spec, members, own);
    // No environment: the children get none either.
    let raw = RawConfig::gather(Some((&path, &text)), std::iter::empty(), &Flags::new())?;
    let config = Config::from_raw(Some(&path), raw)?;
    if !spec.fresh || !config.peer_secret_file.starts_with(dir) {
        secret::read(&config.peer_secret_file)?;
    }
    let state = if spec.fresh { DirState::Missing } else { identity::inspect(&config.data_dir)? };
    let formatted = match state {
        DirState::Formatted(found) => {
            config.claims.verify(&config.data_dir, &found)?;
            // Opened for a moment, to learn now whether somebody has it open.
            drop(DataDir::open(&config.data_dir)?);
            serve::preflight_machine(&config, &found)?;
            true
        }
        DirState::Missing | DirState::Empty => {
            serve::preflight_machine(&config, &serve::new_identity(&config)?)?;
            false
        }
    };
    Ok(Plan { path, text: Secret::new(text.into_bytes()), config, formatted })
}

fn members_of(spec: &ClusterSpec) -> Result<(Vec<Member>, Option<PortBlock>), Refusal> {
    if spec.nodes == 0 || spec.cores == 0 {
        return Err(Refusal::Usage(
            "a cluster has at least one node, and a node at least one core".to_owned(),
        ));
    }
    if spec.ports == Ports::From(0) {
        return Err(Refusal::Usage("nobody can listen on port 0; name the first client port".to_owned()));
    }
    // Wide enough for any numbers: what is too much is refused, and not what an overflow makes of it.
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
            // At most 9 nodes are accepted (the configuration checks it), and 65535 of them would still fit.
            id: NodeId::new(index as u16 + 1),
            host: LOCALHOST.to_string(),
            client_port: port(base + index)?,
            // A core alone is reached at the shared port.
            core_port_base: if cores > 1 { port(core_base + index * cores)? } else { 0 },
            peer_port: port(peer_base + index * cores)?,
            cores: spec.cores,
        })
    });
    Ok((members.collect::<Result<_, Refusal>>()?, reserved))
}

fn config_text(spec: &ClusterSpec, members: &[Member], own: &Member) -> String {
    let mut settings = spec.settings.clone();
    settings.insert(keys::CLUSTER_NAME.name, spec.name.clone());
    settings.insert(keys::NODE_ID.name, own.id.get().to_string());
    settings.insert(keys::DATA_DIR.name, own.id.to_string());
    // One file for all of them, beside their directories, unless another is wanted: that is meant from where the person stands.
    let secret_file = match settings.get(keys::PEER_SECRET_FILE.name) {
        Some(given) => {
            std::path::absolute(given).map_or_else(|_| given.clone(), |path| path.display().to_string())
        }
        None => secret::SECRET_FILE.to_owned(),
    };
    settings.insert(keys::PEER_SECRET_FILE.name, secret_file);
    let first = usize::from(own.id.get() - 1) * usize::from(own.cores);
    if let Some(cpus) = spec.cpus.get(first..first + usize::from(own.cores)) {
        settings.insert(keys::PINS.name, list(cpus));
    }

    let mut text = String::from("# Written by synod at every start; changes are lost.\n");
    let mut open_section = "";
    // The map is ordered by name, so each section comes in one piece.
    for (name, value) in settings.iter() {
        let (section, key) = name.split_once('.').unwrap_or(("", name));
        if section != open_section {
            let _ = write!(text, "\n[{section}]\n");
            open_section = section;
        }
        let _ = writeln!(text, "{key} = {}", toml_literal(name, value));
    }
    for member in members {
        let _ = write!(
            text,
            "\n[[members]]\nid = {}\nhost = \"{}\"\nclient_port = {}\ncore_port_base = {}\npeer_port = {}\ncores = {}\n",
            member.id.get(),
            member.host,
            member.client_port,
            member.core_port_base,
            member.peer_port,
            member.cores
        );
    }
    text
}

/// The generated files say what the command line said, so it is the command line that is at odds with the directory.
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

/// Writes a file that may hold a password, for this user alone.
fn write_private(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    // One that was there already has the rights that it had.
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    file.write_all(text)
}

/// A setting as a flag has it, as a file has it.
fn toml_literal(name: &str, value: &str) -> String {
    use keys::{CLUSTER_ID, CLUSTER_NAME, DATA_DIR, DURABILITY, HASH, LEADERSHIP, LISTEN, PINS, REDIRECT};
    use keys::{PASSWORD, PASSWORD_OLD, PEER_SECRET_FILE, PROTECTED_MODE};
    let texts = [&CLUSTER_ID, &CLUSTER_NAME, &DATA_DIR, &DURABILITY, &HASH, &LEADERSHIP, &LISTEN, &REDIRECT];
    let texts = texts.into_iter().chain([&PASSWORD, &PASSWORD_OLD, &PEER_SECRET_FILE, &PROTECTED_MODE]);
    let is_text = texts.map(|key| key.name).any(|text| text == name);
    match () {
        () if is_text || value == "none" => toml::Value::String(value.to_owned()).to_string(),
        () if name == PINS.name => format!("[{value}]"),
        () => value.to_owned(),
    }
}

/// Whether no node leads more than its share of the groups plus one.
fn is_spread(leaders: &[usize]) -> bool {
    let share = leaders.iter().sum::<usize>().div_ceil(leaders.len().max(1));
    leaders.iter().all(|&count| count <= share + 1)
}

#[cfg(test)]
mod tests;
