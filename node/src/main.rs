//! The `assay` binary. Everything lies in the library; see [`assay::cli`].

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Streams are many small pieces, made on one thread and let go on another. It is mimalloc 2 without huge pages (features in
/// `Cargo.toml`): small proofs take about the memory that they take with the system's allocator, and twice as much with
/// mimalloc 3, past what `zk estimate` says.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    assay::cli::main()
}
