//! The beginning of a prompt as a chain of hashes, one link for each message: two prompts that share a link are equal up to
//! there. That is what a provider's prompt cache goes by, so it says what may be warm.
//!
//! A chain is a number of the size of a hash for each message and not the text; it is made with a seed of this process
//! and the gateway key, and is kept nowhere but in memory.

/// Links that one chain has at most: the first [`FIRST_LINKS`] and the last of those there are.
pub const MOST_LINKS: usize = 64;
/// Links at a prompt's beginning, which many conversations share, that are always kept.
pub const FIRST_LINKS: usize = 16;
/// Millionths in the whole prompt.
pub const WHOLE: u32 = 1_000_000;

/// One prompt's beginning.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Chain {
    /// From the tools with the first message to the whole prompt.
    pub links: Vec<Link>,
    /// How much of the prompt stands before its last cache mark (`cache_control`), in millionths; zero without one.
    pub marked: u32,
    /// What the client calls the conversation, hashed.
    pub session: Option<u64>,
    /// The seals that stand in it (signatures, encrypted thoughts), hashed, in their order. They tell apart what begins alike.
    pub seals: Vec<u64>,
}

/// The prompt up to the end of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    pub hash: u64,
    /// How much of the prompt that is, in millionths of its bytes.
    pub share: u32,
}

/// Multipliers without structure (digits of pi).
const FIRST: u64 = 0x243f_6a88_85a3_08d3;
const SECOND: u64 = 0x1319_8a2e_0370_7344;

/// Bytes of a long text that are taken at once, by each of [`LANES`] hashes its own sixteen.
const STRIDE: usize = 16 * LANES;
/// One multiplication waits for the one before it in its own lane only.
const LANES: usize = 4;

/// What a seal is known by, as a client's words write it. `seed` must differ from one gateway key to another.
pub fn seal_hash(seed: u64, written: &[u8]) -> u64 {
    absorb(seed ^ 2, written)
}

/// Takes bytes into a hash: sixteen at a time by one wide multiplication. Fast and even, and no cryptography: who knows
/// the seed can make two texts collide.
pub fn absorb(hash: u64, bytes: &[u8]) -> u64 {
    let (strides, rest) = bytes.as_chunks::<STRIDE>();
    let hash = if strides.is_empty() { hash } else { absorb_strides(hash, strides) };
    let (blocks, rest) = rest.as_chunks::<16>();
    let hash = blocks.iter().fold(hash, |hash, block| absorb_block(hash, *block));
    let mut last = [0; 16];
    last[..rest.len()].copy_from_slice(rest);
    let hash = absorb_block(hash, last);
    // The length, so that a text and the same with zeros behind it differ.
    fold(hash ^ FIRST, (bytes.len() as u64) ^ SECOND)
}

fn absorb_strides(hash: u64, strides: &[[u8; STRIDE]]) -> u64 {
    // Lanes begin apart, so that two that change places do not come to the same.
    let mut lanes: [u64; LANES] = std::array::from_fn(|n| hash ^ SECOND.rotate_left(16 * u32::try_from(n).unwrap_or(0)));
    for stride in strides {
        for (lane, block) in lanes.iter_mut().zip(stride.as_chunks::<16>().0) {
            *lane = absorb_block(*lane, *block);
        }
    }
    lanes.into_iter().fold(hash, |hash, lane| fold(hash ^ FIRST, lane ^ SECOND))
}

fn absorb_block(hash: u64, block: [u8; 16]) -> u64 {
    let [low, high] = halves(u128::from_le_bytes(block));
    fold(low ^ FIRST, high ^ hash)
}

/// Both halves of the product, so that every bit of either factor reaches every bit.
fn fold(a: u64, b: u64) -> u64 {
    let [low, high] = halves(u128::from(a) * u128::from(b));
    // A product of zero would forget what came before.
    (low ^ high).wrapping_add(b.rotate_left(29))
}

fn halves(wide: u128) -> [u64; 2] {
    [wide, wide >> 64].map(|half| u64::try_from(half & u128::from(u64::MAX)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_byte_and_every_length_counts() {
        let mut seen = HashSet::new();
        for length in 0..200_usize {
            let text = vec![b'a'; length];
            assert!(seen.insert(absorb(7, &text)), "{length}");
            for place in 0..length {
                let mut changed = text.clone();
                changed[place] ^= 1;
                assert!(seen.insert(absorb(7, &changed)), "{length} {place}");
            }
        }
        assert!(seen.insert(absorb(8, b"")) && seen.insert(absorb(7, b"\0")));
        // Whatever changes places with whatever.
        let text: Vec<u8> = (0..256_u32).map(|n| u8::try_from(n).unwrap()).collect();
        for (one, other) in (0..16).flat_map(|one| (0..one).map(move |other| (one * 16, other * 16))) {
            let mut changed = text.clone();
            (0..16).for_each(|n| changed.swap(one + n, other + n));
            assert!(seen.insert(absorb(7, &changed)), "{one} {other}");
        }
    }

    #[test]
    fn hashes_spread_over_their_bits() {
        let hashes: Vec<u64> = (0..4_096_u32).map(|n| absorb(1, &n.to_le_bytes())).collect();
        for bit in 0..64 {
            let ones = hashes.iter().filter(|hash| *hash >> bit & 1 == 1).count();
            assert!((1_850..2_250).contains(&ones), "bit {bit}: {ones}");
        }
    }
}
