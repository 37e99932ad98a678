//! The binary with arguments of its own and without a configuration: what `Setup` and `Weir` do not run.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::eventually::eventually;
use super::files::read;
use super::ports;
use super::process::{self, Finished, Running};

/// Killed when it goes out of scope.
pub struct Program {
    /// Dropped before its files.
    running: Running,
    dir: TempDir,
}

impl Program {
    /// Runs `weir` with these arguments.
    pub fn start(arguments: &[&str]) -> Program {
        let dir = tempfile::tempdir().unwrap();
        let path = |stream: &str| dir.path().join(stream);
        Program {
            running: Running::start(arguments, &BTreeMap::new(), path("stdout"), path("stderr")),
            dir,
        }
    }

    /// Runs `weir` with these arguments to its end.
    pub async fn run(arguments: &[&str]) -> Finished {
        Program::start(arguments).exit_status().await
    }

    /// Waits until it has ended by itself, and says how.
    #[track_caller]
    pub fn exit_status(&self) -> impl Future<Output = Finished> {
        eventually("the program ends", async || self.running.ended())
    }

    pub fn signal(&self, signal: Signal) {
        process::send(self.running.pid, signal);
    }

    pub fn stdout(&self) -> String {
        read(&self.dir.path().join("stdout"))
    }
}

/// An address on which nobody listens.
pub fn free_address() -> SocketAddr {
    ([127, 0, 0, 1], ports::reserve()).into()
}
