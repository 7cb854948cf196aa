"""Owns EvalScope's datasets of conversations, turn by turn, for subclasses.

The tool's `random_multi_turn`, `share_gpt_zh_multi_turn` and `share_gpt_en_multi_turn` need no
Python.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from typing import Any

from evalscope.perf.plugin.datasets.base import Conversation, Turn
from evalscope.perf.plugin.datasets.dataset_args import MultiTurnDatasetArgs
from evalscope.perf.plugin.datasets.random_dataset import RandomDatasetPlugin
from evalscope.perf.plugin.datasets.share_gpt import ShareGPTDatasetPluginBase

# conversations for each one under way, so that not all are the same ones
_FOR_EACH_PLACE = 4


def conversation_of(texts: Sequence[str]) -> Conversation:
    """A turn of the user for each text."""
    last = len(texts) - 1
    return [
        Turn(messages=[{"role": "user", "content": text}], is_final=number == last)
        for number, text in enumerate(texts)
    ]


class RandomMultiTurnDatasetPlugin(RandomDatasetPlugin):
    """Conversations of random text, each of `min_turns` to `max_turns` turns."""

    args_schema = MultiTurnDatasetArgs

    def __init__(self, query_parameters: Any) -> None:
        """`query_parameters` has the options, of which `max_turns` is needed."""
        super().__init__(query_parameters)
        self.min_turns_per_conv = max(1, query_parameters.min_turns)
        self.max_turns_per_conv = query_parameters.max_turns
        if self.max_turns_per_conv is None:
            raise ValueError("random conversations need `max_turns`, the most turns of each")
        if self.max_turns_per_conv < self.min_turns_per_conv:
            raise ValueError(
                f"`max_turns` is {self.max_turns_per_conv}, below `min_turns`, "
                f"{self.min_turns_per_conv}"
            )

    def build_messages(self) -> Iterator[Any]:
        """The conversations, the same ones every time."""
        draw = random.Random(self._seed + 1)
        options = self.query_parameters
        parallel = options.parallel
        places = max(parallel) if isinstance(parallel, list) else parallel
        turn = 0
        for _ in range(max(_FOR_EACH_PLACE * (places or 1), self.number + 1)):
            texts = []
            for _ in range(draw.randint(self.min_turns_per_conv, self.max_turns_per_conv)):
                length = draw.randint(options.min_prompt_length or 0, options.max_prompt_length)
                offset = draw.randrange(len(self.allowed_tokens)) + (options.dataset_offset or 0)
                texts.append(self.generate_token_sequence(length, offset, turn)[0])
                turn += 1
            yield conversation_of(texts)


class ShareGPTMultiTurnBase(ShareGPTDatasetPluginBase):
    """What the user said in each turn; the server responds anew."""

    args_schema = MultiTurnDatasetArgs

    def build_messages(self) -> Iterator[Any]:
        """The conversation of each line whose first text has the right length."""
        for line in self.dataset_line_by_line(self._file()):
            said = json.loads(line).get("conversation") or []
            texts = [text for turn in said if (text := str(turn.get("human") or "").strip())]
            conversation = conversation_of(texts[: self.query_parameters.max_turns])
            if conversation and self.check_prompt_length(texts[0])[0]:
                yield conversation


class ShareGPTZhMultiTurnPlugin(ShareGPTMultiTurnBase):
    """In Chinese."""

    FILE_NAME = "common_zh_70k.jsonl"


class ShareGPTEnMultiTurnPlugin(ShareGPTMultiTurnBase):
    """In English."""

    FILE_NAME = "common_en_70k.jsonl"
