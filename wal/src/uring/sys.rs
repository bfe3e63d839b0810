//! The two system calls of the real disk that the compiler cannot check: mapping a file into memory, and
//! probing for io_uring.
//!
//! The only file of this crate with unsafe code.

#![expect(unsafe_code, reason = "a mapping and a raw system call have no safe form")]

use std::fs::File;
use std::io;

/// Maps a segment into memory, read-only. Only for segments of a locked log directory, see below.
pub(super) fn map_segment(file: &File) -> io::Result<memmap2::Mmap> {
    // SAFETY: the mapping must not change or shrink while it is borrowed. The directory is locked against
    // other processes of this program, the log writes nothing before recovery has dropped its mappings, and
    // segments are never truncated. A mapping is used because recovery reads every byte once, in place; a
    // copy of each segment would double the memory traffic.
    unsafe { memmap2::Mmap::map(file) }
}

/// The error of `io_uring_setup` for a null parameter block: EFAULT where io_uring is available, another
/// error where it is not.
///
/// # Panics
/// When the call succeeds.
pub(super) fn setup_error() -> io::Error {
    // SAFETY: with a null parameter block the call creates no ring and touches none of our memory.
    let result = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1_u32, std::ptr::null_mut::<u8>()) };
    assert!(result < 0, "io_uring_setup took a null parameter block");
    io::Error::last_os_error()
}
