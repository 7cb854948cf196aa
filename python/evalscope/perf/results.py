"""Owns what `run_perf_benchmark` returns: the files of a command, read back."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from evalscope.errors import EvalscopeError
from evalscope.perf.figures import (
    BenchmarkSummary,
    PercentileResult,
    SLAProbe,
    SLASelection,
    TraceLevelSummary,
    WorkloadThroughput,
)
from evalscope.perf.record import Record, field

Percentiles = PercentileResult
"""The earlier name of `PercentileResult`."""


class RunResult(Record):
    """One run of a command: attributes, and the same as keys."""

    metrics: BenchmarkSummary = field()
    """`benchmark_summary.json`: means and rates."""
    percentiles: PercentileResult = field()
    """`benchmark_percentile.json`."""
    trace_summary: TraceLevelSummary | None = field()
    """`trace_summary.json` of conversations, or `None`."""
    workload_throughput: WorkloadThroughput | None = field()
    """`workload_throughput.json`, or `None`."""
    result: dict[str, Any] = field({})
    """The run's part of `result.json`: every metric with its distribution, counts, warnings."""
    folder: Path = field()
    """Where the run's files are; `benchmark_data.db` has every request."""

    name: str
    """Name of the run and of its folder, such as `parallel_8_number_200`."""

    @classmethod
    def load(cls, name: str, folder: Path, result: dict[str, Any]) -> RunResult:
        """Read the files of a run."""
        traces = _optional_json(folder / "trace_summary.json")
        throughput = _optional_json(folder / "workload_throughput.json")
        run = cls(
            metrics=BenchmarkSummary(_optional_json(folder / "benchmark_summary.json")),
            percentiles=PercentileResult(
                _optional_json(folder / "benchmark_percentile.json") or ()
            ),
            trace_summary=None if traces is None else TraceLevelSummary(traces),
            workload_throughput=None if throughput is None else WorkloadThroughput(throughput),
            result=result,
            folder=folder,
        )
        run.name = name
        return run

    def __repr__(self) -> str:
        """Name and metrics."""
        return f"RunResult({self.name!r}, metrics={self.metrics!r})"


class Results(dict[str, Any]):
    """All runs of a command by their names, in the order they were made: each a `RunResult`.

    A folder that was written with `no_timestamp` may hold runs of other commands: they are in
    `result` only.
    """

    folder: Path
    """The command's folder."""
    result: dict[str, Any]
    """The contents of `result.json`."""
    probes: list[SLAProbe]
    """The loads that a search (`sla_auto_tune`) tried, in order; none without one."""
    selections: list[SLASelection]
    """The answers of a search, one for each group of limits; none without one."""

    def __init__(
        self, folder: Path, result: dict[str, Any], runs: Collection[str] | None = None
    ) -> None:
        super().__init__()
        self.folder = folder
        self.result = result
        for run in result.get("runs", []):
            name = str(run["name"])
            if runs is not None and name not in runs:
                continue
            self[name] = RunResult.load(name, _run_folder(folder, name), run)
        self._read_search()

    def _read_search(self) -> None:
        """Read what a search left in the folder: its record is in `result.json` as well."""
        beside = _optional_json(self.folder / "sla_selection.json")
        search = beside or self.result.get("search") or {}
        variable = search.get("variable", "parallel")
        summary = self.sla_summary
        self.probes = [
            _probe(probe, summary.get(f"{variable}_{probe.get('value')}"))
            for probe in search.get("probes", [])
        ]
        self.selections = [SLASelection(selection) for selection in search.get("selections", [])]

    @property
    def sla_summary(self) -> dict[str, Any]:
        """`sla_summary.json`: figures of each load of a search; empty without one."""
        return _optional_json(self.folder / "sla_summary.json") or {}

    @classmethod
    def load(cls, folder: Path | str, runs: Collection[str] | None = None) -> Results:
        """Read the folder of a command; with `runs`, only the runs with these names.

        Raises:
            EvalscopeError: when there is no `result.json` that can be read.
        """
        folder = Path(folder)
        path = folder / "result.json"
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise EvalscopeError(
                f"there is no {path}; `evalscope report {folder}` makes it from the databases"
            ) from None
        except ValueError as error:
            raise EvalscopeError(f"{path} is no JSON: {error}") from error
        return cls(folder, result, runs)

    def __missing__(self, name: str) -> Any:
        """A run that there is not."""
        raise KeyError(f"no run `{name}`; there are {', '.join(self)}")

    def __repr__(self) -> str:
        """Folder and names of runs."""
        return f"{type(self).__name__}({str(self.folder)!r}, runs={list(self)!r})"


class SLAResult(Results):
    """What a search came to: each load that was tried with its figures, `probes`, `selections`.

    `result["parallel_8"]["metrics"]` are means over the runs of that load, and
    `result["parallel_8"]["percentiles"]` columns.
    """

    runs: Results | None
    """The runs of all loads by their names."""

    def __init__(
        self,
        results: Mapping[str, Any],
        probes: Iterable[Mapping[str, Any]],
        selections: Iterable[Mapping[str, Any]],
        runs: Results | None = None,
    ) -> None:
        dict.__init__(self, results)
        self.probes = [p if isinstance(p, SLAProbe) else SLAProbe(p) for p in probes]
        self.selections = [
            s if isinstance(s, SLASelection) else SLASelection(s) for s in selections
        ]
        self.runs = runs
        self.folder = Path() if runs is None else runs.folder
        self.result = {} if runs is None else runs.result

    @classmethod
    def of(cls, runs: Results) -> SLAResult | None:
        """The results of a command as those of a search; `None` if it has not searched."""
        summary = runs.sla_summary
        if not (summary or runs.probes or runs.selections):
            return None
        return cls(summary, runs.probes, runs.selections, runs)


def _probe(written: Mapping[str, Any], averaged: Mapping[str, Any] | None) -> SLAProbe:
    """A probe with what the file leaves to its readers."""
    probe = SLAProbe(written)
    if averaged is not None and "averaged_result" not in written:
        probe.averaged_result = dict(averaged)
    if "success_rate" not in written and probe.total_requests > 0:
        probe.success_rate = probe.succeeded_requests / probe.total_requests * 100
    if "valid" not in written:
        probe.valid = probe.request_gate_passed and not probe.reasons
    return probe


def _run_folder(folder: Path, name: str) -> Path:
    """Where the files of a run are: in the folder of its name, which a search may put deeper."""
    direct = folder / name
    if direct.is_dir():
        return direct
    return next((path for path in folder.rglob(Path(name).name) if path.is_dir()), direct)


def _optional_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
