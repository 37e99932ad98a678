//! The admin listener: metrics, readiness, liveness, status, and the cache.
//!
//! Everything here only reads, but for purges. Served by its own Pingora service on its own thread, so that it answers
//! while the listeners are busy or draining. Wired by `server`.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use http::{Method, StatusCode, Uri};
use pingora_core::apps::http_app::ServeHttp;
use pingora_core::protocols::http::ServerSession;
use tokio::task::spawn_blocking;

use crate::admin::reply::Reply;
use crate::admin::status::{Ejection, EndpointStatus, PoolStatus, Status};
use crate::proxy::process::Process;
use crate::upstream::Pool;
use crate::upstream::member::Member;

pub mod cache;
pub mod reply;
pub mod status;

/// Where `weir purge` sends its orders.
pub const PURGE_PATH: &str = "/-/cache/purge";

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

    /// The table of what is read here.
    fn answer(&self, uri: &Uri) -> Reply {
        let process = &self.process;
        match uri.path() {
            "/-/live" => reply::text(StatusCode::OK, "live\n"),
            "/-/ready" if process.is_ready() => reply::text(StatusCode::OK, "ready\n"),
            "/-/ready" => reply::text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
            "/-/status" => reply::json(StatusCode::OK, &self.status()),
            "/-/cache/stats" => cache::stats(&process.cache, &process.metrics.cache),
            "/-/cache/lookup" => {
                let snapshot = process.snapshot.load();
                cache::lookup(&process.cache, &snapshot, uri.query())
            }
            "/metrics" => {
                process.registry.show_load();
                let text = process.metrics.text().into_bytes();
                reply::with(
                    StatusCode::OK,
                    "text/plain; version=0.0.4; charset=utf-8",
                    text,
                )
            }
            _ => reply::text(StatusCode::NOT_FOUND, "not found\n"),
        }
    }

    /// Everything here only reads, but for this.
    async fn purge(&self, session: &mut ServerSession) -> Reply {
        if let Err(refusal) = reply::check_is_json(&session.req_header().headers) {
            return refusal.reply();
        }
        let order = match reply::body(session).await {
            Ok(order) => order,
            Err(refusal) => return refusal.reply(),
        };
        let process = self.process.clone();
        // A large one takes seconds, in which readiness is asked for too.
        let purging =
            spawn_blocking(move || cache::purge(&process.cache, &process.snapshot.load(), &order));
        purging.await.unwrap_or_else(|error| {
            log::error!("a purge broke off: {error}");
            reply::text(StatusCode::INTERNAL_SERVER_ERROR, "internal error\n")
        })
    }
}

#[async_trait]
impl ServeHttp for Admin {
    async fn response(&self, session: &mut ServerSession) -> Reply {
        let head = session.req_header();
        let is_purge = head.uri.path() == PURGE_PATH;
        match (is_purge, &head.method) {
            (true, &Method::POST) => self.purge(session).await,
            (true, _) => reply::only("POST"),
            (false, &Method::GET | &Method::HEAD) => self.answer(&head.uri),
            (false, _) => reply::only("GET, HEAD"),
        }
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
