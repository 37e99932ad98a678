//! `weir purge`: takes responses out of the running process's cache, over its admin listener.

use clap::Args;

use crate::admin::PURGE_PATH;
use crate::admin::cache::{Order, Purged};
use crate::cli::Failure;
use crate::cli::admin::Admin;
use crate::cli::output::say;

#[derive(Args)]
pub(super) struct Purge {
    #[command(flatten)]
    admin: Admin,
    #[command(flatten)]
    what: What,
    /// Mark stale instead: to be revalidated, or served while that is not possible
    #[arg(long)]
    soft: bool,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct What {
    /// All variants of http://host/path?query
    #[arg(long)]
    url: Option<String>,
    /// Everything whose URL begins so
    #[arg(long, value_name = "URL")]
    prefix: Option<String>,
    /// Everything of a host, with its port if clients name one
    #[arg(long)]
    host: Option<String>,
    /// Everything with this Surrogate-Key or Cache-Tag
    #[arg(long)]
    tag: Option<String>,
    /// Everything
    #[arg(long)]
    all: bool,
}

impl Purge {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let (
            What {
                url,
                prefix,
                host,
                tag,
                all,
            },
            soft,
        ) = (self.what, self.soft);
        let order = Order {
            url,
            prefix,
            host,
            tag,
            all,
            soft,
        };
        let order =
            serde_json::to_string(&order).map_err(|error| Failure::Other(error.to_string()))?;
        let answer = self.admin.post(PURGE_PATH, &order)?;
        let Purged { purged } = serde_json::from_str(&answer)
            .map_err(|error| Failure::Other(format!("the answer was not understood: {error}")))?;
        let objects = if purged == 1 { "object" } else { "objects" };
        let done = if soft { "marked stale" } else { "purged" };
        say!(stdout, "{purged} {objects} {done}");
        Ok(())
    }
}
