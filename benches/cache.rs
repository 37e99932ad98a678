//! What a hit and a fill cost, by size and with threads beside; and how often each eviction order
//! hits: on popular objects of mixed sizes, and with scans in between.

use std::hint::black_box;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use pingora_cache::CacheMeta;
use pingora_cache::key::{CacheKey, CompactCacheKey};
use pingora_http::ResponseHeader;
use weir::cache::store::body::Read;
use weir::cache::store::reader::Reader;
use weir::cache::store::{Eviction, Settings, Store};

const MIB: usize = 1 << 20;

fn store(memory: usize, eviction: Eviction) -> Store {
    Store::new(Settings {
        memory,
        max_object: 8 * MIB,
        eviction,
    })
}

fn response(length: usize) -> CacheMeta {
    let mut header = ResponseHeader::build(200, None).expect("200 is a status");
    let fields = [
        ("Content-Type", "text/html; charset=utf-8"),
        ("Cache-Control", "public, max-age=3600"),
        ("Date", "Mon, 01 Jan 2024 00:00:00 GMT"),
        ("ETag", "\"0123456789abcdef\""),
        ("Server", "origin"),
        ("Vary", "Accept-Encoding"),
    ];
    for (name, value) in fields {
        let inserted = header.insert_header(name, value);
        inserted.expect("it is a header");
    }
    let inserted = header.insert_header("Content-Length", length);
    inserted.expect("it is a header");
    let now = SystemTime::now();
    CacheMeta::new(now + Duration::from_secs(3600), now, 0, 0, header)
}

fn key(name: u32) -> CompactCacheKey {
    CacheKey::new(name.to_le_bytes(), "").to_compact()
}

fn put(store: &Store, name: u32, length: usize) {
    let mut fill = store.begin(key(name), &response(length));
    for piece in Bytes::from(vec![0; length]).chunks(64 * 1024) {
        if fill.write(piece).is_err() {
            return;
        }
    }
    fill.commit();
}

/// Everything a hit asks of the store.
fn hit(store: &Store, key: &CompactCacheKey) -> usize {
    let found = store.find(key).expect("it is stored");
    black_box(found.meta.copy());
    let mut reader = Reader::of(&found);
    let mut sum = 0;
    while let Read::Piece(bytes) = reader.read() {
        sum += bytes.len();
    }
    sum
}

fn costs(criterion: &mut Criterion) {
    for eviction in [Eviction::Lru, Eviction::S3Fifo] {
        let store = store(256 * MIB, eviction);
        for length in [1 << 10, 64 << 10, 1 << 20] {
            put(&store, 1, length);
            let key = key(1);
            let name = format!("{eviction:?}: hit of {length} bytes");
            criterion.bench_function(&name, |bencher| bencher.iter(|| hit(&store, &key)));
        }
        let (small, mut name) = (response(1 << 10), 2);
        let full = format!("{eviction:?}: fill of 1024 bytes, evicting when full");
        criterion.bench_function(&full, |bencher| {
            bencher.iter(|| {
                name += 1;
                let mut fill = store.begin(key(name), &small);
                fill.write(&[0; 1 << 10]).expect("it fits");
                fill.commit()
            });
        });
    }
}

/// Requests for popular objects (Zipf with exponent 0.9 among 20,000, from 256 bytes to 64 KiB), of
/// which one in `scanned` is for an object that is never asked for again.
fn hit_ratio(eviction: Eviction, memory: usize, scanned: Option<u32>) -> f64 {
    let store = store(memory, eviction);
    let mut random = fastrand::Rng::with_seed(1);
    let weights = (1..=20_000_u32).map(|rank| f64::from(rank).powf(-0.9));
    let mut sum = 0.0;
    let sums: Vec<f64> = weights
        .map(|weight| {
            sum += weight;
            sum
        })
        .collect();
    let (mut hits, requests) = (0, 200_000_u32);
    for number in 0..requests {
        let target = random.f64() * sum;
        let mut name = sums.partition_point(|sum| *sum < target) as u32;
        if scanned.is_some_and(|scanned| number % scanned == 0) {
            name = 1_000_000 + number;
        }
        if store.find(&key(name)).is_some() {
            hits += 1;
        } else {
            let length = 256 << (name.wrapping_mul(0x9e37_79b9) >> 29);
            put(&store, name, length + length * (name as usize % 8) / 8);
        }
    }
    f64::from(hits) / f64::from(requests)
}

fn hit_ratios(_: &mut Criterion) {
    for (trace, scanned) in [("popular", None), ("a third scanned", Some(3))] {
        for memory in [4 * MIB, 16 * MIB, 64 * MIB] {
            let [lru, s3fifo] = [Eviction::Lru, Eviction::S3Fifo]
                .map(|eviction| hit_ratio(eviction, memory, scanned));
            let mib = memory / MIB;
            eprintln!("{trace}, {mib} MiB: LRU {lru:.3}, S3-FIFO {s3fifo:.3}");
        }
    }
}

criterion_group!(benches, costs, hit_ratios);
criterion_main!(benches);
