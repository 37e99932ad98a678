//! The targets of `fuzz/` over seeds, mutations of them and noise, always the same ones: what
//! cargo-fuzz does for hours, for a second on each run of the tests.

#[path = "../fuzz/targets.rs"]
mod targets;

const ROUNDS: u32 = 20_000;

/// Feeds a target with each seed, and with what becomes of it.
fn run(target: fn(&[u8]), seeds: &[&str]) {
    let mut rng = fastrand::Rng::with_seed(9110);
    for seed in seeds {
        target(seed.as_bytes());
    }
    for _ in 0..ROUNDS {
        let (one, two) = (rng.choice(seeds), rng.choice(seeds));
        let mut input = mixed(&mut rng, one.unwrap_or(&""), two.unwrap_or(&""));
        for _ in 0..rng.usize(0..6) {
            mutate(&mut rng, &mut input);
        }
        target(&input);
    }
}

/// The beginning of one seed, the end of another.
fn mixed(rng: &mut fastrand::Rng, one: &str, two: &str) -> Vec<u8> {
    let (from, to) = (rng.usize(..=two.len()), rng.usize(..=one.len()));
    [&one.as_bytes()[..to], &two.as_bytes()[from..]].concat()
}

fn mutate(rng: &mut fastrand::Rng, input: &mut Vec<u8>) {
    const TELLING: &[u8] = b"\"\\,;=-*?&%/:@.[] \t\n09\x7f\x80\xff";
    let at = rng.usize(..=input.len());
    match rng.u8(0..5) {
        0 => input.insert(at, *rng.choice(TELLING).unwrap_or(&0)),
        1 => input.insert(at, rng.u8(..)),
        2 if at < input.len() => drop(input.remove(at)),
        3 if at < input.len() => input[at] = rng.u8(..),
        _ => {
            let again = input[at..].to_vec();
            input.extend(again);
            input.truncate(4096);
        }
    }
}

#[test]
fn cache_control() {
    let seeds = [
        "max-age=60, s-maxage=\"30\", public",
        "private=\"a, b\", no-cache=x\nstale-while-revalidate=9, stale-if-error=9",
        "no-store, must-revalidate, proxy-revalidate, must-understand, immutable",
        "max-stale=5, min-fresh=1, only-if-cached, max-age=99999999999999999999",
        "max-age=1\nSun, 06 Nov 1994 08:49:37 GMT",
        "max-age=-1, ext=\"a\\\"b, no-store",
    ];
    run(targets::cache_control, &seeds);
}

#[test]
fn range() {
    let seeds = [
        "\u{0}\u{1}bytes=0-1,4-5, -2",
        "zzbytes=0-99999999999999999999",
        "\n\u{0}bytes=-5,3-",
        "zzBYTES = 1-1,,2-2",
    ];
    run(targets::range, &seeds);
}

#[test]
fn vary() {
    let seeds = [
        "Accept-Encoding, Cookie\ngzip, br;q=0.5, *;q=0\nid=1; a=b",
        "cookie\nidentity;q=0\nid=\nx-gzip;q=1.000",
        "*, a b\nzstd;Q=0.1",
    ];
    run(targets::vary, &seeds);
}

#[test]
fn key() {
    let seeds = [
        "Example.com.:80\n/a/b?c=d&utm_source=x",
        "[::1]:8080\n/?",
        "a:1:2\n/x?utm_a&utm_b",
        "user@host\n*",
    ];
    run(targets::key, &seeds);
}

#[test]
fn structured_fields() {
    let seeds = [
        "max-age=60, private=\"a, b\", must-revalidate;x=1",
        "s-maxage=1.5, no-cache=(a b), ext=:AA==:",
        "max-age=9\nno-store=?0, a=?1, b=\"\\\"\"",
    ];
    run(targets::structured_fields, &seeds);
}
