//! What the cache did with a request: one word for log and metrics.

/// Whether the endpoint was asked for a request, and why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Served from the cache, fresh.
    Hit,
    /// Served from the cache after waiting for the answer to another request.
    Collapsed,
    /// Served stale: the client takes it so, or the endpoint failed.
    Stale,
    /// Served stale while it is fetched anew.
    Updating,
    /// Served from the cache: the endpoint said that it is still good.
    Revalidated,
    /// Something was stored, and the endpoint sent something else.
    Expired,
    /// Nothing was stored.
    Miss,
    /// The cache had no part in it.
    Bypass,
}

// === impl Verdict ===

impl Verdict {
    pub const ALL: [Verdict; 8] = [
        Verdict::Hit,
        Verdict::Collapsed,
        Verdict::Stale,
        Verdict::Updating,
        Verdict::Revalidated,
        Verdict::Expired,
        Verdict::Miss,
        Verdict::Bypass,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Verdict::Hit => "hit",
            Verdict::Collapsed => "collapsed",
            Verdict::Stale => "stale",
            Verdict::Updating => "updating",
            Verdict::Revalidated => "revalidated",
            Verdict::Expired => "expired",
            Verdict::Miss => "miss",
            Verdict::Bypass => "bypass",
        }
    }

    /// Whether it was served from what was stored, with no endpoint's answer to it.
    pub fn is_hit(self) -> bool {
        match self {
            Verdict::Hit | Verdict::Collapsed | Verdict::Stale | Verdict::Updating => true,
            Verdict::Revalidated | Verdict::Expired | Verdict::Miss | Verdict::Bypass => false,
        }
    }

    /// As other caches write it in `X-Cache`.
    pub fn loud_name(self) -> &'static str {
        match self {
            Verdict::Hit => "HIT",
            Verdict::Collapsed => "COLLAPSED",
            Verdict::Stale => "STALE",
            Verdict::Updating => "UPDATING",
            Verdict::Revalidated => "REVALIDATED",
            Verdict::Expired => "EXPIRED",
            Verdict::Miss => "MISS",
            Verdict::Bypass => "BYPASS",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verdict_has_its_own_place_and_name() {
        for (place, verdict) in Verdict::ALL.into_iter().enumerate() {
            assert_eq!(verdict as usize, place);
            assert_eq!(verdict.name().to_ascii_uppercase(), verdict.loud_name());
        }
    }
}
