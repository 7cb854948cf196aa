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
from pathlib import Path
from typing import Any

import pytest

from evalscope import EvalscopeError
from evalscope.errors import UnknownOption
from evalscope.perf.arguments import Arguments, QueryParameters


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
        ({"extra_args": {"x": float("nan")}}, "cannot be written as JSON"),
    ],
)
def test_values_that_cannot_be_passed_on_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(EvalscopeError, match=re.escape(said)):
        Arguments.from_dict(options).to_argv()


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
    with pytest.raises(EvalscopeError, match="not list"):
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
        headers=["Authorization=Bearer sk-header", "X-Team=blue"],
        extra_args='{"user": {"token": "sk-extra"}, "top_k": 5}',
        query_template={"password": "sk-template", "max_tokens": 5},
    )
    for shown in (repr(arguments), str(arguments), f"{[arguments]}"):
        assert "sk-" not in shown
        assert "X-Team=blue" in shown
        assert "'max_tokens': 5" in shown
    argv = " ".join(arguments.to_argv())
    assert "--visualizer=wandb" in argv
    for secret in ("sk-api", "sk-wandb", "sk-swanlab", "sk-header"):
        assert secret not in argv
    assert arguments.to_environment() == {
        "EVALSCOPE_API_KEY": "sk-api",
        "EVALSCOPE_HEADERS": "Authorization=Bearer sk-header\nX-Team=blue",
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
    names = {flag.replace("-", "_") for flag in flags} - {"help", "no_stream"}
    missing = names - {field.name for field in fields(Arguments)}
    assert not missing, f"add to Arguments: {missing}"
