//! What selectors may know of the request they pick an endpoint for (Envoy's load balancer context).

/// Made by the proxy for a request's first attempt; the default suits every selector that looks at
/// endpoints only.
#[derive(Clone, Copy, Debug, Default)]
pub struct PickContext<'a> {
    /// What a hashing selector hashes.
    pub hash_key: &'a [u8],
}
