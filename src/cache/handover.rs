//! What a process leaves of its cache for the one that takes over: a file beside the upgrade socket.
//!
//! The file is a gift, never a duty: any trouble (no room, a wrong byte, somebody else's file, a file
//! of an earlier day) ends the reading, and what was read until then is kept. Nothing in it is
//! trusted before its checksum is right, and no length is believed beyond what a store could hold.
//!
//! ```text
//! file   = MAGIC record* end
//! record = length (u32 LE, not 0) checksum (u64 LE, FNV-1a of the payload) payload
//! end    = 0 (u32)
//! ```
//!
//! Objects stand in the order in which they should leave: the last is the one to keep longest.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use crate::cache::store::Store;

pub mod record;

#[cfg(test)]
mod tests;

use record::Record;

const MAGIC: &[u8] = b"weir cache 1\n";
const NAME: &str = "cache.handover";
/// What a file must not be older than; a hand-over takes seconds.
const AGE_MAX: Duration = Duration::from_secs(600);
/// What a record may have beside its body: headers, labels, key.
const HEAD_MAX: usize = 1 << 20;

/// Writes the objects to keep longest, at most `bytes` of bodies, into `directory`. Returns how many.
/// It blocks, until `until` at most; the file appears under its name only when it is complete.
pub fn save(store: &Store, directory: &Path, bytes: usize, until: Instant) -> io::Result<usize> {
    let path = path(directory);
    let unfinished = path.with_extension("unfinished");
    remove(&unfinished)?;
    let mut options = OpenOptions::new();
    let file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unfinished)?;
    let written = write(store, &mut BufWriter::new(file), bytes, until);
    match written {
        Ok(_) => fs::rename(&unfinished, &path)?,
        Err(_) => remove(&unfinished)?,
    }
    written
}

fn write(store: &Store, out: &mut impl Write, bytes: usize, until: Instant) -> io::Result<usize> {
    out.write_all(MAGIC)?;
    let mut count = 0;
    let mut payload = Vec::new();
    for object in store.export(bytes) {
        check_time(until)?;
        payload.clear();
        let record = Record::of(&object);
        if record
            .and_then(|record| record.encode(&mut payload))
            .is_some()
        {
            let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
            out.write_all(&length.to_le_bytes())?;
            out.write_all(&checksum(&payload).to_le_bytes())?;
            out.write_all(&payload)?;
            count += 1;
        }
    }
    out.write_all(&0_u32.to_le_bytes())?;
    out.flush()?;
    Ok(count)
}

/// Takes over what is in `directory`, and removes the file. Returns how many objects are stored now
/// that were not before, and what ended the reading early. It blocks, until `until` at most.
pub fn load(
    store: &Store,
    directory: &Path,
    now: SystemTime,
    until: Instant,
) -> (usize, io::Result<()>) {
    let path = path(directory);
    let opened = open(&path, directory, now);
    // Even a good one is for one process only.
    let removed = remove(&path);
    let mut count = 0;
    let read = opened.and_then(|file| match file {
        Some(file) => read(store, &mut BufReader::new(file), now, until, &mut count),
        None => Ok(()),
    });
    (count, read.and(removed))
}

/// The file if there is one; an error if it is not ours to trust.
fn open(path: &Path, directory: &Path, now: SystemTime) -> io::Result<Option<File>> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !found.is_file() {
        return Err(invalid("it is not a file"));
    }
    let file = File::open(path)?;
    let (opened, around) = (file.metadata()?, fs::metadata(directory)?);
    let is_same = (found.dev(), found.ino()) == (opened.dev(), opened.ino());
    let is_private = [&opened, &around].iter().all(|it| it.mode() & 0o022 == 0);
    let is_ours = is_same && is_private && opened.uid() == around.uid();
    let age = now.duration_since(opened.modified()?).unwrap_or_default();
    if !is_ours {
        return Err(invalid(
            "it may be somebody else's: others can write to it or its directory",
        ));
    }
    if age > AGE_MAX {
        return Err(invalid("it is too old"));
    }
    Ok(Some(file))
}

fn read(
    store: &Store,
    file: &mut impl Read,
    now: SystemTime,
    until: Instant,
    count: &mut usize,
) -> io::Result<()> {
    let mut magic = [0; MAGIC.len()];
    file.read_exact(&mut magic)?;
    if magic != MAGIC {
        return Err(invalid("it has another format"));
    }
    let mut payload = Vec::new();
    while next(
        file,
        &mut payload,
        store.max_object().saturating_add(HEAD_MAX),
    )? {
        check_time(until)?;
        let object = Record::decode(&payload).and_then(Record::into_object);
        let object = object.ok_or_else(|| invalid("a record is damaged"))?;
        if store.import(object, now) {
            *count += 1;
        }
    }
    Ok(())
}

/// Reads a payload; false at the end.
fn next(file: &mut impl Read, payload: &mut Vec<u8>, most: usize) -> io::Result<bool> {
    let mut length = [0; 4];
    file.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length);
    if length == 0 {
        return Ok(false);
    }
    if length as usize > most {
        return Err(invalid("a record is longer than an object may be"));
    }
    let mut expected = [0; 8];
    file.read_exact(&mut expected)?;
    payload.clear();
    file.by_ref().take(length.into()).read_to_end(payload)?;
    let is_whole = payload.len() == length as usize;
    if !is_whole || checksum(payload) != u64::from_le_bytes(expected) {
        return Err(invalid("a checksum is wrong"));
    }
    Ok(true)
}

/// Removes what an earlier process may have left for nobody.
pub fn discard(directory: &Path) -> io::Result<()> {
    let path = path(directory);
    remove(&path.with_extension("unfinished"))?;
    remove(&path)
}

fn check_time(until: Instant) -> io::Result<()> {
    if Instant::now() > until {
        let error = io::Error::new(io::ErrorKind::TimedOut, "it took too long");
        return Err(error);
    }
    Ok(())
}

fn path(directory: &Path) -> PathBuf {
    directory.join(NAME)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// FNV-1a, 64 bits: against accidents, not against enemies.
fn checksum(bytes: &[u8]) -> u64 {
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, mix)
}
