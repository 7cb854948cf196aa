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

    @property
    def probes(self) -> list[dict[str, Any]]:
        """What a search for capacity (`sla_auto_tune`) measured, in order; empty without one."""
        return list((self.result.get("search") or {}).get("probes", []))

    @property
    def selections(self) -> list[dict[str, Any]]:
        """The answers of a search, one for each group of `sla_params`; empty without one."""
        return list((self.result.get("search") or {}).get("selections", []))

    @property
    def sla_summary(self) -> dict[str, Any]:
        """`sla_summary.json`: figures of each load, in the form of the earlier tool's result."""
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
    """What a search came to: each load that was tried with its figures, the probes, the answers.

    `result["parallel_8"]["metrics"]` are means over the runs of that load, and
    `result["parallel_8"]["percentiles"]` columns.
    """

    probes: list[SLAProbe]
    """The loads, in the order they were tried."""
    selections: list[SLASelection]
    """The answers, one for each group of limits."""
    runs: Results | None
    """The runs of all loads by their names."""

    def __init__(
        self,
        results: Mapping[str, Any],
        probes: Iterable[Mapping[str, Any]],
        selections: Iterable[Mapping[str, Any]],
        runs: Results | None = None,
    ) -> None:
        super().__init__(Path() if runs is None else runs.folder, {})
        self.update(results)
        self.result = {} if runs is None else runs.result
        self.probes = [p if isinstance(p, SLAProbe) else SLAProbe(p) for p in probes]
        self.selections = [
            s if isinstance(s, SLASelection) else SLASelection(s) for s in selections
        ]
        self.runs = runs

    @classmethod
    def of(cls, runs: Results) -> SLAResult | None:
        """Read what a search left in the folder of a command; `None` if there was none."""
        summary = _optional_json(runs.folder / "sla_summary.json")
        record = _optional_json(runs.folder / "sla_selection.json") or {}
        if summary is None and not record:
            return None
        summary = summary or {}
        probes = [
            _probe(probe, summary.get(f"{record.get('variable', 'parallel')}_{probe.get('value')}"))
            for probe in record.get("probes", [])
        ]
        return cls(summary, probes, record.get("selections", []), runs)


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
