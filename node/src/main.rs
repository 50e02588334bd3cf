//! The `assay` binary. Everything lies in the library; see [`assay::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    assay::cli::main()
}
