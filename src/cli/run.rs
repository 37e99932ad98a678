//! `weir run`: load, then serve.

use std::path::PathBuf;

use clap::Args;

use crate::cli::{ConfigFile, Failure, warn};
use crate::config;
use crate::server::{self, Start};

#[derive(Args)]
pub(super) struct Run {
    #[command(flatten)]
    file: ConfigFile,
    /// Take the listeners over from the running process (`weir upgrade` does this)
    #[arg(long)]
    upgrade: bool,
}

impl Run {
    pub(super) fn of(config: PathBuf) -> Run {
        Run {
            file: ConfigFile { config },
            upgrade: false,
        }
    }

    pub(super) fn execute(self) -> Result<(), Failure> {
        let path = self.file.config;
        let (config, warnings) = config::load(&path)?;
        warn(&warnings);
        let start = Start {
            config,
            path,
            upgrade: self.upgrade,
            companions: Vec::new(),
        };
        server::run(start).map_err(|error| Failure::Other(error.to_string()))
    }
}
