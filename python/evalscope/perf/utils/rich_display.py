"""Owns EvalScope's way to print the tables of a command."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evalscope.errors import EvalscopeError


def print_summary(all_results: Mapping[str, Any], args: Any = None) -> None:
    """Print the tables that the tool has written, `performance_summary.txt`.

    `run_perf_benchmark` prints them by itself unless it was called with `show_output=False`.
    """
    folder = getattr(all_results, "folder", None) or getattr(args, "outputs_dir", None)
    path = Path(folder or ".") / "performance_summary.txt"
    try:
        print(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise EvalscopeError(
            f"there is no {path}; give the results of `run_perf_benchmark` as they are"
        ) from None
