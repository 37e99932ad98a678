//! The cache's way from the old process to the new one, in an upgrade.
//!
//! The old process writes it beside the upgrade socket once the new one serves, and drains after that;
//! the new one reads it while it serves. Both are bounded in time and bytes, and any trouble costs the
//! cache and one line in the log, nothing else. Called by `handover` (old) and `serving` (new).

use std::io;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use log::{info, warn};
use tokio::task::spawn_blocking;

use crate::cache::handover;
use crate::cache::store::Store;

/// Of bodies: what is written and read in some seconds, and has room beside a socket.
const BYTES_MAX: usize = 1 << 30;
/// For each of writing and reading.
const TIME_MAX: Duration = Duration::from_secs(10);
/// How long the new process waits for what the old one writes.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(12);

/// The old side; true when there is something to take over.
pub(super) async fn leave(cache: Store, socket: &Path) -> bool {
    if cache.holding().objects == 0 {
        return false;
    }
    let directory = directory(socket).to_owned();
    let until = Instant::now() + TIME_MAX;
    let saving = spawn_blocking(move || handover::save(&cache, &directory, BYTES_MAX, until));
    match saving.await.map_err(io::Error::other).flatten() {
        Ok(count) => {
            info!("left {count} cached responses to the new process");
            true
        }
        Err(error) => {
            warn!("the new process begins with an empty cache: {error}");
            false
        }
    }
}

/// The new side, when the old one has written what it leaves.
pub(super) async fn take_over(cache: Store, socket: &Path) {
    let directory = directory(socket).to_owned();
    let until = Instant::now() + TIME_MAX;
    let load = move || handover::load(&cache, &directory, SystemTime::now(), until);
    match spawn_blocking(load).await {
        Ok((0, Ok(()))) => {}
        Ok((count, Ok(()))) => info!("took over {count} cached responses"),
        Ok((count, Err(error))) => warn!("took over only {count} cached responses: {error}"),
        Err(error) => warn!("took over no cached responses: {error}"),
    }
}

/// Removes what is there though no process has left it, or none that is known.
pub(super) fn discard(socket: &Path) {
    if let Err(error) = handover::discard(directory(socket)) {
        warn!("an earlier process's cache cannot be removed: {error}");
    }
}

fn directory(socket: &Path) -> &Path {
    match socket.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
