//! The pipeline as a whole: what no single file of it can promise. The texts of problems are goldens in tests/config.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::model::{Action, HostPattern, LogTarget, PathPattern};
use super::*;

const REFERENCE: &str = include_str!("../../conf/weir.yaml");
const MINIMAL: &str = "listeners: [{ bind: 127.0.0.1:8080 }]\nroutes: [{ pool: web }]\n\
                       pools: { web: { endpoints: [127.0.0.1:9001] } }\n";

fn valid(source: &str) -> Config {
    parse("weir.yaml", source)
        .unwrap_or_else(|problems| panic!("{problems}"))
        .0
}

#[test]
fn a_newcomers_file_has_every_default() {
    let Config { fixed, live } = valid(MINIMAL);
    assert_eq!(fixed.admin, Some("127.0.0.1:9494".parse().unwrap()));
    assert_eq!(fixed.access_log.target, LogTarget::Stdout);
    assert!(fixed.threads >= 1);
    assert_eq!(live.drain_timeout, Duration::from_secs(30));
    assert_eq!(
        (live.limits.header_bytes, live.limits.uri_bytes),
        (32 << 10, 8 << 10)
    );
    assert_eq!(live.log_level, log::LevelFilter::Info);
    assert_eq!(live.routes[0].retry.attempts, 2);
    assert!(live.pools[0].health.is_none() && live.pools[0].tls.is_none());
    assert_eq!(live.pools[0].read_timeout, Duration::from_secs(60));
}

#[test]
fn the_reference_file_sets_what_it_says() {
    let live = valid(REFERENCE).live;
    assert!(matches!(&live.routes[1].rule.path, PathPattern::Prefix(prefix) if prefix == "/old"));
    assert_eq!(
        live.routes[0].rule.hosts[1],
        HostPattern::Wildcard("shop.example.com".to_string())
    );
    assert_eq!(live.pools[0].name, "api");
    assert!(matches!(live.routes[0].action, Action::Pool(0)));
    assert!(matches!(live.routes[5].action, Action::Pool(3)));
    assert_eq!(live.routes[0].body_limit, Some(10 << 20));
    let names: Vec<_> = live
        .routes
        .iter()
        .map(|route| route.name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "shop-api",
            "/old/*",
            "/robots.txt",
            "/search",
            "/transcode/*",
            "*"
        ]
    );
}

#[test]
fn a_route_without_a_name_gets_one_that_no_other_has() {
    let route = |rest: &str| format!("  - {{ {rest}respond: {{}} }}\n");
    let mut source = "listeners: [{ bind: 127.0.0.1:8080 }]\nroutes:\n".to_string();
    for rest in [
        "path: /a, ",
        "path: /a, ",
        "name: '*#2', ",
        "",
        "",
        "path: '~ ^/a b\"', ",
        "host: A.example.com, ",
    ] {
        source.push_str(&route(rest));
    }
    let live = valid(&source).live;
    let names: Vec<_> = live
        .routes
        .iter()
        .map(|route| route.name.as_str())
        .collect();
    assert_eq!(
        names,
        ["/a", "/a#2", "*#2", "*", "*#3", "~^/a_b_", "a.example.com"]
    );
}

#[test]
fn a_small_header_limit_bounds_the_default_of_the_uri() {
    let source = format!("server: {{ limits: {{ header_bytes: 4KiB }} }}\n{MINIMAL}");
    assert_eq!(valid(&source).live.limits.uri_bytes, 4 << 10);
}

#[test]
fn the_reference_file_mentions_every_key_of_the_schema() {
    let schema: serde_json::Value = serde_json::from_str(&schema()).unwrap();
    let mut keys = Vec::new();
    collect_keys(&schema, &mut keys);
    assert!(
        keys.len() > 60,
        "only {} keys found in the schema",
        keys.len()
    );
    keys.retain(|key| !REFERENCE.contains(&format!("{key}:")));
    assert!(keys.is_empty(), "conf/weir.yaml does not mention {keys:?}");
}

fn collect_keys(schema: &serde_json::Value, keys: &mut Vec<String>) {
    if let Some(properties) = schema
        .get("properties")
        .and_then(|properties| properties.as_object())
    {
        keys.extend(properties.keys().cloned());
    }
    let in_list = schema.as_array().into_iter().flatten();
    let in_map = schema.as_object().into_iter().flat_map(|map| map.values());
    in_list
        .chain(in_map)
        .for_each(|child| collect_keys(child, keys));
}

#[test]
fn the_schema_describes_every_key_and_allows_no_other() {
    let text = schema();
    let schema: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(!text.contains("\"null\""), "{text}");
    let mut maps: Vec<_> = schema["$defs"].as_object().unwrap().values().collect();
    maps.push(&schema);
    for map in maps
        .into_iter()
        .filter(|definition| definition.get("properties").is_some())
    {
        assert_eq!(map["additionalProperties"], false, "{map}");
        for (key, property) in map["properties"].as_object().unwrap() {
            assert!(
                property.get("description").is_some(),
                "{key} has no description"
            );
        }
    }
}

#[test]
fn ten_thousand_routes_are_read_in_reasonable_time() {
    let mut source = "listeners: [{ bind: 127.0.0.1:8080 }]\npools:\n".to_string();
    for n in 0..1000 {
        let _ = writeln!(
            source,
            "  p{n}: {{ endpoints: [10.0.0.1:80, 10.0.0.2:80], health: {{ http: /up }} }}"
        );
    }
    source.push_str("routes:\n");
    for n in 0..10_000 {
        let pool = n % 1000;
        let _ = writeln!(
            source,
            "  - {{ host: h{n}.example.com, path: /a{n}/*, methods: [GET], pool: p{pool} }}"
        );
    }
    let start = Instant::now();
    assert_eq!(valid(&source).live.routes.len(), 10_000);
    // Without optimisation; a quadratic step would take minutes.
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "took {:?}",
        start.elapsed()
    );
}

#[test]
fn a_file_of_nothing_but_mistakes_is_given_up_in_reasonable_time() {
    let mut source = "routes:\n".to_string();
    for n in 0..2_000 {
        let _ = writeln!(source, "  - {{ pol: p{n}, wrong: 1 }}");
    }
    let problems = parse("weir.yaml", &source).unwrap_err();
    assert!(
        problems
            .to_string()
            .contains("the rest of the file was not read")
    );
}

#[test]
fn a_file_from_windows_is_read_with_the_same_places() {
    let source = format!("\u{feff}{MINIMAL}log: {{ lvel: info }}\n").replace('\n', "\r\n");
    let problems = parse("weir.yaml", &source).unwrap_err();
    assert_eq!(problems.list.len(), 1);
    assert_eq!(problems.list[0].place, Some((4, 8)));
    assert!(
        problems
            .to_string()
            .ends_with("\n 4 | log: { lvel: info }\n   |        ^")
    );
}

// === load: the files that the configuration names ===

fn in_directory(yaml: &str, files: &[(&str, &str)]) -> Result<(Config, Warnings), LoadError> {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
    }
    let path = directory.path().join("weir.yaml");
    fs::write(
        &path,
        yaml.replace("DIR", directory.path().to_str().unwrap()),
    )
    .unwrap();
    load(&path)
}

fn tls_yaml(tls: &str) -> String {
    MINIMAL.replace(
        "127.0.0.1:9001]",
        &format!("'a.example.com:443'], tls: {tls}"),
    )
}

fn mistakes(result: Result<(Config, Warnings), LoadError>) -> Vec<(String, String)> {
    match result {
        Err(LoadError::Invalid(problems)) => problems
            .list
            .into_iter()
            .map(|p| (p.path, p.what))
            .collect(),
        other => panic!("expected problems, got {other:?}"),
    }
}

#[test]
fn a_file_that_is_not_there_cannot_be_read() {
    let missing = PathBuf::from("/nonexistent/weir.yaml");
    assert!(matches!(load(&missing), Err(LoadError::Read { .. })));
    assert!(matches!(load(Path::new("/")), Err(LoadError::Read { .. })));
}

#[test]
fn certificates_and_keys_are_read() {
    let made = rcgen::generate_simple_self_signed(vec!["a.example.com".to_string()]).unwrap();
    let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let files = [("c.pem", cert.as_str()), ("k.pem", key.as_str())];
    let yaml = tls_yaml("{ ca: DIR/c.pem, cert: DIR/c.pem, key: DIR/k.pem }");
    assert!(in_directory(&yaml, &files).is_ok());
    let swapped = tls_yaml("{ ca: DIR/none.pem, cert: DIR/k.pem, key: DIR/c.pem }");
    let found = mistakes(in_directory(&swapped, &files));
    let paths: Vec<_> = found.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "pools.web.tls.ca",
            "pools.web.tls.cert",
            "pools.web.tls.key"
        ]
    );
    for (what, part) in found.iter().zip([
        "no such file",
        "holds no certificate",
        "holds no private key",
    ]) {
        assert!(what.1.contains(part), "{what:?}");
    }
}

#[test]
fn a_broken_certificate_is_refused() {
    let broken = "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n";
    let found = mistakes(in_directory(
        &tls_yaml("{ ca: DIR/c.pem }"),
        &[("c.pem", broken)],
    ));
    assert!(found[0].1.contains("not valid PEM"), "{found:?}");
}

#[test]
fn directories_of_files_we_make_must_exist() {
    let yaml = format!(
        "server: {{ pid_file: DIR/none/weir.pid, upgrade_socket: DIR/file/weir.sock }}\n\
         log: {{ access: {{ path: DIR/access.log }} }}\n{MINIMAL}"
    );
    let found = mistakes(in_directory(&yaml, &[("file", "")]));
    let paths: Vec<_> = found.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, ["server.pid_file", "server.upgrade_socket"]);
}

#[test]
fn mistakes_of_form_meaning_and_files_are_shown_together() {
    let yaml = format!("server: {{ pid_file: DIR/none/x, threads: 0, thread: 1 }}\n{MINIMAL}");
    assert_eq!(mistakes(in_directory(&yaml, &[])).len(), 3);
}

#[test]
fn bytes_that_are_not_text_have_a_place() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("weir.yaml");
    fs::write(&path, b"log: {}\nab\xff\n").unwrap();
    let Err(LoadError::Invalid(problems)) = load(&path) else {
        panic!("expected problems")
    };
    assert_eq!(problems.list[0].place, Some((2, 3)));
}

#[test]
fn a_file_that_is_too_large_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("weir.yaml");
    fs::write(&path, " ".repeat(FILE_BYTES_MAX + 1)).unwrap();
    assert!(
        load(&path)
            .unwrap_err()
            .to_string()
            .contains("larger than 16 MiB")
    );
}

// === Nothing in a file panics ===

/// Reads, prints, and checks that there is something to print.
fn survives(source: &str) {
    if let Err(problems) = parse("weir.yaml", source) {
        assert!(!problems.list.is_empty());
        assert!(!problems.to_string().is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_text_panics(text in "\\PC{0,200}") {
        survives(&text);
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        survives(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn no_yaml_like_text_panics(text in "[-:?!&*#|>%@`'\"{}\\[\\], \n\tab01~.<]{0,80}") {
        survives(&text);
    }

    #[test]
    fn no_mutation_of_a_valid_file_panics(cuts in proptest::collection::vec((any::<u16>(), 0usize..12, "[-:?!&*#|>'\"{}\\[\\], \na0~]{0,3}"), 1..6)) {
        let mut source = REFERENCE.to_string();
        for (at, length, insert) in cuts {
            let start = (0..=usize::from(at) % (source.len() + 1)).rev().find(|i| source.is_char_boundary(*i)).unwrap_or(0);
            let end = (start + length).min(source.len());
            let end = (end..=source.len()).find(|i| source.is_char_boundary(*i)).unwrap_or(source.len());
            source.replace_range(start..end, &insert);
        }
        survives(&source);
    }
}
