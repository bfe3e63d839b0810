//! Random bytes from the kernel: for ids, nonces, secrets and seeds.

use std::fs::File;
use std::io::{self, Read};

/// `N` random bytes.
pub(crate) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}
