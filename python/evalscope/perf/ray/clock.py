"""Owns how far the clock of another machine is from the clock here (Cristian's algorithm).

It must not know how the other clock is read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

_CALLS = 20


@dataclass(frozen=True)
class Offset:
    """By how much a clock is ahead of the one here."""

    offset_ns: int
    """Negative where it is behind."""
    error_ns: int
    """How far off that may be: half of the round trip."""

    @property
    def round_trip_ns(self) -> int:
        """How long the best call took."""
        return 2 * self.error_ns


def measure(theirs: Callable[[], int], ours: Callable[[], int], calls: int = _CALLS) -> Offset:
    """Read the other clock several times, and believe the fastest reading.

    The other clock was read at some moment of the call, so its middle is off by half of the
    call's length at most, however unlike the ways there and back are.
    """
    best: Offset | None = None
    for _ in range(max(calls, 1)):
        before = ours()
        read = theirs()
        after = ours()
        error_ns = (after - before + 1) // 2
        if best is None or error_ns < best.error_ns:
            best = Offset(read - (before + after) // 2, error_ns)
    assert best is not None
    return best


def over_a_run(before: Offset, after: Offset | None) -> tuple[Offset, int]:
    """The offset for a whole run, and the drift of the clock during it, nanoseconds.

    It is the offset at the start, when the shard took its time zero; the drift adds to its error.
    """
    if after is None:
        return before, 0
    drift_ns = after.offset_ns - before.offset_ns
    # a difference within the errors of both is no drift
    beyond = max(0, abs(drift_ns) - before.error_ns - after.error_ns)
    return Offset(before.offset_ns, before.error_ns + beyond), drift_ns
