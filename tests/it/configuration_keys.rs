//! Every key of the configuration changes what weir does: each is listed here with the scenario that
//! proves it, and no key of the schema may be missing.
//!
//! A key that is read and has no effect is the commonest lie of a configuration file, so a new key
//! needs a new line here, and the line needs a scenario.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::*;

/// A key, and the scenario that shows what it does. Lists and names of pools are left out of a key:
/// `pools.endpoints.weight`. A key with a short form stands for that form (`pools.tls` is `tls: true`).
const PROOFS: &[(&str, &str)] = &[
    (
        "admin",
        "lifecycle::without_an_admin_listener_weir_serves_and_stops_all_the_same",
    ),
    (
        "admin.bind",
        "lifecycle::the_admin_listener_tells_how_weir_is",
    ),
    (
        "cache.eviction",
        "caching::a_reload_changes_the_size_of_the_cache_but_not_its_eviction",
    ),
    (
        "cache.max_object",
        "caching::what_is_larger_than_max_object_reaches_its_client_and_is_not_kept",
    ),
    (
        "cache.memory",
        "caching::memory_is_never_exceeded_and_the_oldest_leave",
    ),
    (
        "listeners.bind",
        "configuration_keys::every_listener_serves_on_its_own_address",
    ),
    ("log.access", "records::the_log_goes_where_it_is_sent"),
    (
        "log.access.format",
        "records::the_combined_format_is_what_other_tools_read",
    ),
    ("log.access.path", "records::the_log_goes_where_it_is_sent"),
    (
        "log.level",
        "records::the_level_decides_what_the_process_says_and_a_reload_changes_it",
    ),
    (
        "pools.balance",
        "balancing::round_robin_shares_out_exactly_by_weight_at_concurrency",
    ),
    (
        "pools.balance.hash.bounded_load",
        "balancing::hashing::bounded_load_spreads_a_key_that_all_ask_for",
    ),
    (
        "pools.balance.hash.key",
        "balancing::hashing::equal_keys_meet_at_one_endpoint_and_different_ones_spread",
    ),
    (
        "pools.balance.hash.key.argument",
        "balancing::hashing::equal_keys_meet_at_one_endpoint_and_different_ones_spread",
    ),
    (
        "pools.balance.hash.key.cookie",
        "balancing::hashing::equal_keys_meet_at_one_endpoint_and_different_ones_spread",
    ),
    (
        "pools.balance.hash.key.header",
        "balancing::hashing::equal_keys_meet_at_one_endpoint_and_different_ones_spread",
    ),
    (
        "pools.balance.hash.table",
        "balancing::hashing::two_weirs_agree_whatever_the_order_of_their_endpoints",
    ),
    (
        "pools.balance.prequal.probe.path",
        "balancing::latency::prequal_turns_away_from_endpoints_that_say_to_a_probe_that_they_are_busy",
    ),
    (
        "pools.balance.prequal.probe.per_request",
        "balancing::latency::each_request_pays_for_so_many_load_probes",
    ),
    (
        "pools.balance.prequal.probe.port",
        "balancing::latency::load_probes_may_go_to_another_port",
    ),
    (
        "pools.balance.prequal.probe.timeout",
        "balancing::latency::a_load_probe_has_its_time_and_delays_no_request",
    ),
    (
        "pools.connect_timeout",
        "forwarding::connections::a_connection_that_is_not_made_in_time_is_a_connect_timeout",
    ),
    ("pools.endpoints", "discovery::a_name_is_all_its_addresses"),
    (
        "pools.endpoints.address",
        "balancing::an_endpoint_of_weight_0_gets_nothing",
    ),
    (
        "pools.endpoints.backup",
        "balancing::a_backup_serves_only_while_no_other_endpoint_is_ready",
    ),
    (
        "pools.endpoints.max_in_flight",
        "queues::an_endpoint_never_has_more_than_its_max_in_flight",
    ),
    (
        "pools.endpoints.capacity",
        "resources::a_request_goes_where_what_its_route_takes_fits_best",
    ),
    (
        "pools.endpoints.weight",
        "balancing::least_conn_spreads_held_requests_evenly_or_by_weight",
    ),
    (
        "pools.fallback.body",
        "outliers::a_pools_fallback_is_served_when_no_endpoint_can",
    ),
    (
        "pools.fallback.content_type",
        "outliers::a_pools_fallback_is_served_when_no_endpoint_can",
    ),
    (
        "pools.fallback.status",
        "outliers::a_pools_fallback_is_served_when_no_endpoint_can",
    ),
    (
        "pools.health.fall",
        "health::exactly_rise_passes_and_fall_failures_in_a_row_change_the_state",
    ),
    (
        "pools.health.fast_interval",
        "health::a_doubtful_endpoint_is_probed_faster",
    ),
    (
        "pools.health.http",
        "health::an_http_probe_asks_as_it_is_told",
    ),
    (
        "pools.health.http.body",
        "health::a_probe_accepts_the_statuses_and_the_body_it_is_told_to",
    ),
    (
        "pools.health.http.headers",
        "health::an_http_probe_asks_as_it_is_told",
    ),
    (
        "pools.health.http.host",
        "health::an_http_probe_asks_as_it_is_told",
    ),
    (
        "pools.health.http.method",
        "health::an_http_probe_asks_as_it_is_told",
    ),
    (
        "pools.health.http.path",
        "health::an_http_probe_asks_as_it_is_told",
    ),
    (
        "pools.health.http.status",
        "health::a_probe_accepts_the_statuses_and_the_body_it_is_told_to",
    ),
    (
        "pools.health.initial",
        "health::initial_says_whether_an_endpoint_serves_before_its_first_probe",
    ),
    (
        "pools.health.interval",
        "health::a_doubtful_endpoint_is_probed_faster",
    ),
    (
        "pools.health.port",
        "health::a_probe_may_go_to_another_port",
    ),
    (
        "pools.health.rise",
        "health::exactly_rise_passes_and_fall_failures_in_a_row_change_the_state",
    ),
    (
        "pools.health.tcp",
        "health::a_tcp_probe_wants_a_connection_and_nothing_more",
    ),
    (
        "pools.health.timeout",
        "health::a_probe_that_is_not_answered_in_time_has_failed",
    ),
    (
        "pools.idle_timeout",
        "forwarding::connections::an_unused_upstream_connection_is_closed_after_the_idle_timeout",
    ),
    (
        "pools.max_in_flight",
        "queues::a_pool_never_has_more_than_its_max_in_flight",
    ),
    (
        "pools.outlier",
        "outliers::without_outliers_nothing_is_ejected",
    ),
    (
        "pools.outlier.base_time",
        "outliers::one_request_tries_an_ejected_endpoint_and_brings_it_back",
    ),
    (
        "pools.outlier.consecutive_failures",
        "outliers::failures_in_a_row_are_counted_as_configured",
    ),
    (
        "pools.outlier.interval",
        "outliers::a_success_rate_far_below_the_others_ejects",
    ),
    (
        "pools.outlier.max_percent",
        "outliers::so_many_are_ejected_as_the_cap_allows_and_never_the_last",
    ),
    (
        "pools.outlier.max_time",
        "outliers::no_ejection_is_longer_than_the_longest",
    ),
    (
        "pools.outlier.min_endpoints",
        "outliers::a_success_rate_far_below_the_others_ejects",
    ),
    (
        "pools.outlier.min_requests",
        "outliers::a_success_rate_far_below_the_others_ejects",
    ),
    (
        "pools.outlier.slow_factor",
        "outliers::an_endpoint_much_slower_than_the_others_is_ejected_when_asked_for",
    ),
    (
        "pools.outlier.success_rate",
        "outliers::a_success_rate_far_below_the_others_ejects",
    ),
    (
        "pools.panic_threshold",
        "outliers::with_too_few_endpoints_left_all_get_requests",
    ),
    (
        "pools.adaptive_limit",
        "queues::an_adaptive_limit_stays_within_its_bounds",
    ),
    (
        "pools.adaptive_limit.max",
        "queues::an_adaptive_limit_stays_within_its_bounds",
    ),
    (
        "pools.adaptive_limit.min",
        "queues::an_adaptive_limit_stays_within_its_bounds",
    ),
    (
        "pools.queue.codel",
        "queues::codel_drops_from_a_queue_in_which_all_wait_too_long",
    ),
    (
        "pools.queue.codel.interval",
        "queues::codel_drops_from_a_queue_in_which_all_wait_too_long",
    ),
    (
        "pools.queue.codel.target",
        "queues::codel_drops_from_a_queue_in_which_all_wait_too_long",
    ),
    (
        "pools.queue.tenant.header",
        "queues::a_tenant_with_many_requests_leaves_the_others_their_part",
    ),
    (
        "routes.priority",
        "queues::a_route_of_high_priority_overtakes_those_of_normal_priority",
    ),
    (
        "pools.queue.length",
        "queues::a_request_that_finds_the_queue_at_its_length_gets_503_at_once",
    ),
    (
        "pools.queue.timeout",
        "queues::a_request_that_waits_longer_than_the_timeout_gets_503_and_a_time_to_come_again",
    ),
    (
        "pools.read_timeout",
        "forwarding::timeouts::an_origin_that_does_not_answer_gets_its_client_504",
    ),
    (
        "pools.retry_budget.per_second",
        "retries::a_pool_affords_so_many_retries_and_no_more",
    ),
    (
        "pools.retry_budget.percent",
        "retries::a_full_outage_is_amplified_by_no_more_than_the_budget",
    ),
    (
        "pools.slow_start",
        "outliers::an_endpoint_that_is_back_comes_to_its_share_little_by_little",
    ),
    (
        "pools.resources.request_header",
        "resources::a_trusted_request_header_says_what_the_request_takes",
    ),
    (
        "pools.resources.response_header",
        "resources::a_response_header_teaches_what_later_requests_take",
    ),
    (
        "pools.resources.when_full",
        "resources::with_least_share_a_request_is_squeezed_in_where_most_is_left",
    ),
    (
        "pools.sticky.cookie",
        "sticky::a_client_comes_back_to_the_endpoint_that_answered_it",
    ),
    (
        "pools.sticky.path",
        "sticky::the_cookie_has_the_attributes_that_are_asked_for",
    ),
    (
        "pools.sticky.same_site",
        "sticky::the_cookie_has_the_attributes_that_are_asked_for",
    ),
    (
        "pools.sticky.secret_file",
        "sticky::secrets_may_stand_in_a_file",
    ),
    (
        "pools.sticky.secrets",
        "sticky::a_new_secret_in_front_keeps_the_clients_and_renews_their_cookies",
    ),
    (
        "pools.sticky.secure",
        "sticky::the_cookie_has_the_attributes_that_are_asked_for",
    ),
    (
        "pools.sticky.strict",
        "sticky::with_strict_a_dead_endpoints_clients_are_refused",
    ),
    (
        "pools.sticky.ttl",
        "sticky::the_cookie_has_the_attributes_that_are_asked_for",
    ),
    (
        "pools.tls",
        "configuration_keys::tls_true_verifies_by_the_systems_authorities",
    ),
    (
        "pools.tls.ca",
        "upstream_tls::a_certificate_of_another_authority_is_refused",
    ),
    (
        "pools.tls.cert",
        "upstream_tls::the_pools_own_certificate_is_shown",
    ),
    (
        "pools.tls.key",
        "upstream_tls::the_pools_own_certificate_is_shown",
    ),
    (
        "pools.tls.sni",
        "upstream_tls::a_certificate_of_another_name_is_refused",
    ),
    (
        "pools.tls.verify",
        "upstream_tls::without_verification_any_certificate_is_accepted",
    ),
    (
        "pools.tunnel_timeout",
        "websocket::only_the_tunnel_timeout_ends_an_idle_tunnel",
    ),
    (
        "pools.write_timeout",
        "forwarding::timeouts::an_origin_that_stops_reading_is_given_up",
    ),
    (
        "routes.allow",
        "access::only_allowed_clients_are_served_by_any_action",
    ),
    (
        "routes.body_limit",
        "forwarding::timeouts::a_body_over_the_limit_is_refused_and_its_sender_can_read_why",
    ),
    (
        "routes.cache",
        "caching::a_route_without_cache_keeps_nothing",
    ),
    (
        "routes.cache.compress",
        "caching::compression::each_client_gets_the_coding_it_likes_best_and_the_origin_is_asked_once",
    ),
    (
        "routes.cache.compress.algorithms",
        "caching::compression::only_what_the_route_names_is_coded",
    ),
    (
        "routes.cache.compress.min_size",
        "caching::compression::only_what_the_route_names_is_coded",
    ),
    (
        "routes.cache.compress.types",
        "caching::compression::only_what_the_route_names_is_coded",
    ),
    (
        "routes.cache.default_ttl",
        "caching::a_default_ttl_is_for_responses_that_say_nothing",
    ),
    (
        "routes.cache.grace",
        "caching::stale::a_stale_response_stands_in_for_an_error_and_for_an_origin_that_is_down",
    ),
    (
        "routes.cache.honour",
        "caching::directives_of_requests_count_where_the_route_honours_them",
    ),
    (
        "routes.cache.key.cookies",
        "caching::headers_and_cookies_of_the_key_tell_users_apart",
    ),
    (
        "routes.cache.key.headers",
        "caching::headers_and_cookies_of_the_key_tell_users_apart",
    ),
    (
        "routes.cache.key.ignore_query",
        "caching::query_arguments_count_as_the_route_says",
    ),
    (
        "routes.cache.key.only_query",
        "caching::query_arguments_count_as_the_route_says",
    ),
    (
        "routes.cache.lock_timeout",
        "caching::sharing::nobody_waits_longer_than_the_lock_timeout",
    ),
    (
        "routes.cache.purge.allow",
        "purging::purge_is_for_those_whom_the_route_names",
    ),
    (
        "routes.cache.range",
        "caching::validation::with_range_pass_a_part_that_is_not_stored_is_asked_for_as_it_is",
    ),
    (
        "routes.cache.set_cookie",
        "caching::a_route_may_keep_responses_with_cookies",
    ),
    (
        "routes.cache.stale_while_revalidate",
        "caching::stale::stale_while_revalidate_serves_at_once_and_refreshes_once",
    ),
    (
        "routes.cache.status_key",
        "caching::what_a_route_changes_is_changed_on_hits_too_and_refused_clients_stay_refused",
    ),
    (
        "routes.cache.targeted",
        "caching::targeted_fields_speak_in_place_of_cache_control",
    ),
    (
        "routes.cache.x_cache",
        "caching::what_a_route_changes_is_changed_on_hits_too_and_refused_clients_stay_refused",
    ),
    ("routes.deny", "access::the_most_specific_network_decides"),
    (
        "routes.demand",
        "resources::a_request_goes_where_what_its_route_takes_fits_best",
    ),
    (
        "routes.headers",
        "routing::every_header_a_route_asks_for_must_match",
    ),
    (
        "routes.host",
        "routing::an_exact_host_goes_before_a_wildcard_before_none_in_any_spelling",
    ),
    (
        "routes.methods",
        "routing::a_route_that_refuses_a_method_gives_way_to_the_next_best",
    ),
    (
        "routes.name",
        "records::a_line_tells_what_was_asked_answered_and_by_whom",
    ),
    (
        "routes.path",
        "routing::an_exact_path_goes_before_the_longest_prefix_before_a_regex_before_none",
    ),
    (
        "routes.pool",
        "lifecycle::a_reload_replaces_routes_and_pools_and_forgets_their_series",
    ),
    (
        "routes.redirect.status",
        "routing::a_redirect_has_its_status_for_every_method",
    ),
    (
        "routes.redirect.to",
        "routing::a_redirect_fills_in_its_placeholders",
    ),
    (
        "routes.request_headers.add",
        "headers::a_route_edits_what_goes_to_its_endpoint",
    ),
    (
        "routes.request_headers.remove",
        "headers::a_route_edits_what_goes_to_its_endpoint",
    ),
    (
        "routes.request_headers.set",
        "headers::a_route_edits_what_goes_to_its_endpoint",
    ),
    (
        "routes.respond.body",
        "routing::a_fixed_response_has_its_status_body_and_type",
    ),
    (
        "routes.respond.content_type",
        "routing::a_fixed_response_has_its_status_body_and_type",
    ),
    (
        "routes.respond.status",
        "routing::a_fixed_response_has_its_status_body_and_type",
    ),
    (
        "routes.response_headers.add",
        "headers::a_route_edits_what_goes_to_the_client",
    ),
    (
        "routes.response_headers.remove",
        "headers::a_route_edits_what_goes_to_the_client",
    ),
    (
        "routes.response_headers.set",
        "headers::a_route_edits_what_goes_to_the_client",
    ),
    (
        "routes.measure",
        "balancing::latency::what_a_route_says_not_to_measure_turns_nobody_away",
    ),
    (
        "routes.hedge",
        "hedging::by_default_long_is_what_one_in_twenty_waits_for",
    ),
    (
        "routes.hedge.after",
        "hedging::who_waits_long_is_served_by_a_second_endpoint_and_the_first_is_let_go",
    ),
    (
        "routes.hedge.percent",
        "hedging::second_requests_are_a_share_of_all_and_some_of_it_is_kept_for_those_who_hang",
    ),
    (
        "routes.retry.attempts",
        "retries::with_no_attempts_nothing_is_repeated",
    ),
    (
        "routes.retry.backoff",
        "retries::those_who_failed_together_do_not_come_back_together",
    ),
    (
        "routes.retry.non_idempotent",
        "retries::a_route_may_say_that_every_request_can_be_repeated",
    ),
    (
        "routes.retry.on",
        "retries::a_status_that_a_route_names_is_tried_elsewhere",
    ),
    (
        "routes.retry.per_try_timeout",
        "retries::an_attempt_that_takes_too_long_gives_way_to_the_next",
    ),
    (
        "routes.timeout",
        "forwarding::timeouts::a_request_that_takes_longer_than_its_timeout_gets_504",
    ),
    (
        "server.drain_timeout",
        "lifecycle::what_hangs_is_cut_off_at_the_drain_timeout",
    ),
    (
        "server.forwarded",
        "headers::an_endpoint_is_told_who_asks_in_the_form_that_is_configured",
    ),
    (
        "server.limits.body_timeout",
        "limits::a_request_body_that_stops_gets_408",
    ),
    (
        "server.limits.connections",
        "limits::connections_beyond_the_cap_get_a_readable_503_until_one_closes",
    ),
    (
        "server.limits.connections_per_address",
        "limits::one_address_cannot_take_the_places_of_another",
    ),
    (
        "server.limits.header_bytes",
        "limits::the_bytes_of_a_head_are_bounded",
    ),
    (
        "server.limits.header_count",
        "limits::the_fields_of_a_head_are_counted",
    ),
    (
        "server.limits.header_timeout",
        "limits::a_head_that_takes_too_long_gets_408",
    ),
    (
        "server.limits.keepalive_requests",
        "limits::a_connection_serves_so_many_requests_and_announces_the_last",
    ),
    (
        "server.limits.keepalive_timeout",
        "limits::an_idle_connection_is_closed_after_its_time_and_not_before",
    ),
    (
        "server.limits.send_timeout",
        "limits::a_client_that_does_not_read_is_left_after_the_send_timeout",
    ),
    ("server.limits.uri_bytes", "limits::the_target_is_bounded"),
    (
        "server.pid_file",
        "upgrades::ten_upgrades_under_load_lose_nothing",
    ),
    (
        "server.resolvers",
        "discovery::a_reload_asks_the_new_name_servers",
    ),
    (
        "server.threads",
        "configuration_keys::as_many_threads_serve_as_are_asked_for",
    ),
    (
        "server.trusted_proxies",
        "headers::the_chain_of_a_trusted_peer_is_continued_and_its_client_believed",
    ),
    (
        "server.upgrade_socket",
        "upgrades::an_upgrade_that_is_not_prepared_says_what_is_missing",
    ),
];

// --- the table

#[tokio::test]
async fn every_key_has_its_scenario_and_every_scenario_its_key() {
    let end = weir("").command(&["check", "--schema"]).await;
    let schema: Value = serde_json::from_str(&end.stdout).unwrap();
    let mut keys = BTreeSet::new();
    collect_keys(&schema, &schema, "", &mut keys);

    let listed: BTreeSet<String> = PROOFS.iter().map(|(key, _)| (*key).to_owned()).collect();
    assert_eq!(listed.len(), PROOFS.len(), "a key is listed once");
    let unproven: Vec<_> = keys.difference(&listed).collect();
    assert!(unproven.is_empty(), "no scenario proves {unproven:?}");
    let unknown: Vec<_> = listed.difference(&keys).collect();
    assert!(unknown.is_empty(), "no keys of the schema: {unknown:?}");
}

#[test]
fn every_scenario_that_is_named_exists_and_is_about_its_key() {
    for (key, scenario) in PROOFS {
        let (module, name) = scenario.rsplit_once("::").unwrap();
        let file = source_of(module);
        let text = std::fs::read_to_string(&file)
            .unwrap_or_else(|error| panic!("{key}: {}: {error}", file.display()));
        let test = format!("]\nasync fn {name}() {{");
        assert!(text.contains(&test), "{key}: {scenario} is no scenario");
        // In the scenario, or in what the scenarios of that file share.
        let word = match key.rsplit('.').next().unwrap() {
            "pid_file" | "upgrade_socket" => "$upgradable",
            word => word,
        };
        assert!(text.contains(word), "{key}: {scenario} does not mention it");
    }
}

fn source_of(module: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    folder.join(module.replace("::", "/")).with_extension("rs")
}

/// Adds the path of every key that may hold something else than a map of further keys.
fn collect_keys(schema: &Value, root: &Value, path: &str, keys: &mut BTreeSet<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        let definition = root.pointer(reference.trim_start_matches('#'));
        return collect_keys(definition.unwrap(), root, path, keys);
    }
    let forms = ["anyOf", "oneOf"]
        .iter()
        .filter_map(|form| schema[form].as_array());
    let mut forms = forms.flatten().peekable();
    if forms.peek().is_some() {
        return forms.for_each(|form| collect_keys(form, root, path, keys));
    }
    if let Some(properties) = schema["properties"].as_object() {
        for (name, inner) in properties {
            let dot = if path.is_empty() { "" } else { "." };
            collect_keys(inner, root, &format!("{path}{dot}{name}"), keys);
        }
        return;
    }
    // A list of anything, or a map whose names are the operator's.
    for inner in ["items", "additionalProperties"] {
        if schema[inner].is_object() {
            return collect_keys(&schema[inner], root, path, keys);
        }
    }
    keys.insert(path.to_owned());
}

// --- what no other area is about

#[tokio::test]
async fn every_listener_serves_on_its_own_address() {
    let weir = weir(
        "
        listeners: [{ bind: $listen }, { bind: $listen2 }]
        routes: [{ respond: { body: x } }]
    ",
    )
    .start()
    .await;

    for listener in ["listen", "listen2"] {
        assert_eq!(weir.client_of(listener).get("/").await.text(), "x");
    }
    let elsewhere = format!("127.0.0.2:{}", weir.address_of("listen").port());
    let elsewhere = Client::new(elsewhere.parse().unwrap()).try_get("/").await;
    assert!(elsewhere.is_err(), "{elsewhere:?}");
    assert_eq!(weir.logged(2).await.len(), 2);
}

#[tokio::test]
async fn as_many_threads_serve_as_are_asked_for() {
    let mut weirs = Vec::new();
    for count in [1, 5] {
        let weir = weir(&format!(
            "server: {{ threads: {count} }}\nroutes: [{{ respond: {{}} }}]"
        ))
        .start()
        .await;
        assert_eq!(weir.client().get("/").await.status, 200);
        weirs.push(weir);
    }
    // Threads that help with the start go after a while.
    eventually("it has four threads more", async || {
        weirs[1].threads() == weirs[0].threads() + 4
    })
    .await;
}

#[tokio::test]
async fn tls_true_verifies_by_the_systems_authorities() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (dns, identity) = (Dns::new().await, authority.issue("origin.test"));
    let origin = Origin::tls(&identity, |_| Reply::ok("secret"));
    dns.resolves("origin.test", &["127.0.0.1"], 60);
    let with_roots = async |system: &Authority| {
        weir(
            "
            server: { resolvers: [$dns] }
            pools: { web: { endpoints: ['origin.test:$originport'], tls: true } }
            routes: [{ pool: web }]
        ",
        )
        .with("dns", &dns)
        .with("originport", origin.port())
        .system_roots(system.ca_path())
        .start()
        .await
    };

    let weir = with_roots(&stranger).await;
    assert_eq!(weir.client().get("/").await.status, 502);
    assert_eq!(origin.hits(), 0);
    let line = &weir.logged(1).await[0];
    assert_eq!(line["attempts"][0]["outcome"], "tls_error", "{line}");

    let weir = with_roots(&authority).await;
    assert_eq!(weir.client().get("/").await.text(), "secret");
}
