"""Distributed runs without Ray: a fake carries the shards, in this process."""

from __future__ import annotations

import importlib
import json
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Union

import pytest

from evalscope.errors import EvalscopeError
from evalscope.perf.main import BenchmarkInterrupted
from evalscope.perf.ray import clock, words
from evalscope.perf.ray.__main__ import main
from evalscope.perf.ray.clock import Offset
from evalscope.perf.ray.distributed import Command, Settings
from evalscope.perf.ray.drive import Lost, Outcome, Patience, Run, Shard, State
from evalscope.perf.ray.process import ShardProcess, write_pieces
from evalscope.perf.ray.screen import Screen, summed_up

VERSION = "evalscope 1.2.3"


# --- words ---


@pytest.mark.parametrize(
    ("argv", "points"),
    [
        (["http://h"], [["http://h"]]),
        (
            ["--parallel", "1,8", "-n", "10", "20", "http://h", "--stream"],
            [
                ["http://h", "--stream", "--parallel=1", "--number=10"],
                ["http://h", "--stream", "--parallel=8", "--number=20"],
            ],
        ),
        (
            ["--rate=5", "--rate", "1", "2.5", "90/m", "--number=10"],
            [
                ["--rate=1", "--number=10"],
                ["--rate=2.5", "--number=10"],
                ["--rate=90/m", "--number=10"],
            ],
        ),
        # a profile has commas
        (["--rate", "1..20@60,20@5m", "-n", "5"], [["--rate=1..20@60,20@5m", "--number=5"]]),
        (["--rate", "-1", "--stop", "1", "2"], [["--stop", "1", "2", "--rate=-1"]]),
    ],
)
def test_a_sweep_has_points(argv: list[str], points: list[list[str]]) -> None:
    assert words.points(argv) == points


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--parallel", "1,2,3", "--number", "1,2"], "`--parallel` has 3, `--number` has 2"),
        (["--parallel", "2,2", "--number", "5"], "the same name"),
        # such runs are called by concurrency and number alone
        (["--parallel", "4", "--number", "5", "--rate", "1", "2"], "the same name"),
    ],
)
def test_a_sweep_that_cannot_be_measured_is_refused(argv: list[str], says: str) -> None:
    with pytest.raises(EvalscopeError, match=says):
        words.points(argv)


def test_flags_are_found() -> None:
    argv = ["--name", "a", "--no_timestamp", "--name=b", "--model", "m"]
    assert words.value(argv, "name") == "b"
    assert words.value(argv, "model") == "m"
    assert words.value(argv, "alias") is None
    assert words.has(argv, "no-timestamp")
    assert not words.has(argv, "no")


# --- clocks ---


def test_the_fastest_reading_is_believed() -> None:
    # (here before, there, here after): the second call is the fastest
    readings = [(0, 5_000, 1_000), (2_000, 7_050, 2_100), (3_000, 9_000, 5_000)]
    ours = iter([moment for before, _, after in readings for moment in (before, after)])
    theirs = iter([there for _, there, _ in readings])
    offset = clock.measure(lambda: next(theirs), lambda: next(ours), calls=3)
    assert offset == Offset(offset_ns=5_000, error_ns=50)
    assert offset.round_trip_ns == 100


def test_drift_adds_to_the_error() -> None:
    before = Offset(1000, 100)
    assert clock.over_a_run(before, None) == (before, 0)
    # within the errors of both
    assert clock.over_a_run(before, Offset(1150, 100)) == (before, 150)
    assert clock.over_a_run(before, Offset(-4000, 100)) == (Offset(1000, 4900), -5000)


# --- how a run goes, with shards that do as they are told ---


Script = list[Union[str, Exception, None]]


class Scripted:
    """A shard that says the lines of its script; where it is `None`, it waits for its start."""

    def __init__(self, script: Script, version: str = VERSION) -> None:
        self.script = script
        self.version = version
        self.told: list[str] = []
        self.ended = False
        self._heard = threading.Condition()

    def call(self, method: str, *args: Any) -> Any:
        if method == "hello":
            return {"host": "h", "version": self.version}
        if method == "time_ns":
            return 0
        assert method == "tell"
        with self._heard:
            self.told.append(args[0])
            self._heard.notify_all()
        return True

    def stream(self, method: str, *_: Any) -> Iterator[str]:
        assert method == "run"
        for line in self.script:
            if line is None:
                with self._heard:
                    assert self._heard.wait_for(lambda: self.told, 60)
                if self.told == ["stop"]:
                    yield event("exit", code=130)
                    return
            elif isinstance(line, Exception):
                raise line
            elif line == "until stopped":
                with self._heard:
                    assert self._heard.wait_for(lambda: "stop" in self.told, 60)
            else:
                yield line

    def end(self) -> None:
        self.ended = True


class Heard:
    """A listener that keeps what it is told."""

    def __init__(self, on_progress: Callable[[Sequence[Shard]], None] | None = None) -> None:
        self.said: list[str] = []
        self._on_progress = on_progress

    def progress(self, shards: Sequence[Shard]) -> None:
        if self._on_progress is not None:
            self._on_progress(shards)

    def say(self, text: str) -> None:
        self.said.append(text)


def event(name: str, **keys: Any) -> str:
    return json.dumps({"event": name, **keys})


READY = event("ready", run="r")
PROGRESS = event("progress", ended_requests=1)
FINISHED = event("ended", state="finished", ended_requests=2)
WELL: Script = [READY, None, PROGRESS, FINISHED, event("exit", code=0)]


def measured(
    shards: Sequence[Scripted],
    *,
    allow_partial: bool = False,
    patience: Patience | None = None,
    listener: Heard | None = None,
    monotonic_s: Callable[[], float] | None = None,
) -> Outcome:
    run = Run(
        shards,
        listener or Heard(),
        patience or Patience(),
        allow_partial=allow_partial,
        **({} if monotonic_s is None else {"monotonic_s": monotonic_s}),
        wall_ns=lambda: 5_000_000_000,
    )
    return run.measure(VERSION, lambda index: [str(index)], {}, None)


def test_all_shards_start_at_one_moment() -> None:
    shards = [Scripted(WELL), Scripted(WELL)]
    outcome = measured(shards)
    assert outcome.failures == []
    assert [shard.state for shard in outcome.shards] == [State.ENDED] * 2
    # their clocks are 5 s behind, and the start is 2 s ahead
    assert [shard.told for shard in shards] == [["start 2.000000000"]] * 2
    offsets = outcome.offsets()["shards"]
    assert offsets[1] == {"index": 1, "offset_ns": -5_000_000_000, "error_ns": 0, "drift_ns": 0}


def test_requests_that_fail_are_no_failure_of_a_shard() -> None:
    failed: Script = [READY, None, FINISHED, event("exit", code=1)]
    assert measured([Scripted(failed), Scripted(WELL)]).failures == []


def test_nothing_starts_unless_all_are_ready() -> None:
    broken: Script = [
        event("error", text="no tokenizer"),
        event("exit", code=2),
    ]
    # not even where parts are allowed: there is no load yet
    for allow_partial in (False, True):
        well = Scripted(WELL)
        outcome = measured([Scripted(broken), well], allow_partial=allow_partial)
        assert outcome.failures == ["shard 0 @h: no tokenizer"]
        assert well.told == ["stop"]


def test_a_shard_that_is_never_ready_is_given_up() -> None:
    silent: Script = ["until stopped", event("exit", code=130)]
    clock_s = iter(range(10_000))
    outcome = measured(
        [Scripted(silent)], patience=Patience(ready_s=30), monotonic_s=lambda: float(next(clock_s))
    )
    assert outcome.failures == ["shard 0 @h: not ready within 30 s"]


@pytest.mark.parametrize(
    ("end", "why"),
    [
        ([Lost("ActorDiedError: the node is gone")], "ActorDiedError: the node is gone"),
        ([event("exit", code=-9)], "the tool was killed by signal 9"),
        (
            [event("late", by_s=0.5), event("exit", code=2)],
            "it was 0.5 s late for the common start",
        ),
        (
            [event("ended", state="gave_up"), event("exit", code=1)],
            "the tool ended with exit code 1, its run gave_up",
        ),
        ([], "it ended without an exit code"),
    ],
)
def test_a_lost_shard_stops_the_others(end: Script, why: str) -> None:
    interrupted = event("ended", state="interrupted")
    other = Scripted([READY, None, PROGRESS, "until stopped", interrupted, event("exit", code=130)])
    listener = Heard()
    outcome = measured([Scripted([READY, None, *end]), other], listener=listener)
    assert outcome.failures == [f"shard 0 @h: {why}"]
    assert other.told == ["start 2.000000000", "stop"]
    assert outcome.shards[1].state is State.ENDED
    assert listener.said == [f"[shard 0 @h] failed: {why}"]


def test_with_parts_allowed_the_others_go_on() -> None:
    other = Scripted(WELL)
    outcome = measured([Scripted([READY, None, Lost("gone")]), other], allow_partial=True)
    assert outcome.failures == ["shard 0 @h: gone"]
    assert other.told == ["start 2.000000000"]
    assert outcome.shards[1].state is State.ENDED


def test_a_shard_that_falls_silent_is_lost() -> None:
    silent = Scripted([READY, None, PROGRESS, "until stopped"])
    clock_s = iter(range(10_000))
    outcome = measured([silent], monotonic_s=lambda: float(next(clock_s)))
    assert outcome.failures == ["shard 0 @h: nothing was heard of it for 15 s"]


def test_ctrl_c_stops_all_and_the_second_gives_up() -> None:
    presses = 1

    def press(shards: Sequence[Shard]) -> None:
        nonlocal presses
        if presses and all(shard.progress for shard in shards):
            presses -= 1
            raise KeyboardInterrupt

    interrupted = event("ended", state="interrupted")
    script: Script = [READY, None, PROGRESS, "until stopped", interrupted]
    script += [event("exit", code=130)]
    shards = [Scripted(script), Scripted(script)]
    outcome = measured(shards, listener=Heard(press))
    assert outcome.interrupted
    assert outcome.failures == []
    assert all(shard.told[-1] == "stop" for shard in shards)
    presses = 2
    stubborn = Scripted([READY, None, PROGRESS, "until stopped", Lost("killed")])
    never = threading.Event()
    stubborn.call = lambda method, *args: (  # type: ignore[method-assign]
        never.wait(0) if args == ("stop",) else Scripted.call(stubborn, method, *args)
    )
    with pytest.raises(KeyboardInterrupt):
        measured([stubborn], listener=Heard(press))
    assert stubborn.ended


def test_another_version_is_refused() -> None:
    with pytest.raises(EvalscopeError, match=r"shard 1 @h has evalscope 0\.9, and this machine"):
        measured([Scripted(WELL), Scripted(WELL, version="evalscope 0.9")])


def test_warnings_name_their_shard() -> None:
    listener = Heard()
    measured([Scripted([event("warning", text="slow disk"), *WELL])], listener=listener)
    assert listener.said == ["[shard 0 @h] warning: slow disk"]


# --- files and lines ---


def test_files_come_in_pieces(tmp_path: Path) -> None:
    pieces = [("a/b.db", b"12"), ("a/b.db", b"3"), ("a/c.log", b"")]
    write_pieces(iter(pieces), tmp_path)
    assert (tmp_path / "a/b.db").read_bytes() == b"123"
    assert (tmp_path / "a/c.log").read_bytes() == b""
    for name in ("../x", "/x"):
        with pytest.raises(ValueError, match="path"):
            write_pieces(iter([(name, b"")]), tmp_path)


def test_one_line_sums_up_all_shards() -> None:
    remote = Scripted(WELL)
    shards = [Shard(0, remote), Shard(1, remote, state=State.READY)]
    assert summed_up(shards) == "preparing: 1 of 2 shards are ready"
    for shard in shards:
        shard.state = State.MEASURING
        shard.progress = {
            "ended_requests": 10,
            "total_requests": 50,
            "elapsed_s": 2.0,
            "requests_per_s": 5.0,
            "output_tokens_per_s": 100.0,
            "in_flight_requests": 4,
            "failed_requests": 1,
        }
    line = "20/100 requests in 2 s: 10.0 req/s, 200 tok/s, 8 in flight, 2 failed (2 shards)"
    assert summed_up(shards) == line
    shards[0].state = State.FAILED
    assert summed_up(shards).endswith("2 failed, 1 of 2 shards lost")


# --- whole commands, with the binary ---


class Here:
    """A `ShardProcess` in this process."""

    def __init__(self) -> None:
        self.shard = ShardProcess()
        self.lost = False

    def call(self, method: str, *args: Any) -> Any:
        if self.lost:
            raise Lost("it was taken away")
        return getattr(self.shard, method)(*args)

    def stream(self, method: str, *args: Any) -> Iterator[Any]:
        for item in self.call(method, *args):
            if self.lost:
                raise Lost("it was taken away")
            yield item

    def end(self) -> None:
        self.shard.kill()


class Machines:
    """A cluster of this one machine."""

    def __init__(self) -> None:
        self.remotes: list[Here] = []
        self.placed = 0

    def place(
        self,
        shards: int,
        cpus: float,
        strategy: str,
        patience_s: float,
        runtime_env: Mapping[str, Any] | None,
    ) -> AbstractContextManager[Machines]:
        self.placed += 1
        self.remotes = [Here() for _ in range(shards)]
        return nullcontext(self)


@pytest.fixture
def shards_needed(binary: str) -> None:
    shown = subprocess.run([binary, "--help"], capture_output=True, text=True, check=True).stdout
    if "merge" not in shown:
        pytest.skip("this binary has no `merge`")


def run(
    argv: Sequence[str], tmp_path: Path, machines: Machines, screen: Any = None, **settings: Any
) -> Any:
    line = ["--model=m", "--dataset=sample", f"--outputs-dir={tmp_path / 'out'}", *argv]
    line += ["--no-timestamp", "--name=run", "--max-tokens=2"]
    command = Command.of(line, {}, Settings(**{"shards": 2, "show_output": False, **settings}))
    return command.run(machines, screen)


def rows(folder: Path) -> list[int]:
    with sqlite3.connect(folder / "benchmark_data.db") as database:
        return [row[0] for row in database.execute("SELECT idx FROM result ORDER BY idx")]


@pytest.mark.usefixtures("shards_needed")
def test_a_sweep_is_measured_and_merged(simulate: Callable[..., str], tmp_path: Path) -> None:
    machines = Machines()
    argv = [f"--url={simulate()}", "--parallel", "2", "4", "--number", "10", "8"]
    results = run(argv, tmp_path, machines)
    assert list(results) == ["parallel_2_number_10", "parallel_4_number_8"]
    assert machines.placed == 2
    for run_result, number in zip(results.values(), (10, 8)):
        assert run_result.result["counts"]["succeeded"] == number
        assert rows(run_result.folder) == list(range(number))
    assert results.folder == tmp_path / "out" / "run"
    # the second point goes on where the first one ended
    settings = [
        json.loads((r.folder / "benchmark_args.json").read_text()) for r in results.values()
    ]
    assert settings[1]["dataset_offset"] == 10
    # what was merged needs no second copy
    assert not (tmp_path / "out" / "run-shards").exists()
    assert machines.remotes[0].shard._own_folder is not None
    assert not Path(machines.remotes[0].shard._own_folder).exists()


@pytest.mark.usefixtures("shards_needed")
@pytest.mark.parametrize("collect", ["path", "file"])
def test_results_come_by_other_ways(
    simulate: Callable[..., str], tmp_path: Path, collect: str
) -> None:
    if collect == "file":
        pytest.importorskip("fsspec")
        collect = f"file://{tmp_path / 'bucket'}"
    results = run(
        [f"--url={simulate()}", "-n", "6", "--parallel=2"], tmp_path, Machines(), collect=collect
    )
    (only,) = results.values()
    assert rows(only.folder) == list(range(6))


@pytest.mark.usefixtures("shards_needed")
@pytest.mark.parametrize("allow_partial", [False, True])
def test_a_machine_is_lost_during_a_run(
    simulate: Callable[..., str], tmp_path: Path, allow_partial: bool
) -> None:
    machines = Machines()

    class Taking(Screen):
        def progress(self, shards: Sequence[Shard]) -> None:
            if shards[0].progress.get("ended_requests"):
                machines.remotes[0].lost = True

    url = simulate("--ttft-ms", "300")
    argv = [f"--url={url}", "--parallel=2", "--number=20"]
    screen = Taking(silent=True)
    if not allow_partial:
        with pytest.raises(EvalscopeError, match="it was taken away") as caught:
            run(argv, tmp_path, machines, screen)
        assert caught.value.exit_code == 1
        # what the other one has measured is kept
        kept = tmp_path / "out" / "run-shards" / "point-1" / "shard-1-of-2"
        assert list(kept.rglob("benchmark_data.db"))
        return
    results = run(argv, tmp_path, machines, screen, allow_partial=True)
    (only,) = results.values()
    assert rows(only.folder) == list(range(1, 20, 2))


@pytest.mark.usefixtures("shards_needed")
def test_a_point_is_measured_anew(simulate: Callable[..., str], tmp_path: Path) -> None:
    machines = Machines()

    class Taking(Screen):
        def progress(self, shards: Sequence[Shard]) -> None:
            if machines.placed == 1 and shards[0].progress.get("ended_requests"):
                machines.remotes[0].lost = True

    argv = [f"--url={simulate('--ttft-ms', '300')}", "--parallel=2", "--number=12"]
    results = run(argv, tmp_path, machines, Taking(silent=True), point_retries=1)
    (only,) = results.values()
    assert rows(only.folder) == list(range(12))
    assert machines.placed == 2


@pytest.mark.usefixtures("shards_needed")
def test_an_interrupted_run_is_merged(simulate: Callable[..., str], tmp_path: Path) -> None:
    class Pressing(Screen):
        pressed = False

        def progress(self, shards: Sequence[Shard]) -> None:
            if not self.pressed and all(s.progress.get("ended_requests") for s in shards):
                self.pressed = True
                signal.raise_signal(signal.SIGINT)

    argv = [f"--url={simulate('--ttft-ms', '300')}", "--parallel=2", "--number=1000"]
    with pytest.raises(BenchmarkInterrupted) as caught:
        run(argv, tmp_path, Machines(), Pressing(silent=True))
    results = caught.value.results
    assert results is not None
    (only,) = results.values()
    assert 2 <= only.result["counts"]["succeeded"] < 1000


def test_mistakes_are_found_before_anything_starts(tmp_path: Path) -> None:
    for argv, says in [
        (["--shard=0/2"], "`--shard` is given to the shards here"),
        (["--visualizer", "wandb"], "`--visualizer` would act in every shard"),
    ]:
        with pytest.raises(EvalscopeError, match=says) as caught:
            run(argv, tmp_path, Machines())
        assert caught.value.exit_code == 2
    (tmp_path / "out" / "run").mkdir(parents=True)
    (tmp_path / "out" / "run" / "result.json").touch()
    with pytest.raises(EvalscopeError, match="is not empty"):
        run([], tmp_path, Machines())


def test_without_ray_the_command_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["--shards", "2", "--", "perf", "http://127.0.0.1:9"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: a run by several machines needs Ray")
    assert "pip install 'evalscope[ray]'" in said


def test_the_package_does_not_import_ray() -> None:
    code = "import sys, evalscope.perf.ray; sys.exit('ray' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert importlib.import_module("evalscope.perf.ray").__all__


def test_the_command_of_the_shards_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--shards", "2", "--", "report", "x"])
    assert "-- perf URL" in capsys.readouterr().err
