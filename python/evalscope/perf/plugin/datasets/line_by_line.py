"""Owns EvalScope's dataset of lines that may be JSON, for subclasses.

The tool's `line_by_line` needs no Python.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from evalscope.perf.plugin.datasets.base import DatasetPluginBase
from evalscope.perf.plugin.datasets.dataset_args import TextDatasetArgs


class LineByLineDatasetPlugin(DatasetPluginBase):
    """Each line of `dataset_path` is a prompt, a JSON list of messages, or a JSON body."""

    args_schema = TextDatasetArgs

    def build_messages(self) -> Iterator[Any]:
        """A prompt of each line that is not empty and has the right length."""
        for line in self.dataset_line_by_line(self.query_parameters.dataset_path):
            prepared = self._prepared(line.strip()) if line.strip() else None
            if prepared is not None:
                yield prepared

    def _prepared(self, line: str) -> Any:
        try:
            parsed = json.loads(line)
        except ValueError:
            parsed = line
        if not isinstance(parsed, (list, dict)):
            return self.prepare_messages(line)
        if self.dataset_args.target_input_len is not None:
            raise ValueError(
                "`target_input_len` and `prefix_file` only support plain-text lines, and this one "
                f"is JSON: {line[:80]}; leave them out, or write the prompts as text"
            )
        return parsed
