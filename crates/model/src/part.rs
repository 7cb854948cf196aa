//! Owns what of a run is one shard's: its places, its requests and its share of the schedule.
//!
//! It must not know how shards find each other.

use std::num::NonZeroUsize;
use std::sync::Arc;

use crate::plan::{OpenLoop, Pacing, Recording, RunSpec};
use crate::profile::{Profile, Schedule, Segment};
use crate::shard::{Deal, Shard};

impl RunSpec {
    /// The shard's own sessions among all of the run.
    #[must_use]
    pub fn deal(&self) -> Deal {
        Deal {
            shard: self.shard,
            warmup: self.warmup_requests,
        }
    }

    /// The load as the shard carries it out, for limits and for its own figures. Of drawn arrivals,
    /// it has the rate and the spread of the shard's own ones; the engine takes these from the
    /// schedule of the whole run.
    #[must_use]
    pub fn part(&self) -> Self {
        let shard = self.shard;
        if shard.is_whole() {
            return self.clone();
        }
        let places = |places: NonZeroUsize| shard.places(places).unwrap_or(NonZeroUsize::MIN);
        Self {
            concurrency: self.concurrency.map(places),
            open_loop: OpenLoop {
                max_in_flight: self.open_loop.max_in_flight.map(places),
                ..self.open_loop
            },
            requests: self.requests.map(|requests| shard.share(requests)),
            warmup_requests: shard.share(self.warmup_requests),
            pacing: match &self.pacing {
                Pacing::Unpaced => Pacing::Unpaced,
                Pacing::Arrivals(schedule) => Pacing::Arrivals(divided(schedule, shard)),
                Pacing::Recorded(recording) => Pacing::Recorded(dealt(recording, self.deal())),
            },
            ..self.clone()
        }
    }
}

fn divided(schedule: &Schedule, shard: Shard) -> Schedule {
    let of = shard.of().get();
    Schedule {
        profile: match &schedule.profile {
            Profile::Constant { rate_per_s } => Profile::Constant {
                rate_per_s: rate_per_s / f64::from(of),
            },
            Profile::Segments(segments) => {
                let segments = segments.iter();
                Profile::Segments(
                    segments
                        .map(|segment: &Segment| segment.divided(of))
                        .collect(),
                )
            }
        },
        gaps: schedule.gaps.of_every(of),
    }
}

fn dealt(recording: &Recording, deal: Deal) -> Recording {
    // files keep no moments
    if recording.offsets_ns.is_empty() {
        return recording.clone();
    }
    let offsets = (0..).zip(recording.offsets_ns.iter());
    let own: Arc<[u64]> = offsets
        .filter(|(place, _)| deal.owns(*place))
        .map(|(_, offset)| *offset)
        .collect();
    let ends = own.first().zip(own.last());
    Recording {
        speed: recording.speed,
        span_s: ends.map_or(0.0, |(first, last)| (last - first) as f64 / 1e9),
        offsets_ns: own,
    }
}
