//! Handing the listeners to a new process, so that an upgrade loses no connection.
//!
//! The sockets travel over Pingora's upgrade socket. Unlike Pingora's own upgrade, this one can fail:
//! the old process sends only when a new one waits, and leaves only when the new one has said, over a
//! second socket, that it serves. Until then the old one goes on. Then it leaves its cache
//! (`inheritance`) and drains. `server::signals` calls the old side on SIGQUIT; `server` the new side
//! once it serves.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use log::{error, info};
use pingora_core::server::ListenFds;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use crate::cache::store::Store;
use crate::server::inheritance;

/// How long the new process may take from getting the listeners to serving.
const SERVING_TIMEOUT: Duration = Duration::from_secs(20);

/// What the old process says when it has written its cache; any byte would do.
const CACHE_IS_LEFT: &[u8] = b"c";

pub(super) struct Handover {
    pub(super) socket: Option<PathBuf>,
    /// Pingora's table of listening sockets, known once the services have started.
    pub(super) listeners: Arc<OnceLock<ListenFds>>,
    /// What the new process inherits.
    pub(super) cache: Store,
}

#[derive(Debug, Error)]
enum HandoverError {
    #[error("server.upgrade_socket is not set")]
    NoSocket,
    #[error("no new process waits on {0}")]
    NobodyWaits(String),
    #[error("the listeners could not be sent: {0}")]
    Send(String),
    #[error("the new process did not say within {}s that it serves", SERVING_TIMEOUT.as_secs())]
    NotServing,
    #[error("the new process ended before it served")]
    Ended,
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Handover {
    /// True when a new process serves; false: nothing has changed, go on.
    pub(super) async fn hand_over(&self) -> bool {
        match self.try_hand_over().await {
            Ok(pid) => {
                info!("SIGQUIT: process {pid} serves now; draining");
                true
            }
            Err(error) => {
                error!("SIGQUIT: no hand-over, still serving: {error}");
                false
            }
        }
    }

    async fn try_hand_over(&self) -> Result<String, HandoverError> {
        let socket = self.socket.as_deref().ok_or(HandoverError::NoSocket)?;
        let path = socket.display().to_string();
        if !is_listening(&path) {
            return Err(HandoverError::NobodyWaits(path));
        }
        let listeners = self
            .listeners
            .get()
            .ok_or(HandoverError::NotServing)?
            .clone();
        let confirmations = bind_fresh(&confirmation_socket(socket))?;
        let sending = tokio::task::spawn_blocking(move || {
            let listeners = listeners.lock();
            listeners.send_to_sock(path.as_str())
        });
        let sent = sending
            .await
            .map_err(|error| HandoverError::Send(error.to_string()))?;
        sent.map_err(|error| HandoverError::Send(error.to_string()))?;
        let serving = timeout(SERVING_TIMEOUT, read_confirmation(&confirmations)).await;
        let _ = std::fs::remove_file(confirmation_socket(socket));
        let (pid, mut confirmed) = serving.map_err(|_| HandoverError::NotServing)??;
        if inheritance::leave(self.cache.clone(), socket).await {
            // Should the new process have ended meanwhile, it needs no cache.
            let _ = confirmed.write_all(CACHE_IS_LEFT).await;
        }
        Ok(pid)
    }
}

/// The new side: what the old process waits for. Should this one end before it serves, the old one
/// notices by the end of the connection.
pub(super) struct Confirmation(UnixStream);

impl Confirmation {
    pub(super) async fn begin(socket: &Path) -> io::Result<Confirmation> {
        UnixStream::connect(confirmation_socket(socket))
            .await
            .map(Confirmation)
    }

    /// Tells the old process that this one serves.
    pub(super) async fn serving(&mut self) -> io::Result<()> {
        self.0
            .write_all(std::process::id().to_string().as_bytes())
            .await?;
        self.0.shutdown().await
    }

    /// Waits until the old process has left its cache, or has not in time.
    pub(super) async fn cache_is_left(mut self) -> bool {
        let said = timeout(inheritance::WAIT_MAX, self.0.read_u8()).await;
        said.is_ok_and(|said| said.is_ok())
    }
}

/// Whether some process listens on the Unix socket `path`. Connecting would disturb the receiver, so
/// this looks into the kernel's table, where flag 0x10000 marks a listening socket.
pub fn is_listening(path: &str) -> bool {
    let table = std::fs::read_to_string("/proc/self/net/unix").unwrap_or_default();
    table.lines().any(|line| {
        let mut fields = line.split_whitespace();
        fields.nth(3) == Some("00010000") && fields.nth(3) == Some(path)
    })
}

fn confirmation_socket(socket: &Path) -> PathBuf {
    let mut path = socket.as_os_str().to_owned();
    path.push(".serving");
    path.into()
}

fn bind_fresh(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    UnixListener::bind(path)
}

/// The new process, and the connection over which it waits for the cache.
async fn read_confirmation(listener: &UnixListener) -> Result<(String, UnixStream), HandoverError> {
    let (mut stream, _) = listener.accept().await?;
    let mut pid = String::new();
    // A pid has at most ten digits.
    (&mut stream).take(16).read_to_string(&mut pid).await?;
    if pid.is_empty() {
        return Err(HandoverError::Ended);
    }
    Ok((pid, stream))
}
