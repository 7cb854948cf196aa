"""Owns EvalScope's dataset of questions, for subclasses. The tool's `openqa` needs no Python."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from evalscope.perf.plugin.datasets.base import DatasetPluginBase
from evalscope.perf.plugin.datasets.dataset_args import TextDatasetArgs


class OpenqaDatasetPlugin(DatasetPluginBase):
    """Field `question` of JSON Lines: `dataset_path`, or HC3-Chinese of a hub."""

    args_schema = TextDatasetArgs

    def build_messages(self) -> Iterator[Any]:
        """A prompt of each line that has the right length."""
        huggingface = self.query_parameters.data_source == "huggingface"
        owner = "Hello-SimpleAI" if huggingface else "AI-ModelScope"
        path = self.download_hub_file(f"{owner}/HC3-Chinese", "open_qa.jsonl")
        for line in self.dataset_line_by_line(path):
            prepared = self.prepare_messages(json.loads(line)["question"].strip())
            if prepared is not None:
                yield prepared
