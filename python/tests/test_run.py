"""`run_perf_benchmark`: with the real binary and its simulated server, and with a stand-in."""

from __future__ import annotations

import argparse
import base64
import contextlib
import io
import json
import os
import pickle
import pty
import re
import select
import signal
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from evalscope import EvalscopeError
from evalscope.errors import UnknownOption
from evalscope.perf import main
from evalscope.perf.arguments import Arguments
from evalscope.perf.main import run_perf_benchmark
from evalscope.perf.plugin import (
    ApiPluginBase,
    DatasetPluginBase,
    DefaultApiPlugin,
    Turn,
    register_api,
    register_dataset,
)
from evalscope.perf.results import Results, SLAResult
from peer import PACKAGE

DOCUMENTED = Path(__file__).parent / "documented"
Simulate = Callable[..., str]


@pytest.fixture
def options(simulate: Simulate, tmp_path: Path) -> dict[str, Any]:
    return {
        "url": simulate(),
        "model": "sim",
        "dataset": "sample",
        "parallel": 2,
        "number": 6,
        "max_tokens": 4,
        "outputs_dir": str(tmp_path / "out"),
    }


# --- with the binary ---


def test_a_dataset_of_ones_own_gives_conversations(options: dict[str, Any]) -> None:
    @register_dataset("talks")
    class Talks(DatasetPluginBase):
        def build_messages(self):  # type: ignore[no-untyped-def]
            for name in ("Ann", "Bob"):
                yield [
                    Turn([self.create_message(f"I am {name}")], max_tokens=3),
                    Turn([self.create_message("Who am I?")], tool_call_latency=0.01),
                ]

    results = run_perf_benchmark(
        {**options, "dataset": "talks", "number": 4, "parallel": 1, "multi_turn": True}
    )
    (folder,) = [path.parent for path in Path(options["outputs_dir"]).rglob("benchmark_data.db")]
    assert results
    with contextlib.closing(sqlite3.connect(folder / "benchmark_data.db")) as database:
        rows = database.execute("SELECT conversation, turn FROM requests ORDER BY idx").fetchall()
        bodies = database.execute("SELECT request FROM result ORDER BY idx").fetchall()
    assert rows == [(talk, turn) for talk in range(4) for turn in range(2)]
    first, second = (pickle.loads(base64.b64decode(bodies[at][0])) for at in (0, 1))
    assert first["messages"] == [{"role": "user", "content": "I am Ann"}]
    assert (first["max_tokens"], second["max_tokens"]) == (3, 4)
    said = [(message["role"], message["content"]) for message in second["messages"]]
    assert said[0][0] == "assistant"
    assert said[1] == ("user", "Who am I?")


def test_a_dict(options: dict[str, Any]) -> None:
    results = run_perf_benchmark(options)
    assert list(results) == ["parallel_2_number_6"]
    run = results["parallel_2_number_6"]
    assert run.metrics["Success Requests"] == 6
    assert run["metrics"]["Avg TTFT (ms)"] > 0
    assert run.percentiles.value("TTFT (ms)", "max") >= run.percentiles["TTFT (ms)"][0]
    assert run.percentiles[0]["Percentiles"] == "min"
    assert run.result["counts"]["succeeded"] == 6
    assert (run.folder / "benchmark_data.db").is_file()
    assert results.result["tool"]["name"] == "evalscope"
    assert results.folder.is_absolute()


def test_runs_of_earlier_commands_are_not_returned(options: dict[str, Any]) -> None:
    shared = {**options, "no_timestamp": True, "name": "shared"}
    first = run_perf_benchmark({**shared, "number": 2})
    assert list(first) == ["parallel_2_number_2"]
    second = run_perf_benchmark({**shared, "number": 3})
    assert second.folder == first.folder
    assert list(second) == ["parallel_2_number_3"]
    assert [run["name"] for run in second.result["runs"]] == [*first, *second]


def test_arguments_with_a_sweep(options: dict[str, Any]) -> None:
    sweep = Arguments(**{**options, "parallel": [1, 2], "number": [2, 4]}, sleep_interval=0)
    results = run_perf_benchmark(sweep)
    assert list(results) == ["parallel_1_number_2", "parallel_2_number_4"]
    assert [len(run.percentiles) for run in results.values()] == [14, 14]


def test_a_namespace(options: dict[str, Any]) -> None:
    namespace = argparse.Namespace(**options, rate=None, func=print)
    assert len(run_perf_benchmark(namespace)) == 1


def test_a_search(options: dict[str, Any]) -> None:
    search = {
        "sla_auto_tune": True,
        "sla_params": [{"p99_latency": "<=60s"}],
        "sla_num_runs": 1,
        "sla_upper_bound": 4,
        "sleep_interval": 0,
    }
    found = run_perf_benchmark({**options, **search, "number": None})
    assert isinstance(found, SLAResult)
    assert list(found) == ["parallel_2", "parallel_4"]
    assert [(probe.value, probe.valid) for probe in found.probes] == [(2, True), (4, True)]
    assert found.probes[0].averaged_result == found["parallel_2"]
    (selection,) = found.selections
    assert (selection.selected_value, selection.status) == (4, "best_observed")
    assert found.runs is not None
    assert {run.metrics.total_requests for run in found.runs.values()} == {4, 8}


def test_the_documented_script(
    simulate: Simulate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # as printed, but for the address, and a data set that needs no download
    script = (DOCUMENTED / "run.py").read_text()
    script = script.replace(
        "http://127.0.0.1:8000/v1/chat/completions", simulate("--output-tokens", "4")
    )
    script = script.replace('"openqa"', '"sample"')
    monkeypatch.chdir(tmp_path)
    exec(compile(script, "run.py", "exec"), {"__name__": "__main__"})
    (result,) = tmp_path.glob("outputs/*/qwen2.5/result.json")
    assert json.loads(result.read_text())["runs"][0]["counts"]["succeeded"] == 15


def test_an_unknown_name_starts_nothing(options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UnknownOption, match="`numbr`; did you mean `number`"):
        run_perf_benchmark({**options, "numbr": 3})
    assert not (tmp_path / "out").exists()


def test_a_wrong_option_is_an_error_in_the_words_of_the_tool(options: dict[str, Any]) -> None:
    with pytest.raises(EvalscopeError) as raised:
        run_perf_benchmark({**options, "lang": "xx"})
    error = raised.value
    assert error.exit_code == 2
    assert "--lang" in str(error)
    assert not str(error).startswith("error:")
    # the exception shows it: once is enough
    assert str(error) not in error.stderr
    assert error.results is None


def test_a_server_that_refuses(options: dict[str, Any], simulate: Simulate) -> None:
    with pytest.raises(EvalscopeError, match="401") as raised:
        run_perf_benchmark({**options, "url": simulate("--api-key", "right"), "api_key": "wr0ng"})
    assert raised.value.exit_code == 2
    assert "wr0ng" not in raised.value.stderr


def test_the_key_goes_through_the_environment(
    options: dict[str, Any], simulate: Simulate, help_text: str
) -> None:
    if "EVALSCOPE_API_KEY" not in help_text:
        pytest.skip("this binary's --help does not mention EVALSCOPE_API_KEY")
    url = simulate("--api-key", "right")
    results = run_perf_benchmark({**options, "url": url, "api_key": "right"})
    assert results["parallel_2_number_6"].metrics["Failed Requests"] == 0


def test_failed_requests_are_an_error_that_has_the_results(
    options: dict[str, Any], simulate: Simulate
) -> None:
    url = simulate("--fault", "http-500")
    with pytest.raises(EvalscopeError) as raised:
        run_perf_benchmark({**options, "url": url, "no_test_connection": True})
    error = raised.value
    assert error.exit_code == 1
    assert error.results is not None
    assert error.results["parallel_2_number_6"].metrics["Failed Requests"] == 6


def test_two_threads_at_once(options: dict[str, Any]) -> None:
    both = threading.Barrier(2)

    def run(name: str) -> Results:
        both.wait()
        return run_perf_benchmark({**options, "name": name})

    with ThreadPoolExecutor() as pool:
        one, two = pool.map(run, ["one", "two"])
    assert (one.folder.name, two.folder.name) == ("one", "two")
    assert one["parallel_2_number_6"].metrics["Success Requests"] == 6


SCRIPT = """
    import json, os, sys, time
    from evalscope.perf.main import BenchmarkInterrupted, run_perf_benchmark
    try:
        run_perf_benchmark(json.loads(sys.argv[1]))
    except KeyboardInterrupt as interrupt:
        assert isinstance(interrupt, BenchmarkInterrupted)
        runs = interrupt.results or {}
        print("interrupted:", {name: run.result["state"] for name, run in runs.items()})
        sys.exit(99)
    """


def script(options: dict[str, Any]) -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(SCRIPT), json.dumps(options)]


def environment(binary: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": PACKAGE, "EVALSCOPE_BIN": binary}


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.02)


def test_an_interrupt_drains_and_goes_on_its_way(
    options: dict[str, Any], binary: str, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        script({**options, "number": 1_000_000, "max_tokens": 100}),
        env=environment(binary),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_for(lambda: any(tmp_path.glob("out/*/sim/*/benchmark_data.db")))
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    stdout, _ = process.communicate(timeout=30)
    assert process.returncode == 99
    assert stdout.endswith("interrupted: {'parallel_2_number_1000000': 'interrupted'}\n")


def test_in_a_terminal_ctrl_c_arrives_once(
    options: dict[str, Any], simulate: Simulate, binary: str, tmp_path: Path
) -> None:
    # a server that never answers: the first Ctrl-C waits for it, the second does not
    url = simulate("--fault", "stall-before")
    stalled = {**options, "url": url, "no_test_connection": True}
    pid, terminal = pty.fork()
    if pid == 0:
        command = script(stalled)
        os.execve(command[0], command, environment(binary))
    said = b""

    def read(seconds: float) -> None:
        nonlocal said
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if select.select([terminal], [], [], 0.05)[0]:
                try:
                    said += os.read(terminal, 65536)
                except OSError:
                    return

    def ended() -> bool:
        read(0.05)
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    wait_for(lambda: any(tmp_path.glob("out/*/sim/*/benchmark_data.db")))
    read(0.5)
    os.write(terminal, b"\x03")
    read(1.5)
    assert not ended(), said.decode()
    os.write(terminal, b"\x03")
    wait_for(ended)
    read(0.5)
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    text = said.decode()
    assert os.WEXITSTATUS(status) == 99, text
    # the progress bar: the tool knows that it is at a terminal
    assert "\x1b[" in text


# --- with a stand-in ---


class StandIn:
    """Puts the stand-in where the binary would be, and reads what it wrote down."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self._monkeypatch = monkeypatch
        tool = folder / "tool"
        source = Path(__file__).with_name("stand_in_tool.py")
        tool.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{source}" "$@"\n')
        tool.chmod(0o755)
        self.path = str(tool)
        monkeypatch.setattr(main, "find_evalscope_bin", lambda: self.path)
        self.told()

    def told(self, **told: Any) -> None:
        report = {"report": str(self.folder / "report.json")}
        self._monkeypatch.setenv("STAND_IN", json.dumps({**report, **told}))

    def report(self) -> Any:
        return json.loads((self.folder / "report.json").read_text())


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    return StandIn(tmp_path, monkeypatch)


def test_how_the_tool_is_called(stand_in: StandIn) -> None:
    results = run_perf_benchmark({"model": "m", "api_key": "sk-1", "wandb_api_key": "sk-2"})
    assert list(results) == ["parallel_1_number_2"]
    report = stand_in.report()
    assert report["argv"] == ["perf", "--model=m", "--visualizer=wandb"]
    given = report["environment"]
    assert given["EVALSCOPE_PYTHON"] == sys.executable
    assert given["EVALSCOPE_API_KEY"] == "sk-1"
    assert given["WANDB_API_KEY"] == "sk-2"
    assert given["EVALSCOPE_EXIT_WITH_PARENT"] == "1"
    # nothing can be left behind
    assert given["EVALSCOPE_ERROR_FILE"].startswith("/dev/fd/")
    assert given["EVALSCOPE_RESULT_PATH_FILE"].startswith("/dev/fd/")
    # a session of its own, so that the terminal's Ctrl-C is not delivered twice
    assert report["session"] == report["pid"]


def test_in_another_thread_it_stays_in_the_session(stand_in: StandIn) -> None:
    with ThreadPoolExecutor() as pool:
        pool.submit(run_perf_benchmark, {}).result()
    assert stand_in.report()["session"] == os.getsid(0)


def test_output_goes_where_the_output_of_python_goes(stand_in: StandIn) -> None:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        run_perf_benchmark({})
    assert out.getvalue() == "a table on stdout\n"
    assert err.getvalue() == "progress on stderr\n"


def test_output_can_be_silenced(stand_in: StandIn, capfd: pytest.CaptureFixture[str]) -> None:
    stand_in.told(exit_code=2, error="wrong")
    out, err = io.StringIO(), io.StringIO()
    expected = pytest.raises(EvalscopeError, match=r"^wrong$")
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), expected as raised:
        run_perf_benchmark({}, show_output=False)
    assert raised.value.stderr == "progress on stderr\n"
    assert (out.getvalue(), err.getvalue()) == ("", "")
    assert capfd.readouterr() == ("", "")


def test_output_goes_to_files_too(stand_in: StandIn, tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    with path.open("w") as file, contextlib.redirect_stdout(file):
        print("before")
        run_perf_benchmark({})
        print("after")
    assert path.read_text() == "before\na table on stdout\nafter\n"


def test_the_error_file_has_the_last_word(stand_in: StandIn) -> None:
    stand_in.told(exit_code=2, error="the test request failed\n  hint: look")
    with pytest.raises(EvalscopeError, match=r"^the test request failed\n  hint: look$") as raised:
        run_perf_benchmark({})
    assert raised.value.stderr == "progress on stderr\n"


def test_without_words_the_figures_speak(stand_in: StandIn) -> None:
    stand_in.told(exit_code=1)
    with pytest.raises(EvalscopeError, match=r"^1 of 2 requests failed; results are in ") as raised:
        run_perf_benchmark({})
    assert raised.value.results is not None


def test_without_dev_fd_there_is_a_folder(
    stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exists = os.path.exists
    monkeypatch.setattr(
        os.path, "exists", lambda path: not str(path).startswith("/dev/fd") and exists(path)
    )
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    stand_in.told(exit_code=2, error="no")
    with pytest.raises(EvalscopeError, match=r"^no$") as raised:
        run_perf_benchmark({})
    assert raised.value.results is not None
    folder = Path(stand_in.report()["environment"]["EVALSCOPE_ERROR_FILE"]).parent
    assert folder.parent == tmp_path
    assert folder.name.startswith("evalscope-run-")
    assert not folder.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_caller_that_is_killed_leaves_nothing(
    stand_in: StandIn, tmp_path: Path, number: signal.Signals
) -> None:
    stand_in.told(wait_stdin=True)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    code = (
        "from evalscope.perf import main;"
        f"main.find_evalscope_bin = lambda: {stand_in.path!r};"
        "main.run_perf_benchmark({})"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**environment(""), "TMPDIR": str(temporary)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    assert process.stderr.readline() == b"progress on stderr\n"
    process.send_signal(number)
    process.communicate()
    wait_for((tmp_path / "report.json").exists)
    assert list(temporary.iterdir()) == []


# What a daemon has: numbers 0 to 2 closed before Python starts, or by it.
CLOSED = """
    import json, os, sys
    options, said = json.loads(sys.argv[1]), open(sys.argv[2], "w", buffering=1)
    if sys.argv[3] == "later":
        os.closerange(0, 3)
    elif sys.argv[3] == "objects":
        sys.stdout.close()
        sys.stderr.close()
    from evalscope.perf.main import run_perf_benchmark
    from evalscope.perf.plugin import DatasetPluginBase, register_dataset
    @register_dataset("mine")
    class Mine(DatasetPluginBase):
        def build_messages(self):
            print("made here")
            yield "prompt"
    try:
        print(list(run_perf_benchmark(options)), file=said)
        run_perf_benchmark({**options, "lang": "xx"})
    except BaseException as error:
        print(repr(error), file=said)
    """


@pytest.mark.parametrize("when", ["before", "later", "objects"])
def test_a_daemon_without_standard_streams(
    options: dict[str, Any], binary: str, tmp_path: Path, when: str
) -> None:
    said = tmp_path / "said"
    options["dataset"] = "sample" if when == "objects" else "mine"
    command = [sys.executable, "-c", textwrap.dedent(CLOSED), json.dumps(options), str(said), when]
    if when == "before":
        command = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command]
    process = subprocess.run(
        command, env=environment(binary), stdin=subprocess.DEVNULL, capture_output=True, timeout=60
    )
    assert process.stdout == process.stderr == b""
    first, second = said.read_text().splitlines()
    assert first == "['parallel_2_number_6']"
    assert second.startswith("EvalscopeError(")
    assert "--lang" in second


def test_standard_input_stays_the_callers(options: dict[str, Any], binary: str) -> None:
    code = """
        import json, sys
        from evalscope.perf.main import run_perf_benchmark
        first = sys.stdin.buffer.raw.read(6)
        run_perf_benchmark(json.loads(sys.argv[1]))
        sys.exit(0 if [first, sys.stdin.buffer.raw.read(6)] == [b"line1\\n", b"line2\\n"] else 9)
        """
    process = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), json.dumps(options)],
        env=environment(binary),
        input=b"line1\nline2\n",
        stdout=subprocess.DEVNULL,
        timeout=60,
    )
    assert process.returncode == 0


def test_an_exit_code_of_130_is_an_interrupt(stand_in: StandIn) -> None:
    stand_in.told(exit_code=130)
    with pytest.raises(main.BenchmarkInterrupted, match="what was measured is in ") as raised:
        run_perf_benchmark({})
    assert raised.value.results is not None


@pytest.mark.parametrize("restarts", [False, True])
def test_each_interrupt_is_passed_on(stand_in: StandIn, restarts: bool) -> None:
    stand_in.told(interrupts=2)
    # as after a query of polars: system calls go on after the signal
    signal.siginterrupt(signal.SIGINT, not restarts)

    def interrupt() -> None:
        for _ in range(2):
            time.sleep(1)
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run_perf_benchmark({})
    thread.join()
    signal.siginterrupt(signal.SIGINT, True)
    assert stand_in.report()["interrupts"] == 2


def test_the_tool_can_see_that_python_was_killed(stand_in: StandIn, tmp_path: Path) -> None:
    stand_in.told(wait_stdin=True)
    code = (
        "from evalscope.perf import main;"
        f"main.find_evalscope_bin = lambda: {stand_in.path!r};"
        "main.run_perf_benchmark({})"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=environment(""), stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    assert process.stderr.readline() == b"progress on stderr\n"
    process.kill()
    wait_for((tmp_path / "report.json").exists)
    process.communicate()


def test_a_tool_that_cannot_be_found() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EVALSCOPE_BIN", "/nowhere")
        with pytest.raises(EvalscopeError, match="EVALSCOPE_BIN"):
            run_perf_benchmark({})


def test_a_wrong_kind_of_value_starts_nothing(stand_in: StandIn, tmp_path: Path) -> None:
    with pytest.raises(EvalscopeError, match="`api` is a text, not a list"):
        run_perf_benchmark({"api": ["openai"]})
    assert not (tmp_path / "report.json").exists()


# --- classes of this process ---


@register_dataset("of_the_repl")
class OfTheRepl(DatasetPluginBase):
    def build_messages(self) -> Any:
        yield self.query_parameters.model
        yield "two"


@register_api("of_the_repl")
class ApiOfTheRepl(ApiPluginBase):
    def build_request(self, messages: Any, param: Any) -> Any:
        return {"messages": messages, "pid": os.getpid(), "thread": threading.current_thread().name}

    def parse_responses(self, responses: Any, request: Any = None, **kwargs: Any) -> Any:
        return json.loads(responses[0])["n"], len(request["messages"])


def test_registered_classes_are_served_from_here(stand_in: StandIn) -> None:
    run_perf_benchmark({"api": "of_the_repl", "dataset": "of_the_repl", "model": "m"})
    report = stand_in.report()
    assert report["dataset"] == [
        {"protocol": 1, "name": "of_the_repl"},
        {"items": [{"text": "qwen3"}, {"text": "two"}], "end": False},
        {},
        {"items": [{"text": "qwen3"}], "end": False},
        {},
    ]
    greeting, built, parsed, bye = report["api"]
    assert (greeting["name"], bye) == ("of_the_repl", {})
    (body,) = built["bodies"]
    assert body["pid"] == os.getpid()
    assert body["thread"] == "evalscope-plugin"
    assert parsed == {"counts": [{"prompt_tokens": 3, "completion_tokens": 1}]}
    # the sockets were in private folders, which are gone
    argv = report["argv"]
    sockets = [word.partition("unix:")[2] for word in argv if "=unix:" in word]
    assert argv == [
        "perf",
        "--model=m",
        f"--api=unix:{sockets[0]}",
        f"--dataset=unix:{sockets[1]}",
    ]
    # the name is what results show: the path is another each time
    assert sockets[0].endswith("/api.sock:of_the_repl")
    assert not any(os.path.exists(os.path.dirname(path)) for path in sockets)


def test_other_names_are_the_tools_to_understand(stand_in: StandIn) -> None:
    run_perf_benchmark({"api": "openai", "dataset": "my/plugin.py:name"})
    assert stand_in.report()["argv"] == ["perf", "--api=openai", "--dataset=my/plugin.py:name"]


def test_registered_classes_with_the_binary(options: dict[str, Any], help_text: str) -> None:
    if not re.search(r"\bunix:", help_text):
        pytest.skip("this binary's --help does not mention unix: sockets for --api and --dataset")

    @register_dataset("counted")
    class Counted(DatasetPluginBase):
        def build_messages(self) -> Any:
            for number in range(3):
                yield [{"role": "user", "content": f"prompt {number}"}]

    @register_api("counted")
    class CountedApi(DefaultApiPlugin):
        def parse_responses(self, responses: Any, request: Any = None, **kwargs: Any) -> Any:
            return 7, 5

    results = run_perf_benchmark({**options, "dataset": "counted", "api": "counted"})
    metrics = results["parallel_2_number_6"].metrics
    assert metrics["Success Requests"] == 6
    assert (metrics["Avg Input Tokens"], metrics["Avg Output Tokens"]) == (7, 5)
    settings = results.result["settings"]
    assert (settings["dataset"], settings["api"]) == ("counted", "counted")


def test_an_unknown_name_is_told_with_those_registered_here(options: dict[str, Any]) -> None:
    with pytest.raises(EvalscopeError) as raised:
        run_perf_benchmark({**options, "dataset": "of_the_rpl"})
    said = str(raised.value)
    assert "unknown dataset `of_the_rpl`" in said
    assert "\n  hint: registered here for `dataset`: of_the_repl" in said
    assert said.endswith("; did you mean `of_the_repl`?")
    with pytest.raises(EvalscopeError, match=r"hint: registered here for `api`: of_the_repl"):
        run_perf_benchmark({**options, "api": "zzz"})
    with pytest.raises(EvalscopeError) as raised:
        run_perf_benchmark({**options, "number": 0})
    assert "registered here" not in str(raised.value)


def test_a_folder_called_evalscope_is_not_taken_for_the_package(
    options: dict[str, Any],
    plugin_file: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    work = tmp_path / "checkout of something else"
    (work / "evalscope").mkdir(parents=True)
    (work / "evalscope" / "__init__.py").write_text("raise ImportError('another evalscope')\n")
    (work / "beside.py").write_text("PROMPT = 'from a module where the command runs'\n")
    plugin = plugin_file(
        "from evalscope.perf.plugin import DatasetPluginBase, register_dataset\n"
        "import beside\n"
        "@register_dataset('mine')\n"
        "class Mine(DatasetPluginBase):\n"
        "    def build_messages(self):\n"
        "        while True:\n"
        "            yield beside.PROMPT\n"
    )
    monkeypatch.chdir(work)
    results = run_perf_benchmark({**options, "dataset": plugin})
    assert results["parallel_2_number_6"].metrics["Success Requests"] == 6
