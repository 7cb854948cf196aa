"""The serving loop as a process: the golden exchanges, and plugins that misbehave."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import FIXTURES
from peer import PACKAGE, PluginProcess, hello

Write = Callable[..., str]

DATASET = """
    @register_dataset("numbers")
    class Numbers(DatasetPluginBase):
        def build_messages(self):
            for number in range(5):
                yield str(number)
    """
API = """
    @register_api("echo")
    class Echo(ApiPluginBase):
        def build_request(self, messages, param):
            return {"prompt": messages, "max_tokens": param.max_tokens}
        def parse_responses(self, responses, request=None, **kwargs):
            return len(responses), len(responses[0])
    """


def exchange(name: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    lines = [json.loads(line) for line in (FIXTURES / name).read_text("utf-8").splitlines()]
    assert [line["to"] for line in lines] == ["plugin", "tool"] * (len(lines) // 2)
    return [(lines[i]["line"], lines[i + 1]["line"]) for i in range(0, len(lines), 2)]


def without_traceback(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: bool(item) if key == "traceback" else without_traceback(item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [without_traceback(item) for item in value]
    return value


@pytest.mark.parametrize(
    ("name", "role"), [("dataset", "dataset"), ("api", "api"), ("refused", "api")]
)
def test_golden_exchanges(name: str, role: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FIXTURES)
    with PluginProcess("example.py", "--role", role) as plugin:
        for request, expected in exchange(f"{name}.jsonl"):
            plugin.send_line(json.dumps(request).encode())
            assert without_traceback(plugin.receive()) == without_traceback(expected)
        assert plugin.finish() == (0, "")
    assert not (FIXTURES / "__pycache__").exists()


def test_requests_may_be_sent_ahead(plugin_file: Write) -> None:
    with PluginProcess(plugin_file(DATASET), "--role", "dataset") as plugin:
        plugin.send("hello", **hello("dataset"))
        for _ in range(4):
            plugin.send("next", max=2)
        answers = [plugin.receive() for _ in range(5)]
        assert [answer["id"] for answer in answers] == [1, 2, 3, 4, 5]
        texts = [[item["text"] for item in a["result"]["items"]] for a in answers[1:]]
        assert texts == [["0", "1"], ["2", "3"], ["4"], []]
        assert [a["result"]["end"] for a in answers[1:]] == [False, False, True, True]


def test_it_ends_with_the_input_and_without_a_word(plugin_file: Write) -> None:
    with PluginProcess(plugin_file(DATASET), "--role", "dataset") as plugin:
        plugin.hello("dataset")
        assert plugin.finish() == (0, "")


def test_what_a_plugin_prints_goes_to_stderr(plugin_file: Write) -> None:
    path = plugin_file(
        """
        print("printed while imported")
        @register_dataset("loud")
        class Loud(DatasetPluginBase):
            def build_messages(self):
                print("printed: é", flush=True)
                os.write(1, b"written to descriptor 1\\n")
                os.system("echo from a child process")
                sys.__stdout__.write("through the first stdout\\n")
                sys.__stdout__.flush()
                yield repr(sys.stdin.read())
        """
    )
    with PluginProcess(path, "--role", "dataset") as plugin:
        plugin.hello("dataset")
        assert plugin.ask("next", max=5) == {"items": [{"text": "''"}], "end": True}
        plugin.ask("bye")
        code, stderr = plugin.finish()
    assert code == 0
    for text in ("while imported", "printed: é", "descriptor 1", "child process", "first stdout"):
        assert text in stderr


def test_errors_have_the_traceback_from_the_plugin_on(plugin_file: Write) -> None:
    path = plugin_file(
        """
        @register_dataset("breaks")
        class Breaks(DatasetPluginBase):
            def build_messages(self):
                yield "good"
                yield "good too"
                raise ValueError("no more")
        """
    )
    with PluginProcess(path, "--role", "dataset") as plugin:
        plugin.hello("dataset")
        # what was good is not lost
        assert plugin.ask("next", max=10) == {
            "items": [{"text": "good"}, {"text": "good too"}],
            "end": False,
        }
        error = plugin.fail("next", max=10)
        assert error["message"] == "build_messages raised ValueError: no more"
        assert 'raise ValueError("no more")' in error["traceback"]
        assert "evalscope/perf" not in error["traceback"]
        # and it goes on
        plugin.ask("rewind")
        assert plugin.ask("next", max=1)["items"] == [{"text": "good"}]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import nonsense_that_is_not_there", "ModuleNotFoundError"),
        ("def broken(:", "SyntaxError"),
        ("sys.exit(3)", "SystemExit: 3"),
        ("x = 1", 'registers no dataset: put @register_dataset("name") on a class'),
        (
            """
            @register_dataset("one")
            class One(DatasetPluginBase): pass
            @register_dataset("two")
            class Two(DatasetPluginBase): pass
            """,
            "registers several: one (One), two (Two); say which one: `--dataset",
        ),
        (
            """
            @register_dataset("bare")
            class Bare: pass
            """,
            "class Bare has no method `build_messages`",
        ),
        (
            """
            @register_dataset("init")
            class Init(DatasetPluginBase):
                def __init__(self, param):
                    self.x = param.datasetpath
                def build_messages(self): pass
            """,
            "did you mean `dataset_path`",
        ),
        (
            """
            @register_dataset
            class Bare: pass
            """,
            'a name is missing: @register_dataset("my_dataset")',
        ),
    ],
)
def test_files_that_cannot_be_served(plugin_file: Write, text: str, said: str) -> None:
    with PluginProcess(plugin_file(text), "--role", "dataset") as plugin:
        assert said in plugin.fail("hello", **hello("dataset"))["message"]


def test_a_file_that_is_not_there() -> None:
    with PluginProcess("/nowhere/plugin.py", "--role", "api") as plugin:
        error = plugin.fail("hello", **hello("api"))
        assert error == {"message": "there is no file /nowhere/plugin.py", "traceback": None}


def test_the_name_chooses_among_several(plugin_file: Write) -> None:
    path = plugin_file(
        """
        @register_dataset("one", "uno")
        class One(DatasetPluginBase):
            def build_messages(self): yield "1"
        @register_dataset(["two", "due"])
        class Two(DatasetPluginBase):
            def build_messages(self): yield "2"
        """
    )
    for argv, asked, text in (
        (["two"], None, "2"),
        ([], "uno", "1"),
        (["two"], "one", "1"),
        ([], "Two", "2"),
    ):
        with PluginProcess(path, *argv, "--role", "dataset") as plugin:
            plugin.hello("dataset", asked)
            assert plugin.ask("next", max=1)["items"] == [{"text": text}]


def test_modules_beside_the_file_can_be_imported(plugin_file: Write, tmp_path: Path) -> None:
    plugin_file(DATASET, "beside.py")
    path = plugin_file("from beside import Numbers")
    with PluginProcess(path, "--role", "dataset") as plugin:
        assert plugin.hello("dataset") == {"protocol": 1, "name": "numbers"}


WANTED = (
    "build_messages must yield a str, a list of dicts, a dict, a list of ints or a list of `Turn`; "
    "got "
)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("42", WANTED + "an int"),
        ("None", WANTED + "None"),
        ("('prompt', 10)", WANTED + "a tuple whose first element is a str"),
        ("['hello']", WANTED + "a list whose first element is a str"),
        ("[True]", WANTED + "a list whose first element is a bool"),
        ("[1, 2, 3.5]", WANTED + "a list whose element 3 is a float"),
        ("[{'role': 'user'}, 5]", WANTED + "a list whose element 2 is an int"),
        ("[]", WANTED + "an empty list"),
        ("()", WANTED + "an empty tuple"),
        ("{'x': float('nan')}", 'cannot be written as JSON: prompt["x"] is nan'),
        (
            "[{'content': [{'text': {'a'}}]}]",
            'cannot be written as JSON: prompt[0]["content"][0]["text"] is a set',
        ),
        ("'\\ud83d'", "half a surrogate pair"),
    ],
)
def test_prompts_that_cannot_be_sent(plugin_file: Write, value: str, said: str) -> None:
    path = plugin_file(
        f"""
        @register_dataset("odd")
        class Odd(DatasetPluginBase):
            def build_messages(self): yield {value}
        """
    )
    with PluginProcess(path, "--role", "dataset") as plugin:
        plugin.hello("dataset")
        assert said in plugin.fail("next", max=1)["message"]


def test_prompts_bodies_and_counts_of_other_libraries(plugin_file: Write) -> None:
    shutil.copy(Path(__file__).with_name("foreign.py"), Path(plugin_file("")).parent)
    path = plugin_file(
        """
        from foreign import *
        @register_dataset("foreign")
        class Data(DatasetPluginBase):
            def build_messages(self):
                yield Array([1, 2])
                yield [Scalar(3), Indexed(4)]
                yield {"n": Scalar(5), "x": Array([Floating(0.5)])}
                yield ({"role": "user", "content": "hi", "rank": Indexed(1)},)
        @register_api("foreign")
        class Api(ApiPluginBase):
            def build_request(self, messages, param): return {"seed": Scalar(7)}
            def parse_responses(self, responses, request=None, **kwargs):
                return Array([Scalar(3), Floating(4.0)])
        """
    )
    with PluginProcess(path, "--role", "dataset") as plugin:
        plugin.hello("dataset")
        assert plugin.ask("next", max=9)["items"] == [
            {"token_ids": [1, 2]},
            {"token_ids": [3, 4]},
            {"body": {"n": 5, "x": [0.5]}},
            {"messages": [{"role": "user", "content": "hi", "rank": 1}]},
        ]
    with PluginProcess(path, "--role", "api") as plugin:
        plugin.hello("api")
        assert plugin.ask("build", prompts=[{"text": "x"}]) == {"bodies": [{"seed": 7}]}
        answer = {"request": {}, "responses": ["{}"]}
        assert plugin.ask("parse", answers=[answer])["counts"] == [
            {"prompt_tokens": 3, "completion_tokens": 4}
        ]


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("return None", "or return a list of them; it returned None"),
        ("return 'hello'", "or return a list of them; it returned a str"),
        ("return {'a': 1}", "or return a list of them; it returned a dict"),
        ("return wait()", "must be a plain generator, not async"),
        ("return waited()", "must be a plain generator, not async"),
        ("raise ValueError('x')", "build_messages raised ValueError: x"),
    ],
)
def test_what_is_no_generator(plugin_file: Write, method: str, said: str) -> None:
    path = plugin_file(
        f"""
        async def wait(): pass
        async def waited(): yield "x"
        @register_dataset("odd")
        class Odd(DatasetPluginBase):
            def build_messages(self): {method}
        """
    )
    with PluginProcess(path, "--role", "dataset") as plugin:
        error = plugin.fail("hello", **hello("dataset"))
        assert said in error["message"]
        assert "evalscope/perf" not in str(error["traceback"])
        assert ("raise ValueError" in str(error["traceback"])) == ("raised" in said)
        assert plugin.finish() == (0, "")


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("async def build_messages(self): return []", "plain generator"),
        ("async def build_messages(self): yield 'x'", "plain generator"),
        ("async def build_request(self, messages, param): return {}", "plain method"),
        ("async def parse_responses(self, responses, request=None): return 1, 1", "plain method"),
    ],
)
def test_async_methods(plugin_file: Write, method: str, said: str) -> None:
    path = plugin_file(
        f"""
        @register_dataset("odd")
        @register_api("odd")
        class Odd:
            def build_messages(self): yield "x"
            def build_request(self, messages, param): return {{}}
            def parse_responses(self, responses, request=None, **kwargs): return 1, 1
            {method}
        """
    )
    role = "dataset" if "messages(" in method else "api"
    with PluginProcess(path, "--role", role) as plugin:
        error = plugin.fail("hello", **hello(role))
        name = method.split()[2].partition("(")[0]
        assert f"{name} must be a plain {said.split()[1]}, not async" in error["message"]
        assert plugin.finish() == (0, "")


def test_what_would_have_to_be_awaited(plugin_file: Write) -> None:
    path = plugin_file(
        """
        async def wait(value): return value
        @register_api("odd")
        class Odd(ApiPluginBase):
            def build_request(self, messages, param): return wait({})
            def parse_responses(self, responses, request=None, **kwargs): return wait((1, 1))
        """
    )
    with PluginProcess(path, "--role", "api") as plugin:
        plugin.hello("api")
        said = plugin.fail("build", prompts=[{"text": "x"}])["message"]
        assert said.startswith("build_request must be a plain method, not async")
        answer = {"request": {}, "responses": ["{}"]}
        (count,) = plugin.ask("parse", answers=[answer])["counts"]
        assert count["error"].startswith("parse_responses must be a plain method, not async")
        # no warning that something was never awaited
        assert plugin.finish() == (0, "")


def test_a_syntax_error_is_told_once(plugin_file: Write) -> None:
    path = plugin_file("def broken(:")
    beside = plugin_file("import plugin", "beside.py")
    for file, frames in ((path, []), (beside, ["import plugin"])):
        with PluginProcess(file, "--role", "dataset") as plugin:
            error = plugin.fail("hello", **hello("dataset"))
        assert error["message"] == f"{file} raised SyntaxError: invalid syntax (plugin.py, line 3)"
        trace = error["traceback"]
        assert f'  File "{path}", line 3\n    def broken(:\n' in trace
        assert "SyntaxError" not in trace
        assert "importlib" not in trace
        assert "evalscope/perf" not in trace
        assert all(frame in trace for frame in frames)
        assert trace.startswith("Traceback") == bool(frames)


def test_our_frames_are_in_no_traceback(plugin_file: Write) -> None:
    path = plugin_file(
        """
        @register_dataset("lines")
        class Lines(DatasetPluginBase):
            def build_messages(self):
                for line in self.dataset_line_by_line(self.query_parameters.dataset_path):
                    yield line
        @register_dataset("list")
        class List(DatasetPluginBase):
            def build_messages(self):
                yield from self.dataset_json_list(None)
        @register_dataset("wrapped")
        class Wrapped(DatasetPluginBase):
            def build_messages(self):
                try:
                    yield next(self.dataset_json_list(None))
                except ValueError as error:
                    raise KeyError("no row") from error
        @register_dataset("parameters")
        class Parameters(DatasetPluginBase):
            def build_messages(self, more):
                yield "x"
        """
    )
    for name in ("lines", "list", "wrapped"):
        with PluginProcess(path, "--role", "dataset") as plugin:
            plugin.hello("dataset", name)
            error = plugin.fail("next", max=1)
        assert "ValueError: `dataset_path` is missing" in str(error)
        assert "in build_messages" in error["traceback"]
        assert "evalscope/perf" not in error["traceback"]
        assert ("KeyError: 'no row'" in error["message"]) == (name == "wrapped")
    with PluginProcess(path, "--role", "dataset") as plugin:
        error = plugin.fail("hello", **hello("dataset", "parameters"))
    assert "missing 1 required positional argument: 'more'" in error["message"]
    assert error["traceback"] is None


def test_what_is_meant_for_the_tool_is_not_for_what_a_plugin_starts(plugin_file: Write) -> None:
    path = plugin_file(
        """
        @register_dataset("environment")
        class Environment(DatasetPluginBase):
            def build_messages(self):
                yield str(sorted(name for name in os.environ if name.startswith("EVALSCOPE_")))
        """
    )
    given = {
        "EVALSCOPE_ERROR_FILE": "/dev/fd/5",
        "EVALSCOPE_RESULT_PATH_FILE": "/dev/fd/6",
        "EVALSCOPE_EXIT_WITH_PARENT": "1",
        "EVALSCOPE_BIN": "",
        "EVALSCOPE_API_KEY": "kept",
    }
    with PluginProcess(path, "--role", "dataset", **given) as plugin:
        plugin.hello("dataset")
        (item,) = plugin.ask("next", max=1)["items"]
    assert "EVALSCOPE_API_KEY" in item["text"]
    assert "_FILE" not in item["text"]
    assert "PARENT" not in item["text"]


@pytest.mark.parametrize("same", [True, False])
def test_two_classes_of_one_name_are_warned_of(plugin_file: Write, same: bool) -> None:
    second = "Mine" if same else "Other"
    path = plugin_file(
        f"""
        @register_dataset("mine")
        class Mine(DatasetPluginBase):
            def build_messages(self): yield "1"
        @register_dataset("mine")
        class {second}(DatasetPluginBase):
            def build_messages(self): yield "2"
        """
    )
    with PluginProcess(path, "--role", "dataset") as plugin:
        plugin.hello("dataset")
        assert plugin.ask("next", max=1)["items"] == [{"text": "2"}]
        _, stderr = plugin.finish()
    said = "warning: dataset `mine` was evalscope_plugin_plugin.Mine and is now "
    assert stderr == "" if same else stderr.startswith(said)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return None", "build_request must return a dict, not None"),
        ("return [1]", "build_request must return a dict, not a list"),
        ("raise KeyError('x')", "build_request raised KeyError: 'x'"),
        ("sys.exit('enough')", "build_request raised SystemExit: enough"),
        ("return {'x': {1, 2}}", 'cannot be written as JSON: body["x"] is a set'),
    ],
)
def test_bodies_that_cannot_be_sent(plugin_file: Write, body: str, said: str) -> None:
    path = plugin_file(
        f"""
        @register_api("odd")
        class Odd(ApiPluginBase):
            def build_request(self, messages, param):
                {body}
            def parse_responses(self, responses, request=None, **kwargs): pass
        """
    )
    with PluginProcess(path, "--role", "api") as plugin:
        plugin.hello("api")
        assert said in plugin.fail("build", prompts=[{"text": "x"}])["message"]
        assert plugin.ask("build", prompts=[]) == {"bodies": []}


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ("(3, 4)", (3, 4)),
        ("[3.0, None]", (3, None)),
        ("None", "must return the tokens of the prompt and of the response, not None"),
        ("(1, 2, 3)", "not (1, 2, 3)"),
        ("(1, -2)", "-2, which is no number of tokens"),
        ("(1, 'x')", "'x', which is no number of tokens"),
        ("(1, True)", "returned True, which is no number of tokens"),
        ("(10**12, 10**12 + 1)", "1000000000001, which is no number of tokens"),
        ("(1, 10**30)", "which is no number of tokens"),
        ("(1, float('nan'))", "nan, which is no number of tokens"),
    ],
)
def test_counts(plugin_file: Write, counts: str, expected: Any) -> None:
    path = plugin_file(
        f"""
        @register_api("odd")
        class Odd(ApiPluginBase):
            def build_request(self, messages, param): return {{}}
            def parse_responses(self, responses, request=None, **kwargs):
                assert responses == [b'{{"text": "\\xc3\\xa9"}}'] and request == {{"n": 1}}
                return {counts}
        """
    )
    with PluginProcess(path, "--role", "api") as plugin:
        plugin.hello("api")
        answer = {"request": {"n": 1}, "responses": ['{"text": "é"}']}
        (got,) = plugin.ask("parse", answers=[answer])["counts"]
    if isinstance(expected, str):
        assert expected in got["error"]
        assert isinstance(got["traceback"], str)
    else:
        assert (got["prompt_tokens"], got["completion_tokens"]) == expected


def test_lines_that_are_no_requests(plugin_file: Write) -> None:
    with PluginProcess(plugin_file(DATASET), "--role", "dataset") as plugin:
        for line in (b"nonsense", b"[]", b'{"method":"next"}', b""):
            plugin.send_line(line)
            answer = plugin.receive()
            assert answer["id"] is None
            assert "a line is no" in answer["error"]["message"]
        plugin.hello("dataset")
        assert plugin.ask("next", max=1)["items"] == [{"text": "0"}]


def test_long_prompts_come_in_small_batches(plugin_file: Write) -> None:
    path = plugin_file(
        """
        @register_dataset("long")
        class Long(DatasetPluginBase):
            def build_messages(self):
                for _ in range(10):
                    yield "x" * 3_000_000
        """
    )
    with PluginProcess(path, "--role", "dataset") as plugin:
        plugin.hello("dataset")
        sizes = []
        while True:
            answer = plugin.ask("next", max=1000)
            sizes.append(len(answer["items"]))
            if answer["end"]:
                break
    assert sizes == [2, 2, 2, 2, 2, 0]


def test_an_answer_that_is_too_long_is_an_error(plugin_file: Write) -> None:
    path = plugin_file(
        """
        @register_dataset("huge")
        class Huge(DatasetPluginBase):
            def build_messages(self):
                yield "x" * (65 * 1024 * 1024)
                yield "small"
        """
    )
    with PluginProcess(path, "--role", "dataset") as plugin:
        plugin.hello("dataset")
        assert "bytes long, more than 67108864" in plugin.fail("next", max=1)["message"]
        assert plugin.ask("next", max=1)["items"] == [{"text": "small"}]


def test_a_plugin_that_dies_is_seen_as_the_end_of_its_output(plugin_file: Write) -> None:
    path = plugin_file(
        """
        @register_dataset("dies")
        class Dies(DatasetPluginBase):
            def build_messages(self):
                os._exit(7)
                yield
        """
    )
    with PluginProcess(path, "--role", "dataset") as plugin:
        plugin.send("hello", **hello("dataset"))
        plugin.receive()
        plugin.send("next", max=1)
        assert plugin.process.stdout is not None
        assert plugin.process.stdout.read() == b""
        assert plugin.process.wait(20) == 7


HANGS = """
    @register_dataset("hangs")
    class Hangs(DatasetPluginBase):
        def build_messages(self):
            time.sleep(3600)
            yield
    """


def test_a_plugin_that_hangs_can_be_terminated(plugin_file: Write) -> None:
    with PluginProcess(plugin_file(HANGS), "--role", "dataset") as plugin:
        plugin.hello("dataset")
        plugin.send("next", max=1)
        time.sleep(0.2)
        assert plugin.process.poll() is None
        plugin.process.terminate()
        assert plugin.process.wait(20) == -signal.SIGTERM


def test_a_plugin_that_hangs_does_not_outlive_the_tool_by_much(plugin_file: Write) -> None:
    code = (
        "import evalscope.perf.serve as serve, sys;"
        "serve._SECONDS_AFTER_THE_TOOL = 0.5;"
        f"sys.exit(serve.main([{plugin_file(HANGS)!r}, '--role', 'dataset']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": PACKAGE},
    )
    assert process.stdin is not None
    for number, method in enumerate(("hello", "next")):
        params = hello("dataset") if method == "hello" else {"max": 1}
        line = json.dumps({"id": number, "method": method, "params": params}) + "\n"
        process.stdin.write(line.encode())
    process.communicate(timeout=20)
    assert process.returncode == 1


def test_ctrl_c_of_the_terminal_does_not_end_it(plugin_file: Write) -> None:
    with PluginProcess(plugin_file(DATASET), "--role", "dataset") as plugin:
        plugin.hello("dataset")
        plugin.process.send_signal(signal.SIGINT)
        assert plugin.ask("next", max=1)["items"] == [{"text": "0"}]


def test_a_plugin_that_sends_by_itself_is_refused(plugin_file: Write) -> None:
    path = plugin_file(
        API + "    async def process_request(self, session, url, headers, body): ...\n"
    )
    with PluginProcess(path, "--role", "api") as plugin:
        plugin.send("hello", **hello("api"))
        said = plugin.receive()["error"]["message"]
    assert said.startswith("class Echo overrides `process_request`")
    assert "`answers` says how to read them" in said


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["plugin.py"], "--role"),
        (["--role", "api"], "takes FILE"),
        (["--role", "tracker"], "takes --kind"),
        (["x.py", "--role", "tracker", "--kind", "wandb"], "no FILE"),
    ],
)
def test_wrong_command_lines(argv: list[str], said: str) -> None:
    with PluginProcess(*argv) as plugin:
        code, stderr = plugin.finish()
    assert code == 2
    assert said in stderr


def test_it_runs_without_writing_beside_the_plugin(plugin_file: Write, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
    with PluginProcess(plugin_file(DATASET), "--role", "dataset") as plugin:
        plugin.hello("dataset")
    assert [path.name for path in tmp_path.iterdir()] == ["plugin.py"]


def test_a_failure_that_cannot_be_told_costs_no_other(plugin_file: Write) -> None:
    text = """
        class Unspeakable(AnswerFailed):
            def __str__(self):
                raise RuntimeError("no words")

        @register_api("mine")
        class Mine(ApiPluginBase):
            def build_request(self, messages, param): return {}
            def parse_responses(self, responses, request=None, **kwargs):
                kind = responses[0]
                if kind == b"cut": raise AnswerFailed("half an emoji: \\ud83d")
                if kind == b"error": raise ValueError("half an emoji: \\ud83d")
                if kind == b"wordless": raise AnswerFailed()
                if kind == b"unspeakable": raise Unspeakable()
                return 1, 2
    """
    kinds = ["cut", "error", "wordless", "unspeakable", "fine"]
    answers = [{"request": {}, "responses": [kind]} for kind in kinds]
    with PluginProcess(plugin_file(text), "--role", "api") as plugin:
        plugin.hello("api")
        counts = plugin.ask("parse", answers=answers)["counts"]
    assert counts[0] == {"failed": "half an emoji: ?"}
    assert counts[1]["error"] == "parse_responses raised ValueError: half an emoji: ?"
    assert counts[2] == {"failed": "parse_responses raised AnswerFailed"}
    assert counts[3] == {"failed": "Unspeakable, which cannot be shown"}
    assert counts[4] == {"prompt_tokens": 1, "completion_tokens": 2}
