//! What the machine must offer before anything is touched: io_uring, lockable memory, free ports, CPUs; and what a report
//! should say about it.
//!
//! Everything here looks and leaves no trace, except that soft limits of this process are raised to its hard limits.

use crate::identity::Pins;
use crate::node::Listener;
use crate::refusal::{Refusal, list};
use std::ffi::CString;
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// What glommio's reactor needs at the very least for its three rings; below it nothing starts. Buffer registration wants
/// more and is done without when it does not get it.
pub const MEMLOCK_BYTES_MIN: u64 = 512 << 10;

/// The kernel's io_uring, limits and CPUs, for a node that pins its cores to `pins` (configured at `place`).
pub fn machine(pins: &Pins, place: &str) -> Result<(), Refusal> {
    uring()?;
    memlock()?;
    raise_to_hard(libc::RLIMIT_NOFILE as libc::c_int);
    let allowed = allowed_cpus();
    match pins.cpus().iter().find(|cpu| !allowed.contains(cpu)) {
        Some(&cpu) => Err(Refusal::NoSuchCpu { place: place.to_owned(), cpu, allowed: list(allowed) }),
        None => Ok(()),
    }
}

/// Whether the kernel gives us a ring.
pub fn uring() -> Result<(), Refusal> {
    // struct io_uring_params: 120 bytes, all zero for the defaults; the kernel fills it in.
    let mut params = [0_u64; 15];
    // SAFETY: one entry and a zeroed, writable io_uring_params of the size and alignment the kernel expects, which outlives
    // the call.
    let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, params.as_mut_ptr()) };
    if fd >= 0 {
        // SAFETY: the kernel just gave us this descriptor; nobody else owns it. It fits a c_int, as descriptors do.
        unsafe { libc::close(fd as libc::c_int) };
        return Ok(());
    }
    let error = io::Error::last_os_error();
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
    let found = raise_to_hard(libc::RLIMIT_MEMLOCK as libc::c_int);
    if found >= MEMLOCK_BYTES_MIN {
        return Ok(());
    }
    Err(Refusal::MemlockTooSmall { found_kib: found >> 10, need_kib: MEMLOCK_BYTES_MIN >> 10 })
}

/// Has the kernel give this process memory in pages of 4 KiB instead of 2 MiB. A cache that fills would pay for clearing 2 MiB at
/// a time in the middle of a turn (docs/performance.md). A kernel that refuses leaves things as they are: slower, not wrong.
pub fn small_pages() {
    let zero: libc::c_ulong = 0;
    // SAFETY: this option takes numbers only.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1 as libc::c_ulong, zero, zero, zero) };
}

/// Raises the soft limit as far as it goes and returns it. A limit that cannot be read or raised is reported as it is.
fn raise_to_hard(resource: libc::c_int) -> u64 {
    let resource = resource as libc::__rlimit_resource_t;
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a writable rlimit that outlives the call.
    if unsafe { libc::getrlimit(resource, &mut limit) } != 0 {
        return 0;
    }
    if limit.rlim_cur < limit.rlim_max {
        let raised = libc::rlimit { rlim_cur: limit.rlim_max, ..limit };
        // SAFETY: an initialised rlimit that outlives the call.
        if unsafe { libc::setrlimit(resource, &raised) } == 0 {
            limit = raised;
        }
    }
    limit.rlim_cur
}

/// The CPUs this process may run on, ascending.
pub fn allowed_cpus() -> Vec<u32> {
    let mut set = MaybeUninit::<libc::cpu_set_t>::zeroed();
    // SAFETY: a zeroed, writable set of exactly the size passed; pid 0 is this process.
    let got = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), set.as_mut_ptr()) };
    // SAFETY: all-zero is a valid cpu_set_t, and the kernel wrote no more than its size.
    let set = unsafe { set.assume_init() };
    if got != 0 {
        return Vec::new();
    }
    let count = u32::try_from(libc::CPU_SETSIZE).unwrap_or(0);
    // SAFETY: every index is below CPU_SETSIZE.
    (0..count).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu as usize, &set) }).collect()
}

/// How long a port may be held by nobody before it counts as held.
const ORPHAN_LIMIT: Duration = Duration::from_secs(2);
const ORPHAN_PAUSE: Duration = Duration::from_millis(10);

/// Refuses the first listener whose port another process holds.
///
/// Asked by binding without SO_REUSEPORT: the runtime's listeners set it, and would share a stale process's port in silence.
/// Two leftovers of a node that was killed are no reason to refuse. What remains of its connections blocks such a bind for a
/// minute and the runtime's own not at all. And its listeners outlive it for some milliseconds, because the kernel takes a
/// dead process's io_uring apart in the background: a listener that no process owns is waited for.
pub fn ports(listeners: &[Listener]) -> Result<(), Refusal> {
    let deadline = Instant::now() + ORPHAN_LIMIT;
    // All of them are held until the last is tried, so that two of ours cannot be the same.
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
            let nobody_listens = listening_socket(listener.addr).is_ok_and(|found| found.is_none());
            if nobody_listens && bind_as_runtime(listener.addr).is_ok() {
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

/// Binds, and does not listen, with SO_REUSEPORT alone, as the runtime's listeners do.
fn bind_as_runtime(addr: SocketAddr) -> io::Result<OwnedFd> {
    let family = if addr.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: three integers.
    let fd = unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave us `fd`, and nobody else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let on: libc::c_int = 1;
    // SAFETY: the option is one c_int, alive through the call, and its size is passed.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_REUSEPORT,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if set != 0 {
        return Err(io::Error::last_os_error());
    }
    let bind = |address: *const libc::sockaddr, size: usize| {
        // SAFETY: both callers pass a whole address of the family that the socket was made for, with its own size.
        match unsafe { libc::bind(socket.as_raw_fd(), address, size as libc::socklen_t) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    match addr {
        SocketAddr::V4(addr) => {
            let address = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: addr.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from(*addr.ip()).to_be() },
                sin_zero: [0; 8],
            };
            bind((&raw const address).cast(), size_of_val(&address))?;
        }
        SocketAddr::V6(addr) => {
            let address = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: addr.port().to_be(),
                sin6_flowinfo: addr.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: addr.ip().octets() },
                sin6_scope_id: addr.scope_id(),
            };
            bind((&raw const address).cast(), size_of_val(&address))?;
        }
    }
    Ok(socket)
}

/// The inode of a socket that listens where `addr` is wanted, from /proc.
fn listening_socket(addr: SocketAddr) -> io::Result<Option<String>> {
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = match fs::read_to_string(table) {
            Ok(text) => text,
            // A kernel without IPv6.
            Err(error) if error.kind() == io::ErrorKind::NotFound && table.ends_with('6') => continue,
            Err(error) => return Err(error),
        };
        let inode = text.lines().skip(1).find_map(|line| {
            // "0: 0100007F:18EB 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0  0 12345 …"; 0A is LISTEN.
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

/// Whether listeners on both addresses get in each other's way.
fn addresses_meet(a: IpAddr, b: IpAddr) -> bool {
    let (a, b) = (a.to_canonical(), b.to_canonical());
    a == b || a.is_unspecified() || b.is_unspecified()
}

/// An address as /proc/net/tcp has it: words of 32 bits in the machine's order, in hexadecimal.
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

/// The process that listens where `addr` is wanted, as far as /proc tells: "process 4242 (redis-server)".
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
    /// Whether a flush reaches something that survives power.
    pub durable: bool,
}

impl std::fmt::Display for Filesystem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)?;
        if self.durable { Ok(()) } else { f.write_str(" (memory: NOT durable)") }
    }
}

/// The filesystem that holds `path`, or will hold it: of its nearest ancestor that exists.
pub fn filesystem(path: &Path) -> io::Result<Filesystem> {
    let here = Path::new(".");
    let existing = path
        .ancestors()
        .map(|dir| if dir.as_os_str().is_empty() { here } else { dir })
        .find(|dir| dir.exists())
        .unwrap_or(here);
    let name = CString::new(existing.as_os_str().as_bytes())?;
    let mut stat = MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: a NUL-terminated path and a writable statfs, both alive through the call.
    if unsafe { libc::statfs(name.as_ptr(), stat.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so the kernel filled it in; all-zero was valid before that.
    let stat = unsafe { stat.assume_init() };
    Ok(filesystem_of_magic(stat.f_type as u32))
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
        // A listener as the runtime makes it, whose end closes its one connection first: FIN_WAIT is left, later TIME_WAIT.
        let socket = bind_as_runtime("127.0.0.1:0".parse().unwrap()).unwrap();
        // SAFETY: an open socket and an integer.
        assert_eq!(unsafe { libc::listen(socket.as_raw_fd(), 1) }, 0);
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
            // The table shows the machine's own order; these are of a little-endian machine.
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
        // TEST-NET-1: nobody has it.
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
