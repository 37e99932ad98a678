//! The log as a whole: real files, real pipes, real threads.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::SystemTime;

use super::record::Timers;
use super::*;

fn record<'a>(id: &'a str, target: &'a [u8]) -> Record<'a> {
    Record {
        time: SystemTime::now(),
        client: None,
        request_id: id,
        method: "GET",
        host: b"example.com",
        target,
        protocol: "HTTP/1.1",
        status: 200,
        received: 0,
        sent: 0,
        referer: None,
        user_agent: None,
        route: "r",
        pool: "p",
        timers: Timers::default(),
        attempts: &[],
        termination: "ok",
        cache: "-",
        error: None,
    }
}

fn counter() -> IntCounter {
    IntCounter::new("dropped", "for a test").unwrap()
}

fn open(path: &Path, dropped: &IntCounter) -> AccessLog {
    let target = Target::File(path.to_owned());
    AccessLog::open(&target, Format::Json, dropped.clone()).unwrap()
}

/// The request ids of a log's lines, each of which must be whole.
fn ids(text: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(text).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["request_id"].as_str().unwrap().to_owned()
        })
        .collect()
}

#[test]
fn flush_returns_when_all_is_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let log = open(&path, &counter());
    for id in ["1", "2", "3"] {
        log.write(&record(id, b"/"));
    }
    log.flush();
    assert_eq!(ids(&fs::read(&path).unwrap()), ["1", "2", "3"]);
}

#[test]
fn a_log_that_is_off_takes_nothing() {
    let log = AccessLog::open(&Target::Off, Format::Json, counter()).unwrap();
    assert!(!log.is_on());
    log.write(&record("1", b"/"));
    log.reopen();
    log.flush();
}

#[test]
fn a_file_that_cannot_be_opened_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let target = Target::File(folder.path().join("missing").join("access.log"));
    assert!(AccessLog::open(&target, Format::Json, counter()).is_err());
}

#[test]
fn reopen_leaves_the_renamed_file_and_goes_on_in_a_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let (path, rotated) = (folder.path().join("log"), folder.path().join("log.1"));
    let log = open(&path, &counter());
    log.write(&record("before", b"/"));
    log.flush();
    fs::rename(&path, &rotated).unwrap();
    log.write(&record("renamed", b"/"));
    log.reopen();
    log.flush();
    log.write(&record("after", b"/"));
    log.flush();
    assert_eq!(ids(&fs::read(&rotated).unwrap()), ["before", "renamed"]);
    assert_eq!(ids(&fs::read(&path).unwrap()), ["after"]);
}

#[test]
fn a_reopen_that_fails_keeps_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let log = open(&path, &counter());
    let kept = folder.path().join("kept");
    fs::rename(&path, &kept).unwrap();
    fs::create_dir(&path).unwrap();
    log.reopen();
    log.write(&record("still here", b"/"));
    log.flush();
    assert_eq!(ids(&fs::read(&kept).unwrap()), ["still here"]);
}

#[test]
fn lines_a_full_disk_refuses_are_counted() {
    let dropped = counter();
    let log = open(Path::new("/dev/full"), &dropped);
    log.write(&record("1", b"/"));
    log.write(&record("2", b"/"));
    log.flush();
    assert_eq!(dropped.get(), 2);
}

#[test]
fn a_pipe_nobody_reads_costs_whole_lines_and_blocks_nobody() {
    let (mut reader, writer) = io::pipe().unwrap();
    let dropped = counter();
    let to = File::from(OwnedFd::from(writer));
    let output = Output::new(to, None, dropped.clone());
    let log = AccessLog::start(output, Format::Json, dropped.clone()).unwrap();
    let target = vec![b'x'; 1000];
    for id in 0..4000 {
        log.write(&record(&id.to_string(), &target));
    }
    assert!(dropped.get() > 0, "4 MB cannot all be waiting");
    drop(log);
    let mut text = Vec::new();
    reader.read_to_end(&mut text).unwrap();
    let ids = ids(&text);
    assert_eq!(ids.len() as u64 + dropped.get(), 4000);
    assert!(
        ids.iter()
            .take(700)
            .enumerate()
            .all(|(at, id)| *id == at.to_string())
    );
}

#[test]
fn flush_gives_up_on_a_pipe_nobody_reads() {
    let (reader, writer) = io::pipe().unwrap();
    let to = File::from(OwnedFd::from(writer));
    let log = AccessLog::start(Output::new(to, None, counter()), Format::Json, counter()).unwrap();
    let target = vec![b'x'; 100_000];
    log.write(&record("1", &target));
    log.flush();
    drop(reader);
}

#[test]
fn eight_threads_lose_and_tear_no_line() {
    const THREADS: usize = 8;
    const LINES: usize = 10_000;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let dropped = counter();
    let log = open(&path, &dropped);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let log = log.clone();
            scope.spawn(move || {
                for line in 0..LINES {
                    log.write(&record(&format!("{thread} {line}"), b"/"));
                    // Keeps the sum of all threads within the buffer: what is lost on a slow
                    // machine is another test's matter.
                    if line % 100 == 99 {
                        log.flush();
                    }
                }
            });
        }
    });
    log.flush();
    assert_eq!(dropped.get(), 0);
    let mut next = [0; THREADS];
    for id in ids(&fs::read(&path).unwrap()) {
        let (thread, line) = id.split_once(' ').unwrap();
        let thread: usize = thread.parse().unwrap();
        assert_eq!(
            line,
            next[thread].to_string(),
            "lines of one thread keep their order"
        );
        next[thread] += 1;
    }
    assert_eq!(next, [LINES; THREADS]);
}
