//! The commands: what they say, to whom, and with which exit code.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::support::*;

const ROUTES: &str = "
    pools: { web: { endpoints: [$origin, 127.0.0.1:9] } }
    routes: [{ pool: web }, { path: /x, respond: {} }]
";

// --- check

#[tokio::test]
async fn check_counts_what_a_valid_file_has() {
    let end = weir(ROUTES).with("origin", "127.0.0.1:8").check().await;
    assert!(end.success(), "{end:?}");
    assert!(
        end.stdout
            .ends_with("weir.yaml: valid: 1 listener, 2 routes, 1 pool, 2 endpoints\n"),
        "{end:?}"
    );
    assert_eq!(end.stderr, "");
}

#[tokio::test]
async fn check_prints_every_problem_with_its_place_and_line() {
    let yaml = "listeners: [{ bind: nowhere }]\npools: { web: { endpoints: [127.0.0.1:9], balanse: random } }\nroutes: [{ pool: wep }]\n";
    let end = weir("").verbatim(yaml).check().await;
    assert_eq!((end.code, end.stdout.as_str()), (Some(78), ""), "{end:?}");
    for said in [
        "weir.yaml:1:21: listeners[0].bind: ",
        "weir.yaml:2:43: pools.web.balanse: unknown key (did you mean \"balance\"?)",
        "weir.yaml:3:18: routes[0].pool: ",
        "3 | routes: [{ pool: wep }]",
    ] {
        assert!(
            end.stderr.contains(said),
            "{said:?} is not in\n{}",
            end.stderr
        );
    }
}

#[tokio::test]
async fn a_wrong_or_missing_file_is_refused_by_every_command_with_its_name() {
    let wrong = weir("").verbatim("routes: []\n");
    for command in ["run", "check", "upgrade", "status"] {
        let end = wrong.command(&[command]).await;
        assert_eq!(end.code, Some(78), "{command}: {end:?}");
        assert!(end.stderr.contains("weir.yaml"), "{command}: {end:?}");

        let end = Program::run(&[command, "-c", "/no/such/weir.yaml"]).await;
        assert_eq!(
            (end.code, end.stdout.as_str()),
            (Some(78), ""),
            "{command}: {end:?}"
        );
        assert!(
            end.stderr.contains("/no/such/weir.yaml"),
            "{command}: {end:?}"
        );
        assert!(
            end.stderr.contains("No such file or directory"),
            "{command}: {end:?}"
        );
    }
}

#[tokio::test]
async fn check_prints_a_schema_for_editors() {
    let end = Program::run(&["check", "--schema"]).await;
    assert!(end.success(), "{end:?}");
    let schema: serde_json::Value = serde_json::from_str(&end.stdout).unwrap();
    assert!(schema["$schema"].is_string());
    for key in ["listeners", "routes", "pools", "server", "admin", "log"] {
        assert!(schema["properties"][key].is_object(), "{key}");
    }
}

#[tokio::test]
async fn every_example_configuration_is_valid_but_for_files_that_are_not_here() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/conf");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path().display().to_string();
        let end = Program::run(&["check", "-c", &path]).await;
        seen += 1;
        if end.success() {
            continue;
        }
        let problems = end.stderr.lines().filter(|line| line.starts_with(&path));
        let others: Vec<_> = problems
            .filter(|line| !line.contains("no such file or directory"))
            .collect();
        assert!(
            end.code == Some(78) && others.is_empty(),
            "{path}: {others:#?}\n{end:?}"
        );
    }
    assert!(seen >= 5, "{seen} files in conf/");
}

// --- run

#[tokio::test]
async fn run_is_what_weir_does_when_it_is_given_nothing_but_a_file() {
    let origin = Origin::serving("ok");
    let weir = weir(ROUTES).with("origin", &origin).start().await;
    weir.signal(Signal::SIGTERM);
    assert_eq!(weir.exit_status().await.code, Some(0));

    let again = Program::start(&["-c", &weir.path("weir.yaml").display().to_string()]);
    eventually("it serves again", async || {
        weir.client()
            .try_get("/x")
            .await
            .is_ok_and(|response| response.status == 200)
    })
    .await;
    again.signal(Signal::SIGTERM);
    assert_eq!(again.exit_status().await.code, Some(0));
}

#[tokio::test]
async fn an_address_in_use_stops_a_start_with_its_name() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    for (listeners, admin) in [
        (
            format!("[{{ bind: $listen }}, {{ bind: {address} }}]"),
            "{ bind: $admin }".to_owned(),
        ),
        (
            "[{ bind: $listen }]".to_owned(),
            format!("{{ bind: {address} }}"),
        ),
    ] {
        let yaml = format!("{ROUTES}    listeners: {listeners}\n    admin: {admin}");
        let end = weir(&yaml).with("origin", "127.0.0.1:8").refused().await;
        assert_eq!(end.code, Some(1), "{end:?}");
        let why = format!("weir: cannot listen on {address}: Address already in use");
        assert!(end.stderr.contains(&why), "{end:?}");
    }
}

#[tokio::test]
async fn a_running_weir_is_not_disturbed_by_a_second_start() {
    let origin = Origin::serving("ok");
    let weir = weir(ROUTES).with("origin", &origin).start().await;
    let pid_file = std::fs::read_to_string(weir.path("weir.pid")).unwrap();
    let end = weir.command(&["run"]).await;
    assert_eq!(end.code, Some(1), "{end:?}");
    assert!(end.stderr.contains("cannot listen on"), "{end:?}");
    assert_eq!(
        std::fs::read_to_string(weir.path("weir.pid")).unwrap(),
        pid_file
    );
    assert_eq!(weir.client().get("/x").await.status, 200);
}

#[tokio::test]
async fn an_access_log_without_a_directory_is_a_problem_of_the_file() {
    let yaml = format!("{ROUTES}    log: {{ access: {{ path: $dir/missing/access.log }} }}");
    let end = weir(&yaml).with("origin", "127.0.0.1:8").refused().await;
    assert_eq!(end.code, Some(78), "{end:?}");
    assert!(
        end.stderr.contains("log.access.path: cannot use directory"),
        "{end:?}"
    );
}

#[tokio::test]
async fn help_and_version_are_there_and_nonsense_is_refused() {
    let version = Program::run(&["--version"]).await;
    assert_eq!(
        version.stdout,
        format!("weir {}\n", env!("CARGO_PKG_VERSION"))
    );
    let help = Program::run(&["--help"]).await;
    for command in ["run", "check", "upgrade", "status", "demo", "backend"] {
        assert!(
            help.stdout.contains(&format!("\n  {command} ")),
            "{command}"
        );
    }
    for nonsense in [&["serve"][..], &["run", "--fast"], &[]] {
        let end = Program::run(nonsense).await;
        assert_eq!((end.code, end.stdout.as_str()), (Some(2), ""), "{end:?}");
        assert!(end.stderr.contains("Usage"), "{end:?}");
    }
}

// --- status

#[tokio::test]
async fn status_shows_pools_and_endpoints_and_tells_by_its_exit_code() {
    let origin = Origin::serving("ok");
    let weir = weir(
        "
        pools: { web: { balance: round_robin, endpoints: [$origin] } }
        routes: [{ pool: web }]
    ",
    )
    .with("origin", &origin)
    .start()
    .await;
    weir.client().get_many("/", 3, 1).await.expect_lossless();
    let end = weir.command(&["status"]).await;
    assert!(end.success(), "{end:?}");
    for said in ["web", "round_robin", "healthy", &origin.to_string()] {
        assert!(
            end.stdout.contains(said),
            "{said} is not in\n{}",
            end.stdout
        );
    }
    let end = weir.command(&["status", "--json"]).await;
    let status: serde_json::Value = serde_json::from_str(&end.stdout).unwrap();
    assert_eq!(status["pools"][0]["endpoints"][0]["picks"], 3);
    let admin = weir.address_of("admin").to_string();
    assert!(Program::run(&["status", "--admin", &admin]).await.success());

    weir.signal(Signal::SIGTERM);
    weir.exit_status().await;
    let end = weir.command(&["status"]).await;
    assert_eq!((end.code, end.stdout.as_str()), (Some(1), ""), "{end:?}");
    let why = format!("weir: cannot ask {admin}: Connection refused");
    assert!(end.stderr.contains(&why), "{end:?}");
}

#[tokio::test]
async fn status_of_something_else_says_so() {
    let origin = Origin::start(|_| Reply::status(404).close());
    let end = Program::run(&["status", "--admin", &origin.to_string()]).await;
    assert_eq!(end.code, Some(1), "{end:?}");
    let why = format!("{origin} is not weir's admin listener");
    assert!(end.stderr.contains(&why), "{end:?}");
}

// --- backend and demo

/// `weir backend` with these arguments, when it answers.
async fn backend(arguments: &[&str]) -> (Program, Client) {
    let address = free_address();
    let listen = address.to_string();
    let program = Program::start(&[&["backend", "--listen", &listen], arguments].concat());
    let client = Client::new(address);
    eventually("the backend answers", async || {
        client.try_get("/healthz").await.is_ok()
    })
    .await;
    (program, client)
}

#[tokio::test]
async fn a_backend_answers_echoes_and_changes_its_health() {
    let (program, client) = backend(&["--name", "blue"]).await;
    let answer = client.get("/any/path").await;
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (200, "hello from blue\n")
    );
    assert_eq!(answer.header("x-backend"), Some("blue"));
    assert_eq!(client.post("/echo", "say it").await.text(), "say it");
    let chunked = client.request("POST", "/echo").chunked(["say ", "it"]);
    assert_eq!(chunked.send().await.text(), "say it");
    for (switch, status) in [("/-/fail", 503), ("/-/recover", 200)] {
        assert_eq!(client.get(switch).await.status, 200);
        assert_eq!(client.get("/healthz").await.status, status);
        assert_eq!(client.get("/").await.status, 200);
    }
    assert!(
        program
            .stdout()
            .starts_with("blue listens on http://127.0.0.1:")
    );
    program.signal(Signal::SIGINT);
    assert_eq!(program.exit_status().await.code, Some(0));
}

#[tokio::test]
async fn a_backend_takes_its_time_and_fails_as_often_as_it_is_told() {
    let (_slow, client) = backend(&["--delay", "150ms"]).await;
    let asked = Instant::now();
    assert_eq!(client.get("/").await.status, 200);
    assert!(asked.elapsed() >= Duration::from_millis(150));

    let (_failing, client) = backend(&["--error-rate", "1.0"]).await;
    let report = client.get_many("/", 20, 2).await;
    assert_eq!(
        (report.status(500), report.failed.len()),
        (20, 0),
        "{report:?}"
    );
    assert_eq!(client.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn a_backend_says_what_is_wrong_with_its_arguments() {
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = busy.local_addr().unwrap().to_string();
    for (arguments, code, why) in [
        (["--listen", taken.as_str()], 1, "cannot listen on"),
        (["--delay", "fast"], 2, "fast"),
        (["--error-rate", "2"], 2, "not between 0 and 1"),
    ] {
        let end = Program::run(&[&["backend"], &arguments[..]].concat()).await;
        assert_eq!(end.code, Some(code), "{end:?}");
        assert!(end.stderr.contains(why), "{end:?}");
    }
}

#[tokio::test]
async fn the_demo_balances_over_three_backends_and_stops_on_sigint() {
    let (listen, admin) = (free_address(), free_address());
    let arguments = [
        "demo",
        "--listen",
        &listen.to_string(),
        "--admin",
        &admin.to_string(),
    ];
    let demo = Program::start(&arguments);
    let client = Client::new(listen);
    eventually("the demo serves", async || {
        client
            .try_get("/")
            .await
            .is_ok_and(|response| response.status == 200)
    })
    .await;
    assert!(
        demo.stdout().contains(&format!("curl http://{listen}/")),
        "{}",
        demo.stdout()
    );
    let report = client.get_many("/", 60, 12).await;
    report.expect_lossless();
    let names: Vec<_> = report.by_body.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "hello from fast\n",
            "hello from medium\n",
            "hello from slow\n"
        ]
    );
    assert_eq!(client.post("/echo", "hello").await.text(), "hello");
    let status = Program::run(&["status", "--admin", &admin.to_string()]).await;
    assert!(
        status.success() && status.stdout.contains("demo"),
        "{status:?}"
    );

    demo.signal(Signal::SIGINT);
    let asked = Instant::now();
    assert_eq!(demo.exit_status().await.code, Some(0));
    assert!(
        asked.elapsed() < Duration::from_secs(15),
        "{:?}",
        asked.elapsed()
    );
    assert!(client.try_connect().await.is_err());
}
