//! A weir in the making: its configuration and the files that names.
//!
//! The YAML may use the placeholders of `files`. Its common indentation is taken off, and what it
//! leaves out is added at its end: `listeners` (one, `$listen`), `admin` (`$admin`), `log` (JSON in
//! `$dir/access.log`) and `server` (`$upgradable`; a scenario that upgrades and has a `server` of its
//! own writes `server: { drain_timeout: 2s, $upgradable }`).

use std::path::{Path, PathBuf};

use super::client::Client;
use super::eventually::eventually;
use super::files::{Files, completed};
use super::process::{self, Finished, Running};
use super::weir::Weir;

pub struct Setup {
    yaml: String,
    files: Files,
}

/// A weir with this configuration; nothing runs yet.
pub fn weir(yaml: &str) -> Setup {
    Setup {
        yaml: completed(yaml),
        files: Files::new(),
    }
}

impl Setup {
    /// What `$name` stands for, such as an origin's address.
    pub fn with(mut self, name: &str, value: impl ToString) -> Setup {
        self.files.given.insert(name.to_owned(), value.to_string());
        self
    }

    /// Its processes find these root certificates (PEM) in place of the system's.
    pub fn system_roots(mut self, file: impl AsRef<Path>) -> Setup {
        let file = file.as_ref().display().to_string();
        // Without a certificate under the name that OpenSSL would look for.
        let directory = self.files.path("").display().to_string();
        let variables = [("SSL_CERT_FILE", file), ("SSL_CERT_DIR", directory)];
        let variables = variables.map(|(name, value)| (name.to_owned(), value));
        self.files.environment.extend(variables);
        self
    }

    /// Exactly this YAML: nothing is added, no indentation taken off.
    pub fn verbatim(mut self, yaml: &str) -> Setup {
        self.yaml = yaml.to_owned();
        self
    }

    /// Writes `$dir/name`.
    pub fn file(self, name: &str, contents: impl AsRef<[u8]>) -> Setup {
        std::fs::write(self.files.path(name), contents).unwrap();
        self
    }

    /// `$dir/name`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.files.path(name)
    }

    /// Runs it and waits until it is ready; panics with its stderr when it ends instead.
    pub async fn start(self) -> Weir {
        let running = self.run();
        match ready(&running, &self.files).await {
            Ok(()) => Weir::new(running, self.files),
            Err(end) => panic!("no start: {end:#?}"),
        }
    }

    /// Runs it and does not wait until it is ready, for what is not, or not yet.
    pub fn start_unready(self) -> Weir {
        Weir::new(self.run(), self.files)
    }

    /// `weir run` that is expected to end by itself.
    pub async fn refused(&self) -> Finished {
        self.command(&["run"]).await
    }

    /// `weir check` on the configuration.
    pub async fn check(&self) -> Finished {
        self.command(&["check"]).await
    }

    /// Runs a subcommand on the configuration to its end.
    pub async fn command(&self, arguments: &[&str]) -> Finished {
        self.files.write_config(&self.yaml);
        process::command(&self.files, arguments).await
    }

    fn run(&self) -> Running {
        self.files.write_config(&self.yaml);
        let (stdout, stderr) = self.files.outputs();
        let config = self.files.config_path();
        let arguments = ["run", "-c", &config];
        Running::start(&arguments, &self.files.environment, stdout, stderr)
    }
}

/// Waits until `/-/ready` says so, or without an admin listener until it accepts; or until it ends.
async fn ready(running: &Running, files: &Files) -> Result<(), Finished> {
    let client = |name| Some(Client::new(files.reserved(name)?.parse().unwrap()));
    eventually("weir is ready", async || {
        if let Some(end) = running.ended() {
            return Some(Err(end));
        }
        let is_ready = match client("admin") {
            Some(admin) => matches!(admin.try_get("/-/ready").await, Ok(r) if r.status == 200),
            None => match client("listen") {
                Some(client) => client.try_connect().await.is_ok(),
                None => true,
            },
        };
        is_ready.then_some(Ok(()))
    })
    .await
}
