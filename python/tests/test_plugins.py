"""Base classes, and plugins written for the earlier tool."""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from evalscope.perf.arguments import Arguments
from evalscope.perf.plugin import DatasetPluginBase, DefaultApiPlugin
from evalscope.perf.plugin.registry import PluginRegistry
from peer import PluginProcess

Write = Callable[..., str]
DOCUMENTED = Path(__file__).parent / "documented"


def test_the_documented_names_are_at_the_documented_places() -> None:
    for place, names in {
        "evalscope.perf.main": ["run_perf_benchmark"],
        "evalscope.perf.arguments": ["Arguments", "QueryParameters"],
        "evalscope.perf.query_parameters": ["QueryParameters"],
        "evalscope.perf.plugin": ["ApiPluginBase", "DefaultApiPlugin", "DatasetPluginBase"],
        "evalscope.perf.plugin.registry": ["register_api", "register_dataset"],
        "evalscope.perf.plugin.api.base": ["ApiPluginBase"],
        "evalscope.perf.plugin.api.default_api": ["DefaultApiPlugin"],
        "evalscope.perf.plugin.datasets.base": ["DatasetPluginBase"],
        "evalscope.perf.api_plugin_base": ["ApiPluginBase"],
        "evalscope.perf.dataset_plugin_base": ["DatasetPluginBase"],
        "evalscope.perf.plugin_registry": ["register_api", "register_dataset"],
    }.items():
        module = importlib.import_module(place)
        for name in names:
            assert hasattr(module, name), f"{place}.{name}"


def test_the_printed_classes_can_be_used_as_they_stand(tmp_path: Path) -> None:
    for name in ("api_plugin", "dataset_plugin"):
        shutil.copy(DOCUMENTED / f"{name}.py", tmp_path)
    (tmp_path / "lines.txt").write_text("erste\n第二\n", encoding="utf-8")
    (tmp_path / "list.json").write_text('[{"instruction": "third"}]', encoding="utf-8")
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        """
import json
from api_plugin import ApiPluginBase
from dataset_plugin import DatasetPluginBase
from evalscope.perf.plugin_registry import register_api, register_dataset

@register_api("mine")
class Api(ApiPluginBase):
    def __init__(self, model_path: str):
        super().__init__(model_path=model_path)
    def build_request(self, messages, param):
        return {"messages": messages, "model": param.model, "tokenizer": self.model_path}
    def parse_responses(self, responses, request=None, **kwargs):
        assert all(isinstance(response, bytes) for response in responses)
        usage = json.loads(responses[-1])["usage"]
        return usage["prompt_tokens"], usage["completion_tokens"]

@register_dataset("mine")
class Dataset(DatasetPluginBase):
    def build_messages(self):
        for line in self.dataset_line_by_line(self.query_parameters.dataset_path):
            yield [{"role": "user", "content": line.strip()}]
        for item in self.dataset_json_list(self.query_parameters.dataset_path[:-9] + "list.json"):
            yield [{"role": "user", "content": item["instruction"]}]
""",
        encoding="utf-8",
    )
    with PluginProcess(str(plugin), "--role", "dataset") as dataset:
        dataset.hello("dataset", dataset_path=str(tmp_path / "lines.txt"))
        items = dataset.ask("next", max=9)["items"]
    assert [item["messages"][0]["content"] for item in items] == ["erste", "第二", "third"]
    with PluginProcess(str(plugin), "mine", "--role", "api") as api:
        api.hello("api", tokenizer_path="/models/qwen")
        (body,) = api.ask("build", prompts=[items[1]])["bodies"]
        assert body == {
            "messages": [{"role": "user", "content": "第二"}],
            "model": "qwen3",
            "tokenizer": "/models/qwen",
        }
        answer = {
            "request": body,
            "responses": ['{"usage":{"prompt_tokens":7,"completion_tokens":5}}'],
        }
        assert api.ask("parse", answers=[answer])["counts"] == [
            {"prompt_tokens": 7, "completion_tokens": 5}
        ]


def test_plugins_of_the_newer_form(plugin_file: Write) -> None:
    path = plugin_file(
        """
        from typing import Any, Dict, Iterator, List, Tuple, Union
        from evalscope.perf.arguments import Arguments
        from evalscope.perf.plugin.api.default_api import DefaultApiPlugin
        from evalscope.perf.plugin.datasets.base import DatasetPluginBase
        from evalscope.perf.plugin.registry import register_api, register_dataset

        @register_api('custom')
        class CustomPlugin(DefaultApiPlugin):
            def __init__(self, param: Arguments):
                super().__init__(param=param)
            def build_request(self, messages: Union[List[Dict], str], param: Arguments) -> Dict:
                body = {"model": param.model, "max_tokens": param.max_tokens}
                body["messages" if isinstance(messages, list) else "input_text"] = messages
                return body
            def parse_responses(
                self, responses: List[Dict], request: Any = None, **kwargs: Any
            ) -> Tuple[int, int]:
                return len(responses), responses[-1]["usage"]["completion_tokens"]

        @register_dataset('custom')
        class CustomDatasetPlugin(DatasetPluginBase):
            def __init__(self, query_parameters: Arguments):
                super().__init__(query_parameters)
            def build_messages(self) -> Iterator[List[Dict]]:
                for prompt in ("x" * 20, "fits"):
                    if self.check_prompt_length(prompt)[0]:
                        if self.query_parameters.apply_chat_template:
                            yield [self.create_message(prompt)]
                        else:
                            yield prompt
        """
    )
    for chat, item in (
        (True, {"messages": [{"role": "user", "content": "fits"}]}),
        (False, {"text": "fits"}),
    ):
        with PluginProcess(path, "--role", "dataset") as dataset:
            dataset.hello("dataset", "custom", apply_chat_template=chat, max_prompt_length=10)
            assert dataset.ask("next", max=9) == {"items": [item], "end": True}
    with PluginProcess(path, "custom", "--role", "api") as api:
        api.hello("api")
        assert api.ask("build", prompts=[{"text": "hi"}])["bodies"] == [
            {"model": "qwen3", "max_tokens": 128, "input_text": "hi"}
        ]
        answer = {"request": {}, "responses": ["{}", '{"usage":{"completion_tokens":5}}']}
        assert api.ask("parse", answers=[answer])["counts"] == [
            {"prompt_tokens": 2, "completion_tokens": 5}
        ]


def test_the_default_plugin_speaks_openai() -> None:
    param = Arguments(
        model="m",
        max_tokens=[5, 9],
        temperature=0.0,
        stream=True,
        n_choices=2,
        logprobs=False,
        extra_args='{"ignore_eos": true, "temperature": null}',
    )
    plugin = DefaultApiPlugin(param)
    body = plugin.build_request([{"role": "user", "content": "hi"}], param)
    assert 5 <= body.pop("max_tokens") <= 9
    assert body == {
        "messages": [{"role": "user", "content": "hi"}],
        "model": "m",
        "n": 2,
        "stream": True,
        "stream_options": {"include_usage": True},
        "ignore_eos": True,
    }
    assert plugin.build_request("hi", param)["prompt"] == "hi"
    assert plugin.build_request([1, 2], param)["prompt"] == [1, 2]
    whole = plugin.build_request({"messages": [], "model": "other"}, param)
    assert (whole["messages"], whole["model"]) == ([], "other")
    usage = {"usage": {"prompt_tokens": 3, "completion_tokens": 4}}
    assert plugin.parse_responses([{}, usage, {"usage": None}, "no JSON"]) == (3, 4)
    assert plugin.parse_responses([]) == (None, None)


def test_a_data_set_can_be_iterated_by_hand(tmp_path: Path) -> None:
    class Lines(DatasetPluginBase):
        def build_messages(self):  # type: ignore[no-untyped-def]
            for line in self.dataset_line_by_line(self.query_parameters.dataset_path):
                yield self.create_message(json.loads(line), ["http://h/1.png"], role="user")

    path = tmp_path / "lines.jsonl"
    path.write_text('"a"\n"b"\n')
    messages = list(Lines(Arguments(dataset_path=path)))
    assert messages[1]["content"] == [
        {"type": "text", "text": "b"},
        {"type": "image_url", "image_url": {"url": "http://h/1.png"}},
    ]


def test_a_name_registered_again_names_the_newer_class() -> None:
    registry = PluginRegistry("api")
    registry.register("x", int)
    registry.register("x", str)
    assert registry("x") is registry.get_class("x") is str
    assert registry.all_classes() == ["x"]
    with pytest.raises(Exception, match="no class is registered for api `y`; known are x"):
        registry.get_class("y")


CONVERSATIONS = """
    @register_dataset("talks")
    class Talks(DatasetPluginBase):
        args_schema = dict

        def build_messages(self):
            yield [
                Turn(messages=[self.create_message("Fix it")], max_tokens=64, rid="r7"),
                Turn([{"role": "tool", "content": "ok"}], tool_call_latency=0.5, is_final=True),
            ]
            yield [Turn([self.create_message(self.dataset_args["greeting"])])]
    """


def test_a_conversation_is_a_list_of_turns(plugin_file: Write) -> None:
    with PluginProcess(plugin_file(CONVERSATIONS), "--role", "dataset") as dataset:
        dataset.hello("dataset", dataset_args={"greeting": "hi"})
        first, second = dataset.ask("next", max=9)["items"]
    assert first == {
        "turns": [
            {"messages": [{"role": "user", "content": "Fix it"}], "max_tokens": 64},
            {"messages": [{"role": "tool", "content": "ok"}], "delay_s": 0.5},
        ],
        "rid": "r7",
        "session": "r7",
    }
    assert second == {"turns": [{"messages": [{"role": "user", "content": "hi"}]}]}


def test_turns_and_messages_are_not_mixed(plugin_file: Write) -> None:
    mixed = """
        @register_dataset("mixed")
        class Mixed(DatasetPluginBase):
            def build_messages(self):
                yield [Turn([{"role": "user", "content": "a"}]), {"role": "user", "content": "b"}]
        """
    with PluginProcess(plugin_file(mixed), "--role", "dataset") as dataset:
        dataset.hello("dataset")
        error = dataset.fail("next", max=1)
    assert "a list of `Turn`; got a list whose first element is a Turn" in error["message"]


def test_options_of_a_dataset_take_the_form_that_its_class_asks_for() -> None:
    @dataclass
    class Options:
        length: int = 5

    class Own(DatasetPluginBase):
        args_schema = Options

        def build_messages(self):  # type: ignore[no-untyped-def]
            yield "x" * self.dataset_args.length

    assert list(Own(Arguments())) == ["xxxxx"]
    assert list(Own(Arguments(dataset_args={"length": 2}))) == ["xx"]
    assert list(Own(Arguments(dataset_args='{"length": 3}'))) == ["xxx"]
    with pytest.raises(TypeError, match="lenght"):
        Own(Arguments(dataset_args={"lenght": 2}))
