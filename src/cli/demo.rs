//! `weir demo`: three backends of unequal speed behind a proxy, in one process, without a file.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::cli::Failure;
use crate::cli::backend::{self, App};
use crate::cli::output::say;
use crate::config;
use crate::server::{self, Start};

#[derive(Args)]
pub(super) struct Demo {
    /// Where the proxy listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Where the admin listener listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9494")]
    admin: SocketAddr,
}

const BACKENDS: [(&str, Duration); 3] = [
    ("fast", Duration::from_millis(2)),
    ("medium", Duration::from_millis(10)),
    ("slow", Duration::from_millis(50)),
];

impl Demo {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let addresses = free_addresses().map_err(|error| Failure::Other(error.to_string()))?;
        let yaml = self.configuration(&addresses);
        let (config, _) = config::parse("demo.yaml", &yaml)
            .map_err(|problems| Failure::Other(problems.to_string()))?;
        self.explain(&addresses);
        let companions = BACKENDS
            .iter()
            .zip(addresses)
            .map(|(&(name, delay), address)| {
                Box::new(backend::service(
                    address,
                    App::new(name.to_owned(), delay, 0.0),
                )) as _
            })
            .collect();
        let start = Start {
            config,
            path: PathBuf::from("demo.yaml"),
            upgrade: false,
            companions,
        };
        server::run(start).map_err(|error| Failure::Other(error.to_string()))
    }

    fn configuration(&self, [fast, medium, slow]: &[SocketAddr; 3]) -> String {
        let (listen, admin) = (self.listen, self.admin);
        format!(
            "server: {{ drain_timeout: 5s }}\n\
             listeners: [{{ bind: \"{listen}\" }}]\n\
             admin: {{ bind: \"{admin}\" }}\n\
             pools: {{ demo: {{ endpoints: [\"{fast}\", \"{medium}\", \"{slow}\"], \
                                health: {{ http: /healthz, interval: 1s }} }} }}\n\
             routes: [{{ pool: demo }}]\n\
             log: {{ access: off, level: warn }}\n"
        )
    }

    fn explain(&self, [fast, _, slow]: &[SocketAddr; 3]) {
        let (listen, admin) = (self.listen, self.admin);
        say!(
            stdout,
            "http://{listen} balances over three backends that take 2, 10 and 50 ms. Try:"
        );
        let hints = [
            (format!("curl http://{listen}/"), "who answers?"),
            (
                format!("wrk -c 16 -d 5 http://{listen}/"),
                "load it: least_conn spares the slow one",
            ),
            (
                format!("weir status --admin {admin}"),
                "load and share of each endpoint",
            ),
            (
                format!("curl http://{fast}/-/fail"),
                "the fast one turns unhealthy …",
            ),
            (format!("curl http://{fast}/-/recover"), "… and comes back"),
            (
                format!("curl -d hello http://{listen}/echo"),
                "a body goes through",
            ),
            (
                format!("curl -v http://{slow}/"),
                "ask the slow one directly",
            ),
            (
                format!("curl http://{admin}/metrics"),
                "what Prometheus reads",
            ),
            (
                format!("curl http://{admin}/-/ready"),
                "what a load balancer in front asks",
            ),
            ("Ctrl-C".to_owned(), "ends all of it"),
        ];
        for (command, what) in hints {
            say!(stdout, "  {command:<45} {what}");
        }
    }
}

/// Addresses that were free a moment ago.
fn free_addresses() -> std::io::Result<[SocketAddr; 3]> {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    // Held together, so that all three differ.
    let listeners = [bind()?, bind()?, bind()?];
    let [first, second, third] = listeners.each_ref().map(TcpListener::local_addr);
    Ok([first?, second?, third?])
}
