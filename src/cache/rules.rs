//! What HTTP asks of a shared cache, as pure decisions: RFC 9111 (caching), 9110 (conditions,
//! ranges, negotiation), 5861 (stale content), 8246 (`immutable`), 9211 (`Cache-Status`), 9213
//! (targeted cache control).
//!
//! In the order a request meets them: `request` (may the cache be used?), `vary` (which variant?),
//! `reuse` and `stale` (may what is stored be sent?), `conditional` and `ranges` (whole, part or
//! 304?), `storable` and `freshness` (may the answer be kept, and how long?), `update` (what does a
//! 304 change?), `invalidation` (what does this write make void?), `status` (what is the client
//! told?). `list`, `date`, `directives` and `targeted` read the fields they all need.
//!
//! No rule reads a clock or a configuration; doubt is always resolved towards not storing and not
//! using. Called by `proxy`.

pub mod conditional;
pub mod date;
pub mod directives;
pub mod encoding;
pub mod freshness;
pub mod invalidation;
pub mod list;
pub mod ranges;
pub mod request;
pub mod reuse;
pub mod status;
pub mod storable;
pub mod targeted;
pub mod update;
pub mod vary;

#[cfg(test)]
mod tests;
