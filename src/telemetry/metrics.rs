//! The metrics: every family is declared here once, with its name, help and labels.
//!
//! Handles are resolved when a snapshot is built, so a request only increments. Label values come
//! from the configuration (route, pool, endpoint) or from enums (reason, outcome): no client can
//! make a new series, and series of what left the configuration are forgotten.

use std::sync::Arc;
use std::time::Duration;

use prometheus::{
    Encoder, Gauge, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Registry, TextEncoder,
};

mod cache;
mod declare;

pub use cache::CacheMetrics;

use declare::Declare;

const CODE_CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

pub struct Metrics {
    registry: Registry,
    routes: Routes,
    endpoints: Endpoints,
    pub cache: CacheMetrics,
    rejections: IntCounterVec,
    retries: IntCounterVec,
    retry_budget_exhausted: IntCounter,
    hedges: IntCounterVec,
    pool_panic: IntGaugeVec,
    queue_length: IntGaugeVec,
    queue_wait: HistogramVec,
    pub requests_in_flight: IntGauge,
    pub connections: IntGauge,
    pub connections_accepted: IntCounter,
    pub tunnels: IntGauge,
    pub config_generation: IntGauge,
    pub last_reload_success: IntGauge,
    reloads: IntCounterVec,
    pub access_log_dropped: IntCounter,
}

impl Metrics {
    pub fn new() -> Arc<Metrics> {
        let registry = Registry::new();
        let declare = Declare(&registry);
        let metrics = Metrics {
            routes: Routes::declare(&declare),
            endpoints: Endpoints::declare(&declare),
            cache: CacheMetrics::declare(&declare),
            rejections: declare.counters(
                "weir_rejections_total",
                "Requests and connections refused or failed by weir itself, by reason.",
                &["reason"],
            ),
            retries: declare.counters(
                "weir_retries_total",
                "Attempts made again on another endpoint, by what failed.",
                &["reason"],
            ),
            retry_budget_exhausted: declare.counter(
                "weir_retry_budget_exhausted_total",
                "Retries that were not made, because their pool could not afford them.",
            ),
            hedges: declare.counters(
                "weir_hedges_total",
                "Second requests to another endpoint: won, lost, or refused by the pool's budget.",
                &["result"],
            ),
            pool_panic: declare.gauges(
                "weir_pool_panic",
                "1 while so few endpoints are ready that all get requests, else 0.",
                &["pool"],
            ),
            queue_length: declare.gauges(
                "weir_queue_length",
                "Requests that wait for their turn in a pool now.",
                &["pool"],
            ),
            queue_wait: declare.histograms(
                "weir_queue_seconds",
                "Time requests waited for their turn in a pool, served or not.",
                &["pool"],
            ),
            requests_in_flight: declare
                .gauge("weir_requests_in_flight", "Requests being served now."),
            connections: declare.gauge("weir_connections", "Client connections open now."),
            connections_accepted: declare.counter(
                "weir_connections_accepted_total",
                "Client connections accepted.",
            ),
            tunnels: declare.gauge("weir_tunnels", "Upgraded (WebSocket) connections open now."),
            config_generation: declare.gauge(
                "weir_config_generation",
                "Number of the configuration being served; each reload that succeeds adds one.",
            ),
            last_reload_success: declare.gauge(
                "weir_config_last_reload_success",
                "1 when the last reload (or the start) succeeded, else 0.",
            ),
            reloads: declare.counters(
                "weir_config_reloads_total",
                "Reloads asked for, by result.",
                &["result"],
            ),
            access_log_dropped: declare.counter(
                "weir_access_log_dropped_total",
                "Access-log lines lost because the log could not be written fast enough.",
            ),
            registry: registry.clone(),
        };
        Arc::new(metrics)
    }

    /// All families in Prometheus' text format, version 0.0.4.
    pub fn text(&self) -> String {
        let mut text = Vec::new();
        // Writing into memory cannot fail, and a half page is better than none.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        String::from_utf8_lossy(&text).into_owned()
    }

    /// `verdicts`: of the cache, where the route uses it.
    pub fn route(&self, route: &str, pool: &str, verdicts: &[&str]) -> RouteMetrics {
        let families = &self.routes;
        RouteMetrics {
            by_class: CODE_CLASSES
                .map(|class| families.requests.with_label_values(&[route, pool, class])),
            duration: families.duration.with_label_values(&[route, pool]),
            first_byte: families.first_byte.with_label_values(&[route, pool]),
            received: families.received.with_label_values(&[route, pool]),
            sent: families.sent.with_label_values(&[route, pool]),
            by_verdict: self.cache.route(route, pool, verdicts).into(),
        }
    }

    pub fn forget_route(&self, route: &str, pool: &str, verdicts: &[&str]) {
        self.cache.forget_route(route, pool, verdicts);
        let families = &self.routes;
        for class in CODE_CLASSES {
            let _ = families.requests.remove_label_values(&[route, pool, class]);
        }
        let _ = families.duration.remove_label_values(&[route, pool]);
        let _ = families.first_byte.remove_label_values(&[route, pool]);
        let _ = families.received.remove_label_values(&[route, pool]);
        let _ = families.sent.remove_label_values(&[route, pool]);
    }

    pub fn endpoint(&self, pool: &str, endpoint: &str) -> EndpointMetrics {
        let families = &self.endpoints;
        let labels = [pool, endpoint];
        EndpointMetrics {
            picks: families.picks.with_label_values(&labels),
            in_flight: families.in_flight.with_label_values(&labels),
            ready: families.ready.with_label_values(&labels),
            transitions: families.transitions.clone(),
            circuit_transitions: families.circuit_transitions.clone(),
            failures: families.failures.clone(),
            limit: families.limit.clone(),
            reserved: families.reserved.clone(),
            probes: families.probes.clone(),
            load_probes: families.load_probes.clone(),
        }
    }

    pub fn panicking(&self, pool: &str, is_panicking: bool) {
        let gauge = self.pool_panic.with_label_values(&[pool]);
        gauge.set(i64::from(is_panicking));
    }

    pub fn forget_pool(&self, pool: &str) {
        let _ = self.pool_panic.remove_label_values(&[pool]);
    }

    /// `outcomes` and `states` are all words the endpoint's families may have been labelled with.
    pub fn forget_endpoint(&self, pool: &str, endpoint: &str, states: &[&str], outcomes: &[&str]) {
        let families = &self.endpoints;
        let _ = families.picks.remove_label_values(&[pool, endpoint]);
        let _ = families.in_flight.remove_label_values(&[pool, endpoint]);
        let _ = families.ready.remove_label_values(&[pool, endpoint]);
        let _ = families.limit.remove_label_values(&[pool, endpoint]);
        for state in states {
            let labels = [pool, endpoint, state];
            let _ = families.transitions.remove_label_values(&labels);
            let _ = families.circuit_transitions.remove_label_values(&labels);
        }
        for outcome in outcomes {
            let labels = [pool, endpoint, outcome];
            let _ = families.failures.remove_label_values(&labels);
        }
        for result in ["pass", "fail", "report", "no_report"] {
            let labels = [pool, endpoint, result];
            let _ = families.probes.remove_label_values(&labels);
            let _ = families.load_probes.remove_label_values(&labels);
        }
    }

    pub fn queue(&self, pool: &str) -> QueueMetrics {
        QueueMetrics {
            length: self.queue_length.with_label_values(&[pool]),
            wait: self.queue_wait.with_label_values(&[pool]),
        }
    }

    pub fn forget_queue(&self, pool: &str) {
        let _ = self.queue_length.remove_label_values(&[pool]);
        let _ = self.queue_wait.remove_label_values(&[pool]);
    }

    pub fn forget_reserved(&self, pool: &str, endpoint: &str, dimension: &str) {
        let labels = [pool, endpoint, dimension];
        let _ = self.endpoints.reserved.remove_label_values(&labels);
    }

    pub fn rejected(&self, reason: &'static str) {
        self.rejections.with_label_values(&[reason]).inc();
    }

    pub fn retry_refused(&self) {
        self.retry_budget_exhausted.inc();
    }

    /// What became of a second request: one of few words.
    pub fn hedged(&self, result: &'static str) {
        self.hedges.with_label_values(&[result]).inc();
    }

    pub fn retried(&self, reason: &'static str) {
        self.retries.with_label_values(&[reason]).inc();
    }

    pub fn reloaded(&self, success: bool) {
        let result = if success { "success" } else { "failure" };
        self.last_reload_success.set(i64::from(success));
        // Last: who sees the count sees the outcome.
        self.reloads.with_label_values(&[result]).inc();
    }
}

/// What is counted for each route.
struct Routes {
    requests: IntCounterVec,
    duration: HistogramVec,
    first_byte: HistogramVec,
    received: IntCounterVec,
    sent: IntCounterVec,
}

impl Routes {
    fn declare(declare: &Declare<'_>) -> Routes {
        Routes {
            requests: declare.counters(
                "weir_requests_total",
                "Requests that ended, by route, pool and class of the status sent.",
                &["route", "pool", "code_class"],
            ),
            duration: declare.histograms(
                "weir_request_duration_seconds",
                "Time from a request's head to the last byte of its response.",
                &["route", "pool"],
            ),
            first_byte: declare.histograms(
                "weir_upstream_first_byte_seconds",
                "Time from a request's head to the first byte of the endpoint's response.",
                &["route", "pool"],
            ),
            received: declare.counters(
                "weir_received_bytes_total",
                "Request body bytes received from clients.",
                &["route", "pool"],
            ),
            sent: declare.counters(
                "weir_sent_bytes_total",
                "Response body bytes sent to clients.",
                &["route", "pool"],
            ),
        }
    }
}

/// What is counted for each endpoint.
struct Endpoints {
    picks: IntCounterVec,
    in_flight: IntGaugeVec,
    ready: IntGaugeVec,
    transitions: IntCounterVec,
    circuit_transitions: IntCounterVec,
    failures: IntCounterVec,
    limit: IntGaugeVec,
    reserved: GaugeVec,
    probes: IntCounterVec,
    load_probes: IntCounterVec,
}

impl Endpoints {
    fn declare(declare: &Declare<'_>) -> Endpoints {
        Endpoints {
            picks: declare.counters(
                "weir_picks_total",
                "Attempts given to an endpoint.",
                &["pool", "endpoint"],
            ),
            in_flight: declare.gauges(
                "weir_endpoint_in_flight",
                "Attempts running on an endpoint now.",
                &["pool", "endpoint"],
            ),
            ready: declare.gauges(
                "weir_endpoint_ready",
                "1 when an endpoint is healthy and not ejected, else 0.",
                &["pool", "endpoint"],
            ),
            transitions: declare.counters(
                "weir_endpoint_transitions_total",
                "Changes of an endpoint's health, by the state it went to.",
                &["pool", "endpoint", "to"],
            ),
            circuit_transitions: declare.counters(
                "weir_endpoint_circuit_transitions_total",
                "Changes of an endpoint's circuit, by the phase it went to.",
                &["pool", "endpoint", "to"],
            ),
            failures: declare.counters(
                "weir_endpoint_failures_total",
                "Attempts that failed, by outcome.",
                &["pool", "endpoint", "outcome"],
            ),
            limit: declare.gauges(
                "weir_endpoint_adaptive_limit",
                "Attempts an endpoint may have at once, by its response times.",
                &["pool", "endpoint"],
            ),
            reserved: declare.fractional_gauges(
                "weir_endpoint_reserved",
                "Units of a resource that running attempts take of an endpoint.",
                &["pool", "endpoint", "dimension"],
            ),
            probes: declare.counters(
                "weir_probes_total",
                "Health probes, by result.",
                &["pool", "endpoint", "result"],
            ),
            load_probes: declare.counters(
                "weir_load_probes_total",
                "Questions to endpoints for their load, by result: report, no_report or fail.",
                &["pool", "endpoint", "result"],
            ),
        }
    }
}

/// The series of one route.
#[derive(Clone)]
pub struct RouteMetrics {
    by_class: [IntCounter; 6],
    duration: Histogram,
    first_byte: Histogram,
    received: IntCounter,
    sent: IntCounter,
    /// By verdict; none: it does not use the cache.
    by_verdict: Arc<[IntCounter]>,
}

impl RouteMetrics {
    /// What the cache did with a request, as its place among the verdicts.
    pub fn cached(&self, verdict: usize) {
        if let Some(series) = self.by_verdict.get(verdict) {
            series.inc();
        }
    }

    /// Counts one request that is over. `status` 0: no response head was sent.
    pub fn observe(
        &self,
        status: u16,
        total: Duration,
        first_byte: Option<Duration>,
        received: u64,
        sent: u64,
    ) {
        let class = usize::from(status / 100).min(CODE_CLASSES.len() - 1);
        self.by_class[class].inc();
        self.duration.observe(total.as_secs_f64());
        if let Some(first_byte) = first_byte {
            self.first_byte.observe(first_byte.as_secs_f64());
        }
        if received > 0 {
            self.received.inc_by(received);
        }
        if sent > 0 {
            self.sent.inc_by(sent);
        }
    }
}

/// The series of one pool's queue.
#[derive(Clone)]
pub struct QueueMetrics {
    pub length: IntGauge,
    pub wait: Histogram,
}

/// The series of one endpoint.
#[derive(Clone)]
pub struct EndpointMetrics {
    pub picks: IntCounter,
    pub in_flight: IntGauge,
    pub ready: IntGauge,
    transitions: IntCounterVec,
    circuit_transitions: IntCounterVec,
    failures: IntCounterVec,
    limit: IntGaugeVec,
    reserved: GaugeVec,
    probes: IntCounterVec,
    load_probes: IntCounterVec,
}

impl EndpointMetrics {
    pub fn went(&self, pool: &str, endpoint: &str, to: &'static str) {
        self.transitions
            .with_label_values(&[pool, endpoint, to])
            .inc();
    }

    pub fn circuit_went(&self, pool: &str, endpoint: &str, to: &'static str) {
        self.circuit_transitions
            .with_label_values(&[pool, endpoint, to])
            .inc();
    }

    pub fn failed(&self, pool: &str, endpoint: &str, outcome: &'static str) {
        self.failures
            .with_label_values(&[pool, endpoint, outcome])
            .inc();
    }

    pub fn limited(&self, pool: &str, endpoint: &str, limit: u32) {
        let gauge = self.limit.with_label_values(&[pool, endpoint]);
        gauge.set(i64::from(limit));
    }

    pub fn reserved(&self, pool: &str, endpoint: &str, dimension: &str) -> Gauge {
        self.reserved
            .with_label_values(&[pool, endpoint, dimension])
    }

    pub fn load_probed(&self, pool: &str, endpoint: &str, result: &str) {
        self.load_probes
            .with_label_values(&[pool, endpoint, result])
            .inc();
    }

    pub fn probed(&self, pool: &str, endpoint: &str, pass: bool) {
        let result = if pass { "pass" } else { "fail" };
        self.probes
            .with_label_values(&[pool, endpoint, result])
            .inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_counted_under_its_class_and_bytes() {
        let metrics = Metrics::new();
        let route = metrics.route("api", "web", &[]);
        route.observe(204, Duration::from_millis(3), None, 0, 10);
        route.observe(0, Duration::from_millis(3), None, 7, 0);
        let text = metrics.text();
        for line in [
            r#"weir_requests_total{code_class="2xx",pool="web",route="api"} 1"#,
            r#"weir_requests_total{code_class="none",pool="web",route="api"} 1"#,
            r#"weir_received_bytes_total{pool="web",route="api"} 7"#,
            r#"weir_sent_bytes_total{pool="web",route="api"} 10"#,
            r#"weir_request_duration_seconds_bucket{pool="web",route="api",le="0.0025"} 0"#,
            r#"weir_request_duration_seconds_bucket{pool="web",route="api",le="0.005"} 2"#,
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn a_forgotten_route_leaves_no_series() {
        let metrics = Metrics::new();
        metrics
            .route("gone", "web", &["hit"])
            .observe(200, Duration::ZERO, None, 1, 1);
        metrics.forget_route("gone", "web", &["hit"]);
        assert!(!metrics.text().contains("gone"));
    }

    #[test]
    fn a_forgotten_endpoint_leaves_no_series() {
        let metrics = Metrics::new();
        let endpoint = metrics.endpoint("web", "10.0.0.1:80");
        endpoint.went("web", "10.0.0.1:80", "healthy");
        endpoint.failed("web", "10.0.0.1:80", "reset");
        endpoint.limited("web", "10.0.0.1:80", 20);
        endpoint.probed("web", "10.0.0.1:80", true);
        metrics.forget_endpoint("web", "10.0.0.1:80", &["healthy"], &["reset"]);
        assert!(!metrics.text().contains("10.0.0.1"));
    }
}
