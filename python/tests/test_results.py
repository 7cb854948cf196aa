"""Reading a command's folder back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evalscope import EvalscopeError
from evalscope.perf.results import Percentiles, Results


def test_missing_and_broken_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(EvalscopeError, match="evalscope report"):
        Results.load(tmp_path)
    (tmp_path / "result.json").write_text("{")
    with pytest.raises(EvalscopeError, match="no JSON"):
        Results.load(tmp_path)


def test_keys_and_attributes_are_the_same(tmp_path: Path) -> None:
    deeper = tmp_path / "sla_tuning" / "run_1"
    deeper.mkdir(parents=True)
    (deeper / "benchmark_summary.json").write_text('{"x": 1}')
    (deeper / "trace_summary.json").write_text('{"n_traces": 2}')
    runs = [{"name": "run_1", "state": "finished"}]
    (tmp_path / "result.json").write_text(json.dumps({"runs": runs}))
    results = Results.load(tmp_path)
    run = results["run_1"]
    assert run["metrics"] is run.metrics
    assert run["trace_summary"] == {"n_traces": 2, "rows": []}
    assert run.workload_throughput is None
    assert run.folder == deeper
    with pytest.raises(KeyError, match="did you mean `metrics`"):
        _ = run["metric"]
    with pytest.raises(KeyError, match="there are run_1"):
        _ = results["run_2"]
    assert "run_1" in repr(results)


def test_a_search_has_probes_and_selections(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text('{"runs": []}')
    without = Results.load(tmp_path)
    assert (without.probes, without.selections, without.sla_summary) == ([], [], {})
    search = {"probes": [{"value": 4}], "selections": [{"selected_value": 4}]}
    (tmp_path / "result.json").write_text(json.dumps({"runs": [], "search": search}))
    (tmp_path / "sla_summary.json").write_text('{"parallel_4": {"metrics": {}}}')
    found = Results.load(tmp_path)
    assert found.probes[0]["value"] == found.selections[0]["selected_value"] == 4
    assert list(found.sla_summary) == ["parallel_4"]


def test_percentiles_are_rows_and_columns() -> None:
    rows = [{"Percentiles": "50%", "TTFT (ms)": 1.0}, {"Percentiles": "99%", "TTFT (ms)": 2.0}]
    percentiles = Percentiles(rows)
    assert list(percentiles) == rows
    assert percentiles["TTFT (ms)"] == [1.0, 2.0]
    assert percentiles.value("TTFT (ms)", "99%") == 2.0
    with pytest.raises(KeyError, match=r"did you mean `TTFT \(ms\)`"):
        _ = percentiles["TTFT"]
    with pytest.raises(KeyError, match="there are 50%, 99%"):
        percentiles.value("TTFT (ms)", "90%")
