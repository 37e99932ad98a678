//! The average against the definition in plain f64, over ten thousand random schedules.

use fastrand::Rng;

use super::*;

const SEED: u64 = 0x5eed_1a7e;

const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn near(value: f32, expected: f64) -> bool {
    (f64::from(value) - expected).abs() <= expected * 0.003 + 2e-6
}

#[test]
fn it_is_the_definition_over_ten_thousand_random_schedules() {
    let mut rng = Rng::with_seed(SEED);
    for schedule in 0..10_000 {
        let mut now = Instant::now();
        let latency = Latency::new(now);
        let (mut average, mut longest) = (0.030_f64, 0.030_f64);
        for _ in 0..rng.usize(1..40) {
            let most = rng.choice([2, 50, 3000]).unwrap();
            let elapsed = millis(10 * rng.u64(0..most));
            now += elapsed;
            let left = (-elapsed.as_secs_f64() / 10.0).exp();
            let most = rng.choice([500, 50_000, 90_000_000]).unwrap();
            let wait = Duration::from_micros(rng.u64(1..most));
            let seconds = wait.as_secs_f64();
            if rng.u8(0..10) == 0 {
                latency.punish(wait, now);
                average = (average * left).max(seconds);
            } else {
                latency.learn(wait, now);
                average = if seconds > average {
                    seconds
                } else {
                    average * left + seconds * (1.0 - left)
                };
            }
            longest = longest.max(seconds);
            let read = latency.seconds(Stamp::of(now));
            let context = format!("seed {SEED:#x}, schedule {schedule}: {read} for {average}");
            assert!(near(read, average), "{context}");
            assert!(f64::from(read) <= longest * 1.003, "{context}");
            assert!(f64::from(read) >= seconds * 0.997, "{context}");
        }
        let later = latency.seconds(Stamp::of(now + millis(700)));
        assert!(
            later <= latency.seconds(Stamp::of(now)),
            "it only falls while nothing comes"
        );
    }
}

#[test]
fn a_new_endpoint_counts_as_30_ms_and_an_idle_one_becomes_attractive_again() {
    let born = Instant::now();
    let latency = Latency::new(born);
    assert!(near(latency.seconds(Stamp::of(born)), 0.030));
    latency.learn(millis(2000), born);
    assert!(near(
        latency.seconds(Stamp::of(born + millis(10_000))),
        2.0 / std::f64::consts::E
    ));
    // Not zero, even after a year: load still counts.
    assert!(latency.seconds(Stamp::of(born + 365 * 24 * 60 * millis(60_000))) > 0.0);
}

#[test]
fn a_penalty_never_makes_an_endpoint_look_faster() {
    let born = Instant::now();
    let latency = Latency::new(born);
    latency.learn(millis(9000), born);
    latency.punish(millis(5000), born);
    assert!(near(latency.seconds(Stamp::of(born)), 9.0));
    latency.punish(millis(300_000), born);
    assert!(near(latency.seconds(Stamp::of(born)), 300.0));
}

#[test]
fn a_clock_that_lags_and_waits_without_end_do_no_harm() {
    let born = Instant::now();
    let latency = Latency::new(born + millis(1000));
    latency.learn(millis(100), born + millis(5000));
    let reading = latency.seconds(Stamp::of(born + millis(5000)));
    for lagging in [born, born + millis(2000), born + millis(4990)] {
        assert_eq!(latency.seconds(Stamp::of(lagging)), reading);
        latency.learn(millis(50), lagging);
    }
    assert_eq!(latency.seconds(Stamp::of(born + millis(5000))), reading);
    latency.learn(Duration::MAX, born + millis(5000));
    assert!(near(
        latency.seconds(Stamp::of(born + millis(5000))),
        3600.0
    ));
}
