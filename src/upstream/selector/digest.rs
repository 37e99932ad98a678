//! The hash of `balance: hash`: 64 bits that are the same in every process, on every machine and in
//! every version.
//!
//! Definition: `state = mix(state ^ word)` over the bytes in little-endian words of eight, the last
//! one padded with zeros, begun with the length; `mix` is the finaliser of SplitMix64 (Steele et al.,
//! 2014), a bijection whose every output bit depends on every input bit. Not for secrets: whoever
//! knows it can find keys that meet at one endpoint, which is what `bounded_load` bounds.

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

pub fn digest(bytes: &[u8]) -> u64 {
    let mut state = mix(bytes.len() as u64 ^ GOLDEN);
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        state = mix(state ^ u64::from_le_bytes(word));
    }
    state
}

/// The `n`th of as many further digests as needed; the 0th is `digest` itself.
#[inline]
pub fn nth(digest: u64, n: u64) -> u64 {
    match n {
        0 => digest,
        n => mix(digest.wrapping_add(n.wrapping_mul(GOLDEN))),
    }
}

#[inline]
fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_changes() {
        assert_eq!(digest(b""), 0xe220_a839_7b1d_cdaf);
        assert_eq!(digest(b"/index.html"), 0xb28c_29c2_69f0_4f91);
        assert_eq!(digest(b"10.0.0.1:80"), 0xa95e_cfab_4b33_db35);
        assert_eq!(nth(digest(b"/index.html"), 1), 0x6ba7_d7d5_071a_8d12);
    }

    #[test]
    fn padding_and_length_make_a_difference() {
        assert_ne!(digest(b"a"), digest(b"a\0"));
        assert_ne!(digest(b""), digest(b"\0\0\0\0\0\0\0\0"));
    }

    #[test]
    fn near_keys_are_far_apart() {
        let mut bits = [0_u32; 64];
        for n in 0..10_000_u32 {
            let key = format!("/item/{n}");
            let value = digest(key.as_bytes());
            (0..64).for_each(|bit| bits[bit] += (value >> bit) as u32 & 1);
        }
        // Half of them, within six sigma of 50.
        assert!(bits.iter().all(|set| set.abs_diff(5000) < 300), "{bits:?}");
    }
}
