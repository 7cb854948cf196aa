"""Owns what is Ray's: the connection to a cluster, the places of shards on its nodes, and the
actors that carry them.

Ray is imported when it is needed. It must not know what shards do.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from evalscope.errors import EvalscopeError
from evalscope.perf.ray.drive import Lost
from evalscope.perf.ray.process import ShardProcess

# A call that takes longer is taken for lost.
_CALL_S = 30.0
# One call streams the lines of the tool while another talks to it, and a third is spare.
_CALLS_AT_A_TIME = 3
_NOTE_CHARS = 200
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # equal lines of several shards are not one line
    "RAY_DEDUP_LOGS": "0",
}


class NoRay(EvalscopeError):
    """Ray is not installed here."""


def _ray() -> Any:
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise NoRay(
            f"a run by several machines needs Ray, which cannot be imported here: {error}\n"
            "  hint: pip install 'evalscope[ray]', with Python 3.10 or newer",
            exit_code=2,
        ) from None
    return ray


def _quieten() -> None:
    """Let Ray's own notes be a line on stderr: of a node that dies it prints the state, to stdout.

    There is no setting for it, and where Ray has no such function any more, nothing happens.
    """

    def first_line(said: Mapping[str, Any], **_: Any) -> None:
        text = next(iter(said.get("lines") or []), "").strip().partition("\n")[0]
        if text:
            print(f"ray: {text[:_NOTE_CHARS]}", file=sys.stderr)

    with suppress(ImportError):
        worker: Any = importlib.import_module("ray._private.worker")
        worker.print_to_stdstream = first_line


class Cluster:
    """A connection to a Ray cluster. It is closed with the block, unless it was there before."""

    def __init__(self, address: str | None) -> None:
        self._ray = _ray()
        self._own = not self._ray.is_initialized()
        if self._own:
            try:
                # the shards' lines come through the actors
                self._ray.init(address=address, log_to_driver=False)
                _quieten()
            except ConnectionError as error:
                raise EvalscopeError(
                    f"no Ray cluster at `{address}`: {error}\n"
                    "  hint: start one with `ray start --head`, or give its address",
                    exit_code=2,
                ) from None

    def __enter__(self) -> Cluster:
        """The cluster."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close what was opened here."""
        if self._own:
            self._ray.shutdown()

    def place(
        self,
        shards: int,
        cpus: float,
        strategy: str,
        patience_s: float,
        runtime_env: Mapping[str, Any] | None,
    ) -> Placement:
        """Find a place for each shard.

        Raises:
            EvalscopeError: there are not enough nodes or cores.
        """
        ray = self._ray
        from ray.util.placement_group import placement_group, remove_placement_group
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        group = placement_group([{"CPU": cpus}] * shards, strategy=strategy)
        if not group.wait(patience_s):
            remove_placement_group(group)
            nodes = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
            cores = ", ".join(f"{count:g}" for count in nodes)
            apart = " on a node each" if strategy == "STRICT_SPREAD" else ""
            raise EvalscopeError(
                f"there is no place for {shards} shards of {cpus:g} CPUs{apart} ({strategy}): the "
                f"cluster has {len(nodes)} nodes with {cores} CPUs, which others may be using\n"
                "  hint: fewer shards, fewer CPUs for each, or strategy SPREAD, which puts several "
                "on a node"
            )
        actor = ray.remote(ShardProcess)
        remotes = []
        for bundle in range(shards):
            handle = actor.options(
                num_cpus=cpus,
                max_restarts=0,
                max_task_retries=0,
                max_concurrency=_CALLS_AT_A_TIME,
                runtime_env=dict(runtime_env) if runtime_env else None,
                scheduling_strategy=PlacementGroupSchedulingStrategy(
                    group, placement_group_bundle_index=bundle
                ),
            ).remote()
            remotes.append(RayRemote(ray, handle))
        return Placement(remotes, lambda: remove_placement_group(group))


class Placement:
    """The shards' places. They are free again after the block."""

    def __init__(self, remotes: list[RayRemote], give_back: Callable[[], None]) -> None:
        self.remotes = remotes
        self._give_back = give_back

    def __enter__(self) -> Placement:
        """The places."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the actors and give the places back."""
        for remote in self.remotes:
            remote.end()
        self._give_back()


class RayRemote:
    """A `ShardProcess` in an actor."""

    def __init__(self, ray: Any, handle: Any) -> None:
        self._ray = ray
        self._handle = handle

    def call(self, method: str, *args: Any) -> Any:
        """Call a method. Raises `Lost`."""
        try:
            # the first call waits for the actor, and for the packages of its environment
            patience_s = None if method in ("hello", "upload") else _CALL_S
            return self._ray.get(getattr(self._handle, method).remote(*args), timeout=patience_s)
        except self._ray.exceptions.RayError as error:
            raise Lost(_brief(error)) from None

    def stream(self, method: str, *args: Any) -> Iterator[Any]:
        """What a generator yields. Raises `Lost`."""
        try:
            streaming = getattr(self._handle, method).options(num_returns="streaming")
            for reference in streaming.remote(*args):
                yield self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            raise Lost(_brief(error)) from None

    def end(self) -> None:
        """Kill the actor, and Ray the process that it has started."""
        self._ray.kill(self._handle)


def _brief(error: Exception) -> str:
    """The name of what happened, and the line that says most."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # a failure inside the actor has its traceback before its message
    said = lines[-1] if "Traceback" in str(error) or "ray::" in str(error) else lines[0]
    return f"{type(error).__name__}: {said}"
