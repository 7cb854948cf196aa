"""Owns EvalScope's dataset of lines, for subclasses. The tool's `custom` needs no Python."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from evalscope.perf.plugin.datasets.base import DatasetPluginBase


class CustomDatasetPlugin(DatasetPluginBase):
    """Each line of `dataset_path` is a prompt."""

    def build_messages(self) -> Iterator[Any]:
        """A prompt of each line that has the right length."""
        for line in self.dataset_line_by_line(self.query_parameters.dataset_path):
            prepared = self.prepare_messages(line.strip()) if line.strip() else None
            if prepared is not None:
                yield prepared
