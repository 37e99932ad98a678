//! The binary as a process: started, run to its end, and what the kernel says of it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use parking_lot::Mutex;

use super::eventually::eventually;
use super::files::{Files, read};

/// A process that has ended, and what it said.
#[derive(Clone, Debug)]
pub struct Finished {
    /// `None` where a signal ended it.
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }
}

/// A child of the scenario; killed when it goes out of scope. Where that is because the scenario
/// failed, what the child said is printed.
pub(super) struct Running {
    child: Mutex<Child>,
    pub(super) pid: i32,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Running {
    /// Its output goes to files: what it leaves running may outlive it, and would hold a pipe open.
    pub(super) fn start(
        arguments: &[&str],
        environment: &BTreeMap<String, String>,
        stdout: PathBuf,
        stderr: PathBuf,
    ) -> Running {
        let binary = binary();
        let mut command = Command::new(&binary);
        command
            .args(arguments)
            .envs(environment)
            .stdin(Stdio::null())
            .stdout(output(&stdout))
            .stderr(output(&stderr));
        let spawned = command.spawn();
        let child = spawned.unwrap_or_else(|error| panic!("cannot start {binary}: {error}"));
        Running {
            pid: i32::try_from(child.id()).unwrap(),
            child: Mutex::new(child),
            stdout,
            stderr,
        }
    }

    /// How it ended, if it has.
    pub(super) fn ended(&self) -> Option<Finished> {
        let status = self.child.lock().try_wait().unwrap()?;
        Some(Finished {
            code: status.code(),
            signal: status.signal(),
            stdout: read(&self.stdout),
            stderr: read(&self.stderr),
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let child = self.child.get_mut();
        // Both fail only when it has ended already.
        let _ = child.kill();
        let _ = child.wait();
        if std::thread::panicking() {
            let said = [read(&self.stdout), read(&self.stderr)].concat();
            eprintln!("--- process {} said:\n{said}---", self.pid);
        }
    }
}

/// Appends, since a process that takes over writes to the same file.
fn output(path: &Path) -> File {
    let file = File::options().create(true).append(true).open(path);
    file.unwrap()
}

/// Runs a subcommand on the configuration to its end; kills it when patience runs out.
pub(super) async fn command(files: &Files, arguments: &[&str]) -> Finished {
    let (stdout, stderr) = files.outputs();
    let config = files.config_path();
    let arguments = [arguments, &["-c", &config]].concat();
    let running = Running::start(&arguments, &files.environment, stdout, stderr);
    let what = format!("`weir {}` ends", arguments.join(" "));
    eventually(what, async || running.ended()).await
}

/// The binary under test: the one Cargo has built, or another one named by `WEIR_BINARY`.
fn binary() -> String {
    std::env::var("WEIR_BINARY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_weir").to_owned())
}

pub(super) fn send(pid: i32, signal: Signal) {
    signal::kill(Pid::from_raw(pid), signal)
        .unwrap_or_else(|error| panic!("cannot send {signal} to process {pid}: {error}"));
}

/// Ends it, if it has not ended by now.
pub(super) fn kill(pid: i32) {
    let _ = signal::kill(Pid::from_raw(pid), Signal::SIGKILL);
}

/// Neither gone nor a zombie.
pub(super) fn is_running(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().unwrap_or("").trim_start();
    !state.is_empty() && !state.starts_with(['Z', 'X'])
}

/// The processes that run with this argument.
pub(super) fn with_argument(argument: &str) -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| is_running(*pid) && has_argument(*pid, argument))
        .collect()
}

fn has_argument(pid: i32, argument: &str) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut arguments = line.split(|byte| *byte == 0);
    arguments.any(|found| found == argument.as_bytes())
}

/// A number of `/proc/PID/status`, such as `VmRSS` (in KiB) or `Threads`.
pub(super) fn status_number(pid: i32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let mut lines = status.lines();
    let value = lines.find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let number = value.and_then(|value| value.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap()
}

pub(super) fn open_files(pid: i32) -> usize {
    fs::read_dir(Path::new("/proc").join(pid.to_string()).join("fd"))
        .unwrap()
        .count()
}
