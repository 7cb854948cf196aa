//! Owns the random generators: one for each pair of seed and sequence number.
//!
//! It must not know what is drawn.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// A separate generator for each pair of seed and sequence number.
pub(crate) fn seeded(seed: u64, sequence: u64) -> ChaCha8Rng {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    generator.set_stream(sequence);
    generator
}
