//! The pid file: names the process that serves.
//!
//! During an upgrade two processes know the same path; a process removes the file only while it names
//! itself. Written by `server` when it serves, read by `weir upgrade`.

use std::io;
use std::path::Path;

/// Replaces the file by renaming, so that no reader sees half a number.
pub(super) fn write_own(path: &Path) -> io::Result<()> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    std::fs::write(&fresh, format!("{}\n", std::process::id()))?;
    std::fs::rename(&fresh, path)
}

pub(super) fn remove_own(path: &Path) {
    if read(path) == Some(std::process::id()) {
        // The process is on its way out: there is nobody to tell of a failure.
        let _ = std::fs::remove_file(path);
    }
}

/// The pid in the file; `None` when there is no file or no number in it.
pub fn read(path: &Path) -> Option<u32> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_removes_only_its_own_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("weir.pid");
        write_own(&path).unwrap();
        assert_eq!(read(&path), Some(std::process::id()));
        std::fs::write(&path, "1\n").unwrap();
        remove_own(&path);
        assert_eq!(read(&path), Some(1));
        write_own(&path).unwrap();
        remove_own(&path);
        assert_eq!(read(&path), None);
    }
}
