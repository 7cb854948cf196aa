"""Owns what a person sees while shards measure: one line for all of them.

It must not know what shards are made of.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import TextIO

from evalscope.perf.ray.drive import Shard, State

_REDRAW_S = 0.5
# where it is no terminal
_LINE_S = 10.0


class Screen:
    """Writes to stderr."""

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        silent: bool = False,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._silent = silent
        self._monotonic_s = monotonic_s
        self._terminal = self._stream.isatty()
        self._next_s = monotonic_s()
        self._drawn = False

    def progress(self, shards: Sequence[Shard]) -> None:
        """Draw how far all of them are, now and then."""
        now = self._monotonic_s()
        if self._silent or now < self._next_s:
            return
        self._next_s = now + (_REDRAW_S if self._terminal else _LINE_S)
        text = summed_up(shards)
        if self._terminal:
            self._stream.write(f"\r\x1b[K{text}")
            self._drawn = True
        else:
            self._stream.write(f"{text}\n")
        self._stream.flush()

    def say(self, text: str) -> None:
        """Write a line, above the one that is drawn."""
        if self._silent:
            return
        clear = "\r\x1b[K" if self._drawn else ""
        self._drawn = False
        self._stream.write(f"{clear}{text}\n")
        self._stream.flush()


def summed_up(shards: Sequence[Shard]) -> str:
    """One line for all shards."""
    preparing = sum(shard.state is State.PREPARING for shard in shards)
    if preparing:
        return f"preparing: {len(shards) - preparing} of {len(shards)} shards are ready"

    def total(key: str) -> float:
        return sum(shard.progress.get(key) or 0 for shard in shards)

    known = [shard.progress.get("total_requests") for shard in shards]
    of = "" if None in known else f"/{sum(map(int, filter(None, known)))}"
    lost = sum(shard.state is State.FAILED for shard in shards)
    tail = f", {lost} of {len(shards)} shards lost" if lost else f" ({len(shards)} shards)"
    elapsed = max((shard.progress.get("elapsed_s") or 0 for shard in shards), default=0)
    return (
        f"{total('ended_requests'):.0f}{of} requests in {elapsed:.0f} s: "
        f"{total('requests_per_s'):.1f} req/s, {total('output_tokens_per_s'):.0f} tok/s, "
        f"{total('in_flight_requests'):.0f} in flight, {total('failed_requests'):.0f} failed{tail}"
    )
