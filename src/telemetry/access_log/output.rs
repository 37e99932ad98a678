//! The file or stream the lines end in, as the writer thread sees it.
//!
//! Writing may block and may fail; what could not be written is counted by the line, and the error
//! log hears of it once when it begins and once when it is over. A line that an error cut in two is
//! finished before the next one begins. Used by `access_log` only.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use prometheus::IntCounter;

use super::Target;

/// A new file holds client addresses: its owner writes, its group reads, nobody else does.
const FILE_MODE: u32 = 0o640;
/// How long a stream that was made non-blocking by another process is left alone when it is full.
const FULL_WAIT: Duration = Duration::from_millis(10);

pub(super) struct Output {
    to: File,
    /// What `to` is opened by; `None`: an inherited stream, which cannot be reopened.
    path: Option<PathBuf>,
    /// The end of a line whose beginning is in `to` already.
    unfinished: Vec<u8>,
    /// Lines lost since writing began to fail; `None`: it works.
    failing: Option<u64>,
    dropped: IntCounter,
}

impl Output {
    /// `None` for a target that takes nothing.
    pub(super) fn open(target: &Target, dropped: IntCounter) -> io::Result<Option<Output>> {
        let (to, path) = match target {
            Target::Off => return Ok(None),
            Target::Stdout => (own_file(&io::stdout())?, None),
            Target::Stderr => (own_file(&io::stderr())?, None),
            Target::File(path) => (open_file(path)?, Some(path.clone())),
        };
        Ok(Some(Output::new(to, path, dropped)))
    }

    pub(super) fn new(to: File, path: Option<PathBuf>, dropped: IntCounter) -> Output {
        Output {
            to,
            path,
            unfinished: Vec::new(),
            failing: None,
            dropped,
        }
    }

    pub(super) fn write(&mut self, lines: &[u8]) {
        if lines.is_empty() && self.unfinished.is_empty() {
            return;
        }
        match write_lines(&mut self.to, &mut self.unfinished, lines) {
            Ok(()) => {
                if let Some(lost) = self.failing.take() {
                    log::warn!("the access log can be written again, {lost} lines are lost");
                }
            }
            Err(failure) => self.failed(&failure),
        }
    }

    fn failed(&mut self, failure: &Failure) {
        self.dropped.inc_by(failure.lost);
        if self.failing.is_none() {
            let (name, cause) = (self.name(), &failure.cause);
            log::error!("cannot write the access log to {name}: {cause}; its lines are lost");
        }
        *self.failing.get_or_insert(0) += failure.lost;
    }

    pub(super) fn reopen(&mut self) {
        let Some(path) = &self.path else { return };
        match open_file(path) {
            Ok(file) => {
                self.to = file;
                // The rest of a line has no place in a file that lacks its beginning.
                if !self.unfinished.is_empty() {
                    self.unfinished.clear();
                    self.dropped.inc();
                }
                log::info!("reopened the access log {}", path.display());
            }
            Err(cause) => log::error!(
                "cannot reopen the access log {}: {cause}; the old file stays in use",
                path.display()
            ),
        }
    }

    fn name(&self) -> String {
        match &self.path {
            Some(path) => path.display().to_string(),
            None => "its stream".to_owned(),
        }
    }
}

/// A descriptor of our own: std's streams would take a lock and cut the batch at its line breaks.
fn own_file(stream: &impl AsFd) -> io::Result<File> {
    Ok(File::from(stream.as_fd().try_clone_to_owned()?))
}

/// Appends, so that two processes can write the same file while one takes over from the other.
fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(FILE_MODE)
        .open(path)
}

#[derive(Debug)]
struct Failure {
    /// Whole lines that will not be written.
    lost: u64,
    cause: io::Error,
}

/// Writes `unfinished`, then `lines`. On failure the rest of a line that was cut in two becomes
/// `unfinished`, and the lines after it are lost.
fn write_lines(to: &mut impl Write, unfinished: &mut Vec<u8>, lines: &[u8]) -> Result<(), Failure> {
    let (written, result) = write_bytes(to, unfinished);
    unfinished.drain(..written);
    result.map_err(|cause| Failure {
        lost: count(lines),
        cause,
    })?;
    let (written, result) = write_bytes(to, lines);
    result.map_err(|cause| {
        let (before, after) = lines.split_at(written);
        let rest = if before.is_empty() || before.ends_with(b"\n") {
            0
        } else {
            memchr::memchr(b'\n', after).map_or(after.len(), |end| end + 1)
        };
        unfinished.extend_from_slice(&after[..rest]);
        let lost = count(&after[rest..]);
        Failure { lost, cause }
    })
}

fn count(lines: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', lines).count() as u64
}

/// Like `write_all`, but tells how far it came, and waits where a stream does not.
fn write_bytes(to: &mut impl Write, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < bytes.len() {
        match to.write(&bytes[written..]) {
            Ok(0) => return (written, Err(ErrorKind::WriteZero.into())),
            Ok(more) => written += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(FULL_WAIT),
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes what its script says, then everything.
    struct Scripted {
        script: Vec<io::Result<usize>>,
        taken: Vec<u8>,
    }

    impl Write for Scripted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let most = match self.script.pop() {
                Some(result) => result?,
                None => bytes.len(),
            };
            let some = most.min(bytes.len());
            self.taken.extend_from_slice(&bytes[..some]);
            Ok(some)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn scripted(mut script: Vec<io::Result<usize>>) -> Scripted {
        script.reverse();
        let taken = Vec::new();
        Scripted { script, taken }
    }

    fn disk_full() -> io::Result<usize> {
        Err(ErrorKind::StorageFull.into())
    }

    #[test]
    fn a_line_cut_in_two_is_finished_before_the_next() {
        let mut to = scripted(vec![Ok(8), disk_full(), disk_full()]);
        let mut unfinished = Vec::new();
        let failure = write_lines(&mut to, &mut unfinished, b"first\nsecond\nthird\nfourth\n");
        assert_eq!(failure.unwrap_err().lost, 2, "third and fourth");
        let failure = write_lines(&mut to, &mut unfinished, b"fifth\n");
        assert_eq!(failure.unwrap_err().lost, 1, "fifth, second still waits");
        write_lines(&mut to, &mut unfinished, b"sixth\n").unwrap();
        assert_eq!(to.taken, b"first\nsecond\nsixth\n");
    }

    #[test]
    fn a_failure_between_two_lines_leaves_nothing_to_finish() {
        let mut to = scripted(vec![Ok(6), disk_full()]);
        let mut unfinished = Vec::new();
        let failure = write_lines(&mut to, &mut unfinished, b"first\nsecond\n");
        assert_eq!(failure.unwrap_err().lost, 1);
        assert!(unfinished.is_empty());
    }

    #[test]
    fn short_interrupted_and_full_writes_go_on() {
        let interrupted = Err(ErrorKind::Interrupted.into());
        let full = Err(ErrorKind::WouldBlock.into());
        let mut to = scripted(vec![Ok(3), interrupted, full, Ok(1)]);
        write_lines(&mut to, &mut Vec::new(), b"first\n").unwrap();
        assert_eq!(to.taken, b"first\n");
    }

    #[test]
    fn a_stream_that_takes_nothing_is_a_failure_not_a_loop() {
        let mut to = scripted(vec![Ok(0)]);
        let failure = write_lines(&mut to, &mut Vec::new(), b"first\n").unwrap_err();
        assert_eq!(failure.cause.kind(), ErrorKind::WriteZero);
    }
}
