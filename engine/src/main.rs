//! The only binary.

/// A core allocates and frees value buffers a few times per request, always on its own thread.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    synod::cli::main()
}
