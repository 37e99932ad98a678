//! Readers that follow a body while it is written.

use std::sync::Arc;
use std::time::Duration;

use super::super::account::Account;
use super::super::reader::Reader;
use super::chunk::{CHUNK_OVERHEAD, Chunk};
use super::*;
use pingora_cache::storage::HandleHit;

impl Open {
    /// What it holds is what its chunks cost; more only while it may still grow.
    pub fn check(&self) {
        let guard = self.writing.lock();
        let Some(writing) = guard.as_ref() else {
            return;
        };
        let costs = writing.chunks.iter().map(Chunk::charged);
        assert_eq!(writing.cost, costs.sum::<usize>());
        assert!(writing.charge.bytes() >= writing.cost);
        let last = writing.chunks.back();
        assert!(last.is_none_or(|chunk| chunk.end == writing.len));
    }
}

fn body() -> Arc<Open> {
    let account = Account::new(usize::MAX / 2);
    Open::new(account.charge(1 << 30, usize::MAX).unwrap())
}

fn read(body: &Arc<Open>) -> Reader {
    Reader::new(Body::Open(Arc::clone(body)), 1)
}

async fn rest(mut reader: Reader) -> Result<Vec<u8>, ()> {
    let mut all = Vec::new();
    while let Some(bytes) = reader.next().await.map_err(|_| ())? {
        all.extend_from_slice(&bytes);
    }
    Ok(all)
}

#[tokio::test]
async fn a_reader_gets_what_is_written_as_it_is_written() {
    let body = body();
    let mut reader = read(&body);
    body.push(b"one");
    assert_eq!(reader.next().await.unwrap().unwrap(), "one");
    body.push(b"two");
    assert_eq!(reader.next().await.unwrap().unwrap(), "two");
    let waiting = tokio::time::timeout(Duration::ZERO, reader.next());
    assert!(waiting.await.is_err(), "the end is not known yet");
    body.complete();
    assert!(reader.next().await.unwrap().is_none());
    assert_eq!(rest(read(&body)).await.unwrap(), b"onetwo");
}

#[tokio::test]
async fn a_writer_that_fails_is_an_error_for_every_reader() {
    let body = body();
    let fresh = read(&body);
    let mut half = read(&body);
    body.push(b"half");
    half.next().await.unwrap();
    body.fail();
    body.complete();
    assert!(rest(fresh).await.is_err());
    assert!(rest(half).await.is_err());
    assert!(rest(read(&body)).await.is_err());
}

#[test]
fn crumbs_become_pieces_and_no_piece_is_larger_than_its_bytes() {
    let body = body();
    for _ in 0..40_000 {
        body.push(b"x");
    }
    for part in Bytes::from(vec![0; 1 << 20])
        .slice(5..100_005)
        .chunks(30_000)
    {
        body.push(part);
        body.check();
    }
    body.complete();
    let whole = body.whole().unwrap();
    let chunks: Vec<usize> = whole.pieces().map(<[u8]>::len).collect();
    assert_eq!(
        chunks,
        [PIECE_BYTES, PIECE_BYTES, 140_000 - 2 * PIECE_BYTES]
    );
    whole.check();
    assert!(body.charged() < 160_000);
    assert!(estimate(40_000) >= 3 * CHUNK_OVERHEAD + 40_000);
}

#[tokio::test]
async fn ranges_ahead_of_the_writer_wait_for_it() {
    let body = body();
    let mut reader = read(&body);
    reader.seek(4, Some(6)).unwrap();
    body.push(b"0123");
    assert!(
        tokio::time::timeout(Duration::ZERO, reader.next())
            .await
            .is_err()
    );
    body.push(b"456789");
    assert_eq!(reader.next().await.unwrap().unwrap(), "45");
    assert!(reader.next().await.unwrap().is_none());
    reader.seek(8, None).unwrap();
    let mut beyond = read(&body);
    beyond.seek(11, None).unwrap();
    body.complete();
    assert_eq!(rest(reader).await.unwrap(), b"89");
    assert!(rest(beyond).await.is_err());
}

/// Passes bytes on as a fill does.
fn pass_on(account: &Arc<Account>, body: &Open, data: &[u8], window: usize) -> bool {
    let is_read = body.slide(data.len(), window);
    let missing = body.missing_for(data.len());
    body.grant(account.charge(missing, usize::MAX).unwrap());
    assert!(body.push(data));
    is_read
}

#[tokio::test]
async fn a_passing_body_keeps_only_what_a_reader_within_the_window_lacks() {
    let account = Account::new(usize::MAX);
    let body = Open::new(account.charge(1 << 20, usize::MAX).unwrap());
    let mut fast = read(&body);
    let mut slow = read(&body);
    body.push(&[1; 16_384]);
    assert_eq!(fast.next().await.unwrap().unwrap().len(), 16_384);
    body.pass();
    assert_eq!(account.used(), PASSAGE, "the rest has been given back");
    for _ in 0..3 {
        assert!(pass_on(&account, &body, &[2; 16_384], 40_960));
    }
    assert_eq!(
        fast.next().await.unwrap().unwrap().len(),
        49_152,
        "in one piece"
    );
    assert!(slow.next().await.is_err(), "it lags more than the window");
    drop(slow);
    assert!(pass_on(&account, &body, &[3; 16_384], 40_960));
    assert_eq!(fast.next().await.unwrap().unwrap().len(), 16_384);
    body.check();
    let writing = |body: &Open| body.with(|writing| writing.cost);
    let last = Some(Chunk::cost(16_384));
    assert_eq!(writing(&body), last, "the last piece may not have left");
    assert_eq!(account.used(), PASSAGE);
    body.complete();
    assert!(fast.next().await.unwrap().is_none());
    assert_eq!(account.used(), 0);
    drop(fast);
    assert!(!body.slide(1, 40_960), "nobody reads it any more");
}

#[test]
fn what_readers_hold_is_charged_though_the_body_has_let_it_go() {
    let account = Account::new(usize::MAX);
    let body = Open::new(account.nothing());
    let write = |bytes: usize| {
        let missing = body.missing_for(bytes);
        body.grant(account.charge(missing, usize::MAX).unwrap());
        assert!(body.push(&vec![1; bytes]));
        body.check();
    };
    let piece = || match read(&body).read() {
        Read::Piece(piece) => piece,
        _ => panic!("there is some"),
    };
    let mut pieces = Vec::new();
    // Each time the first chunk is another one: it grows, and becomes a part of a piece.
    for _ in 0..20 {
        write(5_000);
        pieces.push(piece());
    }
    let distinct = 5_000 + 10_000 + 15_000 + PIECE_BYTES;
    assert!(account.used() >= distinct + 100_000 - PIECE_BYTES);
    while !body.settle() {
        let missing = body.missing_for(0);
        body.grant(account.charge(missing, usize::MAX).unwrap());
    }
    body.complete();
    body.whole().unwrap().check();
    drop(body);
    assert!(
        account.used() >= distinct,
        "the body has gone, they have not"
    );
    pieces.clear();
    assert_eq!(account.used(), 0);
}

/// A body beside the plain list of its bytes, and readers with where they are.
struct Model {
    random: fastrand::Rng,
    account: Arc<Account>,
    body: Arc<Open>,
    bytes: Vec<u8>,
    readers: Vec<(Reader, usize, Vec<Bytes>)>,
    passing: bool,
}

impl Model {
    fn new(seed: u64) -> Model {
        let account = Account::new(usize::MAX / 2);
        Model {
            random: fastrand::Rng::with_seed(seed),
            body: Open::new(account.nothing()),
            account,
            bytes: Vec::new(),
            readers: Vec::new(),
            passing: false,
        }
    }

    fn write(&mut self) {
        const SIZES: [usize; 8] = [
            1,
            7_168,
            16_384,
            16_385,
            20_480,
            57_344,
            65_535,
            PIECE_BYTES,
        ];
        let size = match self.random.bool() {
            true => SIZES[self.random.usize(0..SIZES.len())],
            false => self.random.usize(0..=PIECE_BYTES),
        };
        let places = self.bytes.len()..self.bytes.len() + size;
        let data: Vec<u8> = places.map(|place| (place % 251) as u8).collect();
        let missing = self.body.missing_for(size);
        self.body
            .grant(self.account.charge(missing, usize::MAX).unwrap());
        assert!(self.body.push(&data));
        self.bytes.extend_from_slice(&data);
    }

    /// Some keep what they are given, as slow clients do.
    fn read(&mut self) {
        if self.readers.is_empty() {
            return;
        }
        let chosen = self.random.usize(0..self.readers.len());
        let (reader, at, held) = &mut self.readers[chosen];
        match reader.read() {
            Read::Piece(piece) => {
                assert!(!piece.is_empty());
                assert_eq!(piece, self.bytes[*at..*at + piece.len()]);
                *at += piece.len();
                held.push(piece);
            }
            Read::End => assert!(*at == self.bytes.len() && self.body.whole().is_some()),
            Read::Wait => assert_eq!(*at, self.bytes.len()),
            Read::Failed => panic!("nothing has failed"),
        }
        if self.random.bool() {
            held.clear();
        }
    }

    fn seek(&mut self) {
        let Some((reader, at, _)) = self.readers.last_mut().filter(|_| !self.passing) else {
            return;
        };
        let place = self.random.usize(0..=self.bytes.len());
        // Of a whole body there is nothing behind the end.
        if reader.seek(place, None).is_ok() {
            *at = place;
        }
    }

    fn step(&mut self) {
        match self.random.u32(0..60) {
            0..20 => self.write(),
            20..45 => self.read(),
            45..50 => self.seek(),
            50..54 if !self.passing => {
                let reader = read(&self.body);
                self.readers.push((reader, 0, Vec::new()));
            }
            54..57 => drop(self.readers.pop()),
            57 => self.settle(),
            58 if self.random.u32(0..4) == 0 => {
                self.body.pass();
                self.passing = true;
            }
            _ => {}
        }
        self.body.check();
        self.recount();
    }

    /// Beside the body, that of it which only readers still hold is charged.
    fn recount(&self) {
        let (used, charged) = (self.account.used(), self.body.charged());
        let mut held = self.readers.iter().flat_map(|(_, _, held)| held);
        match held.next() {
            None => assert_eq!(used, charged),
            Some(_) => assert!(used >= charged),
        }
    }

    /// As a fill does at its end.
    fn settle(&self) {
        while !self.body.settle() {
            let missing = self.body.missing_for(0);
            let charge = self.account.charge(missing, usize::MAX);
            self.body.grant(charge.unwrap());
        }
    }

    fn end(mut self) {
        self.settle();
        self.body.complete();
        self.recount();
        if self.passing {
            assert!(self.body.whole().is_none());
        } else {
            let whole = self.body.whole().unwrap();
            whole.check();
            assert!(whole.pieces().eq(self.bytes.chunks(PIECE_BYTES)) || self.bytes.is_empty());
            for _ in 0..20 {
                self.read();
                self.seek();
            }
        }
        drop((self.body, self.readers));
        assert_eq!(self.account.used(), 0);
    }
}

#[test]
fn readers_get_what_was_written_and_the_account_what_it_costs_whatever_comes_between() {
    for seed in 0..100 {
        let run = std::panic::catch_unwind(|| {
            let mut model = Model::new(seed);
            (0..model.random.u32(0..80)).for_each(|_| model.step());
            model.end();
        });
        assert!(run.is_ok(), "seed {seed} fails");
    }
}

/// Tasks on several threads, pausing where the seed says: every reader gets all bytes or an error,
/// and none sleeps for ever.
#[test]
fn no_wake_up_is_lost() {
    for seed in 0..200 {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_time()
            .build()
            .unwrap();
        let limit = Duration::from_secs(60);
        let done = runtime.block_on(async { tokio::time::timeout(limit, race(seed)).await });
        assert!(done.is_ok(), "a reader sleeps for ever with seed {seed}");
    }
}

async fn race(seed: u64) {
    let body = body();
    let is_failing = seed.is_multiple_of(3);
    let readers: Vec<_> = (0..20)
        .map(|number| tokio::spawn(follow(Arc::clone(&body), seed * 100 + number)))
        .collect();
    let mut random = fastrand::Rng::with_seed(seed);
    let mut sum = 0;
    for _ in 0..50 {
        let data = vec![1; random.usize(1..5_000)];
        sum += data.len();
        assert!(body.push(&data));
        pause(&mut random).await;
    }
    if is_failing {
        body.fail()
    } else {
        body.complete()
    }
    for reader in readers {
        let read = reader.await.unwrap();
        assert_eq!(read.is_err(), is_failing, "seed {seed}");
        assert!(read.is_err() || read == Ok(sum), "seed {seed}");
    }
}

async fn follow(body: Arc<Open>, seed: u64) -> Result<usize, ()> {
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..random.u32(0..10) {
        tokio::task::yield_now().await;
    }
    let mut reader = read(&body);
    let mut sum = 0;
    while let Some(piece) = reader.next().await.map_err(|_| ())? {
        sum += piece.len();
        pause(&mut random).await;
    }
    Ok(sum)
}

async fn pause(random: &mut fastrand::Rng) {
    for _ in 0..random.u32(0..3) {
        tokio::task::yield_now().await;
    }
}
