//! The words scenarios are written in.
//!
//! ```ignore
//! let origin = Origin::serving("hello");
//! let weir = weir("pools: { web: { endpoints: [$origin] } }\nroutes: [{ pool: web }]")
//!     .with("origin", &origin)
//!     .start()
//!     .await;
//! let response = weir.client().get("/").await;
//! assert_eq!(response.text(), "hello");
//! assert_eq!(weir.metric(r#"weir_requests_total{code_class="2xx"}"#).await, 1.0);
//! ```
//!
//! Nothing here sleeps but `eventually`, and nothing has a fixed port.

#![allow(dead_code)] // A vocabulary: not every word is in use at all times.

mod black_hole;
mod certificates;
mod client;
mod connection;
mod dns;
mod eventually;
mod files;
mod gate;
mod load;
mod metrics;
mod origin;
mod origin_connection;
mod ports;
mod process;
mod program;
mod reply;
mod setup;
mod socket;
mod weir;
mod wire;

pub use black_hole::BlackHole;
pub use certificates::{Authority, Identity};
pub use client::{Client, RequestBuilder, Response};
pub use connection::{Connection, Ending, Failure};
pub use dns::{Dns, DnsAnswer};
pub use eventually::{Answer, eventually, patience, steadily};
pub use gate::Gate;
pub use load::{Load, Report};
pub use nix::sys::signal::Signal;
pub use origin::{BeforeBody, Origin, Request};
pub use process::Finished;
pub use program::{Program, free_address};
pub use reply::Reply;
pub use setup::{Setup, weir};
pub use weir::Weir;
pub use wire::Headers;
