//! Load probes: asks a pool's endpoints how busy they are, as often as its requests pay for.
//!
//! One [`run`] for each pool and snapshot; in pools that ask for no probes it ends at once. What was
//! paid for is sent in rounds, each to endpoints drawn at random without replacement among those that
//! serve: primaries, or backups while no primary is ready. Connections are kept between probes.
//!
//! Bounds: a round every 5 ms at most, so an endpoint gets at most 200 probes in a second; one at a time
//! for each endpoint and [`RUNNING_MAX`] for each pool, and what does not fit is not made up for. What is
//! learned goes to the endpoint and to `upstream::load_probes`; nothing here says who is ready.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use http::header::{HOST, USER_AGENT};
use pingora_core::Result;
use pingora_core::protocols::http::v1::client::HttpSession;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_http::RequestHeader;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};

use super::probe::{Prober, authority, final_status};
use crate::config::model::LoadProbe;
use crate::upstream::Pool;
use crate::upstream::load_probes::{Answer, LoadProbes};
use crate::upstream::load_report::LoadReport;
use crate::upstream::member::Member;
use crate::upstream::members::Members;

#[cfg(test)]
mod tests;

const PAUSE: Duration = Duration::from_millis(5);
const RUNNING_MAX: usize = 64;
/// How much of a body is read; a longer one is no report.
const BODY_MAX: usize = 16 * 1024;

/// Asks, for as long as the future is held and the pool has requests.
pub async fn run(pool: Arc<Pool>, prober: Arc<Prober>) {
    let Some(probes) = pool.load_probes().cloned() else {
        return;
    };
    let ask = |member: Arc<Member>| {
        let (prober, pool, probes) = (prober.clone(), pool.clone(), probes.clone());
        async move { ask(&prober, &pool, probes.config(), &member).await.ok() }
    };
    ask_as_paid(&pool, &probes, ask).await;
}

async fn ask_as_paid<A, F>(pool: &Pool, probes: &Arc<LoadProbes>, ask: A)
where
    A: Fn(Arc<Member>) -> F,
    F: Future<Output = Option<LoadReport>> + Send + 'static,
{
    let mut under_way = UnderWay::default();
    loop {
        let due = probes.due().await;
        under_way.forget_finished();
        for member in under_way.draw(&pool.members(), due) {
            let answer = ask(member.clone());
            under_way.start(&member, one(probes.clone(), member.clone(), answer));
        }
        sleep(PAUSE).await;
    }
}

/// One probe: `answer` is what comes of it, `None` for nothing.
async fn one(
    probes: Arc<LoadProbes>,
    member: Arc<Member>,
    answer: impl Future<Output = Option<LoadReport>>,
) {
    let report = timeout(probes.config().timeout, answer).await;
    let report = report.ok().flatten();
    let endpoint = &member.endpoint;
    endpoint.load_probed(report.as_ref());
    if let Some(report) = report {
        let at = Instant::now().into_std();
        endpoint.reported(&report, at);
        let address = endpoint.address();
        probes.answered(Answer { address, at });
    }
}

/// The probes of a pool that have not been answered yet; dropped, they end.
#[derive(Default)]
struct UnderWay {
    running: JoinSet<()>,
    by_address: HashMap<SocketAddr, AbortHandle>,
}

impl UnderWay {
    fn forget_finished(&mut self) {
        while self.running.try_join_next().is_some() {}
        self.by_address.retain(|_, probe| !probe.is_finished());
    }

    /// Up to `due` members to ask next.
    fn draw(&self, members: &Members, due: usize) -> Vec<Arc<Member>> {
        let ready = || members.all().iter().filter(|member| member.is_ready());
        let has_primary = ready().any(|member| !member.backup);
        let askable = ready().filter(|member| {
            let is_under_way = self.by_address.contains_key(&member.endpoint.address());
            !(is_under_way || has_primary && member.backup)
        });
        let room = RUNNING_MAX.saturating_sub(self.by_address.len());
        let mut drawn = fastrand::choose_multiple(askable.cloned(), due.min(room));
        // Of equal answers the last one counts, which is not always to be the same endpoint's.
        fastrand::shuffle(&mut drawn);
        drawn
    }

    fn start(&mut self, member: &Member, probe: impl Future<Output = ()> + Send + 'static) {
        let probe = self.running.spawn(probe);
        self.by_address.insert(member.endpoint.address(), probe);
    }
}

/// Asks over a kept connection or a new one. An answer that is no success reports nothing.
async fn ask(
    prober: &Prober,
    pool: &Pool,
    probe: &LoadProbe,
    member: &Member,
) -> Result<LoadReport> {
    let host = member.host.as_deref();
    let own = member.endpoint.address();
    let mut address = own;
    address.set_port(probe.port.unwrap_or(own.port()));
    let peer = pool.peers().peer(address, host);
    let (mut session, _reused) = prober.kept.get_http_session(&peer).await?;
    let authority = authority(pool, own, host);
    session
        .write_request_header(request(&probe.path, &authority)?)
        .await?;
    session.finish_body().await?;
    let is_success = (200..300).contains(&final_status(&mut session).await?);
    let body = body(&mut session).await?;
    let headers = session.resp_header().map(|response| &response.headers);
    let report = headers.zip(body.as_deref()).filter(|_| is_success);
    let report = report.map(|(headers, body)| LoadReport::of_probe(headers, body));
    if body.is_some() {
        keep(prober, pool, session, &peer).await;
    }
    Ok(report.unwrap_or_default())
}

fn request(path: &str, authority: &str) -> Result<Box<RequestHeader>> {
    let mut request = RequestHeader::build("GET", path.as_bytes(), None)?;
    request.insert_header(HOST, authority)?;
    request.insert_header(USER_AGENT, "weir")?;
    Ok(Box::new(request))
}

/// The whole body; `None`: it is too long.
async fn body(session: &mut HttpSession) -> Result<Option<BytesMut>> {
    let mut body = BytesMut::new();
    while let Some(chunk) = session.read_body_bytes().await? {
        if body.len() + chunk.len() > BODY_MAX {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}

async fn keep(prober: &Prober, pool: &Pool, session: HttpSession, peer: &HttpPeer) {
    let idle = pool.config().idle_timeout;
    if !idle.is_zero() {
        let released = prober.kept.release_http_session(session, peer, Some(idle));
        released.await;
    }
}
