//! System calls of this crate that the standard library does not offer, as small safe functions.
//!
//! ```text
//!   preflight ─▶ io_uring, limits, CPUs, ports, file systems        child ─▶ signals, a parent's death
//!   stop ──────▶ an event, and the handler that raises it           runtime ─▶ clocks, sockets, memory
//! ```
//!
//! The only file of this crate with unsafe code. Most calls go through `nix`, which checks whatever can be
//! checked. Each remaining unsafe block states what the compiler cannot see. Nothing here decides anything:
//! the caller judges an error.

#![expect(unsafe_code, reason = "system calls that have no safe form in std or nix")]

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use nix::sched::{CpuSet, sched_getaffinity};
use nix::sys::eventfd::{EfdFlags, eventfd};
use nix::sys::resource::{UsageWho, getrlimit, getrusage, setrlimit};
use nix::sys::signal::{self, SaFlags, SigAction, SigHandler, SigSet};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, bind, setsockopt, socket,
    sockopt,
};
use nix::sys::time::{TimeSpec, TimeVal, TimeValLike};
use nix::time::ClockId;
use nix::unistd::{Pid, SysconfVar};
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::Duration;

pub(crate) use nix::sys::resource::Resource;
pub(crate) use nix::sys::signal::Signal;

/// Asks the kernel for an io_uring of one entry and closes it at once.
///
/// # Errors
/// The kernel's error, when there is no io_uring.
pub(crate) fn try_io_uring() -> io::Result<()> {
    // struct io_uring_params: 120 bytes, all zero for the defaults; the kernel fills it in.
    let mut params = [0_u64; 15];
    // SAFETY: one entry and a zeroed, writable io_uring_params of the size and alignment the kernel expects,
    // which outlives the call.
    let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, params.as_mut_ptr()) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave us this descriptor, and nothing else owns it. It fits a RawFd, as every
    // descriptor does.
    drop(unsafe { OwnedFd::from_raw_fd(fd as RawFd) });
    Ok(())
}

/// Raises the soft limit as far as it goes and returns it. Returns the unchanged limit if it cannot be
/// raised, and 0 if it cannot be read.
pub(crate) fn raise_to_hard(resource: Resource) -> u64 {
    let Ok((soft, hard)) = getrlimit(resource) else { return 0 };
    if soft < hard && setrlimit(resource, hard, hard).is_ok() { hard } else { soft }
}

/// Makes the kernel give this process memory in small pages only.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn disable_huge_pages() -> io::Result<()> {
    Ok(nix::sys::prctl::set_thp_disable(true)?)
}

/// The CPUs this process may run on, ascending; empty if the kernel does not tell.
pub(crate) fn allowed_cpus() -> Vec<u32> {
    let Ok(set) = sched_getaffinity(Pid::from_raw(0)) else { return Vec::new() };
    let count = CpuSet::count() as u32; // 1024
    (0..count).filter(|&cpu| set.is_set(cpu as usize) == Ok(true)).collect()
}

/// Binds with SO_REUSEPORT alone and does not listen.
///
/// # Errors
/// The kernel's error, when the address cannot be bound.
pub(crate) fn bind_reuseport(addr: SocketAddr) -> io::Result<OwnedFd> {
    let family = if addr.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let bound = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None::<SockProtocol>)?;
    setsockopt(&bound, sockopt::ReusePort, &true)?;
    match addr {
        SocketAddr::V4(addr) => bind(bound.as_raw_fd(), &SockaddrIn::from(addr))?,
        SocketAddr::V6(addr) => bind(bound.as_raw_fd(), &SockaddrIn6::from(addr))?,
    }
    Ok(bound)
}

/// Makes the socket of another library out of a descriptor.
pub(crate) fn adopt<Socket: FromRawFd>(descriptor: OwnedFd) -> Socket {
    // SAFETY: the descriptor is open, and nothing else owns it from here on.
    unsafe { Socket::from_raw_fd(descriptor.into_raw_fd()) }
}

/// The magic number of the filesystem that holds `path` (linux/magic.h).
///
/// # Errors
/// The kernel's error, when the path does not exist.
pub(crate) fn filesystem_magic(path: &Path) -> io::Result<u32> {
    let kind = nix::sys::statfs::statfs(path)?.filesystem_type();
    Ok(kind.0 as u32) // the kernel's numbers have 32 bits
}

/// A counter (eventfd) that a signal handler may add to. It is readable while it is above 0.
///
/// # Errors
/// The kernel's error, when there are no descriptors left.
pub(crate) fn event() -> io::Result<File> {
    Ok(File::from(eventfd(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?))
}

/// Waits until `file` is readable, at most `limit`. May return early, as when a signal arrives: callers must
/// check for themselves.
pub(crate) fn wait_readable(file: &File, limit: Duration) {
    let limit_ms = i32::try_from(limit.as_millis()).unwrap_or(i32::MAX);
    let mut polled = [PollFd::new(file, PollFlags::POLLIN)];
    // An error is one of the ways to return early.
    let _ = nix::poll::poll(&mut polled, limit_ms);
}

/// Whether a write to `output` would not wait. A pipe then takes PIPE_BUF (4096) bytes at once; an output whose
/// reader is gone counts too, because the write fails at once.
pub(crate) fn is_writable(output: &impl AsFd) -> bool {
    let mut polled = [PollFd::new(output, PollFlags::POLLOUT)];
    nix::poll::poll(&mut polled, 0).is_ok_and(|ready| ready > 0)
}

/// Whether the other end of a connection has broken it, or has closed it with answers unread: whatever is sent is
/// lost.
pub(crate) fn is_hung_up(socket: &impl AsRawFd) -> bool {
    let socket = descriptor(socket);
    // These two are told whether they are asked for or not.
    let mut polled = [PollFd::new(&socket, PollFlags::empty())];
    nix::poll::poll(&mut polled, 0).is_ok_and(|ready| ready > 0)
}

/// The flag and the event that the signal handler sets.
struct Raised {
    flag: &'static AtomicBool,
    first: &'static AtomicI32,
    event: &'static File,
}

/// A static, because a handler cannot be given an argument.
static RAISED: OnceLock<Raised> = OnceLock::new();

/// From now on SIGTERM and SIGINT set `flag`, make `event` ([`event`]) readable, and put the number of the
/// first of them into `first`, which holds 0. A SIGINT that finds the
/// flag set ends the process at once. Only the first call in a process counts: later arguments are ignored.
///
/// # Errors
/// The kernel's error, when it takes no handler.
pub(crate) fn raise_on_signals(
    flag: &'static AtomicBool,
    first: &'static AtomicI32,
    event: &'static File,
) -> io::Result<()> {
    RAISED.get_or_init(|| Raised { flag, first, event });
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let action = SigAction::new(SigHandler::Handler(on_signal), SaFlags::SA_RESTART, SigSet::empty());
        // SAFETY: the handler is async-signal-safe (see there), and the previous action, which is ignored,
        // was the default or one of our handlers.
        unsafe { signal::sigaction(signal, &action) }?;
    }
    Ok(())
}

/// Async-signal-safe: `OnceLock::get` is an atomic load, followed by atomic exchanges, `write` and `_exit`.
extern "C" fn on_signal(signal: libc::c_int) {
    let Some(raised) = RAISED.get() else { return };
    // Before the flag, so that who sees the flag sees the signal. A later signal finds it set.
    let _ = raised.first.compare_exchange(0, signal, Ordering::SeqCst, Ordering::SeqCst);
    if raised.flag.swap(true, Ordering::SeqCst) && signal == libc::SIGINT {
        // SAFETY: `_exit` is async-signal-safe and does not return.
        unsafe { libc::_exit(128 + signal) };
    }
    // errno may change under the interrupted code only if the write fails, and the write cannot fail: the
    // counter is far from full, and a static holds the descriptor.
    let _ = nix::unistd::write(raised.event.as_raw_fd(), &1_u64.to_le_bytes());
}

/// Sends a signal to a child that has not been waited for: after that its pid may belong to another process.
///
/// # Errors
/// The kernel's error, when the child is gone.
pub(crate) fn send_signal(child: &Child, signal: Signal) -> io::Result<()> {
    Ok(signal::kill(Pid::from_raw(child.id().cast_signed()), signal)?)
}

/// Makes the kernel kill the process that `command` starts when the thread that starts it ends.
pub(crate) fn kill_with_parent(command: &mut Command) {
    let parent = std::process::id();
    let die_with_it = move || -> io::Result<()> {
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
        // The parent may have died before the line above.
        if nix::unistd::getppid().as_raw().cast_unsigned() != parent {
            return Err(io::Error::from(Errno::ESRCH));
        }
        Ok(())
    };
    // SAFETY: the closure runs between fork and exec: it makes two system calls and allocates nothing.
    unsafe { command.pre_exec(die_with_it) };
}

/// The time of a clock.
///
/// # Panics
/// When there is no such clock. The clocks used here exist on every Linux that this program starts on.
pub(crate) fn now(clock: ClockId) -> TimeSpec {
    clock.now().expect("the clock can be read")
}

/// The descriptor of a stream that does not lend it in the type that safe calls take.
pub(crate) fn descriptor(owner: &impl AsRawFd) -> BorrowedFd<'_> {
    // SAFETY: the descriptor belongs to `owner`, which stays borrowed, and so open, for as long as it is
    // used.
    unsafe { BorrowedFd::borrow_raw(owner.as_raw_fd()) }
}

// Named, so that the allocator is linked wherever this file is.
use mimalloc as _;

unsafe extern "C" {
    fn mi_collect(force: bool);
}

/// Makes the allocator give memory that this thread has freed back to the system at once.
pub(crate) fn give_memory_back() {
    // SAFETY: the function of mimalloc's interface with this name and type. It frees nothing that is in use, and may
    // be called at any time.
    unsafe { mi_collect(true) };
}

/// Memory of this process, as the kernel counts it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Memory {
    /// All that it holds.
    pub resident_bytes: u64,
    /// Without the pages of files, such as the program itself.
    pub own_bytes: u64,
}

/// Memory of this process; 0 where /proc is not mounted. The read does not touch the disk.
pub(crate) fn memory() -> Memory {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let mut pages = text.split_ascii_whitespace().skip(1).map(|pages| pages.parse::<u64>().unwrap_or(0));
    let (resident, shared) = (pages.next().unwrap_or(0), pages.next().unwrap_or(0));
    let page_bytes = nix::unistd::sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    let page_bytes = page_bytes.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(4096);
    Memory { resident_bytes: resident * page_bytes, own_bytes: resident.saturating_sub(shared) * page_bytes }
}

/// Processor time of this process, all its threads together, in microseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct CpuTimes {
    /// In the process itself.
    pub user_us: u64,
    /// In the kernel on its behalf.
    pub system_us: u64,
}

/// Processor time of this process; 0 if the kernel does not tell.
pub(crate) fn cpu_times() -> CpuTimes {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return CpuTimes::default() };
    let micros = |time: TimeVal| u64::try_from(time.num_microseconds()).unwrap_or(0);
    CpuTimes { user_us: micros(usage.user_time()), system_us: micros(usage.system_time()) }
}

/// The kernel's release, as `uname -r` prints it; empty where /proc is not mounted.
pub(crate) fn kernel_release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}
