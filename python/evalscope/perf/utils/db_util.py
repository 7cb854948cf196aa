"""Owns EvalScope's way from a run's database to its percentiles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from evalscope.errors import EvalscopeError
from evalscope.perf.figures import PercentileResult


def get_percentile_results(
    result_db_path: Path | str, api_type: str | None = None, enable_pd_metrics: bool = False
) -> PercentileResult:
    """The percentiles of the run that a database belongs to, out of the file beside it.

    They are not worked out again, so the API and the switch have no effect.

    Raises:
        EvalscopeError: when the file is not there; `evalscope report` makes it.
    """
    path = Path(result_db_path).with_name("benchmark_percentile.json")
    try:
        rows: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise EvalscopeError(
            f"there is no {path}; `evalscope report {path.parent.parent}` makes it"
        ) from None
    return PercentileResult.from_list(rows)
