//! The client of the admin listener that `weir status` and `weir purge` share.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use clap::Args;

use crate::admin::reply::Explanation;
use crate::cli::{ConfigFile, Failure};
use crate::config;

const TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Args)]
pub(super) struct Admin {
    #[command(flatten)]
    file: ConfigFile,
    /// The admin listener's address, instead of the configuration's
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
}

impl Admin {
    /// The body of the answer to a GET.
    pub(super) fn get(&self, path: &str) -> Result<String, Failure> {
        self.ask(&format!("GET {path}"), "")
    }

    /// The body of the answer to a POST of JSON.
    pub(super) fn post(&self, path: &str, json: &str) -> Result<String, Failure> {
        let length = json.len();
        let head = format!("Content-Type: application/json\r\nContent-Length: {length}\r\n");
        self.ask(&format!("POST {path}"), &format!("{head}\r\n{json}"))
    }

    fn address(&self) -> Result<SocketAddr, Failure> {
        if let Some(address) = self.admin {
            return Ok(address);
        }
        let (config, _) = config::load(&self.file.config)?;
        let off = || Failure::Other("the configuration has admin: off".to_owned());
        config.fixed.admin.ok_or_else(off)
    }

    /// `rest` are the head's other fields, and the body; an error if the answer is not a 200.
    fn ask(&self, what: &str, rest: &str) -> Result<String, Failure> {
        let address = self.address()?;
        let rest = if rest.is_empty() { "\r\n" } else { rest };
        let request = format!("{what} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{rest}");
        let response = exchange(address, &request)
            .map_err(|error| Failure::Other(format!("cannot ask {address}: {error}")))?;
        let not_weir = || Failure::Other(format!("{address} is not weir's admin listener"));
        let (head, body) = response.split_once("\r\n\r\n").ok_or_else(not_weir)?;
        if head.starts_with("HTTP/1.1 200 ") {
            return Ok(body.to_owned());
        }
        let refusal = serde_json::from_str::<Explanation>(body).map_err(|_| not_weir())?;
        Err(Failure::Other(refusal.message))
    }
}

fn exchange(address: SocketAddr, request: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(request.as_bytes())?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    Ok(response)
}
