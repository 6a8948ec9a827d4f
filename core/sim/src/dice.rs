//! Seeded decisions.

/// `SplitMix64` (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators). Each part of a run has dice of its
/// own, so that what one of them decides does not change what the others see.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

/// The offset basis and the prime of FNV-1a with 64 bits.
const FNV: (u64, u64) = (0xcbf2_9ce4_8422_2325, 0x0000_0100_0000_01b3);

/// FNV-1a, begun from `hash`.
pub(crate) fn fnv(hash: u64, bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(FNV.1);
    bytes.iter().fold(hash, step)
}

/// The hash of nothing.
pub(crate) const fn fnv_empty() -> u64 {
    FNV.0
}

impl Dice {
    /// The dice of a named part of the run with this seed.
    pub(crate) fn new(seed: u64, name: &str) -> Self {
        Self(fnv(seed ^ FNV.0, name.as_bytes()))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    /// A number below `bound`, which is not zero.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// A number from `least` to `most`.
    pub(crate) fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most - least + 1)
    }

    /// Whether something happens that happens `rate` times in a million.
    pub(crate) fn strikes(&mut self, rate: u64) -> bool {
        self.below(1_000_000) < rate
    }

    /// One of several, none of which is impossible.
    pub(crate) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        let index = self.below(of.len() as u64);
        &of[usize::try_from(index).expect("an index")]
    }

    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_be_bytes()[..chunk.len()]);
        }
    }
}
