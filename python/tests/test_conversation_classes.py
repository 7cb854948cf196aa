"""EvalScope's classes of datasets of conversations and of long prompts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from foreign import Words

from evalscope.perf.arguments import Arguments
from evalscope.perf.plugin import (
    DatasetRegistry,
    LongAlpacaDatasetPlugin,
    RandomMultiTurnDatasetPlugin,
    ShareGPTZhMultiTurnPlugin,
    SweSmithDatasetPlugin,
    TrieCodeQaPlugin,
    TrieOfficeWorkPlugin,
    Turn,
)
from evalscope.perf.plugin.datasets.dataset_args import MultiTurnDatasetArgs


def texts(conversation: list[Turn]) -> list[list[str]]:
    return [[message["content"] for message in turn.messages] for turn in conversation]


def test_long_prompts_are_instructions(tmp_path: Path) -> None:
    path = tmp_path / "long.json"
    path.write_text(json.dumps([{"instruction": " read this "}, {"instruction": "and that"}]))
    plugin = LongAlpacaDatasetPlugin(Arguments(dataset_path=path, max_prompt_length=9))
    assert list(plugin) == [
        [{"role": "user", "content": "read this"}],
        [{"role": "user", "content": "and that"}],
    ]


def test_random_conversations_have_their_turns_and_lengths(words: Words) -> None:
    options: dict[str, Any] = {
        "tokenizer_path": "w",
        "number": 9,
        "parallel": 2,
        "min_prompt_length": 3,
        "max_prompt_length": 5,
        "min_turns": 2,
    }
    plugin = RandomMultiTurnDatasetPlugin(Arguments(**options, max_turns=3, seed=1))
    conversations = list(plugin)
    assert len(conversations) == 10
    assert {len(conversation) for conversation in conversations} == {2, 3}
    lengths = {len(text.split()) for talk in conversations for turn in texts(talk) for text in turn}
    assert lengths == {3, 4, 5}
    assert all(
        [turn.is_final for turn in talk].index(True) == len(talk) - 1 for talk in conversations
    )
    # a pass over them is like the one before
    assert list(plugin) == conversations
    with pytest.raises(ValueError, match="need `max_turns`"):
        RandomMultiTurnDatasetPlugin(Arguments(**options))
    # what the command line refuses, a program may change later
    arguments = Arguments(**options, max_turns=2)
    arguments.max_turns = 1
    with pytest.raises(ValueError, match="below `min_turns`, 2"):
        RandomMultiTurnDatasetPlugin(arguments)


def test_what_users_said_is_said_turn_by_turn(tmp_path: Path) -> None:
    path = tmp_path / "common_zh_70k.jsonl"
    said = [{"human": who, "assistant": "yes"} for who in ("a", " ", "b", "c")]
    path.write_text(json.dumps({"conversation": said}) + "\n{}\n")
    (talk,) = ShareGPTZhMultiTurnPlugin(Arguments(dataset_path=tmp_path, max_turns=2))
    assert texts(talk) == [["a"], ["b"]]
    assert [turn.is_final for turn in talk] == [False, True]
    assert not list(ShareGPTZhMultiTurnPlugin(Arguments(dataset_path=path, min_prompt_length=2)))


def test_recorded_agents_have_lengths_waits_and_limits(
    words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = {
        "input_prompt_length": 4,
        "num_turns": 2,
        "assistant_response_length": [7, 8],
        "tool_call_output_length": [0, 3],
        "tool_call_latency": [0.5, 1],
        "final_assistant_response_length": 9,
    }
    path = tmp_path / "code_qa_8k.jsonl"
    path.write_text(f"{json.dumps(trace)}\n\n{json.dumps({**trace, 'num_turns': 3})}\nno\n")
    (talk,) = TrieCodeQaPlugin(Arguments(tokenizer_path="w", dataset_path=path, seed=3))
    assert [len(text.split()) for (text,) in texts(talk)] == [4, 1, 3]
    assert [turn.max_tokens for turn in talk] == [7, 8, 9]
    assert [turn.tool_call_latency for turn in talk] == [None, 0.5, 1.0]
    assert [turn.is_final for turn in talk] == [False, False, True]
    warnings = capsys.readouterr().err.splitlines()
    assert "line 3 is left out" in warnings[0]
    assert "2 items for 3 turns" in warnings[0]
    assert "line 4 is left out" in warnings[1]
    assert TrieOfficeWorkPlugin.FILE_NAME == "office_work_8k.jsonl"


def test_agents_that_repair_code_are_read_or_made(
    words: Words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "agentic_dataset.json"
    prebuilt = [
        [{"messages": [{"role": "user", "content": name}], "rid": name}] for name in ("a", "b", "c")
    ]
    path.write_text(json.dumps({"conversations": prebuilt}))
    read = list(SweSmithDatasetPlugin(Arguments(dataset_path=path, dataset_offset=1)))
    assert [texts(talk) for talk in read] == [[["b"]], [["c"]], [["a"]]]
    assert read[0][0].rid == "b"

    def trajectory(*said: tuple[str, Any]) -> dict[str, str]:
        return {"messages": json.dumps([{"role": role, "content": text} for role, text in said])}

    rows = [
        trajectory(
            ("system", "s"),
            ("user", "w2 w3 w4 w5"),
            ("assistant", "no"),
            ("tool", [{"type": "text", "text": "w6 w7"}]),
            ("user", "w8 w9 w10 w11"),
        ),
        trajectory(("user", "w2")),
        {"messages": "not JSON, but long enough to be looked at"},
    ]
    monkeypatch.setattr(SweSmithDatasetPlugin, "load_hub_dataset", lambda *_a, **_k: rows)
    options: dict[str, Any] = {
        "tokenizer_path": "w",
        "number": 5,
        "min_turns": 2,
        "seed": 1,
        "dataset_args": {
            "first_turn_length": 5,
            "subsequent_turn_length": 3,
            "chars_per_token": 1.0,
        },
    }
    (made,) = SweSmithDatasetPlugin(Arguments(**options))
    assert [[text.split() for text in turn] for turn in texts(made)] == [
        [["w2", "w3", "w4", "w5"], ["w6"]],
        [["w8", "w9", "w10"]],
    ]
    with pytest.raises(ValueError, match="give `tokenizer_path`"):
        list(SweSmithDatasetPlugin(Arguments()))


def test_classes_are_found_and_have_the_options_of_conversations() -> None:
    for name in ("random_multi_turn", "share_gpt_en_multi_turn", "swe_smith"):
        cls: Any = DatasetRegistry.get_class(name)
        assert cls.args_schema is MultiTurnDatasetArgs
    assert DatasetRegistry.get_class("trie_code_qa") is TrieCodeQaPlugin
    assert DatasetRegistry.get_class("longalpaca") is LongAlpacaDatasetPlugin
