//! The command line: one file per command, one table of exit codes.
//!
//! Called by `main` only.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::cli::output::say;
use crate::config::{LoadError, Warnings};

mod admin;
mod backend;
mod check;
mod demo;
mod output;
mod purge;
mod run;
mod status;
mod upgrade;

/// A hardened edge proxy and load balancer, configured by one YAML file.
#[derive(Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    arg_required_else_help = true
)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// `weir -c FILE` is `weir run -c FILE`.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve until a signal ends the process
    Run(run::Run),
    /// Find every mistake in a configuration
    Check(check::Check),
    /// Replace the running process by a new one without losing a request
    Upgrade(upgrade::Upgrade),
    /// Show pools and endpoints of the running process; exit 0 when it is ready
    Status(status::Status),
    /// Take responses out of the running process's cache
    Purge(purge::Purge),
    /// Three backends of unequal speed behind a proxy, to play with
    Demo(demo::Demo),
    /// A backend to test with
    Backend(backend::Backend),
}

#[derive(Args)]
struct ConfigFile {
    /// The configuration
    #[arg(
        short,
        long,
        value_name = "FILE",
        default_value = "/etc/weir/weir.yaml"
    )]
    config: PathBuf,
}

/// sysexits.h: the configuration is wrong.
const EX_CONFIG: u8 = 78;

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Config(#[from] LoadError),
    #[error("{0}")]
    Other(String),
}

impl Failure {
    /// Problems name their file and place; anything else is said with its causes.
    fn text(&self) -> String {
        if let Failure::Config(LoadError::Invalid(problems)) = self {
            return problems.to_string();
        }
        let mut text = format!("weir: {self}");
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(&format!(": {error}"));
            cause = error.source();
        }
        text
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Failure::Config(_) => ExitCode::from(EX_CONFIG),
            Failure::Other(_) => ExitCode::FAILURE,
        }
    }
}

impl Cli {
    pub fn execute(self) -> ExitCode {
        let result = match (self.command, self.config) {
            (Some(Command::Run(run)), _) => run.execute(),
            (Some(Command::Check(check)), _) => check.execute(),
            (Some(Command::Upgrade(upgrade)), _) => upgrade.execute(),
            (Some(Command::Status(status)), _) => status.execute(),
            (Some(Command::Purge(purge)), _) => purge.execute(),
            (Some(Command::Demo(demo)), _) => demo.execute(),
            (Some(Command::Backend(backend)), _) => backend.execute(),
            (None, Some(config)) => run::Run::of(config).execute(),
            (None, None) => Ok(()),
        };
        match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                say!(stderr, "{}", failure.text());
                failure.exit_code()
            }
        }
    }
}

fn warn(warnings: &Warnings) {
    if !warnings.list.is_empty() {
        say!(stderr, "{warnings}");
    }
}
