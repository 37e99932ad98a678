//! A weir that runs: the real binary in a process of its own.

use std::net::SocketAddr;
use std::path::PathBuf;

use nix::sys::signal::Signal;
use parking_lot::Mutex;
use serde_json::Value;

use super::client::Client;
use super::eventually::eventually;
use super::files::{Files, completed, read};
use super::metrics;
use super::process::{self, Finished, Running};

/// Killed, with those it was upgraded to, when it goes out of scope.
pub struct Weir {
    /// Dropped before its files.
    first: Running,
    /// Processes that took over from the first.
    successors: Mutex<Vec<i32>>,
    files: Files,
}

impl Weir {
    pub(super) fn new(first: Running, files: Files) -> Weir {
        Weir {
            first,
            successors: Mutex::default(),
            files,
        }
    }

    // --- where it is

    /// The address of `$listen`.
    pub fn address(&self) -> SocketAddr {
        self.address_of("listen")
    }

    /// The address that a placeholder such as `listen2` or `admin` stands for.
    pub fn address_of(&self, placeholder: &str) -> SocketAddr {
        let address = self.files.reserved(placeholder);
        let address = address.unwrap_or_else(|| panic!("${placeholder} is not in use"));
        address.parse().unwrap()
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    pub fn client(&self) -> Client {
        Client::new(self.address())
    }

    /// A client of another listener, such as `listen2`.
    pub fn client_of(&self, placeholder: &str) -> Client {
        Client::new(self.address_of(placeholder))
    }

    /// A client of the admin listener.
    pub fn admin(&self) -> Client {
        self.client_of("admin")
    }

    /// A file in `$dir`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.files.path(name)
    }

    // --- what it says

    /// The sum of the series that have the selector's name and labels, such as
    /// `weir_requests_total{pool="web"}`; 0 without one.
    pub async fn metric(&self, selector: &str) -> f64 {
        self.find_metric(selector).await.unwrap_or(0.0)
    }

    /// As `metric`; `None` without a series.
    pub async fn find_metric(&self, selector: &str) -> Option<f64> {
        metrics::sum(&self.metrics().await, selector)
    }

    /// Waits until a metric has this value.
    #[track_caller]
    pub fn metric_becomes(&self, selector: &str, value: f64) -> impl Future<Output = ()> {
        eventually(format!("{selector} is {value}"), async move || {
            self.metric(selector).await == value
        })
    }

    /// The whole metrics page.
    pub async fn metrics(&self) -> String {
        let response = self.admin().get("/metrics").await;
        assert_eq!(response.status, 200, "{}", response.text());
        response.text()
    }

    /// The access log's lines by now, from `$dir/access.log` or else stdout.
    pub fn access_log(&self) -> Vec<Value> {
        let lines = self.access_lines();
        let parse = |line: &String| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"))
        };
        lines.iter().map(parse).collect()
    }

    /// As `access_log`, for formats that are not JSON. A line under way is left out.
    pub fn access_lines(&self) -> Vec<String> {
        let file = self.path("access.log");
        let text = if file.exists() {
            read(&file)
        } else {
            self.stdout()
        };
        let lines = text.split_inclusive('\n');
        let whole = lines.filter_map(|line| line.strip_suffix('\n'));
        whole.map(str::to_owned).collect()
    }

    /// Waits until the access log has at least so many lines.
    #[track_caller]
    pub fn logged(&self, count: usize) -> impl Future<Output = Vec<Value>> {
        eventually("the access log has the line", async move || {
            Some(self.access_log()).filter(|lines| lines.len() >= count)
        })
    }

    /// What all its processes and commands wrote to stderr by now.
    pub fn stderr(&self) -> String {
        self.files.output("stderr")
    }

    pub fn stdout(&self) -> String {
        self.files.output("stdout")
    }

    // --- what is done to it

    /// Replaces the configuration file; nothing else happens (see `reload`). Placeholders stand for
    /// what they stood for.
    pub fn rewrite(&self, yaml: &str) {
        self.files.write_config(&completed(yaml));
    }

    /// Sends SIGHUP, waits for the outcome and tells whether the reload succeeded.
    pub async fn reload(&self) -> bool {
        let all = "weir_config_reloads_total";
        let good = r#"weir_config_reloads_total{result="success"}"#;
        let (all_before, good_before) = (self.metric(all).await, self.metric(good).await);
        self.signal(Signal::SIGHUP);
        eventually("the reload is over", async || {
            self.metric(all).await > all_before
        })
        .await;
        self.metric(good).await > good_before
    }

    /// `rewrite`, then `reload`.
    pub async fn reload_with(&self, yaml: &str) -> bool {
        self.rewrite(yaml);
        self.reload().await
    }

    pub fn signal(&self, signal: Signal) {
        process::send(self.pid(), signal);
    }

    /// Runs a subcommand on its configuration to its end.
    pub async fn command(&self, arguments: &[&str]) -> Finished {
        process::command(&self.files, arguments).await
    }

    /// `weir upgrade`. Where it succeeds, the new process is the one that `pid` names.
    pub async fn upgrade(&self) -> Finished {
        let before = self.pid();
        let end = self.command(&["upgrade"]).await;
        if end.success() {
            let what = "the pid file names the new process";
            let new = eventually(what, async || {
                self.pid_in_file().filter(|pid| *pid != before)
            });
            let new = new.await;
            self.successors.lock().push(new);
        }
        end
    }

    // --- its processes

    /// The process that serves: the first, or the last one it was upgraded to.
    pub fn pid(&self) -> i32 {
        self.successors
            .lock()
            .last()
            .copied()
            .unwrap_or(self.first.pid)
    }

    /// Waits until the first process has ended by itself, and says how.
    #[track_caller]
    pub fn exit_status(&self) -> impl Future<Output = Finished> {
        eventually("the process ends", async || self.first.ended())
    }

    /// Whether the process that serves still runs; does not wait.
    pub fn is_running(&self) -> bool {
        process::is_running(self.pid())
    }

    /// Everything that runs with its configuration: weirs and commands.
    pub fn processes(&self) -> Vec<i32> {
        process::with_argument(&self.files.config_path())
    }

    /// Resident memory in bytes.
    pub fn resident_bytes(&self) -> u64 {
        process::status_number(self.pid(), "VmRSS") * 1024
    }

    pub fn threads(&self) -> u64 {
        process::status_number(self.pid(), "Threads")
    }

    pub fn open_files(&self) -> usize {
        process::open_files(self.pid())
    }

    fn pid_in_file(&self) -> Option<i32> {
        read(&self.path("weir.pid")).trim().parse().ok()
    }
}

impl Drop for Weir {
    fn drop(&mut self) {
        // Also what an upgrade that failed may have left.
        for pid in self.processes() {
            if pid != self.first.pid {
                process::kill(pid);
            }
        }
    }
}
