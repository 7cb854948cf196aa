"""Owns `run_distributed`: the points of a sweep one after another, each by all shards, their
results brought here and merged.

It must not know what carries the shards, nor how a run goes.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from evalscope.binary import find_evalscope_bin
from evalscope.errors import EvalscopeError
from evalscope.perf.arguments import Arguments
from evalscope.perf.main import BenchmarkInterrupted
from evalscope.perf.ray import words
from evalscope.perf.ray.cluster import Cluster as RayCluster
from evalscope.perf.ray.drive import Listener, Lost, Outcome, Patience, Remote, Run
from evalscope.perf.ray.process import download, write_pieces
from evalscope.perf.ray.screen import Screen
from evalscope.perf.results import Results

# flags that this module gives to the shards itself
_OWN = ("shard", "start-at", "progress")
# those that every shard would do again
_NOT_HERE = ("visualizer", "metrics-listen")
# variables that a shard needs as they are here
_PASSED_ON = ("EVALSCOPE_", "HF_", "MODELSCOPE_")
_NOT_PASSED_ON = (
    "EVALSCOPE_BIN",
    "EVALSCOPE_PYTHON",
    "EVALSCOPE_CACHE",
    "EVALSCOPE_RESULT_PATH_FILE",
)


@dataclass(frozen=True)
class Settings:
    """How a load test is distributed."""

    shards: int
    """How many processes share the load; each is on a machine of its own with STRICT_SPREAD."""
    address: str | None = "auto"
    """The Ray cluster; `auto` is the one that this machine belongs to."""
    cpus_per_shard: float = 2
    strategy: str = "STRICT_SPREAD"
    """Ray's placement strategy."""
    ready_timeout_s: float = 600
    """How long shards may take to get ready, downloads included."""
    place_timeout_s: float = 60
    """How long to wait for nodes and CPUs."""
    collect: str = "stream"
    """How results come here: `stream`, through Ray; `path`, the folder of `--outputs-dir` is one
    that all machines share; or a URL for fsspec, such as `s3://bucket/folder`."""
    allow_partial: bool = False
    """Go on when a shard is lost during a run, and merge what there is."""
    point_retries: int = 0
    """How often a point is measured anew, as a whole, after a shard was lost."""
    run_id: str | None = None
    """What all shards share; made up here if missing."""
    runtime_env: Mapping[str, Any] | None = None
    """Ray's, for the shards: `{"pip": ["evalscope==…"]}` installs the tool."""
    show_output: bool = True


class Placed(Protocol):
    """The shards' places."""

    @property
    def remotes(self) -> Sequence[Remote]:
        """An object for each shard, in order."""


class Cluster(Protocol):
    """What finds places for shards."""

    def place(
        self,
        shards: int,
        cpus: float,
        strategy: str,
        patience_s: float,
        runtime_env: Mapping[str, Any] | None,
    ) -> AbstractContextManager[Placed]:
        """A place for each shard. Raises `EvalscopeError`."""


def run_distributed(
    args: Arguments | Mapping[str, Any] | Namespace,
    shards: int,
    *,
    address: str | None = "auto",
    cpus_per_shard: float = 2,
    strategy: str = "STRICT_SPREAD",
    ready_timeout_s: float = 600,
    place_timeout_s: float = 60,
    collect: str = "stream",
    allow_partial: bool = False,
    point_retries: int = 0,
    run_id: str | None = None,
    runtime_env: Mapping[str, Any] | None = None,
    show_output: bool = True,
) -> Results:
    """Run `evalscope perf` with these options on several machines of a Ray cluster.

    The options are those of the whole run: `rate`, `number`, `parallel` and `duration` are divided
    among the shards, which all start at one moment. The results are those of one run, with exact
    percentiles, as `run_perf_benchmark` returns them. `Settings` describes the other parameters.

    Raises:
        EvalscopeError: the command is wrong (exit code 2), a shard was lost or no request
            succeeded (1). The message names the folder that holds what was measured.
        BenchmarkInterrupted: Ctrl-C was pressed; it carries what was measured before.
    """
    arguments = Arguments.of(args)
    settings = Settings(
        shards=shards,
        address=address,
        cpus_per_shard=cpus_per_shard,
        strategy=strategy,
        ready_timeout_s=ready_timeout_s,
        place_timeout_s=place_timeout_s,
        collect=collect,
        allow_partial=allow_partial,
        point_retries=point_retries,
        run_id=run_id,
        runtime_env=runtime_env,
        show_output=show_output,
    )
    return run_words(arguments.to_argv(), arguments.to_environment(), settings)


def run_words(argv: Sequence[str], environment: Mapping[str, str], settings: Settings) -> Results:
    """The same of a command line, without `perf`."""
    command = Command.of(argv, environment, settings)
    with RayCluster(settings.address) as cluster:
        return command.run(cluster, Screen() if settings.show_output else None)


@dataclass(frozen=True)
class Command:
    """A load test that is to be distributed."""

    settings: Settings
    points: Sequence[Sequence[str]]
    """The words of each point."""
    environment: dict[str, str]
    top: Path
    """Where the results go."""
    first_offset: int

    @classmethod
    def of(cls, argv: Sequence[str], environment: Mapping[str, str], settings: Settings) -> Command:
        """Check the words, and find out what they make.

        Raises:
            EvalscopeError: before anything is started.
        """
        for flag in (*_OWN, *_NOT_HERE):
            if words.has(argv, flag):
                why = "is given to the shards here" if flag in _OWN else "would act in every shard"
                raise EvalscopeError(f"`--{flag}` {why}: leave it out", exit_code=2)
        if settings.shards < 1:
            raise EvalscopeError(f"{settings.shards} shards; at least 1 is needed", exit_code=2)
        own = list(argv)
        if not words.has(argv, "record-bodies"):
            # 34 KB of bodies for each request would have to come here
            own.append("--record-bodies=failed")
        passed = {
            name: text
            for name, text in os.environ.items()
            if name.startswith(_PASSED_ON) and name not in _NOT_PASSED_ON
        }
        return cls(
            settings=settings,
            points=words.points(own),
            environment={**passed, **environment},
            top=_top(argv),
            first_offset=int(words.value(argv, "dataset-offset") or 0),
        )

    def run(self, cluster: Cluster, screen: Screen | None) -> Results:
        """Measure all points, and read the results back."""
        if self.top.exists() and any(self.top.iterdir()):
            raise EvalscopeError(
                f"{self.top} is not empty\n  hint: another `--name` or `--outputs-dir`", exit_code=2
            )
        listener: Listener = screen or Screen(silent=True)
        version = _said([find_evalscope_bin(), "--version"])
        run_id = self.settings.run_id or f"ray-{time.time_ns():x}"
        offset = self.first_offset
        partial = interrupted = False
        for nth, point in enumerate(self.points, start=1):
            shards = self.top.with_name(f"{self.top.name}-shards") / f"point-{nth}"
            measured = Point(self, cluster, listener, point, shards)
            outcome = measured.measure(version, run_id, offset)
            interrupted = outcome.interrupted
            merged = measured.merge(outcome)
            partial = partial or bool(outcome.failures)
            if merged is not None:
                offset += _prompts_of(merged)
            if interrupted:
                break
        if not self.top.exists():
            raise BenchmarkInterrupted("the benchmark was interrupted; nothing was measured", None)
        _report(self.top, show=self.settings.show_output)
        results = Results.load(self.top)
        if interrupted:
            where = f"what was measured is in {self.top}"
            raise BenchmarkInterrupted(f"the benchmark was interrupted; {where}", results)
        if partial:
            listener.say("the results are partial: shards were lost")
        if not any(run.result["counts"]["succeeded"] for run in results.values()):
            raise EvalscopeError("no request succeeded", exit_code=1, results=results)
        return results


class Point:
    """One run, by all shards."""

    def __init__(
        self,
        command: Command,
        cluster: Cluster,
        listener: Listener,
        argv: Sequence[str],
        folder: Path,
    ) -> None:
        self._command = command
        self._settings = command.settings
        self._cluster = cluster
        self._listener = listener
        self._argv = argv
        self._folder = folder

    def measure(self, version: str, run_id: str, offset: int) -> Outcome:
        """Measure it, anew as often as may be while shards get lost. Their results are here then.

        Raises:
            EvalscopeError: shards were lost.
        """
        tries = self._settings.point_retries + 1
        for left in reversed(range(tries)):
            if self._folder.exists():
                # what a try before has left
                shutil.rmtree(self._folder)
            outcome = self._try(version, run_id, offset)
            lost = outcome.failures and not outcome.interrupted
            if not lost:
                return outcome
            started = any(shard.offset is not None for shard in outcome.shards)
            if self._settings.allow_partial and started:
                return outcome
            if left:
                self._listener.say(f"the point is measured anew: {left} more tries")
        failures = "\n  ".join(outcome.failures)
        kept = f"\n  hint: the databases are in {self._folder}" if self._folder.exists() else ""
        raise EvalscopeError(f"shards were lost:\n  {failures}{kept}", exit_code=1)

    def _try(self, version: str, run_id: str, offset: int) -> Outcome:
        settings = self._settings
        shared = settings.collect == "path"
        place = str(self._folder.absolute()) if shared else None

        def argv(index: int) -> list[str]:
            return [
                *self._argv,
                f"--shard={index}/{settings.shards}",
                "--start-at=stdin",
                "--progress=json",
                f"--run-id={run_id}",
                "--no-timestamp",
                "--no-html",
                *([f"--dataset-offset={offset}"] if offset else []),
            ]

        with self._cluster.place(
            settings.shards,
            settings.cpus_per_shard,
            settings.strategy,
            settings.place_timeout_s,
            settings.runtime_env,
        ) as placed:
            run = Run(
                placed.remotes,
                self._listener,
                Patience(ready_s=settings.ready_timeout_s),
                allow_partial=settings.allow_partial,
            )
            outcome = run.measure(version, argv, self._command.environment, place)
            if not shared:
                for shard in outcome.shards:
                    self._collect(shard.index, shard.name, shard.remote)
        return outcome

    def _collect(self, index: int, name: str, remote: Remote) -> None:
        """Bring the files of a shard here, as far as its machine is still there."""
        collect = self._settings.collect
        try:
            if collect == "stream":
                write_pieces(remote.stream("pieces"), self._folder)
            else:
                url = collect.removeprefix("fsspec://") if collect.count("://") > 1 else collect
                url = f"{url.rstrip('/')}/{self._folder.parent.name}/{self._folder.name}"
                download(url, remote.call("upload", url), self._folder)
            remote.call("forget")
        except Lost as error:
            self._listener.say(f"[{name}] its results cannot be fetched: {error}")
            # half a database is none
            shutil.rmtree(
                self._folder / f"shard-{index}-of-{self._settings.shards}", ignore_errors=True
            )

    def merge(self, outcome: Outcome) -> Path | None:
        """Make one run of what the shards brought. Returns its folder; `None`: there is nothing."""
        # a shard that was stopped early may have made no run
        folders = [
            folder
            for folder in sorted(self._folder.glob("shard-*"))
            if any(folder.rglob("benchmark_data.db"))
        ]
        if not folders:
            return None
        partial = outcome.interrupted or bool(outcome.failures)
        with tempfile.TemporaryDirectory(prefix="evalscope-merge-") as scratch:
            offsets, out = Path(scratch, "offsets.json"), self._folder / "merged"
            offsets.write_text(json.dumps(outcome.offsets()))
            done = subprocess.run(
                [
                    find_evalscope_bin(),
                    "merge",
                    f"--output={out}",
                    f"--offsets={offsets}",
                    "--no-report",
                    *(["--allow-partial"] if partial else []),
                    *map(str, folders),
                ],
                capture_output=True,
                text=True,
            )
            runs = [path.parent for path in out.rglob("benchmark_data.db")]
            # a part is merged with exit code 1
            if done.returncode != 0 and not (partial and runs):
                said = done.stderr.strip().removeprefix("error: ")
                raise EvalscopeError(
                    f"the shards could not be merged: {said}\n  hint: they are in {self._folder}",
                    exit_code=1,
                    stderr=done.stderr,
                )
        assert len(runs) == 1, runs
        self._command.top.mkdir(parents=True, exist_ok=True)
        target = self._command.top / runs[0].name
        shutil.move(str(runs[0]), target)
        shutil.rmtree(out)
        if not partial and self._settings.collect != "path":
            # the merged database holds all of it
            shutil.rmtree(self._folder)
            if not any(self._folder.parent.iterdir()):
                self._folder.parent.rmdir()
        return target


def _top(argv: Sequence[str]) -> Path:
    """The folder of the results, as the tool names it."""
    model = words.value(argv, "model") or words.value(argv, "api") or "run"
    name = words.value(argv, "name") or Path(model).name
    outputs = Path(words.value(argv, "outputs-dir") or "outputs")
    if words.has(argv, "no-timestamp"):
        return outputs / name
    return outputs / time.strftime("%Y%m%d_%H%M%S") / name


def _prompts_of(run: Path) -> int:
    """How many prompts a run was to take, after which the next one begins."""
    with sqlite3.connect(f"file:{run / 'benchmark_data.db'}?mode=ro", uri=True) as database:
        (meta,) = database.execute("SELECT value FROM run WHERE key = 'meta'").fetchone()
    load = json.loads(meta)["load"]
    return int(load["requests"] or 0) + int(load["warmup_requests"])


def _report(top: Path, *, show: bool) -> None:
    """Write the files of all runs together, and show the tables."""
    done = subprocess.run(
        [find_evalscope_bin(), "report", str(top)], capture_output=True, text=True
    )
    if done.returncode != 0:
        raise EvalscopeError(
            done.stderr.strip().removeprefix("error: "), exit_code=1, stderr=done.stderr
        )
    if show:
        sys.stdout.write(done.stdout)
        sys.stdout.flush()


def _said(command: Sequence[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
