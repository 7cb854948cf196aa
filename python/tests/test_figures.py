"""Figures of a run as objects: attributes and keys, tables, and what a search has come to."""

from __future__ import annotations

import copy
import json
import math
import pickle
from pathlib import Path

import pytest

from evalscope.perf.figures import (
    BenchmarkSummary,
    PercentileResult,
    PercentileRow,
    SLAProbe,
    TraceLevelSummary,
    WorkloadThroughput,
)
from evalscope.perf.results import Results, SLAResult
from evalscope.perf.utils.db_util import get_percentile_results
from evalscope.perf.utils.report.generate_report import gen_perf_html_report
from evalscope.perf.utils.rich_display import print_summary

SUMMARY = {
    "Test Duration (s)": 1.25,
    "Concurrency": 4,
    "Request Rate (req/s)": -1.0,
    "Total Requests": 8,
    "Success Requests": 7,
    "Failed Requests": 1,
    "Req Throughput (req/s)": 5.6,
    "Avg Latency (s)": 0.12345,
    "Avg Input Tokens": 55.34,
    "Avg TTFT (ms)": 12.3456,
    "Avg TPOT (ms)": None,
    "Goodput (req/s)": 5.0,
}


def test_a_summary_has_attributes_and_keys() -> None:
    summary = BenchmarkSummary(SUMMARY)
    assert (summary.avg_ttft, summary["Avg TTFT (ms)"]) == (12.3456, 12.3456)
    # of a file in which there is nothing
    assert (summary.avg_tpot, summary.avg_itl, summary.avg_turns) == (0.0, 0.0, None)
    assert summary["Avg ITL (ms)"] == 0.0
    assert summary["Goodput (req/s)"] == 5.0
    assert summary.success_rate == 87.5
    assert dict(summary) == SUMMARY
    assert json.loads(json.dumps(summary)) == SUMMARY
    summary.avg_ttft = 1.0
    assert summary["Avg TTFT (ms)"] == 1.0
    with pytest.raises(KeyError, match="did you mean `Avg TTFT"):
        _ = summary["Avg TTFT"]
    with pytest.raises(AttributeError, match="avg_tft"):
        _ = summary.avg_tft  # type: ignore[attr-defined]


def test_a_summary_is_made_of_either_kind_of_names() -> None:
    assert BenchmarkSummary(avg_ttft=2.0) == {"Avg TTFT (ms)": 2.0}
    assert BenchmarkSummary.from_dict({"Avg TTFT (ms)": 2.0}).avg_ttft == 2.0
    # means over several runs
    assert BenchmarkSummary(total_requests=7.5).total_requests == 8


def test_a_plain_dict_has_what_is_known() -> None:
    plain = BenchmarkSummary(SUMMARY).to_dict()
    assert type(plain) is dict
    assert plain["Avg ITL (ms)"] == 0.0
    assert "Avg Turns/Request" not in plain
    assert list(BenchmarkSummary().model_dump())[:2] == ["time_taken", "concurrency"]


def test_figures_can_be_copied_and_pickled() -> None:
    summary = BenchmarkSummary(SUMMARY)
    for again in (copy.deepcopy(summary), pickle.loads(pickle.dumps(summary))):
        assert again == summary
        assert again.avg_ttft == 12.3456


def test_a_summary_as_a_table() -> None:
    assert BenchmarkSummary(SUMMARY).to_table() == (
        "┌──────────────────────────┬───────────┐\n"
        "│ Metric                   │     Value │\n"
        "├──────────────────────────┼───────────┤\n"
        "│ ── General ──            │           │\n"
        "│ Test Duration (s)        │      1.25 │\n"
        "│ Concurrency              │         4 │\n"
        "│ Request Rate (req/s)     │        -1 │\n"
        "│ Total / Success / Failed │ 8 / 7 / 1 │\n"
        "│ Req Throughput (req/s)   │       5.6 │\n"
        "│ ── Latency ──            │           │\n"
        "│ Avg Latency (s)          │     0.123 │\n"
        "│ Avg TTFT (ms)            │     12.35 │\n"
        "│ ── Tokens ──             │           │\n"
        "│ Avg Input Tokens         │      55.3 │\n"
        "└──────────────────────────┴───────────┘"
    )


ROWS = [
    {"Percentiles": "50%", "TTFT (ms)": 1.0, "ITL (ms)": None},
    {"Percentiles": "99%", "TTFT (ms)": 2.5, "ITL (ms)": 3.0},
]


def test_percentiles_are_found_by_attribute_and_by_key() -> None:
    percentiles = PercentileResult.from_list(ROWS)
    assert percentiles.get_p("50%", "ttft") == 1.0
    assert percentiles.get_p99("ttft") == percentiles.get_p99_by_alias("TTFT (ms)") == 2.5
    assert percentiles.get_p_by_alias("50%", "ITL (ms)") == 0.0
    assert percentiles.get_p99_by_alias("no such") == percentiles.get_p("3%", "ttft") == 0.0
    assert percentiles.rows[1].itl == 3.0
    assert percentiles[1]["ITL (ms)"] == 3.0
    assert percentiles["TTFT (ms)"] == [1.0, 2.5]
    assert isinstance(percentiles[0], PercentileRow)


def test_percentiles_by_row_and_by_column() -> None:
    percentiles = PercentileResult.from_list(ROWS)
    columns = percentiles.to_columns()
    assert list(columns) == ["Percentiles", "TTFT (ms)", "ITL (ms)"]
    assert math.isnan(columns["ITL (ms)"][0])
    columns["ITL (ms)"][0] = None
    assert PercentileResult.from_transposed(columns) == percentiles
    assert percentiles.to_list()[0] == {"Percentiles": "50%", "TTFT (ms)": 1.0}
    assert PercentileResult.from_transposed({}).to_columns() == {}
    assert percentiles.to_table().splitlines()[3] == "│ TTFT (ms) │     1 │   2.5 │"


def test_conversations_and_throughput() -> None:
    rows = [{"metric": "Latency (s)", "mean": 0.1254, "p99": 0.165}]
    traces = TraceLevelSummary({"n_traces": 6, "rows": rows})
    assert traces.rows[0].p99 == traces["rows"][0]["p99"] == 0.165
    assert "│ Latency (s) │  0.125 │" in traces.to_table()
    assert traces.to_dict()["rows"][0]["min"] == 0.0
    assert TraceLevelSummary().is_empty()
    rows = [{"metric": "Completion tok/s", "overall": 10.0, "steady_state": 12.345}]
    throughput = WorkloadThroughput({"n_samples": 2, "wall_time_s": 1.5, "rows": rows})
    assert throughput.rows[0].steady_state == 12.345
    assert (throughput.last_window_s, throughput["warmup_frac"]) == (30.0, 0.2)
    assert "Steady (drop 20%)" in throughput.to_table()
    assert WorkloadThroughput().to_table() == TraceLevelSummary().to_table() == ""


def search_folder(folder: Path) -> Results:
    probe = {
        "value": 4,
        "total_requests": 8,
        "succeeded_requests": 6,
        "request_gate_passed": False,
        "reasons": ["run 2: 7/8 requests succeeded"],
        "metric_values": {"p99_ttft": 12.0},
        "group_passes": {"1": False},
        "judgement": None,
    }
    selection = {
        "criteria": {"p99_ttft": "<= 500 ms"},
        "mode": "constraint",
        "selected_value": None,
        "observed_metric": None,
        "status": "none",
        "reason": "Failed at lower bound (4)",
        "assumption": "once violated, always violated above",
        "end": "none_meets",
    }
    record = {"variable": "parallel", "probes": [probe], "selections": [selection]}
    figures = {"metrics": {"Avg TTFT (ms)": 11.0}, "percentiles": {"Percentiles": ["99%"]}}
    (folder / "result.json").write_text(json.dumps({"runs": []}))
    (folder / "sla_selection.json").write_text(json.dumps(record))
    (folder / "sla_summary.json").write_text(json.dumps({"parallel_4": figures}))
    return Results.load(folder)


def test_a_search_is_read_back(tmp_path: Path) -> None:
    found = SLAResult.of(search_folder(tmp_path))
    assert found is not None
    assert list(found) == ["parallel_4"]
    assert found["parallel_4"]["metrics"]["Avg TTFT (ms)"] == 11.0
    (probe,) = found.probes
    assert (probe.value, probe.success_rate, probe.valid) == (4, 75.0, False)
    assert probe.averaged_result == found["parallel_4"]
    assert probe.group_passes == probe["group_passes"] == {"1": False}
    (selection,) = found.selections
    assert (selection.status, selection.selected_value) == ("none", None)
    assert selection["end"] == "none_meets"
    assert found.folder == tmp_path
    with pytest.raises(KeyError, match="there are parallel_4"):
        _ = found["parallel_8"]


def test_what_a_search_does_not_say_has_defaults() -> None:
    assert SLAProbe().reasons == []
    assert SLAProbe().reasons is not SLAProbe().reasons
    result = SLAResult({"rate_2": {}}, [{"value": 2}], [])
    assert (result.probes[0].value, result.runs) == (2, None)


def test_a_command_that_has_not_searched(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(json.dumps({"runs": []}))
    assert SLAResult.of(Results.load(tmp_path)) is None


def test_percentiles_report_and_tables_are_where_the_tool_wrote_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "benchmark_percentile.json").write_text(json.dumps(ROWS))
    assert get_percentile_results(tmp_path / "benchmark_data.db").get_p99("ttft") == 2.5
    with pytest.raises(Exception, match="evalscope report"):
        get_percentile_results(tmp_path / "run" / "benchmark_data.db")
    (tmp_path / "perf_report.html").touch()
    assert gen_perf_html_report(tmp_path, {}, None) == str(tmp_path / "perf_report.html")
    results = search_folder(tmp_path)
    with pytest.raises(Exception, match=r"there is no .*performance_summary.txt"):
        print_summary(results)
    (tmp_path / "performance_summary.txt").write_text("tables")
    print_summary(results)
    assert capsys.readouterr().out == "tables\n"
