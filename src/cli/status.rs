//! `weir status`: asks the running process over its admin listener.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use clap::Args;

use crate::admin::status;
use crate::cli::output::say;
use crate::cli::{ConfigFile, Failure};
use crate::config;

const TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Args)]
pub(super) struct Status {
    #[command(flatten)]
    file: ConfigFile,
    /// The admin listener's address, instead of the configuration's
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let body = fetch(self.admin_address()?, "/-/status")?;
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

    fn admin_address(&self) -> Result<SocketAddr, Failure> {
        if let Some(address) = self.admin {
            return Ok(address);
        }
        let (config, _) = config::load(&self.file.config)?;
        let off = || Failure::Other("the configuration has admin: off".to_owned());
        config.fixed.admin.ok_or_else(off)
    }
}

/// The body of a GET; an error if the answer is not a 200.
fn fetch(address: SocketAddr, path: &str) -> Result<String, Failure> {
    let failed = |error: std::io::Error| Failure::Other(format!("cannot ask {address}: {error}"));
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT).map_err(failed)?;
    stream.set_read_timeout(Some(TIMEOUT)).map_err(failed)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let mut response = String::new();
    stream.read_to_string(&mut response).map_err(failed)?;
    match response.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200 ") => Ok(body.to_owned()),
        _ => Err(Failure::Other(format!(
            "{address} is not weir's admin listener"
        ))),
    }
}
