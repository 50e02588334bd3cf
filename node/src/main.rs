//! The `assay` binary. Everything lies in the library; see [`assay::cli`].

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Streams are many small pieces, made on one thread and let go on another.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    assay::cli::main()
}
