//! Many GETs over keep-alive connections, counted by what became of them.
//!
//! A connection is opened anew when the server announced its close, or has closed it while it was
//! idle. A request on a used connection that ends without one byte of a response met a close under
//! way: RFC 9112 §9.3.1 and §9.6 let a client send it again, as real clients do, so it is repeated
//! and counted as `retried_on_stale`, not as failed. On a fresh connection it is a failure, and so
//! is every response that breaks off.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::task::{JoinHandle, JoinSet};

use super::client::{Client, Response};
use super::connection::{Connection, Failure};

/// What became of the requests of a load.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Complete responses with a status below 400.
    pub ok: usize,
    pub by_status: BTreeMap<u16, usize>,
    /// By the first 64 bytes of the body: which origin answered.
    pub by_body: BTreeMap<String, usize>,
    /// One text for each request without a whole response.
    pub failed: Vec<String>,
    pub retried_on_stale: usize,
    pub connections: usize,
}

/// A load in the background.
pub struct Load {
    shared: Arc<Shared>,
    running: JoinHandle<()>,
}

struct Shared {
    client: Client,
    target: String,
    /// Requests still to be started.
    left: AtomicUsize,
    stopping: AtomicBool,
    report: Mutex<Report>,
}

// === impl Report ===

impl Report {
    /// Requests that got a whole response, whatever its status.
    pub fn responses(&self) -> usize {
        self.by_status.values().sum()
    }

    pub fn status(&self, status: u16) -> usize {
        self.by_status.get(&status).copied().unwrap_or(0)
    }

    pub fn body(&self, body: &str) -> usize {
        self.by_body.get(body).copied().unwrap_or(0)
    }

    /// Panics unless every request got a whole response below 400.
    #[track_caller]
    pub fn expect_lossless(&self) {
        assert!(
            self.failed.is_empty() && self.ok == self.responses(),
            "requests were lost: {self:?}"
        );
    }

    fn add(&mut self, outcome: Result<Response, Failure>) {
        match outcome {
            Ok(response) if response.complete => {
                self.ok += usize::from(response.status < 400);
                *self.by_status.entry(response.status).or_default() += 1;
                let start = &response.body[..response.body.len().min(64)];
                let body = String::from_utf8_lossy(start).into_owned();
                *self.by_body.entry(body).or_default() += 1;
            }
            Ok(response) => {
                let got = response.body.len();
                let status = response.status;
                self.failed
                    .push(format!("{status} broke off after {got} body bytes"));
            }
            Err(failure) => self.failed.push(failure.to_string()),
        }
    }
}

// === impl Load ===

impl Load {
    /// Sends GETs without a pause until it is stopped.
    pub fn start(client: &Client, target: &str, concurrency: usize) -> Load {
        let shared = Shared::new(client, target, usize::MAX);
        let running = tokio::spawn(work(shared.clone(), concurrency));
        Load { shared, running }
    }

    /// Requests finished by now.
    pub fn done(&self) -> usize {
        let report = self.shared.report.lock();
        report.responses() + report.failed.len()
    }

    /// Lets the requests under way finish.
    pub async fn stop(self) -> Report {
        self.shared.stopping.store(true, Ordering::SeqCst);
        self.running.await.unwrap();
        self.shared.report.lock().clone()
    }
}

impl Shared {
    fn new(client: &Client, target: &str, count: usize) -> Arc<Shared> {
        Arc::new(Shared {
            client: client.clone(),
            target: target.to_owned(),
            left: AtomicUsize::new(count),
            stopping: AtomicBool::new(false),
            report: Mutex::default(),
        })
    }

    /// Whether one more request is to be sent.
    fn take_one(&self) -> bool {
        let one_less = |left: usize| left.checked_sub(1);
        !self.stopping.load(Ordering::SeqCst)
            && self
                .left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less)
                .is_ok()
    }
}

/// Sends `count` requests, or with `None` forever.
pub(super) async fn run(
    client: &Client,
    target: &str,
    count: Option<usize>,
    concurrency: usize,
) -> Report {
    let shared = Shared::new(client, target, count.unwrap_or(usize::MAX));
    work(shared.clone(), concurrency).await;
    shared.report.lock().clone()
}

async fn work(shared: Arc<Shared>, concurrency: usize) {
    let mut workers: JoinSet<()> = (0..concurrency)
        .map(|_| one_after_another(shared.clone()))
        .collect();
    while let Some(ended) = workers.join_next().await {
        ended.unwrap();
    }
}

async fn one_after_another(shared: Arc<Shared>) {
    let mut used: Option<Connection> = None;
    while shared.take_one() {
        let outcome = one(&shared, &mut used).await;
        shared.report.lock().add(outcome);
        tokio::task::yield_now().await;
    }
}

/// One request, on the used connection while that lasts.
async fn one(shared: &Shared, used: &mut Option<Connection>) -> Result<Response, Failure> {
    if let Some(mut connection) = used.take()
        && !connection.has_ended().await
    {
        match exchange(shared, connection, used).await {
            Err(Failure::Ended(_)) => shared.report.lock().retried_on_stale += 1,
            outcome => return outcome,
        }
    }
    let fresh = shared.client.try_connect().await?;
    shared.report.lock().connections += 1;
    exchange(shared, fresh, used).await
}

/// One request; the connection is put back when it can be used again.
async fn exchange(
    shared: &Shared,
    mut connection: Connection,
    used: &mut Option<Connection>,
) -> Result<Response, Failure> {
    let request = connection.request("GET", &shared.target);
    let response = connection.exchange(&request).await?;
    if response.complete && !response.closes() {
        *used = Some(connection);
    }
    Ok(response)
}
