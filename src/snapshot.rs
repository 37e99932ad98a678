//! What a request reads.
