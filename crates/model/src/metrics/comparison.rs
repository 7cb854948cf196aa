//! Owns the comparison of two counts of the same tokens.
//!
//! It must not know where the counts come from.

/// Two counts of the same tokens, compared over the successes that have both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Requests that have both.
    pub requests: u64,
    /// Those where the two agree.
    pub equal: u64,
    /// Sum of our side: requested, or counted locally.
    pub ours: u64,
    /// Sum of what the server reported.
    pub theirs: u64,
    /// Largest difference of one request.
    pub max_difference: u64,
}

impl Comparison {
    pub(super) fn push(&mut self, ours: Option<u64>, theirs: Option<u64>) {
        let (Some(ours), Some(theirs)) = (ours, theirs) else {
            return;
        };
        self.requests += 1;
        self.equal += u64::from(ours == theirs);
        self.ours = self.ours.saturating_add(ours);
        self.theirs = self.theirs.saturating_add(theirs);
        self.max_difference = self.max_difference.max(ours.abs_diff(theirs));
    }

    /// Share of the requests where the two agree; `None` without any.
    #[must_use]
    pub fn equal_share(&self) -> Option<f64> {
        (self.requests > 0).then(|| self.equal as f64 / self.requests as f64)
    }

    /// Mean of our side and of the server's; `None` without any.
    #[must_use]
    pub fn means(&self) -> Option<(f64, f64)> {
        let n = self.requests as f64;
        (self.requests > 0).then(|| (self.ours as f64 / n, self.theirs as f64 / n))
    }
}
