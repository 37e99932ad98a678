//! A new process takes over: no request is lost when it works, nothing changes when it does not.

use std::time::Duration;

use crate::support::*;

const ROUTES: &str = "
    pools: { web: { endpoints: [$origin] } }
    routes: [{ pool: web }]
";

async fn in_front_of(origin: &Origin) -> Weir {
    weir(ROUTES).with("origin", origin).start().await
}

/// Answers `/slow` when the gate opens, `/ws` with a tunnel, everything else at once.
fn origin_with(gate: &Gate) -> Origin {
    let held = gate.clone();
    Origin::start(move |request| match request.target.as_str() {
        "/slow" => Reply::ok("slow").after(&held),
        "/ws" => Reply::websocket(),
        _ => Reply::ok("fast"),
    })
}

/// Neither gone nor waiting to be buried.
fn runs(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
    !state.is_empty() && !state.starts_with(['Z', 'X'])
}

async fn leaves(pid: i32) {
    eventually(format!("process {pid} leaves"), async || !runs(pid)).await;
}

fn pid_in_file(weir: &Weir) -> String {
    let text = std::fs::read_to_string(weir.path("weir.pid"));
    text.unwrap_or_default().trim().to_owned()
}

/// Whatever was tried, the first process serves on as if nothing had been.
async fn still_serves(weir: &Weir, pid: i32) {
    assert_eq!((weir.pid(), pid_in_file(weir)), (pid, pid.to_string()));
    assert!(weir.client().get("/").await.status == 200 && weir.is_running());
    assert_eq!(weir.admin().get("/-/ready").await.status, 200);
    eventually("nothing else is left running", async || {
        weir.processes() == [pid]
    })
    .await;
    assert!(weir.reload().await, "{}", weir.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_upgrades_under_load_lose_nothing() {
    let origin = Origin::serving("ok");
    let weir = in_front_of(&origin).await;
    let load = Load::start(&weir.client(), "/", 8);
    for round in 1..=10 {
        let old = weir.pid();
        let end = weir.upgrade().await;
        assert!(end.success(), "{end:?}");
        let new = weir.pid();
        assert!(new != old, "round {round}");
        let said = format!("process {new} serves; process {old} drains\n");
        assert_eq!(end.stdout, said);
        assert_eq!(pid_in_file(&weir), new.to_string());
        leaves(old).await;
        let done = load.done();
        eventually("the load goes on", async || load.done() > done + 50).await;
    }
    let report = load.stop().await;
    report.expect_lossless();
    assert_eq!(
        report.retried_on_stale, 0,
        "a drain announces each close: {report:?}"
    );
    assert_eq!(pid_in_file(&weir), weir.pid().to_string());
    assert_eq!(weir.admin().get("/-/ready").await.status, 200);
    // One file, in which every request of every process has its line.
    assert_eq!(weir.logged(report.ok).await.len(), report.ok);
    let alarms = weir
        .stderr()
        .lines()
        .filter(|l| l.contains(" ERROR "))
        .count();
    assert_eq!(alarms, 0, "{}", weir.stderr());
}

#[tokio::test]
async fn what_the_old_process_has_begun_it_finishes() {
    let gate = Gate::new();
    let origin = origin_with(&gate);
    let weir = in_front_of(&origin).await;
    let old = weir.pid();
    let in_flight = tokio::spawn(weir.client().get("/slow"));
    eventually("it is in flight", async || gate.waiting() == 1).await;
    let mut tunnel = weir.client().websocket("/ws").await;

    let end = weir.upgrade().await;
    assert!(end.success(), "{end:?}");
    assert_eq!(weir.client().get("/").await.text(), "fast");
    let idle_ones_are_gone = Duration::from_millis(1500);
    steadily("the old one works on", idle_ones_are_gone, async || {
        tunnel.echoes("still there").await && runs(old)
    })
    .await;

    gate.open();
    assert_eq!(in_flight.await.unwrap().text(), "slow");
    assert!(tunnel.echoes("and still").await);
    drop(tunnel);
    leaves(old).await;
    assert!(weir.is_running());
    assert_eq!(weir.exit_status().await.code, Some(0));
}

#[tokio::test]
async fn a_tunnel_of_the_old_process_ends_at_the_drain_timeout() {
    let gate = Gate::new();
    let origin = origin_with(&gate);
    let yaml = format!("{ROUTES}    server: {{ drain_timeout: 500ms, $upgradable }}");
    let weir = weir(&yaml).with("origin", &origin).start().await;
    let old = weir.pid();
    let mut tunnel = weir.client().websocket("/ws").await;
    assert!(weir.upgrade().await.success(), "{}", weir.stderr());
    tunnel.ending().await;
    leaves(old).await;
    assert!(
        weir.stderr()
            .contains("drain timeout: 1 connections cut off")
    );
    assert_eq!(weir.client().get("/").await.text(), "fast");
}

#[tokio::test]
async fn the_new_process_reloads_and_stops_as_the_old_one_did() {
    let origins = Origin::several(2);
    let weir = weir(ROUTES)
        .with("origin", &origins[0])
        .with("other", &origins[1])
        .start()
        .await;
    assert!(weir.upgrade().await.success(), "{}", weir.stderr());
    assert_eq!(weir.client().get("/").await.text(), "a");
    assert!(
        weir.reload_with(&ROUTES.replace("$origin", "$other")).await,
        "{}",
        weir.stderr()
    );
    assert_eq!(weir.client().get("/").await.text(), "b");
    let status = weir.command(&["status"]).await;
    assert!(status.success(), "{status:?}");

    let new = weir.pid();
    weir.signal(Signal::SIGTERM);
    leaves(new).await;
    assert!(matches!(
        weir.client().try_connect().await,
        Err(Failure::Connect(_))
    ));
    assert!(!weir.path("weir.pid").exists());
}

#[tokio::test]
async fn an_upgrade_brings_what_a_reload_cannot() {
    let origin = Origin::serving("ok");
    let yaml = |listen: &str, threads: u8| {
        format!(
            "
        listeners: {listen}
        server: {{ threads: {threads}, $upgradable }}
        pools: {{ web: {{ endpoints: [$origin] }} }}
        routes: [{{ pool: web }}]
    "
        )
    };
    let weir = weir(&yaml("[{ bind: $listen }, { bind: $listen2 }]", 1))
        .with("origin", &origin)
        .start()
        .await;
    assert_eq!(weir.client().get("/").await.text(), "ok");
    let threads = weir.threads();
    let listeners = "[{ bind: $listen2 }, { bind: $listen3 }]";
    assert!(!weir.reload_with(&yaml(listeners, 5)).await);

    assert!(weir.upgrade().await.success(), "{}", weir.stderr());

    assert_eq!(weir.client_of("listen2").get("/").await.text(), "ok");
    assert_eq!(weir.client_of("listen3").get("/").await.text(), "ok");
    // Not before it has served: one thread comes with the first request, and those that only start go.
    eventually("it has four threads more", async || {
        weir.threads() == threads + 4
    })
    .await;
    eventually("the removed one is closed", async || {
        let connected = weir.client_of("listen").try_connect().await;
        matches!(connected, Err(Failure::Connect(_)))
    })
    .await;
    // Once more, from what the new process has.
    weir.rewrite(&yaml("[{ bind: $listen }]", 1));
    assert!(weir.upgrade().await.success(), "{}", weir.stderr());
    assert_eq!(weir.client().get("/").await.text(), "ok");
}

// --- upgrades that fail

#[tokio::test]
async fn a_wrong_configuration_stops_an_upgrade_before_it_begins() {
    let origin = Origin::serving("ok");
    let weir = in_front_of(&origin).await;
    let pid = weir.pid();
    weir.rewrite("routes: [{ pool: nope, retries: 1 }]");
    let end = weir.upgrade().await;
    assert_eq!(end.code, Some(78), "{end:?}");
    assert!(
        end.stderr.contains("weir.yaml:1:") && end.stderr.contains("retries"),
        "{end:?}"
    );
    weir.rewrite(ROUTES);
    still_serves(&weir, pid).await;
}

#[tokio::test]
async fn a_binary_that_is_missing_or_ends_at_once_changes_nothing() {
    let origin = Origin::serving("ok");
    let weir = in_front_of(&origin).await;
    let pid = weir.pid();
    for (binary, why) in [
        ("/bin/false", "ended before it waits for the listeners"),
        ("/no/such/weir", "cannot start /no/such/weir"),
    ] {
        let end = weir.command(&["upgrade", "--binary", binary]).await;
        assert_eq!(end.code, Some(1), "{end:?}");
        assert!(end.stderr.contains(why), "{end:?}");
        still_serves(&weir, pid).await;
    }
}

#[tokio::test]
async fn a_new_process_that_dies_while_it_waits_changes_nothing() {
    let origin = Origin::serving("ok");
    let weir = in_front_of(&origin).await;
    let pid = weir.pid();
    // So that nobody takes the new one out of its wait.
    weir.signal(Signal::SIGSTOP);
    let upgrade = weir.command(&["upgrade"]);
    let kill = async {
        let new = eventually("the new process waits", async || {
            let socket = weir.path("upgrade.sock");
            let mut others = weir.processes().into_iter().filter(|other| {
                let line = std::fs::read_to_string(format!("/proc/{other}/cmdline"));
                line.unwrap_or_default().contains("--upgrade")
            });
            others.next().filter(|_| socket.exists())
        });
        let new = nix::unistd::Pid::from_raw(new.await);
        nix::sys::signal::kill(new, Signal::SIGKILL).unwrap();
    };
    let (end, ()) = tokio::join!(upgrade, kill);
    assert_eq!(end.code, Some(1), "{end:?}");
    assert!(end.stderr.contains("the old one still serves"), "{end:?}");
    weir.signal(Signal::SIGCONT);
    still_serves(&weir, pid).await;
    // And the next one works.
    let end = weir.upgrade().await;
    assert!(end.success(), "{end:?}\n{}", weir.stderr());
}

#[tokio::test]
async fn a_new_process_that_cannot_listen_changes_nothing() {
    let origin = Origin::serving("ok");
    let weir = in_front_of(&origin).await;
    let pid = weir.pid();
    let somebody = Origin::serving("somebody else's");
    // It takes the sockets, and then finds that the new one of the file is in use.
    let clashing = format!("{ROUTES}    listeners: [{{ bind: $listen }}, {{ bind: {somebody} }}]");
    weir.rewrite(&clashing);
    let end = weir.upgrade().await;
    assert_eq!(end.code, Some(1), "{end:?}");
    let why = format!("cannot listen on {somebody}");
    assert!(weir.stderr().contains(&why), "{}", weir.stderr());
    weir.rewrite(ROUTES);
    still_serves(&weir, pid).await;
    let end = weir.upgrade().await;
    assert!(end.success(), "{end:?}\n{}", weir.stderr());
}

#[tokio::test]
async fn sigquit_is_refused_while_nobody_waits() {
    let origin = Origin::serving("ok");
    let weir = in_front_of(&origin).await;
    let pid = weir.pid();
    let load = Load::start(&weir.client(), "/", 2);
    weir.signal(Signal::SIGQUIT);
    eventually("it says why", async || {
        weir.stderr()
            .contains("no hand-over, still serving: no new process waits on")
    })
    .await;
    let done = load.done();
    eventually("the load goes on", async || load.done() > done + 50).await;
    let report = load.stop().await;
    report.expect_lossless();
    assert_eq!(report.connections, 2, "{report:?}");
    still_serves(&weir, pid).await;
}

#[tokio::test]
async fn an_upgrade_that_is_not_prepared_says_what_is_missing() {
    let origin = Origin::serving("ok");
    for (server, key) in [
        ("{ threads: 1 }", "server.upgrade_socket"),
        ("{ pid_file: $dir/weir.pid }", "server.upgrade_socket"),
        ("{ upgrade_socket: $dir/upgrade.sock }", "server.pid_file"),
    ] {
        let yaml = format!("{ROUTES}    server: {server}");
        let weir = weir(&yaml).with("origin", &origin).start().await;
        let end = weir.command(&["upgrade"]).await;
        assert_eq!(end.code, Some(1), "{end:?}");
        let why = format!("an upgrade needs {key} in the configuration");
        assert!(end.stderr.contains(&why), "{end:?}");
        weir.signal(Signal::SIGQUIT);
        eventually("SIGQUIT is refused", async || {
            weir.stderr().contains("no hand-over, still serving")
        })
        .await;
        assert_eq!(weir.client().get("/").await.text(), "ok");
    }
}

#[tokio::test]
async fn an_upgrade_of_nothing_says_that_nothing_runs() {
    let setup = weir(ROUTES).with("origin", "127.0.0.1:9");
    let end = setup.command(&["upgrade"]).await;
    assert_eq!(end.code, Some(1), "{end:?}");
    assert!(end.stderr.contains("no running process in"), "{end:?}");
}

#[tokio::test]
async fn sigterm_and_sigint_end_a_process_that_hands_over_to_one_that_hangs() {
    let origin = Origin::serving("ok");
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let weir = in_front_of(&origin).await;
        // Somebody who waits for the sockets, takes them and never says that it serves.
        let waiting = std::os::unix::net::UnixListener::bind(weir.path("upgrade.sock")).unwrap();
        weir.signal(Signal::SIGQUIT);
        eventually("it waits for the word", async || {
            weir.path("upgrade.sock.serving").exists()
        })
        .await;
        weir.signal(signal);
        let asked = std::time::Instant::now();
        let end = weir.exit_status().await;
        assert_eq!(end.code, Some(0), "{signal}: {end:?}");
        let took = asked.elapsed();
        assert!(took < Duration::from_secs(15), "{signal}: {took:?}");
        drop(waiting);
    }
}

#[tokio::test]
async fn a_stale_pid_file_never_gets_another_process_signalled() {
    let origin = Origin::serving("ok");
    let weir = weir(ROUTES).with("origin", &origin).start().await;
    let is_there = async || weir.path("weir.pid").exists();
    eventually("the pid file is there", is_there).await;
    let own = std::fs::read_to_string(weir.path("weir.pid")).unwrap();
    // The number of a process that is not weir: this test's own.
    std::fs::write(weir.path("weir.pid"), std::process::id().to_string()).unwrap();
    let end = weir.command(&["upgrade"]).await;
    assert_eq!(end.code, Some(1), "{end:?}");
    assert!(
        end.stderr.contains("not weir: is the file stale?"),
        "{end:?}"
    );
    std::fs::write(weir.path("weir.pid"), own).unwrap();
    assert_eq!(weir.client().get("/").await.text(), "ok");
}

// --- the cache

#[tokio::test]
async fn what_was_stored_before_an_upgrade_is_a_hit_after_it() {
    let origin = Origin::start(|_| Reply::ok("kept").header("Cache-Control", "max-age=60"));
    let yaml = ROUTES.replace("pool: web", "pool: web, cache: on");
    let weir = weir(&yaml).with("origin", &origin).start().await;
    for target in ["/", "/other"] {
        assert_eq!(weir.client().get(target).await.text(), "kept");
    }
    assert!(weir.upgrade().await.success(), "{}", weir.stderr());
    eventually("the new process has it all", async || {
        weir.stderr().contains("took over 2 cached responses")
    })
    .await;
    for target in ["/", "/other"] {
        assert_eq!(weir.client().get(target).await.text(), "kept");
    }
    assert_eq!(origin.hits(), 2);
    assert!(!weir.path("cache.handover").exists());
}

#[tokio::test]
async fn a_file_that_no_process_has_left_is_removed_unread() {
    let origin = Origin::serving("ok");
    let weir = in_front_of(&origin).await;
    let file = weir.path("cache.handover");
    std::fs::write(&file, "weir cache of somebody else").unwrap();
    assert!(weir.upgrade().await.success(), "{}", weir.stderr());
    eventually("it is removed", async || !file.exists()).await;
    assert_eq!(weir.client().get("/").await.text(), "ok");
    assert!(!weir.stderr().contains("cache"), "{}", weir.stderr());
}

#[tokio::test]
async fn what_nobody_took_over_is_removed_by_the_next_start() {
    let origin = Origin::serving("ok");
    let setup = weir(ROUTES).with("origin", &origin);
    let weir = setup.file("cache.handover", "half").start().await;
    assert!(!weir.path("cache.handover").exists());
    assert!(!weir.stderr().contains("cache"), "{}", weir.stderr());
}
