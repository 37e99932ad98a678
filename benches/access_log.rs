//! What one access-log line costs the request that writes it.

use std::hint::black_box;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use criterion::{Criterion, criterion_group, criterion_main};
use prometheus::IntCounter;
use weir::telemetry::access_log::record::{Attempt, Record, Timers};
use weir::telemetry::access_log::{AccessLog, Format, Target, format};

fn typical<'a>() -> Record<'a> {
    Record {
        time: SystemTime::now(),
        client: Some(([203, 0, 113, 7], 51_234).into()),
        request_id: "0192f0c15a7e7c3d8b1f2a3b4c5d6e7f",
        method: "GET",
        host: b"shop.example.com",
        target: b"/api/v1/products/4711/reviews?page=3&sort=newest",
        protocol: "HTTP/1.1",
        status: 200,
        received: 0,
        sent: 14_321,
        referer: Some(b"https://shop.example.com/products/4711"),
        user_agent: Some(
            b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
              Chrome/126.0.0.0 Safari/537.36",
        ),
        route: "api",
        pool: "web",
        timers: Timers {
            queue: Some(Duration::ZERO),
            connect: Some(Duration::ZERO),
            first_byte: Some(Duration::from_micros(3_271)),
            total: Duration::from_micros(3_518),
        },
        attempts: &[Attempt {
            endpoint: "10.0.0.1:9001",
            outcome: "ok",
        }],
        termination: "ok",
        cache: "-",
        error: None,
    }
}

/// The time `lines` take. Between rounds that fit the buffer the writer may catch up, as it can in
/// life, where requests do more than log.
fn write(log: &AccessLog, record: &Record<'_>, lines: u64) -> Duration {
    const ROUND: u64 = 1000;
    let mut total = Duration::ZERO;
    let mut left = lines;
    while left > 0 {
        let round = left.min(ROUND);
        let start = Instant::now();
        for _ in 0..round {
            log.write(black_box(record));
        }
        total += start.elapsed();
        log.flush();
        left -= round;
    }
    total
}

fn lines(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("access_log");
    for (name, format) in [("json", Format::Json), ("combined", Format::Combined)] {
        let dropped = IntCounter::new("dropped", "by this benchmark").expect("a valid name");
        let target = Target::File(PathBuf::from("/dev/null"));
        let log = AccessLog::open(&target, format, dropped.clone()).expect("/dev/null opens");
        let record = typical();
        group.bench_function(format!("write_{name}"), |bencher| {
            bencher.iter_custom(|lines| write(&log, &record, lines));
        });
        // A line that is dropped costs less than one that is kept.
        assert_eq!(
            dropped.get(),
            0,
            "lines were dropped, the figure is not true"
        );
    }
    let (record, mut line) = (typical(), Vec::new());
    group.bench_function("format_json", |bencher| {
        bencher.iter(|| {
            line.clear();
            format::json(black_box(&record), &mut line);
        });
    });
    group.finish();
}

criterion_group!(benches, lines);
criterion_main!(benches);
