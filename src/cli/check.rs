//! `weir check`: every mistake of a configuration, with place and hint.

use clap::Args;

use crate::cli::output::say;
use crate::cli::{ConfigFile, Failure, warn};
use crate::config;

#[derive(Args)]
pub(super) struct Check {
    #[command(flatten)]
    file: ConfigFile,
    /// Print the JSON Schema of the configuration, for editors
    #[arg(long)]
    schema: bool,
}

impl Check {
    pub(super) fn execute(self) -> Result<(), Failure> {
        if self.schema {
            say!(stdout, "{}", config::schema());
            return Ok(());
        }
        let (config, warnings) = config::load(&self.file.config)?;
        warn(&warnings);
        let endpoints: usize = config
            .live
            .pools
            .iter()
            .map(|pool| pool.endpoints.len())
            .sum();
        say!(
            stdout,
            "{}: valid: {}, {}, {}, {}",
            self.file.config.display(),
            counted(config.fixed.listeners.len(), "listener"),
            counted(config.live.routes.len(), "route"),
            counted(config.live.pools.len(), "pool"),
            counted(endpoints, "endpoint"),
        );
        Ok(())
    }
}

fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}
