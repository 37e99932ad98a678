//! What passes from the request threads to the writer thread: lines, and requests to reopen.
//!
//! One bounded buffer under one lock, held for a copy of a line or a swap of two buffers and never
//! across a system call. The two buffers are allocated once and change places for ever. The writer
//! is woken when the buffer passes a threshold, and looks by itself a few times a second, so that
//! nearly every line costs no wake-up. Used by `access_log` only.

use std::mem;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use prometheus::IntCounter;

/// Lines waiting for the writer; the batch being written may take as much again.
pub(super) const PENDING_BYTES_MAX: usize = 1024 * 1024;
const WAKE_BYTES: usize = 64 * 1024;
const WAIT_MAX: Duration = Duration::from_millis(50);
const FLUSH_MAX: Duration = Duration::from_secs(2);

pub(super) struct Queue {
    state: Mutex<State>,
    asked: Condvar,
    done: Condvar,
    dropped: IntCounter,
}

struct State {
    lines: Vec<u8>,
    reopen: bool,
    is_closed: bool,
    /// The writer shall not wait for more.
    hurry: bool,
    /// What was asked for and what is done, ever: one for each byte and for each reopen, so that
    /// `flush` knows when its turn has come.
    asked_total: u64,
    done_total: u64,
}

/// What the writer does in one turn.
pub(super) struct Batch {
    pub(super) lines: Vec<u8>,
    pub(super) reopen: bool,
    pub(super) is_last: bool,
    asked_total: u64,
}

/// `flush` gave up.
#[derive(Debug)]
pub(super) struct TimedOut;

impl Batch {
    pub(super) fn new() -> Batch {
        Batch {
            lines: Vec::with_capacity(PENDING_BYTES_MAX),
            reopen: false,
            is_last: false,
            asked_total: 0,
        }
    }
}

impl Queue {
    pub(super) fn new(dropped: IntCounter) -> Queue {
        Queue {
            state: Mutex::new(State {
                lines: Vec::with_capacity(PENDING_BYTES_MAX),
                reopen: false,
                is_closed: false,
                hurry: false,
                asked_total: 0,
                done_total: 0,
            }),
            asked: Condvar::new(),
            done: Condvar::new(),
            dropped,
        }
    }

    /// Adds a line, or counts it as dropped where there is no room for it.
    pub(super) fn append(&self, line: &[u8]) {
        let mut state = self.state.lock();
        let before = state.lines.len();
        if line.len() > PENDING_BYTES_MAX - before {
            drop(state);
            self.dropped.inc();
            return;
        }
        state.lines.extend_from_slice(line);
        state.asked_total += line.len() as u64;
        let after = state.lines.len();
        drop(state);
        if before < WAKE_BYTES && after >= WAKE_BYTES {
            self.asked.notify_one();
        }
    }

    pub(super) fn ask_reopen(&self) {
        self.hurry(|state| {
            state.reopen = true;
            state.asked_total += 1;
        });
    }

    /// The writer ends when it has written what is there.
    pub(super) fn close(&self) {
        self.hurry(|state| state.is_closed = true);
    }

    /// Waits until all that was asked before is done.
    pub(super) fn flush(&self) -> Result<(), TimedOut> {
        let deadline = Instant::now() + FLUSH_MAX;
        let mut upto = 0;
        self.hurry(|state| upto = state.asked_total);
        let mut state = self.state.lock();
        while state.done_total < upto {
            if self.done.wait_until(&mut state, deadline).timed_out() {
                return Err(TimedOut);
            }
        }
        Ok(())
    }

    fn hurry(&self, ask: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        ask(&mut state);
        state.hurry = true;
        drop(state);
        self.asked.notify_one();
    }

    /// Waits for work a short while, then hands over what there is, be it nothing.
    pub(super) fn take(&self, batch: &mut Batch) {
        batch.lines.clear();
        let deadline = Instant::now() + WAIT_MAX;
        let mut state = self.state.lock();
        while !state.hurry && state.lines.len() < WAKE_BYTES {
            if self.asked.wait_until(&mut state, deadline).timed_out() {
                break;
            }
        }
        mem::swap(&mut batch.lines, &mut state.lines);
        batch.reopen = mem::take(&mut state.reopen);
        batch.is_last = state.is_closed;
        batch.asked_total = state.asked_total;
        state.hurry = false;
    }

    /// Tells those who wait in `flush` that a batch is done.
    pub(super) fn done(&self, batch: &Batch) {
        self.state.lock().done_total = batch.asked_total;
        self.done.notify_all();
    }
}
