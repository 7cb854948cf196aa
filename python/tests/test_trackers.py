"""Trackers, with stand-ins for their client libraries; `ci/trackers` takes the real ones."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import FIXTURES
from peer import PACKAGE, PluginProcess

Libraries = Callable[..., str]
RUN = "parallel_8_number_200"

# Writes down every call on anything.
RECORDER = """
import json, os
CALLS = os.environ["CALLS"]
class Anything:
    def __init__(self, name, **known):
        self._name = name
        self.__dict__.update(known)
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Anything(f"{self._name}.{name}")
    def __call__(self, *args, **kwargs):
        with open(CALLS, "a") as file:
            file.write(json.dumps([self._name, args, kwargs], default=repr) + "\\n")
        return Anything(f"{self._name}()", **RESULTS.get(self._name, {}))
"""
LIBRARIES = {
    "wandb": """
URL = "https://tracker.example/perf_benchmark/runs/1"
RESULTS = {"wandb.init": {"url": URL, "id": "1"}}
def __getattr__(name):
    if name.startswith("__"): raise AttributeError(name)
    return Anything(f"wandb.{name}")
""",
    "swanlab": """
RESULTS = {"swanlab.init": {"url": "https://swanlab.example/1"}}
def __getattr__(name):
    if name.startswith("__"): raise AttributeError(name)
    if name == "login" and os.environ.get("SWANLAB_API_KEY") == "bad":
        raise ValueError("wrong key")
    return Anything(f"swanlab.{name}")
""",
    "clearml": """
RESULTS = {}
def __getattr__(name):
    if name.startswith("__"): raise AttributeError(name)
    return Anything(f"clearml.{name}")
""",
}


@pytest.fixture
def plugin(tmp_path: Path) -> Callable[..., PluginProcess]:
    def start(kind: str, **environment: str) -> PluginProcess:
        for name, text in LIBRARIES.items():
            (tmp_path / f"{name}.py").write_text(RECORDER + text)
        path = f"{tmp_path}:{PACKAGE}"
        environment = {"PYTHONPATH": path, "CALLS": str(tmp_path / "calls"), **environment}
        return PluginProcess("--role", "tracker", "--kind", kind, **environment)

    return start


Start = Callable[..., PluginProcess]


def calls(tmp_path: Path) -> list[Any]:
    return [json.loads(line) for line in (tmp_path / "calls").read_text().splitlines()]


def a_run(peer: PluginProcess, tmp_path: Path) -> Any:
    peer.hello("tracker", None, visualizer="x", project=None)
    started = peer.ask("start", settings={"model": "m"}, name="nightly", output_dir=str(tmp_path))
    for step in (1, 2):
        peer.ask("metrics", run=RUN, step=step, values={"succeeded": step, "ttft_ms": None})
    rows = [{"Percentiles": "min", "TTFT (ms)": 1.0}, {"Percentiles": "99%", "TTFT (ms)": None}]
    metrics = {"Avg TTFT (ms)": 2.5, "Avg ITL (ms)": None}
    peer.ask("summary", run=RUN, metrics=metrics, percentiles=rows)
    paths = [str(tmp_path / "result.json"), str(tmp_path / RUN / "benchmark_summary.json")]
    peer.ask("files", paths=paths)
    peer.ask("bye")
    assert peer.finish()[0] == 0
    return started


def test_the_golden_exchange(plugin: Start) -> None:
    lines = [json.loads(line) for line in (FIXTURES / "tracker.jsonl").read_text().splitlines()]
    with plugin("wandb") as peer:
        for request, answer in zip(lines[::2], lines[1::2]):
            peer.send_line(json.dumps(request["line"]).encode())
            assert peer.receive() == answer["line"]


def test_wandb(plugin: Start, tmp_path: Path) -> None:
    with plugin("wandb", WANDB_PROJECT="mine") as peer:
        assert a_run(peer, tmp_path) == {"url": "https://tracker.example/perf_benchmark/runs/1"}
    made = calls(tmp_path)
    expected = {
        "project": "mine",
        "name": "nightly",
        "dir": str(tmp_path),
        "config": {"model": "m"},
    }
    assert made[0] == ["wandb.init", [], expected]
    logged = [call[1][0] for call in made if call[0] == "wandb.init().log"]
    assert logged[:2] == [{f"{RUN}/step": step, f"{RUN}/succeeded": step} for step in (1, 2)]
    assert ["wandb.init().summary.update", [{f"{RUN}/Avg TTFT (ms)": 2.5}], {}] in made
    files = [call[2]["name"] for call in made if call[0].endswith("add_file")]
    assert files == ["result.json", f"{RUN}/benchmark_summary.json"]
    assert made[-1] == ["wandb.init().finish", [], {"exit_code": 0}]


def test_swanlab(plugin: Start, tmp_path: Path) -> None:
    environment = {"SWANLAB_WORKSPACE": "team", "SWANLAB_API_KEY": "k", "SWANLAB_HOST": "http://h"}
    with plugin("swanlab", **environment) as peer:
        assert a_run(peer, tmp_path) == {"url": "https://swanlab.example/1"}
    made = calls(tmp_path)
    assert made[0] == ["swanlab.login", [], {"api_key": "k", "host": "http://h"}]
    assert made[1][0] == "swanlab.init"
    assert (made[1][2]["project"], made[1][2]["workspace"]) == ("perf_benchmark", "team")
    assert made[1][2]["mode"] is None
    assert ["swanlab.init().log", [{f"{RUN}/succeeded": 2}], {"step": 2}] in made
    assert ["swanlab.init().log", [{f"{RUN}/percentiles/TTFT (ms)": 1.0}], {"step": 0}] in made
    assert made[-1] == ["swanlab.init().finish", [], {}]


def test_swanlab_stays_on_this_machine(plugin: Start, tmp_path: Path) -> None:
    with plugin("swanlab", SWANLAB_API_KEY="local", SWANLAB_PROJ_NAME="mine") as peer:
        a_run(peer, tmp_path)
    first = calls(tmp_path)[0]
    assert first[0] == "swanlab.init"
    assert (first[2]["project"], first[2]["mode"]) == ("mine", "offline")


def test_clearml(plugin: Start, tmp_path: Path) -> None:
    with plugin("clearml", CLEARML_PROJECT_NAME="mine") as peer:
        assert a_run(peer, tmp_path) == {"url": None}
    made = calls(tmp_path)
    assert made[0][0] == "clearml.Task.init"
    # its end would wait for git, which has nothing to do with a measurement
    assert made[0][2]["auto_connect_frameworks"]["detect_repository"] is False
    assert (made[0][2]["project_name"], made[0][2]["task_name"]) == ("mine", "nightly")
    logger = "clearml.Task.init().get_logger()"
    assert [f"{logger}.report_scalar", ["succeeded", RUN, 2], {"iteration": 2}] in made
    assert [f"{logger}.report_single_value", [f"{RUN}/Avg TTFT (ms)", 2.5], {}] in made
    (table,) = (call for call in made if call[0] == f"{logger}.report_table")
    assert table[2]["table_plot"][0] == ["Percentiles", "TTFT (ms)"]
    assert made[-1] == ["clearml.Task.init().close", [], {}]


def test_the_option_goes_before_the_environment(plugin: Start, tmp_path: Path) -> None:
    with plugin("wandb", WANDB_PROJECT="mine") as peer:
        peer.hello("tracker", project="asked")
        peer.ask("start", settings={}, name="n", output_dir=str(tmp_path))
    assert calls(tmp_path)[0][2]["project"] == "asked"


def test_a_login_that_fails_is_an_error(plugin: Start, tmp_path: Path) -> None:
    with plugin("swanlab", SWANLAB_API_KEY="bad") as peer:
        peer.hello("tracker")
        error = peer.fail("start", settings={}, name="n", output_dir=str(tmp_path))
    assert error["message"] == "swanlab (start) raised ValueError: wrong key"


@pytest.mark.parametrize("kind", ["wandb", "swanlab", "clearml"])
def test_a_missing_library_says_how_to_install_it(kind: str) -> None:
    if any(Path(entry, kind).exists() for entry in sys.path):
        pytest.skip(f"{kind} is installed here")
    with PluginProcess("--role", "tracker", "--kind", kind) as peer:
        error = peer.fail("hello", protocol=1, role="tracker", name=None, options={})
    assert error == {
        "message": f"`--visualizer {kind}` needs its client library: pip install {kind}",
        "traceback": None,
    }


def test_a_tool_that_is_gone_leaves_a_failed_run(plugin: Start, tmp_path: Path) -> None:
    with plugin("wandb") as peer:
        peer.hello("tracker")
        peer.ask("start", settings={}, name="n", output_dir=str(tmp_path))
        peer.finish()
    assert calls(tmp_path)[-1] == ["wandb.init().finish", [], {"exit_code": 1}]
