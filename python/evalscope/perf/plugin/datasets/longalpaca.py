"""Owns EvalScope's dataset of long prompts, for subclasses.

The tool's `longalpaca` needs no Python.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from evalscope.perf.plugin.datasets.base import DatasetPluginBase
from evalscope.perf.plugin.datasets.dataset_args import TextDatasetArgs


class LongAlpacaDatasetPlugin(DatasetPluginBase):
    """Field `instruction` of a JSON list: `dataset_path`, or LongAlpaca-12k of a hub."""

    args_schema = TextDatasetArgs

    def build_messages(self) -> Iterator[Any]:
        """A prompt of each item that has the right length."""
        path = self.query_parameters.dataset_path
        if path and os.path.isfile(path):
            items = self.dataset_json_list(path)
        else:
            huggingface = self.query_parameters.data_source == "huggingface"
            owner = "Yukang" if huggingface else "AI-ModelScope"
            items = self.load_hub_dataset(f"{owner}/LongAlpaca-12k", split="train")
        for item in items:
            prepared = self.prepare_messages(item["instruction"].strip())
            if prepared is not None:
                yield prepared
