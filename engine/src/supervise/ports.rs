//! Free ports for clusters that need no particular ports, kept apart from those of other Synod clusters.
//!
//! "Bind port 0, look, release" gives ports from the range that the kernel also uses for outgoing
//! connections, so a load generator's socket can sit on a node's port when the node comes back. The ports
//! here come from below that range. An abstract Unix socket per port keeps other Synod processes from
//! choosing the same port while no node listens on it.

use crate::random::random;
use crate::refusal::Refusal;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

/// Well above the well-known ports.
const LOWEST: u16 = 10_240;
/// The start of the kernel's own range unless the system says otherwise.
const KERNEL_RANGE_DEFAULT: u16 = 32_768;
/// More misses than this in a range of twenty thousand ports mean that something is wrong.
const ATTEMPTS_MAX: u32 = 2_000;

/// A run of ports that no process listens on, reserved until dropped.
#[derive(Debug)]
pub struct PortBlock {
    base: u16,
    _claims: Vec<UnixListener>,
}

impl PortBlock {
    /// Finds `count` ports in a row.
    ///
    /// # Errors
    /// When there are none, or random bytes cannot be drawn.
    pub fn reserve(count: u16) -> Result<Self, Refusal> {
        Self::reserve_at(count, &[0])
    }

    /// Finds `count` ports in a row that are also free at each of the `distances` above the first.
    ///
    /// # Errors
    /// Those of [`PortBlock::reserve`].
    pub fn reserve_at(count: u16, distances: &[u16]) -> Result<Self, Refusal> {
        let failed = |error: &io::Error| Refusal::io("find free ports on", "127.0.0.1", error);
        let farthest = distances.iter().copied().max().unwrap_or(0);
        let highest = kernel_range_start().saturating_sub(count).saturating_sub(farthest);
        if highest <= LOWEST {
            return Err(Refusal::Usage(format!(
                "there are no {count} ports between {LOWEST} and the kernel's own range \
                 (net.ipv4.ip_local_port_range); raise the start of that range"
            )));
        }
        for _ in 0..ATTEMPTS_MAX {
            let draw = random().map_err(|error| failed(&error))?;
            let span = u32::from(highest - LOWEST);
            // It is below `span`, which is below 65536.
            let base = LOWEST + (u32::from_le_bytes(draw) % span) as u16;
            let claims: Option<Vec<_>> =
                distances.iter().map(|distance| claim(base + distance, count)).collect();
            if let Some(claims) = claims {
                return Ok(Self { base, _claims: claims.into_iter().flatten().collect() });
            }
        }
        Err(Refusal::Usage(format!("no {count} free ports in a row were found on 127.0.0.1; free some")))
    }

    /// The first port.
    pub fn base(&self) -> u16 {
        self.base
    }
}

/// Claims all of the ports, or none.
fn claim(base: u16, count: u16) -> Option<Vec<UnixListener>> {
    (base..base + count)
        .map(|port| {
            let name = SocketAddr::from_abstract_name(format!("synod-port-{port}")).ok()?;
            let claim = UnixListener::bind_addr(&name).ok()?;
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
            Some(claim)
        })
        .collect()
}

fn kernel_range_start() -> u16 {
    fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse().ok())
        .unwrap_or(KERNEL_RANGE_DEFAULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_never_overlap_while_they_live() {
        let blocks: Vec<PortBlock> = (0..8).map(|_| PortBlock::reserve(5).unwrap()).collect();
        let mut bases: Vec<u16> = blocks.iter().map(PortBlock::base).collect();
        bases.sort_unstable();
        assert!(bases.windows(2).all(|pair| pair[1] - pair[0] >= 5), "{bases:?}");
        assert!(bases.iter().all(|&base| base >= LOWEST && base + 5 <= kernel_range_start()));
        let base = blocks[0].base();
        assert!(claim(base, 1).is_none(), "claimed by the first block");
    }

    #[test]
    fn a_port_that_is_listened_on_is_not_claimed() {
        let block = PortBlock::reserve(1).unwrap();
        let port = block.base();
        drop(block);
        let Ok(_held) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) else {
            return; // Another process was faster, so there is nothing to test.
        };
        assert!(claim(port, 1).is_none());
    }
}
