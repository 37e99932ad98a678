//! What the cache may hold.

/// The memory in which responses are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cache {
    /// Bytes of everything that is kept. At least 1 MiB.
    pub memory: usize,
    /// Bytes of the largest body that is kept. 1 KiB to `memory`.
    pub max_object: usize,
}

/// What leaves the cache when room is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eviction {
    /// What was not used for longest.
    Lru,
    /// As S3-FIFO says (SOSP 2023).
    S3Fifo,
}
