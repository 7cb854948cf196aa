"""Options: their forms, their refusals, the command line they become, and what is not shown."""

from __future__ import annotations

import argparse
import ast
import copy
import inspect
import pickle
import re
import textwrap
from dataclasses import fields
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from foreign import Array, Floating, Indexed, Items, Scalar

import evalscope
from evalscope import EvalscopeError
from evalscope.errors import InvalidOption, UnknownOption
from evalscope.perf.arguments import Arguments, QueryParameters


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
        ("model", ["m"], "a text, not a list"),
        ("model", True, "a text, not True"),
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
