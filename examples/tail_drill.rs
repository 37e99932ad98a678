//! Both ends of the tail-latency drill: a backend with few slots that fails on request, and an open-loop client.
//!
//! `bench/tail` starts them around weir and its rivals. The client draws each request's arrival (Poisson) and its work
//! (exponential, mean 1) from one seed and sends the work in the path, `/work/1.37/NUMBER`; so every contestant is asked
//! the same questions at the same moments, and they differ in nothing but where they send them. Service takes its time by
//! chance, not by the request: a second copy of one (retried, hedged) draws its own. Latency counts from the
//! moment a request was meant to leave, not from when it did: a stall delays all that were due in it.
//!
//! HTTP here is the least that serves: GET, `Content-Length`, keep-alive.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clap::{Args, Parser};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

const HEAD_BYTES_MAX: usize = 64 * 1024;

#[derive(Parser)]
#[command(about = "Both ends of the tail-latency drill; bench/tail runs it")]
enum Mode {
    /// A backend that works on a few requests at once and queues the others.
    Backend(Backend),
    /// Sends requests at random moments and prints their latencies as JSON.
    Load(Load),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    match Mode::parse() {
        Mode::Backend(backend) => backend.serve().await,
        Mode::Load(load) => load.run().await,
    }
}

// The backend.

/// Paths: `/` responds at once, `/work/UNITS/NUMBER` after UNITS × the mean service time in a slot, and `/fault/…` sets a
/// fault.
#[derive(Args, Clone)]
struct Backend {
    #[arg(long)]
    port: u16,
    /// Requests in service at once; the others wait in order of arrival.
    #[arg(long, default_value_t = 4)]
    slots: usize,
    /// Milliseconds of service for one unit of work.
    #[arg(long, default_value_t = 40.0)]
    mean: f64,
    /// A directory that all backends share, where they note which requests have been in service. Without it a second copy
    /// of a request takes as long as the first.
    #[arg(long)]
    served: Option<PathBuf>,
}

/// What is wrong with a backend.
#[derive(Clone, Copy)]
struct Faults {
    /// Service takes so many times as long: `/fault/slow/10`.
    slow: f64,
    /// 500 at once, without a slot: `/fault/errors`.
    errors: bool,
    /// Nothing happens for a while, again and again: `/fault/freeze/FIRST/LENGTH/PERIOD`, in milliseconds from now.
    freezes: Option<Freezes>,
}

#[derive(Clone, Copy)]
struct Freezes {
    first: Instant,
    length: Duration,
    period: Duration,
}

impl Freezes {
    /// When `work` begun at `start` is done, if none is done while frozen.
    fn end(&self, start: Instant, work: Duration) -> Instant {
        let (mut at, mut left) = (start, work);
        let mut freeze = self.first;
        loop {
            let room = freeze.saturating_duration_since(at);
            if left <= room && at < freeze {
                return at + left;
            }
            left -= room.min(left);
            at = at.max(freeze + self.length);
            freeze += self.period;
        }
    }
}

impl Faults {
    const NONE: Faults = Faults {
        slow: 1.0,
        errors: false,
        freezes: None,
    };

    /// These faults and the one that a path behind `/fault/` names.
    fn with(mut self, path: &str, now: Instant) -> Option<Faults> {
        let words: Vec<&str> = path.split('/').collect();
        let millis = |text: &str| text.parse().ok().map(Duration::from_millis);
        match words[..] {
            ["slow", factor] => self.slow = factor.parse().ok()?,
            ["errors"] => self.errors = true,
            ["freeze", first, length, period] => {
                let (length, period) = (millis(length)?, millis(period)?);
                let first = now + millis(first)?;
                self.freezes = (length < period).then_some(Freezes {
                    first,
                    length,
                    period,
                });
            }
            _ => return None,
        }
        Some(self)
    }
}

struct Workshop {
    slots: Semaphore,
    mean: f64,
    served: Option<PathBuf>,
    faults: Mutex<Faults>,
}

impl Backend {
    async fn serve(self) -> io::Result<()> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).await?;
        let workshop = Arc::new(Workshop {
            slots: Semaphore::new(self.slots),
            mean: self.mean / 1000.0,
            served: self.served,
            faults: Mutex::new(Faults::NONE),
        });
        loop {
            let (stream, _) = listener.accept().await?;
            let workshop = Arc::clone(&workshop);
            // A connection that breaks is the client's affair.
            tokio::spawn(async move { workshop.connection(stream).await.ok() });
        }
    }
}

impl Workshop {
    async fn connection(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut wire = Wire::new(stream);
        while let Some(head) = wire.head().await? {
            let target = head.split(' ').nth(1).unwrap_or_default();
            let status = tokio::select! {
                status = self.answer(target) => status,
                // Who hung up needs no answer: what waited for a slot leaves the queue, what had one frees it.
                () = wire.closed() => return Ok(()),
            };
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 3\r\n\r\nok\n");
            wire.stream.write_all(answer.as_bytes()).await?;
        }
        Ok(())
    }

    async fn answer(&self, target: &str) -> &'static str {
        const NOT_FOUND: &str = "404 Not Found";
        if target == "/" {
            return "200 OK";
        }
        if let Some(path) = target.strip_prefix("/fault/") {
            let mut faults = lock(&self.faults);
            let Some(new) = faults.with(path, Instant::now()) else {
                return NOT_FOUND;
            };
            *faults = new;
            return "200 OK";
        }
        let work = target.strip_prefix("/work/");
        let Some((units, number)) = work.and_then(|work| work.split_once('/')) else {
            return NOT_FOUND;
        };
        let (Ok(units), Ok(number)) = (units.parse(), number.parse()) else {
            return NOT_FOUND;
        };
        self.work(units, number).await
    }

    async fn work(&self, units: f64, number: u64) -> &'static str {
        if lock(&self.faults).errors {
            return "500 Internal Server Error";
        }
        let Ok(_slot) = self.slots.acquire().await else {
            return "503 Service Unavailable";
        };
        let is_copy = self.served.as_ref().is_some_and(|served| {
            let seen = File::create_new(served.join(number.to_string()));
            seen.is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists)
        });
        let units = if is_copy {
            exponential(&mut fastrand::Rng::with_seed(!number))
        } else {
            units
        };
        let now = Instant::now();
        let faults = *lock(&self.faults);
        let work = Duration::from_secs_f64(units * self.mean * faults.slow);
        let end = faults.freezes.map_or(now + work, |it| it.end(now, work));
        sleep_until(end).await;
        "200 OK"
    }
}

/// Mean 1.
fn exponential(random: &mut fastrand::Rng) -> f64 {
    -(1.0 - random.f64()).ln()
}

// The client.

#[derive(Args, Clone)]
struct Load {
    #[arg(long)]
    port: u16,
    /// Requests a second, on average.
    #[arg(long)]
    rate: f64,
    /// Seconds that count.
    #[arg(long)]
    seconds: f64,
    /// Seconds before them that do not; `measuring` is printed when they are over.
    #[arg(long, default_value_t = 1.0)]
    warmup: f64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Seconds after which a request has failed.
    #[arg(long, default_value_t = 10.0)]
    timeout: f64,
}

/// What became of the requests that count.
#[derive(Default)]
struct Tally {
    /// Seconds from the intended moment to the end of a 200.
    latencies: Vec<f64>,
    /// Seconds by which requests left late: the machine's fault or the client's, not the contestant's.
    lags: Vec<f64>,
    failed: BTreeMap<String, u64>,
}

struct Client {
    port: u16,
    timeout: Duration,
    idle: Mutex<Vec<Wire>>,
    tally: Mutex<Tally>,
}

impl Load {
    async fn run(self) -> io::Result<()> {
        let client = Arc::new(Client {
            port: self.port,
            timeout: Duration::from_secs_f64(self.timeout),
            idle: Mutex::default(),
            tally: Mutex::default(),
        });
        let mut random = fastrand::Rng::with_seed(self.seed);
        let mut requests = JoinSet::new();
        let start = Instant::now();
        let (mut at, mut measuring) = (0.0, false);
        for number in 0_u64.. {
            at += exponential(&mut random) / self.rate;
            if at >= self.warmup && !measuring {
                sleep_until(start + Duration::from_secs_f64(self.warmup)).await;
                say("measuring")?;
                measuring = true;
            }
            if at >= self.warmup + self.seconds {
                break;
            }
            let intended = start + Duration::from_secs_f64(at);
            let target = format!("/work/{:.6}/{number}", exponential(&mut random));
            sleep_until(intended).await;
            requests.spawn(Arc::clone(&client).request(target, intended, measuring));
        }
        while requests.join_next().await.is_some() {}
        let report = lock(&client.tally).report();
        say(&report.to_string())
    }
}

impl Client {
    async fn request(self: Arc<Self>, target: String, intended: Instant, counts: bool) {
        let lag = intended.elapsed().as_secs_f64();
        let exchanged = timeout(self.timeout, self.exchange(&target)).await;
        if !counts {
            return;
        }
        let latency = intended.elapsed().as_secs_f64();
        let mut tally = lock(&self.tally);
        tally.lags.push(lag);
        let failure = match exchanged {
            Ok(Ok(200)) => return tally.latencies.push(latency),
            Ok(Ok(status)) => status.to_string(),
            Ok(Err(error)) => error.kind().to_string(),
            Err(_) => "timeout".to_owned(),
        };
        *tally.failed.entry(failure).or_default() += 1;
    }

    /// The response's status. Nothing is sent twice: what a contestant drops has failed.
    async fn exchange(&self, target: &str) -> io::Result<u16> {
        let idle = lock(&self.idle).pop();
        let mut wire = match idle {
            Some(wire) => wire,
            None => Wire::connect(self.port).await?,
        };
        let request = format!("GET {target} HTTP/1.1\r\nHost: drill\r\n\r\n");
        wire.stream.write_all(request.as_bytes()).await?;
        let head = wire.head().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let status = head.split(' ').nth(1).and_then(|text| text.parse().ok());
        let status = status.ok_or(io::ErrorKind::InvalidData)?;
        let whole = match field(&head, "content-length").map(str::parse) {
            Some(Ok(length)) => wire.body(length).await.map(|()| true)?,
            _ => false,
        };
        let close = field(&head, "connection").is_some_and(|it| it.eq_ignore_ascii_case("close"));
        if whole && !close {
            lock(&self.idle).push(wire);
        }
        Ok(status)
    }
}

impl Tally {
    /// Times in milliseconds; `null` for percentiles of nothing.
    fn report(&mut self) -> serde_json::Value {
        self.latencies.sort_by(f64::total_cmp);
        self.lags.sort_by(f64::total_cmp);
        serde_json::json!({
            "requests": self.lags.len(),
            "failed": self.failed,
            "p50": percentile(&self.latencies, 0.5),
            "p99": percentile(&self.latencies, 0.99),
            "p999": percentile(&self.latencies, 0.999),
            "max": percentile(&self.latencies, 1.0),
            "lag_p999": percentile(&self.lags, 0.999),
        })
    }
}

/// The nearest rank: the least value that `part` of all do not exceed, in milliseconds.
fn percentile(sorted: &[f64], part: f64) -> Option<f64> {
    let rank = (part * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).map(|seconds| seconds * 1e3)
}

// What both need.

/// One connection and what was read from it ahead of its turn.
struct Wire {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Wire {
    fn new(stream: TcpStream) -> Self {
        let read = Vec::new();
        Self { stream, read }
    }

    async fn connect(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream.set_nodelay(true)?;
        Ok(Self::new(stream))
    }

    /// The next message's start line and fields; `None` when the other side closed between two messages.
    async fn head(&mut self) -> io::Result<Option<String>> {
        loop {
            let end = self.read.windows(4).position(|it| it == b"\r\n\r\n");
            if let Some(end) = end {
                let head: Vec<u8> = self.read.drain(..end + 4).collect();
                return Ok(Some(String::from_utf8_lossy(&head).into_owned()));
            }
            if self.read.len() > HEAD_BYTES_MAX {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if self.stream.read_buf(&mut self.read).await? == 0 {
                let between = self.read.is_empty();
                return if between {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }

    /// Reads over a body.
    async fn body(&mut self, length: usize) -> io::Result<()> {
        while self.read.len() < length {
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        self.read.drain(..length);
        Ok(())
    }

    /// Waits until the other side hangs up.
    async fn closed(&mut self) {
        while matches!(self.stream.read_buf(&mut self.read).await, Ok(1..)) {}
    }
}

fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    fields.find_map(|(key, value)| key.eq_ignore_ascii_case(name).then(|| value.trim()))
}

fn say(line: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{line}")
}

/// No panic leaves these values half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn work_rests_while_frozen() {
        let start = Instant::now();
        let freezes = Freezes {
            first: start + 2 * SECOND,
            length: 2 * SECOND,
            period: 6 * SECOND,
        };
        let end = |from: u32, work: u32| {
            (freezes.end(start + from * SECOND, work * SECOND) - start).as_secs()
        };
        assert_eq!(end(0, 1), 1, "before the first freeze");
        assert_eq!(end(1, 2), 5, "a freeze in its midst");
        assert_eq!(end(3, 1), 5, "begun in a freeze");
        assert_eq!(end(4, 1), 5, "between two freezes");
        assert_eq!(end(1, 6), 11, "through two freezes");
        assert_eq!(end(20, 1), 23, "in a later freeze");
    }

    #[test]
    fn percentiles_are_nearest_ranks() {
        let seconds: Vec<f64> = (1..=1000).map(f64::from).collect();
        assert_eq!(percentile(&seconds, 0.5), Some(500e3));
        assert_eq!(percentile(&seconds, 0.999), Some(999e3));
        assert_eq!(percentile(&[], 0.5), None);
    }
}
