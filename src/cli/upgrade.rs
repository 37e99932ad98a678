//! `weir upgrade`: a new process takes the listeners over; the old one drains and leaves.
//!
//! The old process is told to hand over only when the new one has validated its configuration and
//! waits; it leaves only when the new one serves. Whatever fails, one of them serves.

use std::fs::OpenOptions;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::Args;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cli::output::say;
use crate::cli::{ConfigFile, Failure};
use crate::config;
use crate::server::{handover, pid_file};

/// How long the new process may take to validate and wait, and then to serve.
const PATIENCE: Duration = Duration::from_secs(25);
const POLL: Duration = Duration::from_millis(10);

#[derive(Args)]
pub(super) struct Upgrade {
    #[command(flatten)]
    file: ConfigFile,
    /// The new binary; default: this one
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

impl Upgrade {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let (config, _) = config::load(&self.file.config)?;
        let socket = config
            .fixed
            .upgrade_socket
            .ok_or_else(|| needs("server.upgrade_socket"))?;
        let pid_path = config
            .fixed
            .pid_file
            .ok_or_else(|| needs("server.pid_file"))?;
        let old = running(&pid_path)?;
        let mut new = self.start(old)?;
        let outcome = hand_over(&mut new, old, &socket, &pid_path);
        if outcome.is_err() {
            // It may wait for listeners that will never come.
            let _ = new.kill();
            let _ = new.wait();
        }
        outcome
    }

    fn start(&self, old: u32) -> Result<Child, Failure> {
        let binary = match &self.binary {
            Some(binary) => binary.clone(),
            None => std::env::current_exe().map_err(|error| Failure::Other(error.to_string()))?,
        };
        Command::new(&binary)
            .args(["run", "--upgrade", "-c"])
            .arg(&self.file.config)
            .stdin(Stdio::null())
            .stdout(output_of(old, 1))
            .stderr(output_of(old, 2))
            // Not in the group of this command, so that a Ctrl-C meant for it does not end both.
            .process_group(0)
            .spawn()
            .map_err(|error| Failure::Other(format!("cannot start {}: {error}", binary.display())))
    }
}

fn hand_over(new: &mut Child, old: u32, socket: &Path, pid_path: &Path) -> Result<(), Failure> {
    let path = socket.display().to_string();
    wait_until(new, "waits for the listeners", || {
        handover::is_listening(&path)
    })?;
    kill(Pid::from_raw(old.cast_signed()), Signal::SIGQUIT)
        .map_err(|error| Failure::Other(format!("cannot signal process {old}: {error}")))?;
    let new_pid = new.id();
    wait_until(new, "serves", || pid_file::read(pid_path) == Some(new_pid))?;
    say!(stdout, "process {new_pid} serves; process {old} drains");
    Ok(())
}

/// The process that serves. A pid file may outlive its process, and the number be given to another
/// one, which a signal of ours could end.
fn running(pid_path: &Path) -> Result<u32, Failure> {
    let none = || Failure::Other(format!("no running process in {}", pid_path.display()));
    let pid = pid_file::read(pid_path).ok_or_else(none)?;
    let name = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/comm"));
    let (Ok(theirs), Ok(ours)) = (name(&pid.to_string()), name("self")) else {
        return Err(none());
    };
    if theirs != ours {
        let (path, theirs) = (pid_path.display(), theirs.trim_end());
        let text = format!("process {pid} in {path} is {theirs}, not weir: is the file stale?");
        return Err(Failure::Other(text));
    }
    Ok(pid)
}

fn needs(key: &str) -> Failure {
    Failure::Other(format!("an upgrade needs {key} in the configuration"))
}

/// Where the old process writes, so that one log goes on; else where this command writes.
fn output_of(pid: u32, descriptor: u32) -> Stdio {
    OpenOptions::new()
        .append(true)
        .open(format!("/proc/{pid}/fd/{descriptor}"))
        .map_or_else(|_| Stdio::inherit(), Stdio::from)
}

fn wait_until(new: &mut Child, what: &str, done: impl Fn() -> bool) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        if let Ok(Some(status)) = new.try_wait() {
            return Err(Failure::Other(format!(
                "the new process ended before it {what} ({status}); the old one still serves"
            )));
        }
        if Instant::now() > deadline {
            return Err(Failure::Other(format!(
                "the new process did not say in time that it {what}; the old one still serves"
            )));
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}
