//! An in-memory disk with the faults of a real one, for the simulator and for tests. Its behaviour depends
//! only on its seed and the calls made; it has no clock but the time that the caller passes.
//!
//! ```text
//!   MemDisk (given to the log) ──▶ ┌──────────────────────────────────┐ ◀── MemImage (kept by the simulator)
//!     write/read/prepare/poll      │ MemState: files, pending, random │      advance, complete, crash, fail
//!                                  └──────────────────────────────────┘
//! ```
//! A write changes the file when it completes, and survives crashes from then on (O_DSYNC). A crash ends each
//! pending write separately: lost, whole, or torn at 512 or 4096 bytes. Segments are made one after the
//! other; a crash leaves at most one half made, and no listing shows it.

mod disk;
mod files;
mod image;
mod options;
mod random;
mod state;

pub use disk::MemDisk;
pub use files::MemCopy;
pub use image::MemImage;
pub use options::{IoFault, MemOptions};
pub use state::Pending;
