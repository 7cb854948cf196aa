"""Owns one run by several shards: all get ready, start at one moment, and end, however they end.

It must not know what carries the shards: it has an object for each that can call a `ShardProcess`
somewhere, and raises `Lost` when that is gone.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

from evalscope.errors import EvalscopeError
from evalscope.perf.ray import clock
from evalscope.perf.ray.clock import Offset
from evalscope.perf.ray.process import parsed

# A shard that measures writes a line each second.
_QUIET_S = 15.0
# One that was stopped may write its report.
_SILENT_STOP_S = 120.0
# The start is at least so far ahead that every shard hears of it in time.
_AHEAD_S = 2.0
_AHEAD_ROUND_TRIPS = 10
_LOOK_S = 0.2


class Lost(Exception):
    """What carried a shard is gone: its process, its machine, or the network between."""


class Remote(Protocol):
    """A `ShardProcess` somewhere."""

    def call(self, method: str, *args: Any) -> Any:
        """Call a method. Raises `Lost`."""

    def stream(self, method: str, *args: Any) -> Iterator[Any]:
        """What a generator yields. Raises `Lost`."""

    def end(self) -> None:
        """Give it up, with the process."""


class State(Enum):
    """How far a shard is."""

    PREPARING = "preparing"
    READY = "ready"
    MEASURING = "measuring"
    ENDED = "ended"
    FAILED = "failed"


@dataclass
class Shard:
    """A shard as its driver sees it."""

    index: int
    remote: Remote
    name: str = ""
    """For messages: `shard 3 @host`."""
    state: State = State.PREPARING
    progress: dict[str, Any] = field(default_factory=dict)
    """Its last line of progress."""
    ended: str | None = None
    """How its run ended, where it said so."""
    failure: str | None = None
    error: str | None = None
    """The last error that the tool wrote."""
    heard: float = 0.0
    offset: Offset | None = None
    drift_ns: int = 0

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come of it."""
        return self.state in (State.ENDED, State.FAILED)


class Listener(Protocol):
    """Who is told what happens."""

    def progress(self, shards: Sequence[Shard]) -> None:
        """How far all of them are; several times a second."""

    def say(self, text: str) -> None:
        """A line for people."""


@dataclass(frozen=True)
class Patience:
    """How long to wait, seconds."""

    ready_s: float = 600.0
    quiet_s: float = _QUIET_S


@dataclass
class Outcome:
    """How a run by several shards ended."""

    shards: list[Shard]
    interrupted: bool

    @property
    def failures(self) -> list[str]:
        """What went wrong, for each shard that failed."""
        return [f"{shard.name}: {shard.failure}" for shard in self.shards if shard.failure]

    def offsets(self) -> dict[str, Any]:
        """The file for `evalscope merge --offsets`."""
        return {
            "shards": [
                {
                    "index": shard.index,
                    "offset_ns": shard.offset.offset_ns,
                    "error_ns": shard.offset.error_ns,
                    "drift_ns": shard.drift_ns,
                }
                for shard in self.shards
                if shard.offset is not None
            ]
        }


class Run:
    """A run that several shards carry out. `measure` is called once."""

    def __init__(
        self,
        remotes: Sequence[Remote],
        listener: Listener,
        patience: Patience,
        *,
        allow_partial: bool,
        monotonic_s: Callable[[], float] = time.monotonic,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._shards = [Shard(index, remote) for index, remote in enumerate(remotes)]
        self._listener = listener
        self._patience = patience
        self._allow_partial = allow_partial
        self._monotonic_s = monotonic_s
        self._wall_ns = wall_ns
        self._heard: queue.SimpleQueue[tuple[Shard, str | Lost | None]] = queue.SimpleQueue()
        self._stopping = False
        self._started = False
        self._interrupted = False

    def measure(
        self,
        version: str,
        argv: Callable[[int], Sequence[str]],
        environment: dict[str, str],
        place: str | None,
    ) -> Outcome:
        """Carry the run out. What went wrong with a shard is in the outcome.

        Raises:
            EvalscopeError: a machine has another version of the tool, or none.
        """
        self._greet(version)
        for shard in self._shards:
            shard.heard = self._monotonic_s()
            threading.Thread(
                target=self._listen,
                args=(shard, argv(shard.index), environment, place),
                name=f"evalscope-shard-{shard.index}",
                daemon=True,
            ).start()
        if self._all_ready():
            self._start()
        self._until(lambda: all(shard.is_over for shard in self._shards))
        for shard in self._shards:
            self._read_clock_again(shard)
        return Outcome(self._shards, self._interrupted)

    def _greet(self, version: str) -> None:
        for shard in self._shards:
            try:
                said = shard.remote.call("hello")
            except Lost as error:
                raise EvalscopeError(f"shard {shard.index} cannot be reached: {error}") from None
            shard.name = f"shard {shard.index} @{said['host']}"
            if said["version"] != version:
                raise EvalscopeError(
                    f"{shard.name} has {said['version']}, and this machine {version}\n"
                    "  hint: install one version everywhere, or let Ray do it: "
                    'runtime_env={"pip": ["evalscope==…"]}'
                )

    def _listen(
        self, shard: Shard, argv: Sequence[str], environment: dict[str, str], place: str | None
    ) -> None:
        try:
            for line in shard.remote.stream("run", list(argv), environment, place):
                self._heard.put((shard, line))
            self._heard.put((shard, None))
        except Lost as error:
            self._heard.put((shard, error))

    def _all_ready(self) -> bool:
        """Wait for all to be ready. `False`: nothing is to be started."""
        end = self._monotonic_s() + self._patience.ready_s

        def decided() -> bool:
            if self._stopping:
                return True
            if self._monotonic_s() > end:
                for shard in self._shards:
                    if shard.state is State.PREPARING:
                        self._fail(shard, f"not ready within {self._patience.ready_s:g} s")
                        self._stop_soon(shard)
            return all(shard.state is not State.PREPARING for shard in self._shards)

        self._until(decided)
        return not self._stopping and all(s.state is State.READY for s in self._shards)

    def _start(self) -> None:
        """Tell all shards the same moment, each on its own clock."""
        for shard in self._shards:
            try:
                shard.offset = self._read_clock(shard)
            except Lost as error:
                self._fail(shard, str(error))
                return
        offsets = [shard.offset for shard in self._shards if shard.offset is not None]
        slowest_ns = max(offset.round_trip_ns for offset in offsets)
        ahead_ns = max(int(_AHEAD_S * 1e9), _AHEAD_ROUND_TRIPS * slowest_ns)
        start_ns = self._wall_ns() + ahead_ns
        for shard, offset in zip(self._shards, offsets):
            seconds, nanos = divmod(start_ns + offset.offset_ns, 10**9)
            if not self._tell(shard, f"start {seconds}.{nanos:09d}"):
                self._fail(shard, "it could not be told when to start")
                return
        self._started = True
        for shard in self._shards:
            shard.state = State.MEASURING
            shard.heard = self._monotonic_s() + ahead_ns / 1e9

    def _read_clock(self, shard: Shard) -> Offset:
        return clock.measure(lambda: int(shard.remote.call("time_ns")), self._wall_ns)

    def _read_clock_again(self, shard: Shard) -> None:
        """How far a clock has drifted during the run."""
        if shard.offset is None:
            return
        after = None
        if shard.state is State.ENDED:
            try:
                after = self._read_clock(shard)
            except Lost:
                # it has ended and said all
                after = None
        shard.offset, shard.drift_ns = clock.over_a_run(shard.offset, after)

    def _until(self, done: Callable[[], bool]) -> None:
        """Take in what shards say until something is true. Ctrl-C stops all of them; a second one
        gives up."""
        while not done():
            try:
                self._take_in()
                self._look_for_silence()
                self._listener.progress(self._shards)
            except KeyboardInterrupt:
                if self._interrupted:
                    for shard in self._shards:
                        shard.remote.end()
                    raise
                self._interrupted = True
                self._listener.say(
                    "stopping: nothing more is sent; requests in flight may end "
                    "(repeat to stop now)"
                )
                self._stop()

    def _take_in(self) -> None:
        """Take in all that waits, so that nobody is taken for silent who was only not heard."""
        timeout_s = _LOOK_S
        with suppress(queue.Empty):
            while True:
                shard, said = self._heard.get(timeout=timeout_s)
                shard.heard = max(shard.heard, self._monotonic_s())
                if not shard.is_over:
                    self._hear(shard, said)
                timeout_s = 0.0

    def _hear(self, shard: Shard, said: str | Lost | None) -> None:
        if isinstance(said, Lost):
            self._fail(shard, str(said))
        elif said is None:
            self._fail(shard, "it ended without an exit code")
        else:
            self._event(shard, parsed(said))

    def _event(self, shard: Shard, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "ready":
            if shard.state is State.PREPARING:
                shard.state = State.READY
        elif kind == "progress":
            shard.progress = event
        elif kind == "ended":
            shard.progress, shard.ended = event, str(event["state"])
        elif kind == "late":
            self._fail(shard, f"it was {event['by_s']} s late for the common start")
        elif kind == "error":
            shard.error = str(event["text"])
        elif kind == "warning":
            self._listener.say(f"[{shard.name}] warning: {event['text']}")
        elif kind == "exit":
            self._exited(shard, int(event["code"]))

    def _exited(self, shard: Shard, code: int) -> None:
        whole = shard.ended == "finished" or (self._stopping and shard.ended == "interrupted")
        if (whole and code >= 0) or (self._stopping and not self._started):
            shard.state = State.ENDED
        elif shard.error:
            self._fail(shard, shard.error)
        elif code < 0:
            self._fail(shard, f"the tool was killed by signal {-code}")
        else:
            ended = f", its run {shard.ended}" if shard.ended else ""
            self._fail(shard, f"the tool ended with exit code {code}{ended}")

    def _look_for_silence(self) -> None:
        """A shard that measures and says nothing is taken for lost, and so is one that was stopped
        and does not end."""
        for shard in self._shards:
            measures = shard.state is State.MEASURING and shard.ended is None
            limit_s = self._patience.quiet_s if measures else _SILENT_STOP_S
            silent_s = self._monotonic_s() - shard.heard
            if not shard.is_over and (measures or self._stopping) and silent_s > limit_s:
                self._fail(shard, f"nothing was heard of it for {limit_s:g} s")
                self._stop_soon(shard)

    def _fail(self, shard: Shard, why: str) -> None:
        shard.state, shard.failure = State.FAILED, why
        self._listener.say(f"[{shard.name}] failed: {why}")
        # without all of them there is no load to begin, and never a second try inside a run
        if not (self._started and self._allow_partial):
            self._stop()

    def _stop(self) -> None:
        if self._stopping:
            return
        self._stopping = True
        for shard in self._shards:
            if not shard.is_over:
                shard.heard = self._monotonic_s()
                self._stop_soon(shard)

    def _stop_soon(self, shard: Shard) -> None:
        """Tell a shard to stop; one that cannot be reached holds nobody up."""
        threading.Thread(target=self._tell, args=(shard, "stop"), daemon=True).start()

    def _tell(self, shard: Shard, line: str) -> bool:
        try:
            return bool(shard.remote.call("tell", line))
        except Lost:
            return False
