"""Owns EvalScope's datasets of conversations in one request, for subclasses.

The tool's `share_gpt_zh` and `share_gpt_en` need no Python.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

from evalscope.perf.plugin.datasets.base import DatasetPluginBase, Messages
from evalscope.perf.plugin.datasets.dataset_args import TextDatasetArgs


class ShareGPTDatasetPluginBase(DatasetPluginBase):
    """Conversations with their whole history, up to the last text of the user."""

    FILE_NAME: ClassVar[str] = ""
    args_schema: Callable[..., Any] = TextDatasetArgs

    def build_messages(self) -> Iterator[Any]:
        """The messages of each line that has the right length."""
        for line in self.dataset_line_by_line(self._file()):
            messages = _messages(json.loads(line).get("conversation") or [])
            prepared = self._prepared(messages) if messages else None
            if prepared is not None:
                yield prepared

    def _file(self) -> str:
        huggingface = self.query_parameters.data_source == "huggingface"
        name = "shareAI/ShareGPT-Chinese-English-90k" if huggingface else "swift/sharegpt"
        inside = f"sharegpt_jsonl/{self.FILE_NAME}" if huggingface else self.FILE_NAME
        return self.download_hub_file(name, inside)

    def _prepared(self, messages: Messages) -> Messages | None:
        if self.dataset_args.prefix_file is not None:
            return self.prepare_conversation(messages)
        last = self.prepare_prompt(messages[-1]["content"])
        return None if last is None else [*messages[:-1], {**messages[-1], "content": last}]


class ShareGPTZhDatasetPlugin(ShareGPTDatasetPluginBase):
    """In Chinese."""

    FILE_NAME = "common_zh_70k.jsonl"


class ShareGPTEnDatasetPlugin(ShareGPTDatasetPluginBase):
    """In English."""

    FILE_NAME = "common_en_70k.jsonl"


def _messages(turns: Sequence[dict[str, Any]]) -> Messages:
    messages: Messages = []
    for turn in turns:
        human, assistant = (str(turn.get(who) or "").strip() for who in ("human", "assistant"))
        if human:
            messages.append({"role": "user", "content": human})
            if assistant:
                messages.append({"role": "assistant", "content": assistant})
    # the model is to write the last one
    return messages[:-1] if messages and messages[-1]["role"] == "assistant" else messages
