//! Owns drawing how long clients wait before a turn.
//!
//! It must not know when the turn before it ends.

use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp1, StandardNormal};

use evalscope_model::conversation::TurnDelay;
use evalscope_model::plan::sub_seed;

/// The longest wait that is ever drawn, seconds.
const LONGEST_S: f64 = 86_400.0;

/// The wait before a turn of a conversation; it depends on nothing else.
pub(super) fn drawn(delay: TurnDelay, seed: u64, conversation: u64, turn: u64) -> Duration {
    let mut rng = ChaCha8Rng::seed_from_u64(sub_seed(seed, "turn_delay") ^ turn);
    rng.set_stream(conversation);
    let seconds = match delay {
        TurnDelay::Fixed(seconds) => seconds,
        TurnDelay::Uniform(low, high) => rng.random_range(low..=high),
        TurnDelay::Exponential(mean) => {
            let drawn: f64 = Exp1.sample(&mut rng);
            mean * drawn
        }
        TurnDelay::LogNormal(median, sigma) => {
            let drawn: f64 = StandardNormal.sample(&mut rng);
            median * (sigma * drawn).exp()
        }
    };
    Duration::from_secs_f64(seconds.clamp(0.0, LONGEST_S))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean_s(delay: TurnDelay) -> f64 {
        let all = (0..4000).map(|n| drawn(delay, 7, n, 1).as_secs_f64());
        all.sum::<f64>() / 4000.0
    }

    #[test]
    fn delays_have_the_distribution_that_was_asked_for() {
        assert_eq!(
            drawn(TurnDelay::Fixed(2.0), 1, 2, 3),
            Duration::from_secs(2)
        );
        assert!((mean_s(TurnDelay::Uniform(1.0, 5.0)) - 3.0).abs() < 0.1);
        assert!((mean_s(TurnDelay::Exponential(2.0)) - 2.0).abs() < 0.1);
        let log_normal = (0.5_f64 * 0.8 * 0.8).exp() * 2.0;
        assert!((mean_s(TurnDelay::LogNormal(2.0, 0.8)) - log_normal).abs() < 0.2);
    }

    #[test]
    fn a_delay_belongs_to_its_turn() {
        let delay = TurnDelay::Exponential(1.0);
        assert_eq!(drawn(delay, 1, 2, 3), drawn(delay, 1, 2, 3));
        assert_ne!(drawn(delay, 1, 2, 3), drawn(delay, 1, 2, 4));
        assert_ne!(drawn(delay, 1, 2, 3), drawn(delay, 1, 3, 3));
        assert_ne!(drawn(delay, 1, 2, 3), drawn(delay, 2, 2, 3));
    }
}
