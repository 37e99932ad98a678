//! `weir backend`: an HTTP backend to test with, and what `weir demo` puts behind its proxy.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use clap::Args;
use http::{HeaderValue, Response, StatusCode, header};
use pingora_core::apps::http_app::ServeHttp;
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::configuration::ServerConf;
use pingora_core::server::{RunArgs, Server};
use pingora_core::services::listening::Service;

use crate::cli::Failure;
use crate::cli::output::say;
use crate::config::units;

/// Bodies larger than this are not echoed.
const ECHO_BYTES_MAX: usize = 16 * 1024 * 1024;

#[derive(Args)]
pub(super) struct Backend {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9001")]
    listen: SocketAddr,
    /// What it calls itself; default: its address
    #[arg(long)]
    name: Option<String>,
    /// Time each answer takes, like 20ms
    #[arg(long, value_name = "DURATION", default_value = "0ms", value_parser = delay)]
    delay: Duration,
    /// Share of answers that are a 500, from 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    error_rate: f64,
}

impl Backend {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let address = self.listen;
        // Pingora panics where it cannot bind.
        TcpListener::bind(address)
            .map_err(|error| Failure::Other(format!("cannot listen on {address}: {error}")))?;
        let name = self.name.unwrap_or_else(|| address.to_string());
        say!(
            stdout,
            "{name} listens on http://{address}: / answers, /echo sends the body back,"
        );
        say!(
            stdout,
            "/healthz tells its health, /-/fail and /-/recover change it"
        );
        let mut server = Server::new_with_opt_and_conf(None, ServerConf::default());
        server.add_service(service(
            address,
            App::new(name, self.delay, self.error_rate),
        ));
        server.run(RunArgs::default());
        Ok(())
    }
}

fn delay(text: &str) -> Result<Duration, String> {
    units::duration(text).map_err(|error| error.to_string())
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text
        .parse()
        .map_err(|_| format!("{text} is not a number"))?;
    if (0.0..=1.0).contains(&share) {
        Ok(share)
    } else {
        Err(format!("{text} is not between 0 and 1"))
    }
}

pub(super) fn service(address: SocketAddr, app: App) -> Service<App> {
    let mut service = Service::new(app.name.clone(), app);
    service.add_tcp(&address.to_string());
    service.threads = Some(1);
    service
}

pub(super) struct App {
    name: String,
    delay: Duration,
    error_rate: f64,
    healthy: AtomicBool,
}

impl App {
    pub(super) fn new(name: String, delay: Duration, error_rate: f64) -> App {
        App {
            name,
            delay,
            error_rate,
            healthy: AtomicBool::new(true),
        }
    }

    fn health(&self) -> (StatusCode, Vec<u8>) {
        if self.healthy.load(Ordering::Relaxed) {
            (StatusCode::OK, b"healthy\n".to_vec())
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, b"unhealthy\n".to_vec())
        }
    }

    fn set_health(&self, healthy: bool) -> (StatusCode, Vec<u8>) {
        self.healthy.store(healthy, Ordering::Relaxed);
        let word = if healthy { "healthy" } else { "unhealthy" };
        (
            StatusCode::OK,
            format!("{} is {word} now\n", self.name).into_bytes(),
        )
    }

    async fn work(&self) -> (StatusCode, Vec<u8>) {
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        if fastrand::f64() < self.error_rate {
            let text = format!("{} failed, as it was asked to\n", self.name);
            return (StatusCode::INTERNAL_SERVER_ERROR, text.into_bytes());
        }
        (
            StatusCode::OK,
            format!("hello from {}\n", self.name).into_bytes(),
        )
    }
}

#[async_trait]
impl ServeHttp for App {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let path = session.req_header().uri.path().to_owned();
        let (status, body) = match path.as_str() {
            "/healthz" => self.health(),
            "/-/fail" => self.set_health(false),
            "/-/recover" => self.set_health(true),
            "/echo" => echo(session).await,
            _ => self.work().await,
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let length = response.body().len();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_LENGTH, length.into());
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        if let Ok(name) = HeaderValue::from_str(&self.name) {
            headers.insert("x-backend", name);
        }
        response
    }
}

async fn echo(session: &mut ServerSession) -> (StatusCode, Vec<u8>) {
    let mut body = Vec::new();
    loop {
        match session.read_request_body().await {
            Ok(Some(bytes)) if body.len() + bytes.len() <= ECHO_BYTES_MAX => {
                body.extend_from_slice(&bytes);
            }
            Ok(Some(_)) => return (StatusCode::PAYLOAD_TOO_LARGE, Vec::new()),
            Ok(None) => return (StatusCode::OK, body),
            Err(_) => return (StatusCode::BAD_REQUEST, Vec::new()),
        }
    }
}
