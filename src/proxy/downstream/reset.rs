//! Makes the close of a connection a reset.
//!
//! A response without a length ends with its connection, so one that broke off can be told from a whole
//! one only by a reset (nginx does the same with connections that time out). Pingora shows no more of a
//! socket than its number; the kernel hands out a second, owned one for it, and what is set there
//! counts for both. Sandboxes that forbid `pidfd_getfd` get an error. Called by `downstream`.

use std::os::fd::RawFd;
use std::time::Duration;

use rustix::io::Result;
use rustix::net::sockopt::set_socket_linger;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

/// `socket` is one of this process that is open.
pub(super) fn on_close(socket: RawFd) -> Result<()> {
    let process = pidfd_open(getpid(), PidfdFlags::empty())?;
    let same = pidfd_getfd(&process, socket, PidfdGetfdFlags::empty())?;
    set_socket_linger(&same, Some(Duration::ZERO))
}
