//! The admin listener: metrics, readiness, liveness and status.
//!
//! Everything here only reads. Served by its own Pingora service on its own thread, so that it answers
//! while the listeners are busy or draining. Wired by `server`.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use http::{Method, Response, StatusCode, header};
use pingora_core::apps::http_app::ServeHttp;
use pingora_core::protocols::http::ServerSession;

use crate::admin::status::{Ejection, EndpointStatus, PoolStatus, Status};
use crate::proxy::process::Process;
use crate::upstream::Pool;
use crate::upstream::member::Member;

pub mod status;

pub struct Admin {
    process: Arc<Process>,
}

impl Admin {
    pub fn new(process: Arc<Process>) -> Admin {
        Admin { process }
    }

    fn status(&self) -> Status {
        let process = &self.process;
        let snapshot = process.snapshot.load();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            generation: snapshot.generation,
            ready: process.is_ready(),
            uptime_seconds: process.started.elapsed().as_secs(),
            connections: process.metrics.connections.get().cast_unsigned(),
            requests_in_flight: process.metrics.requests_in_flight.get().cast_unsigned(),
            pools: snapshot
                .pools
                .iter()
                .map(|pool| pool_status(pool))
                .collect(),
        }
    }

    /// The table of what is served here.
    fn answer(&self, method: &Method, path: &str) -> Response<Vec<u8>> {
        if method != Method::GET && method != Method::HEAD {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "GET only\n".to_owned());
            let allowed = header::HeaderValue::from_static("GET, HEAD");
            response.headers_mut().insert(header::ALLOW, allowed);
            return response;
        }
        match path {
            "/-/live" => text(StatusCode::OK, "live\n".to_owned()),
            "/-/ready" if self.process.is_ready() => text(StatusCode::OK, "ready\n".to_owned()),
            "/-/ready" => text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n".to_owned()),
            "/-/status" => json(&self.status()),
            "/metrics" => reply(
                StatusCode::OK,
                "text/plain; version=0.0.4; charset=utf-8",
                self.process.metrics.text().into_bytes(),
            ),
            _ => text(StatusCode::NOT_FOUND, "not found\n".to_owned()),
        }
    }
}

#[async_trait]
impl ServeHttp for Admin {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let head = session.req_header();
        self.answer(&head.method, head.uri.path())
    }
}

fn pool_status(pool: &Pool) -> PoolStatus {
    let members = pool.members();
    let endpoints = members
        .all()
        .iter()
        .map(|member| endpoint_status(member))
        .collect();
    let queued = pool.limits().map_or(0, |limits| limits.waiting());
    let status = PoolStatus::new(
        pool.name().to_owned(),
        pool.config().balance.name().to_owned(),
        pool.is_ready(),
        endpoints,
    );
    PoolStatus {
        queued: queued as u64,
        ..status
    }
}

fn endpoint_status(member: &Member) -> EndpointStatus {
    let endpoint = &member.endpoint;
    let (state, circuit) = (endpoint.state(), endpoint.circuit());
    let left = circuit.time_left(Instant::now()).unwrap_or_default();
    let ejection = circuit.reason().map(|reason| Ejection {
        reason: reason.to_string(),
        seconds_left: left.as_millis().div_ceil(1000) as u64,
    });
    // What probes found counts for more.
    let is_ejected = state.is_ready() && ejection.is_some();
    EndpointStatus {
        address: endpoint.name().to_owned(),
        weight: member.weight,
        backup: member.backup,
        state: if is_ejected {
            circuit.phase.word()
        } else {
            state.word()
        }
        .to_owned(),
        ejection,
        in_flight: endpoint.in_flight() as u64,
        picks: endpoint.picks(),
        share: None,
    }
}

fn text(status: StatusCode, body: String) -> Response<Vec<u8>> {
    reply(status, "text/plain; charset=utf-8", body.into_bytes())
}

fn json(status: &Status) -> Response<Vec<u8>> {
    match serde_json::to_vec(status) {
        Ok(body) => reply(StatusCode::OK, "application/json", body),
        Err(error) => {
            log::error!("the status could not be written: {error}");
            text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal error\n".to_owned(),
            )
        }
    }
}

fn reply(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Response<Vec<u8>> {
    let length = body.len();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static(content_type),
    );
    headers.insert(header::CONTENT_LENGTH, length.into());
    headers.insert(
        header::CACHE_CONTROL,
        header::HeaderValue::from_static("no-store"),
    );
    response
}
