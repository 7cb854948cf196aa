"""EvalScope's classes of plugins, as programs subclass them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import pickle
import sqlite3
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from foreign import Words

from evalscope.errors import InvalidOption, UnknownOption, Unsupported
from evalscope.perf.arguments import Arguments
from evalscope.perf.main import run_multi_benchmark, run_one_benchmark, run_perf_benchmark
from evalscope.perf.plugin import (
    ApiPluginBase,
    ApiRegistry,
    BaseDatasetArgs,
    CustomDatasetPlugin,
    CustomPlugin,
    DashScopeApiPlugin,
    DatasetPluginBase,
    DatasetRegistry,
    LineByLineDatasetPlugin,
    OpenaiEmbeddingPlugin,
    OpenaiPlugin,
    OpenaiRerankPlugin,
    OpenAIResponsesPlugin,
    OpenqaDatasetPlugin,
    RandomDatasetPlugin,
    ShareGPTZhDatasetPlugin,
    register_api,
)
from evalscope.perf.plugin.api.default_api import StreamedResponseHandler
from evalscope.perf.plugin.datasets.dataset_args import TextDatasetArgs
from peer import PluginProcess, hello

Write = Callable[..., str]
CHAT = [{"role": "user", "content": "hi"}]


def openai(**options: Any) -> OpenaiPlugin:
    return OpenaiPlugin(Arguments(**{"model": "m", "max_tokens": 5, **options}))


# --- APIs ---


def test_openai_builds_a_body_of_each_kind_of_prompt() -> None:
    rest = {
        "model": "m",
        "max_tokens": 5,
        "temperature": 0.0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    plugin = openai()
    assert plugin.build_request(CHAT) == {"messages": CHAT, **rest}
    assert plugin.build_request("hi") == {"prompt": "hi", **rest}
    assert plugin.build_request([7, 8]) == {"prompt": [7, 8], **rest}
    # what a dataset says comes first
    body = {"messages": CHAT, "max_tokens": 99, "stream": False}
    assert plugin.build_request(body) == {**body, "model": "m", "temperature": 0.0}


def test_options_overwrite_a_template(tmp_path: Path) -> None:
    template = {"max_tokens": 1, "skip": True, "messages": []}
    path = tmp_path / "template.json"
    path.write_text(json.dumps(template))
    for given in (template, json.dumps(template), f"@{path}"):
        body = openai(query_template=given, extra_args={"skip": None}).build_request(CHAT)
        assert (body["messages"], body["max_tokens"]) == (CHAT, 5)
    assert openai(query_template=template).build_request("hi")["prompt"] == "hi"


def test_tokens_are_sent_where_they_are_asked_for(words: Words) -> None:
    plugin = openai(tokenize_prompt=True, tokenizer_path="words")
    assert plugin.build_request("w2 w3")["prompt"] == [2, 3]
    assert plugin.build_request([4])["prompt"] == [4]
    assert plugin.build_request([{"role": "user", "content": "w5"}])["prompt"] == [0, 5, 0]
    with pytest.raises(ValueError, match="tokenizer is required"):
        openai(tokenize_prompt=True).build_request("w2")


def test_tokens_are_counted_where_no_usage_is_reported(words: Words) -> None:
    plugin = openai(tokenizer_path="words")
    usage = {"usage": {"prompt_tokens": 9, "completion_tokens": None}}
    assert plugin.parse_responses([{"choices": []}, usage]) == (9, 0)
    assert plugin.parse_responses([]) == (0, 0)
    events = [
        {"choices": [{"index": 0, "delta": {"content": "w2 "}}]},
        {"choices": [{"index": 0, "delta": {"reasoning_content": "w3"}}]},
    ]
    request = json.dumps({"messages": [{"role": "user", "content": "w4"}]})
    assert plugin.parse_responses(events, request=request) == (3, 2)
    whole = [{"choices": [{"message": {"content": "w2 w3 w4"}}]}]
    assert plugin.parse_responses(whole, request='{"prompt": [1, 2]}') == (2, 3)
    assert plugin.parse_responses(whole, request={"prompt": "w2"}) == (1, 3)
    with pytest.raises(ValueError, match="Unable to retrieve usage information"):
        openai().parse_responses(whole, request="{}")


def test_a_tokenizer_needs_a_library_when_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for library in ("modelscope", "transformers"):
        monkeypatch.setitem(sys.modules, library, None)
    plugin = openai(tokenizer_path="words")
    with pytest.raises(ImportError, match="needs transformers: `pip install transformers`"):
        _ = plugin.tokenizer
    plugin.tokenizer = Words()
    assert plugin._count_output_tokens("w2 w3") == 2


def test_other_apis_build_their_bodies() -> None:
    param = Arguments(model="m", max_tokens=5, temperature=0.5, extra_args={"x": 1})
    picture = [{"type": "text", "text": "hi"}, {"type": "image_url", "image_url": {"url": "u"}}]
    responses = OpenAIResponsesPlugin(param)
    body = responses.build_request([{"role": "user", "content": picture}])
    assert body["input"][0]["content"] == [
        {"type": "input_text", "text": "hi"},
        {"type": "input_image", "image_url": "u", "detail": "auto"},
    ]
    assert (body["max_output_tokens"], body["x"]) == (5, 1)
    assert responses.build_request({"messages": CHAT})["input"] == CHAT
    assert responses.parse_responses(
        [{"response": {"usage": {"input_tokens": 1, "output_tokens": 2}}}]
    ) == (1, 2)

    embedding = OpenaiEmbeddingPlugin(param)
    assert embedding.build_request("hi") == {"input": "hi", "model": "m", "x": 1}
    assert embedding.build_request([*CHAT, *CHAT])["input"] == ["hi", "hi"]
    assert embedding.parse_responses([{"usage": {"total_tokens": 4}}]) == (4, 0)

    rerank = OpenaiRerankPlugin(param)
    wanted = {"query": "hi", "documents": ["a"], "model": "m", "x": 1}
    for prompt in ({"query": "hi", "documents": "a"}, ["hi", "a"], [*CHAT, {"content": "a"}]):
        assert rerank.build_request(prompt) == wanted

    custom = CustomPlugin(param)
    assert custom.build_request("hi")["input_text"] == "hi"
    assert custom.build_request(CHAT)["max_tokens"] == 5
    assert custom.parse_responses([b"{}", b'{"usage": {"prompt_tokens": 3}}']) == (3, 0)

    dashscope = DashScopeApiPlugin(param)
    body = dashscope.build_request(CHAT)
    assert body == {
        "messages": CHAT,
        "model": "m",
        "parameters": {"max_tokens": 5, "temperature": 0.5},
    }
    dashscope.set_request_max_tokens(body, 7)
    assert body["parameters"]["max_tokens"] == 7


def test_classes_are_found_by_the_names_of_the_tool() -> None:
    assert ApiRegistry.get_class("openai") is OpenaiPlugin
    assert ApiRegistry.get_class("rerank") is OpenaiRerankPlugin
    assert DatasetRegistry.get_class("openqa") is OpenqaDatasetPlugin
    # they are not served from Python: the tool has them
    assert "openai" not in ApiRegistry


def test_keys_of_evalscope_are_taken_out_of_a_body() -> None:
    body = {
        "model": "m",
        "__evalscope_headers": {"X-Tenant": "t", "Host": "h", "Authorization": "of a trace"},
        "__evalscope_request_id": "r-1",
        "__evalscope_arrival_offset": 0.5,
    }
    headers, request_id = ApiPluginBase.extract_body_meta(body, {"Authorization": "mine"})
    assert (headers, request_id) == ({"X-Tenant": "t", "Authorization": "mine"}, "r-1")
    assert body == {"model": "m"}


def test_a_model_and_a_prompt_are_put_into_a_template() -> None:
    template: Any = {"model": "%m", "messages": [{"content": "say %p"}, "%m"], "n": 1}
    ApiPluginBase.replace_values(template, "m", "hi")
    assert template == {"model": "m", "messages": [{"content": "say hi"}, "m"], "n": 1}


def test_sending_is_the_tools_part() -> None:
    sending = openai().process_request(None, "u", {}, {})
    with pytest.raises(Unsupported, match="the tool itself sends and receives"):
        asyncio.run(sending)


def test_a_stream_is_cut_into_events() -> None:
    handler = StreamedResponseHandler()
    assert handler.add_chunk('data: {"a": "é"}\r\n\r\nda'.encode()[:12]) == []
    assert handler.add_chunk('data: {"a": "é"}\r\n\r\nda'.encode()[12:]) == ['data: {"a": "é"}']
    assert handler.add_chunk(b"ta: {}\n\nid: 3\nevent: end\ndata: [DONE]") == [
        "data: {}",
        "data: [DONE]",
    ]
    assert handler.add_chunk(b": ping\n\n") == []


TOOLS = """
    from evalscope.perf.plugin.api.openai_api import OpenaiPlugin
    from evalscope.utils.logger import get_logger

    @register_api("tools")
    class Tools(OpenaiPlugin):
        def build_request(self, messages, param=None):
            get_logger().info("building")
            return {**super().build_request(messages, param), "tools": [{"type": "function"}]}

        def parse_responses(self, responses, request=None, **kwargs):
            assert json.loads(request)["tools"]
            return super().parse_responses(responses, request=request, **kwargs)
    """


def test_a_subclass_serves_the_tool(plugin_file: Write) -> None:
    with PluginProcess(plugin_file(TOOLS), "--role", "api") as plugin:
        plugin.hello("api", model="m", max_tokens=[5], extra_args={"x": 1}, stream=True)
        prompts = [{"messages": CHAT}, {"messages": CHAT, "max_tokens": 3}]
        first, second = plugin.ask("build", prompts=prompts)["bodies"]
        usage = json.dumps({"usage": {"prompt_tokens": 1, "completion_tokens": 2}})
        answers = [{"request": first, "responses": ["{}", usage]}]
        counts = plugin.ask("parse", answers=answers)["counts"]
    assert (first["messages"], first["model"], first["x"]) == (CHAT, "m", 1)
    assert first["tools"] == [{"type": "function"}]
    assert (first["max_tokens"], second["max_tokens"]) == (5, 3)
    assert counts == [{"prompt_tokens": 1, "completion_tokens": 2}]


def test_bodies_with_keys_of_evalscope_are_refused(plugin_file: Write) -> None:
    text = """
        @register_dataset("own")
        class Own(DatasetPluginBase):
            def build_messages(self):
                yield {"messages": [], "__evalscope_headers": {"X": "1"}}
        """
    with PluginProcess(plugin_file(text), "--role", "dataset") as plugin:
        plugin.send("hello", **hello("dataset"))
        plugin.receive()
        message = plugin.fail("next", max=1)["message"]
    assert "made a body with `__evalscope_headers`" in message
    assert "`--dataset workload_trace`" in message


def test_a_subclass_runs_against_a_server(simulate: Callable[..., str], tmp_path: Path) -> None:
    @register_api("with tools")
    class WithTools(OpenaiPlugin):
        def build_request(self, messages: Any, param: Any = None) -> Any:
            return {**super().build_request(messages, param), "tools": []}

    arguments = Arguments(
        url=simulate("--output-tokens", "4"),
        model="m",
        api="with tools",
        dataset="sample",
        parallel=[1, 2],
        number=[2, 4],
        sleep_interval=0,
        outputs_dir=tmp_path / "out",
    )
    results = run_perf_benchmark(arguments, show_output=False)
    assert arguments.outputs_dir == str(results.folder)
    assert isinstance(results, dict)
    one = results["parallel_1_number_2"]
    assert one["metrics"].succeed_requests == one["metrics"]["Success Requests"] == 2
    assert one["percentiles"].get_p99("ttft") == one["percentiles"].rows[-2].ttft > 0
    assert one["workload_throughput"].rows[3].metric == "Completion tok/s"
    assert one["trace_summary"] is None
    with contextlib.closing(sqlite3.connect(one.folder / "benchmark_data.db")) as database:
        ((stored,),) = database.execute("SELECT request FROM result LIMIT 1").fetchall()
    body = stored if stored.startswith("{") else pickle.loads(base64.b64decode(stored))
    body = json.loads(body) if isinstance(body, str) else body
    assert body["tools"] == []

    first = run_one_benchmark(arguments, tmp_path / "one")
    assert list(first) == ["parallel_1_number_2"]
    every = run_multi_benchmark(arguments, tmp_path / "all")
    assert list(every) == list(results)
    assert every.folder.parent == tmp_path / "all"


# --- datasets ---


class Lines(LineByLineDatasetPlugin):
    """Of a dataset of lines, which are there already."""

    def __init__(self, options: Arguments, *lines: str) -> None:
        super().__init__(options)
        self.lines = lines

    def dataset_line_by_line(self, dataset: Any) -> Any:
        return iter(self.lines)


def test_prompts_are_cut_and_filled_up(words: Words, tmp_path: Path) -> None:
    book = tmp_path / "book.txt"
    book.write_text("w2 w3 w4")

    def yielded(**options: Any) -> Any:
        chat = options.pop("apply_chat_template", True)
        of = Arguments(dataset_args=options, tokenizer_path="w", apply_chat_template=chat)
        return list(Lines(of, "w9 w9 w9 w9", "w8", ""))

    assert [m[0]["content"] for m in yielded(target_input_len=2)] == ["w9 w9 ", "w8"]
    assert len(yielded(target_input_len=4, input_len_mode="drop")) == 1
    filled = yielded(target_input_len=6, prefix_file=str(book))
    assert filled[0] == [
        {"role": "system", "content": "w2 w3 "},
        {"role": "user", "content": "w9 w9 w9 w9"},
    ]
    # repeated where it ends
    assert filled[1][0]["content"] == "w2 w3 w4 w2 w3 "
    inside = yielded(target_input_len=3, prefix_file=str(book), prefix_role="user")
    assert inside[1] == [{"role": "user", "content": "w2 w3 w8"}]
    plain = yielded(target_input_len=3, prefix_file=str(book), apply_chat_template=False)
    assert plain == ["w9 w9 w9 ", "w2 w3 w8"]
    # a conversation is left out whole
    options = Arguments(dataset_args={"target_input_len": 2}, tokenizer_path="w")
    assert Lines(options).prepare_conversation([{"role": "user", "content": "w2 w3 w4"}]) is None


def test_options_for_lengths_are_checked(tmp_path: Path) -> None:
    for options, said in (
        ({"target_input_len": 0}, "above 0"),
        ({"prefix_file": "book"}, "requires `target_input_len`"),
        ({"target_input_len": 1, "prefix_file": "b", "input_len_mode": "drop"}, "incompatible"),
        ({"input_len_mode": "fill"}, "is 'cap' or 'drop', not 'fill'"),
        ({"target_input_len": "9"}, "is a whole number or None, not '9'"),
    ):
        with pytest.raises(InvalidOption, match=said):
            TextDatasetArgs(**options)
    with pytest.raises(ValueError, match="requires a tokenizer"):
        Lines(Arguments(dataset_args={"target_input_len": 1}))


def test_lengths_are_in_characters_or_in_tokens(words: Words) -> None:
    def length(**options: Any) -> tuple[bool, int]:
        return Lines(Arguments(max_prompt_length=3, **options)).check_prompt_length("w2 w3")

    assert length() == (False, 5)
    assert length(tokenizer_path="w", apply_chat_template=False) == (True, 2)
    assert length(tokenizer_path="w") == (False, 4)


def test_without_a_library_the_tool_looks_at_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    for library in ("modelscope", "transformers"):
        monkeypatch.setitem(sys.modules, library, None)
    options = Arguments(max_prompt_length=3, tokenizer_path="w")
    assert Lines(options).check_prompt_length("w2 w3") == (True, 5)


def test_lines_may_be_json() -> None:
    assert list(Lines(Arguments(), json.dumps(CHAT), '{"prompt": "x"}', "5")) == [
        CHAT,
        {"prompt": "x"},
        [{"role": "user", "content": "5"}],
    ]


def test_datasets_read_a_file(tmp_path: Path) -> None:
    path = tmp_path / "open_qa.jsonl"
    path.write_text('{"question": " why? "}\n{"question": "a much longer question"}\n')
    short = Arguments(dataset_path=path, max_prompt_length=9)
    assert list(OpenqaDatasetPlugin(short)) == [[{"role": "user", "content": "why?"}]]
    inside = Arguments(dataset_path=tmp_path, apply_chat_template=False)
    assert list(OpenqaDatasetPlugin(inside)) == ["why?", "a much longer question"]
    path.write_text("one\n\ntwo\n")
    assert [m[0]["content"] for m in CustomDatasetPlugin(Arguments(dataset_path=path))] == [
        "one",
        "two",
    ]
    talk = [{"human": "a", "assistant": "b"}, {"human": "c", "assistant": "d"}, {"human": " "}]
    path.write_text(json.dumps({"conversation": talk}) + "\n{}\n")
    (messages,) = ShareGPTZhDatasetPlugin(Arguments(dataset_path=path))
    assert [message["content"] for message in messages] == ["a", "b", "c"]


def test_what_cannot_be_downloaded_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for library in ("modelscope", "modelscope.msdatasets", "huggingface_hub", "datasets"):
        monkeypatch.setitem(sys.modules, library, None)
    for source, package in (("modelscope", "modelscope"), ("huggingface", "huggingface_hub")):
        with pytest.raises(ImportError, match=f"pip install {package}`, or download the file"):
            list(OpenqaDatasetPlugin(Arguments(data_source=source)))
    with pytest.raises(Exception, match="downloads nothing: give `dataset_path`"):
        list(OpenqaDatasetPlugin(Arguments(data_source="local")))
    with pytest.raises(FileNotFoundError, match="which `dataset_path` names"):
        list(OpenqaDatasetPlugin(Arguments(dataset_path=tmp_path / "no")))
    with pytest.raises(FileNotFoundError, match=r"no `open_qa.jsonl` in"):
        list(OpenqaDatasetPlugin(Arguments(dataset_path=tmp_path)))
    with pytest.raises(ImportError, match="needs datasets"):
        OpenqaDatasetPlugin(Arguments(dataset_path=tmp_path)).load_hub_dataset()
    with pytest.raises(ValueError, match="set `dataset_source`"):
        OpenqaDatasetPlugin(Arguments()).load_hub_dataset()


def test_hubs_are_asked_for_what_was_named(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    modelscope, hub, datasets = map(types.ModuleType, ("modelscope", "huggingface_hub", "datasets"))
    modelscope.dataset_snapshot_download = lambda *a, **k: asked.append((a, k)) or "/folder"  # type: ignore[attr-defined,func-returns-value]
    hub.hf_hub_download = lambda *a, **k: asked.append((a, k)) or "/file"  # type: ignore[attr-defined,func-returns-value]
    datasets.load_dataset = lambda *a, **k: asked.append((a, k)) or [1]  # type: ignore[attr-defined,func-returns-value]
    for library in (modelscope, hub, datasets):
        monkeypatch.setitem(sys.modules, library.__name__, library)
    here, there = (
        CustomDatasetPlugin(Arguments()),
        CustomDatasetPlugin(Arguments(data_source="huggingface")),
    )
    assert here.download_hub_file("org/d", "f.jsonl") == "/folder/f.jsonl"
    assert there.download_hub_file("org/d", "f.jsonl") == "/file"
    assert there.load_hub_dataset("org/d", split="test", subset="zh") == [1]
    assert asked == [
        (("org/d",), {"allow_file_pattern": ["f.jsonl"]}),
        (("org/d", "f.jsonl"), {"repo_type": "dataset"}),
        (("org/d",), {"split": "test", "name": "zh"}),
    ]


def test_random_prompts_have_their_lengths(words: Words) -> None:
    options: dict[str, Any] = {
        "tokenizer_path": "w",
        "number": 6,
        "min_prompt_length": 5,
        "max_prompt_length": 9,
    }
    plugin = RandomDatasetPlugin(
        Arguments(**options, prefix_length=2, prefix_count=2, dataset="random")
    )
    prompts = [messages[0]["content"].split() for messages in plugin]
    # two tokens of the template are among them, two of the prefix are not
    assert all(5 <= len(prompt) <= 9 for prompt in prompts)
    assert len(prompts) == 6
    assert (
        prompts[0][:2] == prompts[2][:2] == [words.words[token] for token in plugin.prefix_pool[0]]
    )
    assert not {"<s>", "<0x41>"} & {word for prompt in prompts for word in prompt}
    assert [messages[0]["content"].split() for messages in plugin] == prompts
    tokens = RandomDatasetPlugin(Arguments(**options, tokenize_prompt=True, seed=1))
    assert all(5 <= len(prompt) <= 9 and set(map(type, prompt)) == {int} for prompt in tokens)
    with pytest.raises(ValueError, match="need a tokenizer"):
        RandomDatasetPlugin(Arguments())


# --- options of datasets ---


class Mine(BaseDatasetArgs):
    language: str
    longest: int = 512
    share: float = 0.5
    tags: list[str] = []  # noqa: RUF012


def test_options_of_a_dataset_are_checked() -> None:
    mine = Mine(language="zh", share=1)
    assert (mine.language, mine.longest, mine.share) == ("zh", 512, 1)
    assert mine.model_dump(exclude_unset=True) == {"language": "zh", "share": 1}
    assert mine == Mine(language="zh", share=1) != Mine(language="en")
    assert repr(mine) == "Mine(language='zh', longest=512, share=1, tags=[])"
    for given, said in (
        ({}, "`language` is missing"),
        ({"language": 5}, "`language` is a text, not 5"),
        ({"language": "zh", "longest": True}, "`longest` is a whole number, not True"),
        ({"language": "zh", "tags": ["a", 1]}, "`tags` is a list, each of it a text, not"),
    ):
        with pytest.raises(InvalidOption, match=said):
            Mine(**given)
    with pytest.raises(UnknownOption, match="`langage`; did you mean `language`"):
        Mine(langage="zh")


def test_a_dataset_without_options_takes_none() -> None:
    class Own(DatasetPluginBase):
        def build_messages(self) -> Any:
            yield "hi"

    assert Own(Arguments()).dataset_args == BaseDatasetArgs()
    assert (Own.requires_model, Own.provides_arrival_schedule) == (True, False)
    with pytest.raises(UnknownOption, match="no dataset option `x`; this dataset has none"):
        Own(Arguments(dataset_args={"x": 1}))


def test_a_validator_of_pydantic_is_not_forgotten() -> None:
    validator = type("PydanticDescriptorProxy", (), {"__module__": "pydantic._internal"})()
    with pytest.raises(TypeError, match=r"let it inherit from `pydantic.BaseModel`"):
        type("Checked", (BaseDatasetArgs,), {"check": validator})
