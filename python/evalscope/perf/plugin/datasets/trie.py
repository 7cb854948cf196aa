"""Owns EvalScope's datasets of recorded agents, for subclasses.

The tool's `trie_agentic_coding`, `trie_code_qa` and `trie_office_work` need no Python.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from evalscope.perf.plugin.datasets.base import Conversation, Turn
from evalscope.perf.plugin.datasets.random_dataset import RandomDatasetPlugin

_DATASET = "evalscope/trie-workloads"


class TrieReplayBase(RandomDatasetPlugin):
    """Random text of recorded lengths, with recorded waits and limits of the responses.

    A line has `input_prompt_length`, `num_turns`, `final_assistant_response_length`, and for each
    turn `assistant_response_length`, `tool_call_output_length` and `tool_call_latency`.
    """

    FILE_NAME: ClassVar[str] = ""

    def build_messages(self) -> Iterator[Any]:
        """The conversation of each line; those that are none are named and left out."""
        for number, line in enumerate(self.dataset_line_by_line(self._resolve_dataset_path()), 1):
            if not line.strip():
                continue
            try:
                conversation = self._trace_to_conversation(json.loads(line))
            except (KeyError, TypeError, ValueError) as error:
                print(f"warning: line {number} is left out: {error!r}", file=sys.stderr)
                continue
            yield conversation

    def _resolve_dataset_path(self) -> str:
        return self.download_hub_file(_DATASET, self.FILE_NAME)

    def _trace_to_conversation(self, trace: Mapping[str, Any]) -> Conversation:
        turns = int(trace["num_turns"])
        lists = ("assistant_response_length", "tool_call_output_length", "tool_call_latency")
        for name in lists:
            if len(trace[name]) != turns:
                raise ValueError(f"`{name}` has {len(trace[name])} items for {turns} turns")
        responses, outputs, waits = (list(trace[name]) for name in lists)
        lengths = [trace["input_prompt_length"], *outputs]
        limits = [*responses, trace["final_assistant_response_length"]]
        return [
            Turn(
                messages=[self.create_message(self._synth_prompt(int(length)))],
                max_tokens=int(limit),
                tool_call_latency=None if wait is None else float(wait),
                is_final=number == turns,
            )
            for number, (length, limit, wait) in enumerate(zip(lengths, limits, [None, *waits]))
        ]

    def _synth_prompt(self, target_len: int) -> str:
        """A text of so many tokens, at least one: servers refuse a message without any."""
        if "_synthesis" not in self.__dict__:
            self._synthesis = random.Random(self._seed + 1)
        offset = self._synthesis.randrange(len(self.allowed_tokens))
        return self.generate_token_sequence(max(1, target_len), offset, 0)[0]


class TrieAgenticCodingPlugin(TrieReplayBase):
    """Agents that write code."""

    FILE_NAME = "agentic_coding_8k.jsonl"


class TrieCodeQaPlugin(TrieReplayBase):
    """Questions about code."""

    FILE_NAME = "code_qa_8k.jsonl"


class TrieOfficeWorkPlugin(TrieReplayBase):
    """Agents that do office work."""

    FILE_NAME = "office_work_8k.jsonl"
