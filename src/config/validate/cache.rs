//! The `cache` map.

use super::super::model::{Cache, Eviction};
use super::super::path::At;
use super::super::raw::cache as raw;
use super::super::report::Report;
use super::keys::Keys;

const MEMORY_MIN: u64 = 1 << 20;
const MEMORY_MAX: u64 = 64 << 40;
const MEMORY: u64 = 256 << 20;
const OBJECT_MIN: u64 = 1 << 10;
const OBJECT: u64 = 8 << 20;

pub(super) fn cache(raw: &raw::Cache, at: &At<'_>, report: &mut Report<'_>) -> Cache {
    let mut keys = Keys::of(at, report);
    let memory = keys
        .size("memory", raw.memory.as_ref(), MEMORY_MIN..=MEMORY_MAX)
        .unwrap_or(MEMORY);
    let max_object = keys
        .size("max_object", raw.max_object.as_ref(), OBJECT_MIN..=memory)
        .unwrap_or(OBJECT.min(memory));
    let bytes = |size| usize::try_from(size).unwrap_or(usize::MAX);
    Cache {
        memory: bytes(memory),
        max_object: bytes(max_object),
    }
}

pub(super) fn eviction(raw: &raw::Cache) -> Eviction {
    match raw.eviction {
        None | Some(raw::Eviction::Lru) => Eviction::Lru,
        Some(raw::Eviction::S3fifo) => Eviction::S3Fifo,
    }
}
