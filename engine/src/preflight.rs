//! Checks of the machine before anything is touched: io_uring, lockable memory, free ports, CPUs. Also the
//! description of the machine for reports.
//!
//! Nothing here leaves a trace, except that soft limits of this process are raised to its hard limits.

use crate::identity::Pins;
use crate::node::Listener;
use crate::refusal::{Refusal, list};
use crate::sys::{self, Resource};
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

/// The least locked memory that glommio's reactor needs for its three rings; below it nothing starts. Buffer
/// registration needs more; glommio does without it if it does not get that much.
pub const MEMLOCK_BYTES_MIN: u64 = 512 << 10;

/// Checks the kernel's io_uring, the limits and the CPUs, for a node that pins its cores to `pins`
/// (configured at `place`).
pub fn machine(pins: &Pins, place: &str) -> Result<(), Refusal> {
    uring()?;
    memlock()?;
    sys::raise_to_hard(Resource::RLIMIT_NOFILE);
    cpus(pins, place)
}

/// Checks that this process may run on the CPUs of `pins` (configured at `place`).
pub fn cpus(pins: &Pins, place: &str) -> Result<(), Refusal> {
    let allowed = allowed_cpus();
    match pins.cpus().iter().find(|cpu| !allowed.contains(cpu)) {
        Some(&cpu) => Err(Refusal::NoSuchCpu { place: place.to_owned(), cpu, allowed: list(allowed) }),
        None => Ok(()),
    }
}

/// Checks that the kernel gives us a ring.
pub fn uring() -> Result<(), Refusal> {
    let Err(error) = sys::try_io_uring() else { return Ok(()) };
    let hint = match error.raw_os_error() {
        Some(libc::ENOSYS) => {
            "use Linux 5.8 or later, built with io_uring, and in a container a seccomp profile that lets it through"
        }
        Some(libc::EPERM | libc::EACCES) => {
            "set kernel.io_uring_disabled to 0 (sysctl), and in a container use a seccomp profile that lets it through"
        }
        Some(libc::ENOMEM) => "raise the limit on locked memory (ulimit -l)",
        _ => "see the kernel's log",
    };
    Err(Refusal::NoUring { why: error.to_string(), hint })
}

fn memlock() -> Result<(), Refusal> {
    let found = sys::raise_to_hard(Resource::RLIMIT_MEMLOCK);
    if found >= MEMLOCK_BYTES_MIN {
        return Ok(());
    }
    Err(Refusal::MemlockTooSmall { found_kib: found >> 10, need_kib: MEMLOCK_BYTES_MIN >> 10 })
}

/// Makes the kernel give this process memory in pages of 4 KiB instead of 2 MiB. With 2 MiB pages a cache
/// that is filling would have to clear 2 MiB at a time in the middle of a turn (docs/experiments).
pub fn small_pages() {
    // If the kernel refuses, the process is slower but still correct.
    let _ = sys::disable_huge_pages();
}

/// The CPUs this process may run on, ascending.
pub fn allowed_cpus() -> Vec<u32> {
    sys::allowed_cpus()
}

/// How long a port may be held by no process before it counts as held.
const ORPHAN_LIMIT: Duration = Duration::from_secs(2);
const ORPHAN_PAUSE: Duration = Duration::from_millis(10);

/// Refuses the first listener whose port another process holds.
///
/// The check binds without SO_REUSEPORT: the runtime's listeners set it and would silently share the port of
/// a stale process. Two leftovers of a killed node are no reason to refuse. The remains of its connections
/// block such a bind for a minute, but do not block the runtime's own bind. And its listeners outlive it by
/// some milliseconds, because the kernel takes a dead process's io_uring apart in the background: this
/// function waits for a listener that no process owns.
pub fn ports(listeners: &[Listener]) -> Result<(), Refusal> {
    let deadline = Instant::now() + ORPHAN_LIMIT;
    // All of them are held until the last is tried, so that two of our own listeners cannot share a port.
    let mut held = Vec::with_capacity(listeners.len());
    for listener in listeners {
        loop {
            match TcpListener::bind(listener.addr) {
                Ok(socket) => {
                    held.push(socket);
                    break;
                }
                Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                    return Err(unusable(listener, &error));
                }
                Err(_) => {}
            }
            let nothing_listens = listening_socket(listener.addr).is_ok_and(|found| found.is_none());
            if nothing_listens && sys::bind_reuseport(listener.addr).is_ok() {
                break;
            }
            if port_holder(listener.addr).is_some() || Instant::now() >= deadline {
                return Err(in_use(listener));
            }
            std::thread::sleep(ORPHAN_PAUSE);
        }
    }
    Ok(())
}

fn in_use(listener: &Listener) -> Refusal {
    let by = port_holder(listener.addr).map(|who| format!(" by {who}")).unwrap_or_default();
    let (host, port) = (listener.addr.ip().to_string(), listener.addr.port());
    Refusal::PortInUse { host, port, role: listener.role.to_string(), by }
}

fn unusable(listener: &Listener, error: &io::Error) -> Refusal {
    let why = match error.kind() {
        io::ErrorKind::PermissionDenied => "ports below 1024 need privileges".to_owned(),
        io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
        _ => error.to_string(),
    };
    let (host, port) = (listener.addr.ip().to_string(), listener.addr.port());
    Refusal::PortUnusable { host, port, role: listener.role.to_string(), why }
}

/// The inode of a socket that listens on `addr`, from /proc.
fn listening_socket(addr: SocketAddr) -> io::Result<Option<String>> {
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = match fs::read_to_string(table) {
            Ok(text) => text,
            // The kernel has no IPv6.
            Err(error) if error.kind() == io::ErrorKind::NotFound && table.ends_with('6') => continue,
            Err(error) => return Err(error),
        };
        let inode = text.lines().skip(1).find_map(|line| {
            // A line: "0: 0100007F:18EB 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0  0 12345
            // …". 0A is LISTEN.
            let words: Vec<&str> = line.split_whitespace().collect();
            let (host, port) = words.get(1)?.split_once(':')?;
            let is_listening = *words.get(3)? == "0A" && u16::from_str_radix(port, 16).ok()? == addr.port();
            let meets = is_listening && addresses_meet(parse_proc_address(host)?, addr.ip());
            meets.then(|| words.get(9).map(|inode| (*inode).to_owned()))?
        });
        if inode.is_some() {
            return Ok(inode);
        }
    }
    Ok(None)
}

/// Whether listeners on both addresses conflict.
fn addresses_meet(a: IpAddr, b: IpAddr) -> bool {
    let (a, b) = (a.to_canonical(), b.to_canonical());
    a == b || a.is_unspecified() || b.is_unspecified()
}

/// Parses an address of /proc/net/tcp: words of 32 bits in the machine's byte order, in hexadecimal.
fn parse_proc_address(text: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(text.get(at..at + 8)?, 16).ok();
    match text.len() {
        8 => Some(IpAddr::from(u32::from_be(word(0)?).to_be_bytes())),
        32 => {
            let mut octets = [0; 16];
            for (index, four) in octets.chunks_exact_mut(4).enumerate() {
                four.copy_from_slice(&u32::from_be(word(index * 8)?).to_be_bytes());
            }
            Some(IpAddr::from(octets))
        }
        _ => None,
    }
}

/// The process that listens on `addr`, as far as /proc tells: "process 4242 (redis-server)".
fn port_holder(addr: SocketAddr) -> Option<String> {
    let wanted = format!("socket:[{}]", listening_socket(addr).ok()??);
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.find_map(|pid| {
        let mut fds = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
        fds.find(|fd| fs::read_link(fd.path()).is_ok_and(|target| target.as_os_str() == wanted.as_str()))?;
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        Some(format!("process {pid} ({})", name.trim()))
    })
}

/// A kind of filesystem.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Filesystem {
    /// Its name, or its magic number.
    pub name: String,
    /// Whether flushed data survives a power failure.
    pub durable: bool,
}

impl std::fmt::Display for Filesystem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)?;
        if self.durable { Ok(()) } else { f.write_str(" (memory: NOT durable)") }
    }
}

/// The filesystem that holds `path` or will hold it: that of its nearest existing ancestor.
pub fn filesystem(path: &Path) -> io::Result<Filesystem> {
    let here = Path::new(".");
    let existing = path
        .ancestors()
        .map(|dir| if dir.as_os_str().is_empty() { here } else { dir })
        .find(|dir| dir.exists())
        .unwrap_or(here);
    Ok(filesystem_of_magic(sys::filesystem_magic(existing)?))
}

/// The numbers are the kernel's (linux/magic.h).
fn filesystem_of_magic(magic: u32) -> Filesystem {
    let (name, durable) = match magic {
        0xEF53 => ("ext4", true),
        0x5846_5342 => ("xfs", true),
        0x9123_683E => ("btrfs", true),
        0xF2F5_2010 => ("f2fs", true),
        0x2FC1_2FC1 => ("zfs", true),
        0x794C_7630 => ("overlayfs", true),
        0x6969 => ("nfs", true),
        0x6573_5546 => ("fuse", true),
        0x0102_1994 => ("tmpfs", false),
        0x8584_58F6 => ("ramfs", false),
        other => return Filesystem { name: format!("filesystem {other:#x}"), durable: true },
    };
    Filesystem { name: name.to_owned(), durable }
}

/// The machine in one line, for reports.
pub fn describe_machine() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown CPU", |(_, model)| model.trim());
    format!("{} CPUs ({model}), Linux {}", allowed_cpus().len(), release.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::ListenerRole;

    #[test]
    fn a_held_port_is_refused_and_named_even_with_reuseport_in_mind() {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = held.local_addr().unwrap();
        let listener = Listener { addr, role: ListenerRole::Client };
        let sentence = ports(std::slice::from_ref(&listener)).unwrap_err().to_string();
        let pid = std::process::id();
        assert!(
            sentence.starts_with(&format!("port {} on 127.0.0.1 (clients) is already in use", addr.port()))
        );
        assert!(sentence.contains(&format!("process {pid}")), "{sentence}");
        drop(held);
        assert_eq!(ports(&[listener]), Ok(()));
    }

    #[test]
    fn what_remains_of_a_dead_listener_is_no_reason_to_refuse() {
        // A listener like the runtime's. Its end closes its one connection first, so FIN_WAIT remains, and
        // later TIME_WAIT.
        let socket = sys::bind_reuseport("127.0.0.1:0".parse().unwrap()).unwrap();
        nix::sys::socket::listen(&socket, 1).unwrap();
        let live = TcpListener::from(socket);
        let addr = live.local_addr().unwrap();
        let listener = Listener { addr, role: ListenerRole::Client };
        let refusal = ports(std::slice::from_ref(&listener)).unwrap_err();
        assert!(
            matches!(refusal, Refusal::PortInUse { .. }),
            "SO_REUSEPORT does not hide a live one: {refusal}"
        );

        let client = std::net::TcpStream::connect(addr).unwrap();
        drop((live.accept().unwrap(), live));
        assert!(TcpListener::bind(addr).is_err(), "or this test proves nothing");
        assert_eq!(ports(&[listener]), Ok(()));
        drop(client);
    }

    #[test]
    fn listeners_meet_on_equal_and_on_wildcard_addresses() {
        for (text, wanted) in [
            ("0100007F", "127.0.0.1"),
            ("00000000", "0.0.0.0"),
            ("0000000000000000FFFF00000100007F", "::ffff:127.0.0.1"),
            ("00000000000000000000000001000000", "::1"),
        ] {
            // The table has the machine's own byte order; these lines are from a little-endian machine.
            if cfg!(target_endian = "little") {
                assert_eq!(parse_proc_address(text), Some(wanted.parse().unwrap()));
            }
        }
        assert_eq!(parse_proc_address("0100"), None);
        let meet = |a: &str, b: &str| addresses_meet(a.parse().unwrap(), b.parse().unwrap());
        assert!(meet("127.0.0.1", "127.0.0.1") && meet("::ffff:127.0.0.1", "127.0.0.1"));
        assert!(meet("0.0.0.0", "127.0.0.1") && meet("127.0.0.1", "::"));
        assert!(!meet("127.0.0.2", "127.0.0.1"));
    }

    #[test]
    fn an_address_of_another_machine_is_refused() {
        // TEST-NET-1: no machine has this address.
        let addr = "192.0.2.1:6379".parse().unwrap();
        let sentence = ports(&[Listener { addr, role: ListenerRole::Client }]).unwrap_err().to_string();
        assert!(sentence.contains("this machine has no such address"), "{sentence}");
    }

    #[test]
    fn filesystems_have_names_and_memory_is_not_durable() {
        assert!(!filesystem_of_magic(0x0102_1994).durable);
        assert_eq!(filesystem_of_magic(0xEF53).to_string(), "ext4");
        assert!(filesystem_of_magic(0x0102_1994).to_string().contains("NOT durable"));
        assert!(filesystem(Path::new("/proc/self/nothing/here")).is_ok());
    }

    #[test]
    fn this_process_runs_somewhere_and_impossible_pins_are_refused() {
        let allowed = allowed_cpus();
        assert!(!allowed.is_empty());
        let sentence = machine(&Pins::Cpus(vec![allowed[0], 1023]), "--pins").unwrap_err().to_string();
        assert!(sentence.starts_with("--pins: pins names CPU 1023"), "{sentence}");
        assert_eq!(machine(&Pins::Cpus(vec![allowed[0]]), "--pins"), Ok(()));
    }
}
