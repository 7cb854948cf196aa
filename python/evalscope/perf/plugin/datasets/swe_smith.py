"""Owns EvalScope's dataset of agents that repair code, for subclasses.

The tool's `swe_smith` needs no Python.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from evalscope.perf.plugin.datasets.base import Conversation, DatasetPluginBase, Messages, Turn
from evalscope.perf.plugin.datasets.dataset_args import MultiTurnDatasetArgs
from evalscope.perf.plugin.tokenizing import truncate_text_to_token_len

_DATASET = "SWE-bench/SWE-smith-trajectories"
_SPLIT = "tool"
_ROLES = ("system", "user", "assistant")


class SweSmithDatasetPlugin(DatasetPluginBase):
    """Conversations of a prebuilt file (`dataset_path`), or made of recorded trajectories.

    Those that are made take the texts of users and tools: so many that the first turn has
    `first_turn_length` tokens, and each later one `subsequent_turn_length`.
    """

    args_schema = MultiTurnDatasetArgs

    def build_messages(self) -> Iterator[Any]:
        """The conversations."""
        if self.query_parameters.dataset_path:
            yield from self._load_from_json()
        else:
            yield from self._load_live()

    def _load_from_json(self) -> Iterator[Conversation]:
        with open(self.query_parameters.dataset_path, encoding="utf-8") as file:
            conversations = json.load(file).get("conversations") or []
        if not conversations:
            path = self.query_parameters.dataset_path
            print(f"warning: there are no conversations in {path}", file=sys.stderr)
        for turns in _rotated(conversations, self.query_parameters.dataset_offset):
            if turns:
                yield _conversation([turn["messages"] for turn in turns], turns[0].get("rid"))

    def _load_live(self) -> Iterator[Conversation]:
        options = self.query_parameters
        if self.tokenizer is None:
            raise ValueError(
                "conversations are made of trajectories with a tokenizer: give `tokenizer_path`, "
                "or a prebuilt file as `dataset_path`"
            )
        fewest = options.min_turns
        most = fewest if options.max_turns is None else options.max_turns
        if most < fewest:
            raise ValueError(f"`max_turns` is {most}, below `min_turns`, {fewest}")
        draw = random.Random(options.seed)
        candidates = self._candidates(most)
        draw.shuffle(candidates)
        left = max(1, options.total_count)
        for texts in _rotated(candidates, options.dataset_offset):
            sampled = self.get_sampled_multi_turn_params()
            lengths = [sampled["first_turn_length"]]
            lengths += [sampled["subsequent_turn_length"]] * (draw.randint(fewest, most) - 1)
            messages = self._turns(texts, lengths)
            if messages is not None:
                yield _conversation(messages, None)
                left -= 1
            if left == 0:
                return

    def _candidates(self, turns: int) -> list[list[str]]:
        """The texts of each trajectory that is long enough."""
        args = self.dataset_args
        tokens = _most(args.first_turn_length) + _most(args.subsequent_turn_length) * (turns - 1)
        shortest = int(tokens * args.chars_per_token)
        found = []
        for row in self.load_hub_dataset(_DATASET, split=_SPLIT):
            if len(row["messages"]) < shortest:
                continue
            try:
                texts = [text for role, text in _texts(row["messages"]) if role == "user"]
            except (KeyError, TypeError, ValueError):
                continue
            if sum(map(len, texts)) >= shortest:
                found.append(texts)
        return found

    def _turns(self, texts: Sequence[str], lengths: Sequence[int]) -> list[Messages] | None:
        """The messages of turns of these lengths; `None` if the texts do not reach."""
        turns = []
        at = 0
        for length in lengths:
            messages: Messages = []
            left = length
            while at < len(texts) and left > 0:
                tokens = self.content_token_len(texts[at])
                text = texts[at]
                if tokens > left:
                    text = truncate_text_to_token_len(text, left, self.tokenizer)
                messages.append({"role": "user", "content": text})
                left -= tokens
                at += 1
            if not messages:
                return None
            turns.append(messages)
        return turns


def _conversation(turns: Sequence[Messages], rid: Any) -> Conversation:
    last = len(turns) - 1
    return [
        Turn(messages=messages, is_final=number == last, rid=rid)
        for number, messages in enumerate(turns)
    ]


def _rotated(items: Sequence[Any], offset: int | None) -> Sequence[Any]:
    start = (offset or 0) % len(items) if items else 0
    return [*items[start:], *items[:start]]


def _most(length: Any) -> int:
    return int(length[-1]) if isinstance(length, (list, tuple)) else int(length)


def _texts(messages: str) -> Iterator[tuple[str, str]]:
    """The role and the text of each message; the results of tools are said by the user."""
    for message in json.loads(messages):
        role, content = message.get("role"), message.get("content")
        if isinstance(content, list):
            parts = (part.get("text") if isinstance(part, dict) else part for part in content)
            content = "\n".join(part for part in parts if part)
        role = "user" if role == "tool" else role
        if content and role in _ROLES:
            yield role, content
