//! weir's executable: arguments to command to exit code.

use std::process::ExitCode;

use clap::Parser;
use weir::cli::Cli;

// Half the system time per request of glibc's allocator, and memory that shrinks again. Without huge pages: they cost 15 MiB at
// rest and a tenth of a full cache, for hits that are no faster.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    Cli::parse().execute()
}
