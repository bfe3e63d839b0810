//! How a simulated disk behaves, and the faults that can be injected.

/// How a simulated disk behaves. Times are in nanoseconds, drawn uniformly from a range; chances are in parts
/// per million.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemOptions {
    /// Write latency, minimum and maximum. A wide range makes completions overtake each other.
    pub write_ns: (u64, u64),
    /// Read latency.
    pub read_ns: (u64, u64),
    /// Time to make a segment.
    pub prepare_ns: (u64, u64),
    /// Chance that an operation takes `stall_ns` longer.
    pub stall_ppm: u32,
    /// Length of such a stall.
    pub stall_ns: u64,
    /// Chance that a write fails after writing part of its bytes.
    pub write_error_ppm: u32,
    /// Chance that a write is short.
    pub write_short_ppm: u32,
    /// Chance that a read fails.
    pub read_error_ppm: u32,
    /// Chance that a read returns one byte different from what was written.
    pub read_rot_ppm: u32,
    /// Chance that a segment cannot be made.
    pub prepare_error_ppm: u32,
    /// Bytes that all segments together may take; beyond that, making one fails as on a full disk.
    pub capacity_bytes: u64,
}

impl Default for MemOptions {
    fn default() -> Self {
        Self {
            write_ns: (0, 0),
            read_ns: (0, 0),
            prepare_ns: (0, 0),
            stall_ppm: 0,
            stall_ns: 0,
            write_error_ppm: 0,
            write_short_ppm: 0,
            read_error_ppm: 0,
            read_rot_ppm: 0,
            prepare_error_ppm: 0,
            capacity_bytes: u64::MAX,
        }
    }
}

/// A fault to be injected once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IoFault {
    /// The operation fails.
    Error,
    /// It ends with fewer bytes than requested.
    Short,
}
