//! `weir status`: asks the running process over its admin listener.

use clap::Args;

use crate::admin::status;
use crate::cli::Failure;
use crate::cli::admin::Admin;
use crate::cli::output::say;

#[derive(Args)]
pub(super) struct Status {
    #[command(flatten)]
    admin: Admin,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let body = self.admin.get("/-/status")?;
        let status: status::Status = serde_json::from_str(&body)
            .map_err(|error| Failure::Other(format!("the answer was not understood: {error}")))?;
        if self.json {
            say!(stdout, "{body}");
        } else {
            say!(stdout, "{}", status::table(&status).trim_end());
        }
        if status.ready {
            Ok(())
        } else {
            Err(Failure::Other("not ready".to_owned()))
        }
    }
}
