//! Owns masking: what a server that failed a request repeated of secrets is not stored.

use evalscope_model::events::{Stage, Warning};
use evalscope_model::record::{Exchange, Masker};

/// Masks secrets in failed exchanges.
#[derive(Debug)]
pub(crate) struct Mask(Masker);

impl Mask {
    pub(crate) fn new(secrets: &[String]) -> Self {
        Self(Masker::new(secrets))
    }
}

impl Stage for Mask {
    fn name(&self) -> &'static str {
        "the stage that masks secrets"
    }

    fn apply(&mut self, exchanges: &mut [&mut Exchange]) -> Vec<Warning> {
        for exchange in exchanges {
            self.0.hide(exchange);
        }
        Vec::new()
    }
}
