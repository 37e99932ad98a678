//! The least a Pingora balancer can be: two backends in turn, plain HTTP, nothing of weir's.
//!
//! `bench/run` puts it beside weir, so that what weir adds to Pingora can be told from what Pingora costs.
//! Usage: `bare_balancer BIND BACKEND BACKEND...`

use async_trait::async_trait;
use pingora_core::Result;
use pingora_core::server::Server;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorType};
use pingora_load_balancing::LoadBalancer;
use pingora_load_balancing::selection::RoundRobin;
use pingora_proxy::{ProxyHttp, Session};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Balancer(LoadBalancer<RoundRobin>);

#[async_trait]
impl ProxyHttp for Balancer {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        let backend = self
            .0
            .select(b"", 2)
            .ok_or_else(|| Error::new(ErrorType::ConnectNoRoute))?;
        Ok(Box::new(HttpPeer::new(backend.addr, false, String::new())))
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let bind = args.next().ok_or("usage: bare_balancer BIND BACKEND...")?;
    let backends: Vec<String> = args.collect();

    let conf = ServerConf {
        threads: 2,
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let balancer = Balancer(LoadBalancer::try_from_iter(backends)?);
    let mut service = pingora_proxy::http_proxy_service(&server.configuration, balancer);
    service.add_tcp(&bind);
    server.add_service(service);
    server.run_forever();
}
