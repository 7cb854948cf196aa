"""Owns EvalScope's way to start a search for a service level."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from evalscope.perf.arguments import Arguments
from evalscope.perf.main import run_perf_benchmark
from evalscope.perf.results import Results, SLAResult

__all__ = ["SLAResult", "run_sla_auto_tune"]


def run_sla_auto_tune(args: Arguments, _run: Callable[..., Any] | None = None) -> Results:
    """Search as `run_perf_benchmark` does with `sla_auto_tune`.

    EvalScope takes the function that makes one run; it has no effect here, where the tool makes
    all of them.
    """
    return run_perf_benchmark(args.model_copy(update={"sla_auto_tune": True}))
