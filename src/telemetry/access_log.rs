//! The access log: one line for each request, and no request ever waits for it.
//!
//! ```text
//! request threads ── format ── append ──▶ bounded buffer ──▶ writer thread ──▶ file or stream
//! ```
//!
//! A request's thread formats into a buffer of its own and copies the line into a shared one of a
//! fixed size; a thread swaps that out and writes it. So a slow disk or a pipe that nobody reads
//! costs lines, not latency: a line that does not fit is dropped whole and counted. A line is never
//! torn, and no line has a line break within it. `proxy` and `server::connection` write records,
//! `server` opens, reopens (SIGUSR1) and flushes.

mod escape;
pub mod format;
mod output;
mod queue;
pub mod record;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use prometheus::IntCounter;

use output::Output;
use queue::{Batch, Queue};
use record::Record;

/// Where the lines go.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    Off,
    Stdout,
    Stderr,
    File(PathBuf),
}

/// What a line looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Json,
    Combined,
}

thread_local! {
    /// Where this thread formats its lines; as large as its longest line was.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A handle on the log, cheap to clone. The writer thread ends after the last one is dropped.
#[derive(Clone)]
pub struct AccessLog {
    on: Option<Arc<On>>,
}

struct On {
    format: Format,
    queue: Arc<Queue>,
}

impl Drop for On {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl AccessLog {
    /// Opens the target and starts the writer thread; `dropped` counts lines that are lost.
    pub fn open(target: &Target, format: Format, dropped: IntCounter) -> io::Result<AccessLog> {
        match Output::open(target, dropped.clone())? {
            Some(output) => AccessLog::start(output, format, dropped),
            None => Ok(AccessLog::off()),
        }
    }

    /// A log that takes nothing.
    pub fn off() -> AccessLog {
        AccessLog { on: None }
    }

    fn start(mut output: Output, format: Format, dropped: IntCounter) -> io::Result<AccessLog> {
        let queue = Arc::new(Queue::new(dropped));
        let taken = Arc::clone(&queue);
        thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write_out(&taken, &mut output))?;
        let on = Some(Arc::new(On { format, queue }));
        Ok(AccessLog { on })
    }

    /// Whether anybody reads a record; spares the caller from making one.
    pub fn is_on(&self) -> bool {
        self.on.is_some()
    }

    /// Takes one line, or counts it as dropped. Never waits for the target.
    pub fn write(&self, record: &Record<'_>) {
        let Some(on) = &self.on else { return };
        // `try_with`, since a request may be dropped while its thread is being taken down.
        let mut line = SCRATCH.try_with(Cell::take).unwrap_or_default();
        line.clear();
        match on.format {
            Format::Json => format::json(record, &mut line),
            Format::Combined => format::combined(record, &mut line),
        }
        on.queue.append(&line);
        let _ = SCRATCH.try_with(|scratch| scratch.set(line));
    }

    /// Has the file opened by its path again, after what was taken so far is in the old one. Does
    /// not wait; if the file cannot be opened, the old one stays in use.
    pub fn reopen(&self) {
        if let Some(on) = &self.on {
            on.queue.ask_reopen();
        }
    }

    /// Returns when all that was asked before is done, but after 2 s at the latest. Blocks: for the
    /// end of the process, not for a task.
    pub fn flush(&self) {
        if let Some(on) = &self.on
            && on.queue.flush().is_err()
        {
            log::warn!("the access log could not be written out in time");
        }
    }
}

/// The writer thread.
fn write_out(queue: &Queue, output: &mut Output) {
    let mut batch = Batch::new();
    while !batch.is_last {
        queue.take(&mut batch);
        output.write(&batch.lines);
        if batch.reopen {
            output.reopen();
        }
        queue.done(&batch);
    }
}
