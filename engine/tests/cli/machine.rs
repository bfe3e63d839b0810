//! Machines that cannot run a node: too little lockable memory, no io_uring, a missing CPU.

use crate::run::Sandbox;
use nix::sys::resource::{Resource, setrlimit};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Lowers a limit in the child, both the soft and the hard one.
fn limited(command: &mut Command, resource: Resource, bytes: u64) -> &mut Command {
    let lower = move || -> io::Result<()> { Ok(setrlimit(resource, bytes, bytes)?) };
    // SAFETY: the closure makes one system call between fork and exec and allocates nothing.
    unsafe { command.pre_exec(lower) }
}

/// Makes io_uring_setup fail with `errno` in the child, as an old kernel, a sysctl or a container's profile
/// does.
fn without_uring(command: &mut Command, errno: i32) -> &mut Command {
    let call = u32::try_from(libc::SYS_io_uring_setup).unwrap();
    let op = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let filter = [
        // Load the number of the call (offset 0 of struct seccomp_data). If it is io_uring_setup, fail with
        // errno, else allow.
        op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, call),
        op(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | errno.cast_unsigned()),
        op(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let install = move || {
        let mut filter = filter;
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
        // SAFETY: plain integers.
        let armed = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } == 0
            // SAFETY: the program and the filter it points to outlive the call, and the length is that of the
            // filter.
            && unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) } == 0;
        if armed { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: the closure makes two system calls between fork and exec and allocates nothing.
    unsafe { command.pre_exec(install) }
}

#[test]
fn too_little_lockable_memory_is_refused() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.synod(["serve"]);
    let sentence = sandbox.command_refuses(limited(&mut command, Resource::RLIMIT_MEMLOCK, 511 << 10));
    assert!(sentence.starts_with("the limit on locked memory is 511 KiB"), "{sentence}");
    assert!(sentence.contains("at least 512 KiB") && sentence.contains("ulimit -l"), "{sentence}");
}

#[test]
fn a_kernel_without_io_uring_is_refused_with_what_to_do() {
    let sandbox = Sandbox::new();
    for (errno, hint) in
        [(libc::ENOSYS, "use Linux 5.8 or later"), (libc::EPERM, "set kernel.io_uring_disabled to 0")]
    {
        let mut command = sandbox.synod(["serve"]);
        let sentence = sandbox.command_refuses(without_uring(&mut command, errno));
        assert!(sentence.starts_with("this kernel gives no io_uring"), "{sentence}");
        assert!(sentence.contains(hint), "{sentence}");
    }
}

#[test]
fn a_cpu_that_is_not_there_is_refused() {
    let sandbox = Sandbox::new();
    let sentence = sandbox.refuses(&["serve", "--cores", "1", "--pins", "1023"]);
    assert!(
        sentence.starts_with("--pins: pins names CPU 1023, and this process may run on CPUs 0"),
        "{sentence}"
    );
}
