"""Options: their forms, their refusals, the command line they become, and what is not shown."""

from __future__ import annotations

import argparse
import ast
import copy
import inspect
import json
import pickle
import re
import sys
import textwrap
import types
from dataclasses import fields
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from foreign import Array, Floating, Indexed, Items, Scalar

import evalscope
from evalscope import EvalscopeError
from evalscope.errors import InvalidOption, UnknownOption
from evalscope.perf.arguments import Arguments, QueryParameters, add_argument
from evalscope.perf.multi_turn_args import MultiTurnArgs


def test_metadata_is_a_flag_for_each_fact() -> None:
    for metadata in ({"gpu": "H100", "tp": 2}, ["gpu=H100", "tp=2"]):
        argv = Arguments(metadata=metadata).to_argv()
        assert argv == ["--metadata", "gpu=H100", "tp=2"]
    assert Arguments(metadata={"gpu": "H100"}).to_argv() == ["--metadata=gpu=H100"]


def test_a_dict_becomes_flags() -> None:
    arguments = Arguments.from_dict(
        {
            "url": "http://127.0.0.1:8000/v1/chat/completions",
            "parallel": [1, 10],
            "number": (20, 200.0),
            "rate": -1,
            "max-tokens": 64,
            "stream": False,
            "debug": True,
            "insecure": False,
            "logprobs": None,
            "prompt": "--what is this",
            "headers": {"X-Team": "a b", "X-Id": 1},
            "stop": ["<|im_end|>", ""],
            "stop_token_ids": [],
            "extra_args": {"ignore_eos": True, "text": "é"},
            "query_template": "@template.json",
            "dataset_path": Path("a") / "b.jsonl",
            "max_error_rate": "1%",
        }
    )
    assert arguments.to_argv() == [
        "--url=http://127.0.0.1:8000/v1/chat/completions",
        "--parallel",
        "1",
        "10",
        "--number",
        "20",
        "200",
        "--rate=-1",
        "--max-error-rate=1%",
        "--dataset-path=a/b.jsonl",
        "--prompt=--what is this",
        "--query-template=@template.json",
        "--max-tokens=64",
        "--stop",
        "<|im_end|>",
        "",
        "--stop-token-ids",
        "--no-stream",
        '--extra-args={"ignore_eos": true, "text": "é"}',
        "--debug",
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"stream": "yes"}, "`stream` is True or False, not 'yes'"),
        ({"parallel": []}, "`parallel` is an empty list"),
        ({"stop": ["a", "-b"]}, "extra_args"),
        ({"extra_args": {"x": float("nan")}}, 'extra_args["x"] is nan, which is no JSON'),
        (
            {"extra_args": {"a": {"b": {1, 2}}}},
            '`extra_args` cannot be written as JSON: extra_args["a"]["b"] is a set; JSON has texts',
        ),
        ({"dataset_args": {"a": [1, b"x"]}}, 'dataset_args["a"][1] is a bytes'),
        ({"extra_args": {(1, 2): 3}}, "extra_args has a tuple as a key, (1, 2)"),
    ],
)
def test_values_that_cannot_be_passed_on_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(EvalscopeError, match=re.escape(said)):
        Arguments.from_dict(options).to_argv()


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("parallel", True, "a whole number or a list of them, not True"),
        ("parallel", 2.5, "a whole number or a list of them, not 2.5"),
        ("parallel", "8 16", "a whole number or a list of them, not '8 16'"),
        ("parallel", b"8", "a whole number or a list of them, not a bytes"),
        ("parallel", {"a": 8}, "a whole number or a list of them, not a dict"),
        ("parallel", [1, True], "a whole number or a list of them; element 2 of it is True"),
        ("number", "x", "a whole number or a list of them, not 'x'"),
        ("max_tokens", [None], "a whole number or a list of them; element 1 of it is None"),
        ("stop_token_ids", ["<eos>"], "a whole number or a list of them; element 1 of it is '<eos"),
        ("rate", [1, "fast"], 'a number, a text such as "90/m", or a list of them; element 2 of'),
        ("seed", 1.5, "a whole number, not 1.5"),
        ("top_k", [5], "a whole number, not a list"),
        ("temperature", "hot", "a number, not 'hot'"),
        ("duration", "long", 'a number, or a text such as "1%" or "5m", not \'long\''),
        ("duration", False, 'a number, or a text such as "1%" or "5m", not False'),
        ("max_error_rate", "few%", 'a number, or a text such as "1%" or "5m", not \'few%\''),
        ("api", ["m"], "a text, not a list"),
        ("model", True, "a text or a list of them, not True"),
        ("stop", [b"x"], "a text or a list of them; element 1 of it is a bytes"),
        ("outputs_dir", ("a",), "a path, not a tuple"),
        ("extra_args", 5, "a dict, or JSON text, not 5"),
        ("extra_args", [{"api_key": "sk"}], "a dict, or JSON text, not a list"),
        ("trust_remote_code", 1, "True or False, not 1"),
        ("headers", 5, "a dict, or a list of `NAME=VALUE`, not 5"),
        ("api_key", ["sk-1"], "a text, not a list"),
    ],
)
def test_values_of_another_kind_are_refused(option: str, value: Any, said: str) -> None:
    with pytest.raises(EvalscopeError, match=f"^{re.escape(f'`{option}` is {said}')}"):
        Arguments(**{option: value})
    later = Arguments()
    setattr(later, option, value)
    assert "sk" not in repr(later)
    with pytest.raises(InvalidOption, match=f"`{option}` is"):
        later.to_argv()


def test_quantities_have_units() -> None:
    argv = Arguments(duration="5m", rate=["90/m", "2"], wait_for_server="1h").to_argv()
    assert argv == ["--wait-for-server=1h", "--rate", "90/m", "2", "--duration=5m"]


def test_the_signature_names_the_options() -> None:
    parameters = inspect.signature(Arguments).parameters
    assert list(parameters)[:2] == ["url", "model"]
    assert parameters["parallel"].default == 1


def test_options_have_the_defaults_of_the_tool(help_text: str) -> None:
    flag = ""
    told: dict[str, str] = {}
    for line in help_text.splitlines():
        if found := re.match(r"\s+(?:-\w, )?--([a-z-]+)", line):
            flag = found[1].replace("-", "_")
        if found := re.search(r"\[default: ([^\];]+?)[;\]]", line):
            told.setdefault(flag, found[1])
    ours = {field.name: field.default for field in fields(Arguments)}
    same = {name for name, value in told.items() if str(ours[name]) == value}
    assert len(same) > 20
    # 0 and 0.0; what the help says in words is not known here
    differ = {name for name in told.keys() - same if ours.get(name) not in (None, 0.0)}
    assert not differ, f"--help says: { {name: told[name] for name in differ} }"


def test_a_default_is_seen_and_not_passed_on() -> None:
    arguments = Arguments(model="org/m", parallel=8)
    assert (arguments.number, arguments.parallel, arguments.rate) == ([1000], [8], [-1])
    assert (arguments.max_tokens, arguments.stream, arguments.headers) == (2048, True, {})
    assert arguments.model_id == "m"
    assert arguments.to_argv() == ["--model=org/m", "--parallel=8"]
    # one that is given is passed on, though it is the default
    assert Arguments(parallel=1, number=None).to_argv() == ["--parallel=1"]
    arguments.max_tokens = 2048
    arguments.model = None
    assert arguments.to_argv() == ["--parallel=8", "--max-tokens=2048"]


def test_options_that_contradict_each_other_are_refused_early() -> None:
    for options, said in (
        ({"parallel": [1, 2], "number": [1, 2, 3]}, "`parallel` has 2 values and `number` has 3"),
        ({"parallel": 0}, "`parallel` is 0; it is 1 or more"),
        ({"max_tokens": [5, 2]}, "the least comes first"),
        ({"max_tokens": [1, 2, 3]}, "a least and a most"),
        ({"max_tokens": [-1, 2]}, "below 0"),
        ({"prefix_count": 0}, "1 or more"),
        ({"prefix_count": 2}, 'needs `dataset="random"`; it is "openqa"'),
        ({"prefix_count": 2, "dataset": "random"}, "`prefix_length` above 0"),
        ({"prefix_count": 2, "prompt": "hi"}, "has no effect on `prompt`"),
        ({"sla_auto_tune": True}, "needs limits"),
        ({"sla_auto_tune": True, "sla_variable": "load"}, "not 'load'"),
        ({"sla_auto_tune": True, "sla_params": [{}], "sla_lower_bound": 99999}, "above `sla_upper"),
        ({"sla_auto_tune": True, "sla_params": [{}], "sla_num_runs": 0}, "it is above 0"),
        ({"num_workers": -1}, "0 or more"),
        ({"scenario": "agentx"}, "AgentX, which is EvalScope's"),
        ({"extra_args": "{"}, "`extra_args` is no JSON"),
    ):
        with pytest.raises(ValueError, match=re.escape(said)) as raised:
            Arguments.from_dict(options)
        assert isinstance(raised.value, InvalidOption)
    # one of many, or an open loop
    assert Arguments(parallel=[1, 2], number=5).number == [5]
    assert Arguments(parallel=-1, open_loop=True, rate=[5]).to_argv()


def test_one_url_and_model_are_texts_and_several_are_lists() -> None:
    one = Arguments(model=["org/m"], url=["http://h:1/v1/completions"])
    assert (one.url, one.model, one.model_id) == ("http://h:1/v1/completions", "org/m", "m")
    assert one.apply_chat_template is False
    several = Arguments(
        model=["org/m", "n"], url=["http://u:pw@h:1", "http://h:2"], model_weights=[3, 1]
    )
    assert several.model_id == "m+n"
    assert several.apply_chat_template is True
    assert "pw" not in str(several)
    assert several.to_argv() == [
        "--url",
        "http://u:pw@h:1",
        "http://h:2",
        "--model",
        "org/m",
        "n",
        "--model-weights",
        "3",
        "1",
    ]


def test_options_come_out_of_files(tmp_path: Path) -> None:
    path = tmp_path / "options.json"
    path.write_text('{"model": "m", "parallel": [1, 2], "max-tokens": 5}')
    assert Arguments.from_json(path).to_argv() == [
        "--model=m",
        "--parallel",
        "1",
        "2",
        "--max-tokens=5",
    ]
    path.write_text('{"modl": "m"}')
    with pytest.raises(UnknownOption, match="did you mean `model`"):
        Arguments.from_json(path)
    for text, said in (("{", "options.json is no JSON"), ("[]", "options.json holds a list")):
        path.write_text(text)
        with pytest.raises(InvalidOption, match=said):
            Arguments.from_json(path)


def test_options_in_yaml_need_a_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(EvalscopeError, match="need PyYAML: `pip install pyyaml`"):
        Arguments.from_yaml(tmp_path / "options.yaml")
    stand_in = types.ModuleType("yaml")
    stand_in.safe_load = lambda file: json.load(file)  # type: ignore[attr-defined]
    stand_in.YAMLError = ArithmeticError  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "yaml", stand_in)
    (tmp_path / "options.yaml").write_text('{"model": "m"}')
    assert Arguments.from_yaml(tmp_path / "options.yaml").model == "m"


def test_all_options_can_be_shown_and_copied() -> None:
    arguments = Arguments(model="m", api_key="sk-1", tokenizer_path=Path("t"), number=20)
    shown = arguments.to_dict()
    assert (shown["api_key"], shown["tokenizer_path"], shown["parallel"]) == ("***", "t", [1])
    assert json.loads(str(arguments)) == shown
    assert arguments.model_dump()["api_key"] == "sk-1"
    assert Arguments(**arguments.model_dump(exclude_unset=True)) == arguments
    # a search has options with defaults, which the tool refuses where nothing is searched
    assert not [word for word in Arguments(**arguments.model_dump()).to_argv() if "sla" in word]
    assert Arguments(metadata=[]).to_argv() == []
    other = arguments.model_copy(update={"parallel": 4})
    assert (other.number, other.parallel) == ([20], 4)
    assert arguments.to_argv() == ["--model=m", "--tokenizer-path=t", "--number=20"]
    assert "--parallel=4" in other.to_argv()
    with pytest.raises(UnknownOption, match="did you mean `parallel`"):
        arguments.model_copy(update={"paralel": 4})


def test_counts_with_requests_before_the_measured_ones() -> None:
    for warmup, count in ((0, 0), (3, 3), (0.1, 2), (0.001, 1), (-1, 0)):
        arguments = Arguments(number=[20, 40], warmup_num=warmup)
        assert (arguments.warmup_count, arguments.total_count) == (count, 20 + count)


def test_outputs_go_elsewhere_for_some_lines() -> None:
    arguments = Arguments()
    with arguments.output_context("there"):
        assert arguments.to_argv() == ["--outputs-dir=there"]
    assert (arguments.outputs_dir, arguments.to_argv()) == ("outputs", [])


def test_results_are_in_outputs_dir_and_the_next_ones_beside_them() -> None:
    for arguments, argv in ((Arguments(), []), (Arguments(outputs_dir="o"), ["--outputs-dir=o"])):
        for folder in ("o/1/m", "o/2/m"):
            arguments.wrote(Path(folder))
            assert arguments.outputs_dir == folder
            assert arguments.to_argv() == argv
        arguments.outputs_dir = "elsewhere"
        assert arguments.to_argv() == ["--outputs-dir=elsewhere"]


@pytest.mark.parametrize(
    ("options", "chat"),
    [
        ({}, True),
        ({"url": "http://h:1"}, True),
        ({"url": "http://h:1/v1/chat/completions/"}, True),
        ({"url": "http://h:1/v1/completions"}, False),
        ({"url": "http://h:1/v1", "api": "embedding"}, False),
        ({"apply_chat_template": False}, False),
    ],
)
def test_prompts_are_messages_where_the_url_says_so(options: dict[str, Any], chat: bool) -> None:
    arguments = Arguments(**options)
    assert arguments.apply_chat_template is chat
    assert ("--no-apply-chat-template" in arguments.to_argv()) == ("apply_chat_template" in options)


def test_lengths_of_turns_are_options_of_the_dataset() -> None:
    lengths = MultiTurnArgs(first_turn_length=[10, 20], num_workers=2)
    arguments = Arguments(multi_turn_args=lengths, dataset_args='{"chars_per_token": 2}')  # type: ignore[arg-type]
    assert arguments.dataset_args == {"first_turn_length": [10, 20], "chars_per_token": 2}
    assert arguments.num_workers == 2
    assert (
        '--multi-turn-args={"first_turn_length": [10, 20], "num_workers": 2}' in arguments.to_argv()
    )
    with pytest.raises(InvalidOption, match="a least and a most"):
        MultiTurnArgs(first_turn_length=[20, 10])
    assert 10 <= lengths.sample_params()["first_turn_length"] <= 20


def test_a_script_has_all_options_on_its_command_line() -> None:
    parser = argparse.ArgumentParser()
    add_argument(parser)
    words = (
        "-n 5 10 --model m --headers A=b=c --no-stream --stop --duration 5m --rate 2 --top-p 0.5"
    )
    namespace = parser.parse_args([*words.split(), "--extra-args", '{"a": 1}'])
    assert (namespace.number, namespace.top_p, namespace.parallel) == ([5, 10], 0.5, None)
    assert Arguments.from_args(namespace).given() == {
        "model": "m",
        "headers": {"A": "b=c"},
        "number": [5, 10],
        "rate": [2.0],
        "duration": "5m",
        "top_p": 0.5,
        "stop": [],
        "stream": False,
        "extra_args": {"a": 1},
    }
    with pytest.raises(SystemExit):
        parser.parse_args(["--headers", "A"])


def test_the_package_has_a_version() -> None:
    assert evalscope.__version__[0].isdigit()


def test_what_argparse_reads_as_text_is_taken() -> None:
    texts = Arguments(
        parallel=["8", "16"],  # type: ignore[list-item]
        number="+80",  # type: ignore[arg-type]
        rate="1.5",
        duration="1e2",
        max_error_rate="1 %",
        stop_token_ids="7",
        name=2024,  # type: ignore[arg-type]
        trust_remote_code=True,
        top_k=-1,
    )
    assert texts.to_argv() == [
        "--trust-remote-code",
        "--parallel",
        "8",
        "16",
        "--number=+80",
        "--rate=1.5",
        "--duration=1e2",
        "--max-error-rate=1 %",
        "--top-k=-1",
        "--stop-token-ids=7",
        "--name=2024",
    ]


def test_arrays_and_their_numbers_are_lists_and_numbers() -> None:
    arguments = Arguments(
        parallel=Array([1, 2]),  # type: ignore[arg-type]
        number=[Scalar(4), Indexed(8)],  # type: ignore[list-item]
        rate=Items([1.5, 2]),  # type: ignore[arg-type]
        temperature=Floating(0.5),  # type: ignore[arg-type]
        seed=Scalar(7),  # type: ignore[arg-type]
        stream=Scalar(False),  # type: ignore[arg-type]
        max_tokens=range(5, 7),
        extra_args={"a": Scalar(1), "b": {"c": Array([Indexed(2), 3])}, "d": [Floating(0.5)]},
    )
    assert Arguments(parallel=Array([1, 2])) == Arguments(parallel=[1, 2])  # type: ignore[arg-type]
    assert arguments.to_argv() == [
        "--parallel",
        "1",
        "2",
        "--number",
        "4",
        "8",
        "--rate",
        "1.5",
        "2",
        "--max-tokens",
        "5",
        "6",
        "--temperature=0.5",
        "--seed=7",
        "--no-stream",
        '--extra-args={"a": 1, "b": {"c": [2, 3]}, "d": [0.5]}',
    ]
    # set later, it is none of what the object was made with
    arguments = Arguments()
    arguments.number = Array([3])  # type: ignore[assignment]
    assert arguments.to_argv() == ["--number=3"]
    with pytest.raises(EvalscopeError, match="`parallel` is an empty list"):
        Arguments(parallel=Array([])).to_argv()  # type: ignore[arg-type]


def test_what_has_itself_in_it_is_no_json() -> None:
    loop: list[Any] = [1]
    loop.append({"again": loop})
    with pytest.raises(EvalscopeError, match=re.escape('sla_params[1]["again"] has itself in it')):
        Arguments(sla_params=loop).to_argv()
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(EvalscopeError, match="is nested too deeply"):
        Arguments(sla_params=deep).to_argv()


def test_unknown_names_are_refused_with_the_nearest_one() -> None:
    with pytest.raises(UnknownOption, match="`paralel`; did you mean `parallel`"):
        Arguments(paralel=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="did you mean `max_tokens`"):
        Arguments.of({"max-token": 1})
    with pytest.raises(UnknownOption, match="did you mean `dataset`"):
        Arguments.of(argparse.Namespace(datset="openqa"))
    with pytest.raises(AttributeError, match="did you mean `temperature`"):
        _ = Arguments().temprature
    assert not hasattr(Arguments(), "zzz")
    with pytest.raises(EvalscopeError, match="not a list"):
        Arguments.of([])  # type: ignore[arg-type]


def test_a_namespace_is_taken_without_what_was_not_given() -> None:
    namespace = argparse.Namespace(model="m", parallel=[2], rate=None, other=None, func=print)
    assert Arguments.of(namespace) == Arguments(model="m", parallel=[2])


def test_keys_are_neither_shown_nor_on_the_command_line() -> None:
    arguments = Arguments(
        url="https://me:sk-url@h/v1?api-key=sk-query&v=2",
        api_key="sk-api",
        wandb_api_key="sk-wandb",
        swanlab_api_key="sk-swanlab",
        headers=["Authorization=Bearer sk-header", "X-My-Pass=sk-pass", "User-Agent=blue"],
        extra_args='{"user": {"token": "sk-extra"}, "top_k": 5}',
        query_template={"password": "sk-template", "max_tokens": 5},
    )
    for shown in (repr(arguments), str(arguments), f"{[arguments]}"):
        assert "sk-" not in shown
        assert "User-Agent=blue" in shown
        assert "'max_tokens': 5" in shown.replace('"', "'")
    argv = " ".join(arguments.to_argv())
    assert "--visualizer=wandb" in argv
    for secret in ("sk-api", "sk-wandb", "sk-swanlab", "sk-header"):
        assert secret not in argv
    assert arguments.to_environment() == {
        "EVALSCOPE_API_KEY": "sk-api",
        "EVALSCOPE_HEADERS": "Authorization=Bearer sk-header\nX-My-Pass=sk-pass\nUser-Agent=blue",
        "WANDB_API_KEY": "sk-wandb",
        "SWANLAB_API_KEY": "sk-swanlab",
    }


def test_headers_go_a_line_each() -> None:
    headers = {"X-Team": "a b", "X-Id": "1"}
    assert Arguments(headers=headers).to_environment() == {
        "EVALSCOPE_HEADERS": "X-Team=a b\nX-Id=1"
    }
    assert Arguments(headers={}).to_environment() == {}
    with pytest.raises(EvalscopeError, match="the header 'X-Id' has a character"):
        Arguments(headers={"X-Id": "1\nX-Admin=1"}).to_environment()


def test_a_key_implies_its_tracker_unless_one_is_named() -> None:
    assert Arguments(swanlab_api_key="local").to_argv() == ["--visualizer=swanlab"]
    named = Arguments(wandb_api_key="k", visualizer="clearml")
    assert named.to_argv() == ["--visualizer=clearml"]


def test_what_a_plugin_is_told_has_single_values_and_keeps_the_unknown() -> None:
    told = {
        "max_tokens": [128],
        "parallel": [1, 2],
        "stop": ["a"],
        "headers": {},
        "from_the_future": 1,
    }
    param = Arguments.from_options(told)
    assert param.max_tokens == 128
    assert param.parallel == [1, 2]
    assert param.stop == ["a"]
    assert param.from_the_future == 1
    assert param.dataset_path is None


def test_they_can_be_copied_and_pickled() -> None:
    arguments = Arguments(model="m", number=[1, 2])
    assert copy.deepcopy(arguments) == arguments
    assert pickle.loads(pickle.dumps(arguments)) == arguments
    assert QueryParameters is Arguments


def test_every_option_has_a_type_and_a_description() -> None:
    tree = ast.parse(textwrap.dedent(inspect.getsource(Arguments)))
    body = tree.body[0].body  # type: ignore[attr-defined]
    described = {
        statement.target.id
        for statement, after in zip(body, body[1:])
        if isinstance(statement, ast.AnnAssign)
        and isinstance(statement.target, ast.Name)
        and isinstance(after, ast.Expr)
        and isinstance(after.value, ast.Constant)
    }
    assert described == {field.name for field in fields(Arguments)}


def test_every_flag_of_the_binary_is_an_option(help_text: str) -> None:
    flags = set(re.findall(r"^\s+(?:-\w, )?--([a-z][a-z-]*)", help_text, re.MULTILINE))
    names = {flag.replace("-", "_") for flag in flags} - {"help", "no_stream", "version"}
    missing = names - {field.name for field in fields(Arguments)}
    assert not missing, f"add to Arguments: {missing}"


@pytest.mark.parametrize("value", [None, b"sk-1", ["sk-1"]])
def test_a_header_is_a_text(value: Any) -> None:
    with pytest.raises(EvalscopeError, match="the header 'X-Key' is a ") as raised:
        Arguments(headers={"X-Key": value}).to_environment()
    assert "sk-1" not in str(raised.value)


def test_a_text_may_be_an_enum() -> None:
    class Kept(str, Enum):
        FAILED = "failed"

    assert Arguments(record_bodies=Kept.FAILED).to_argv() == ["--record-bodies=failed"]
