"""Owns what `run_perf_benchmark` returns: the files of a command, read back."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

from evalscope.errors import EvalscopeError, did_you_mean


class Percentiles(Sequence[Mapping[str, Any]]):
    """`benchmark_percentile.json`: a row for each percentile.

    `percentiles[0]` is a row, `percentiles["TTFT (ms)"]` a column, and
    `percentiles.value("TTFT (ms)", "99%")` one figure. Each column is sorted on its own.
    """

    def __init__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self._rows = list(rows)

    @overload
    def __getitem__(self, key: int) -> Mapping[str, Any]: ...
    @overload
    def __getitem__(self, key: slice) -> list[Mapping[str, Any]]: ...
    @overload
    def __getitem__(self, key: str) -> list[Any]: ...
    def __getitem__(self, key: int | slice | str) -> Any:
        """A row by its position, or a column by its name."""
        if not isinstance(key, str):
            return self._rows[key]
        columns = list(self._rows[0]) if self._rows else []
        if key not in columns:
            raise KeyError(f"no column `{key}`{did_you_mean(key, columns)}")
        return [row[key] for row in self._rows]

    def __len__(self) -> int:
        """How many percentiles there are."""
        return len(self._rows)

    def value(self, column: str, percentile: str) -> Any:
        """One figure; `percentile` is written as in the table: `min`, `50%`, `99%`, `max`."""
        names = self["Percentiles"]
        if percentile not in names:
            raise KeyError(f"no percentile `{percentile}`; there are {', '.join(names)}")
        return self[column][names.index(percentile)]

    def __repr__(self) -> str:
        """The rows."""
        return f"Percentiles({self._rows!r})"


class RunResult(Mapping[str, Any]):
    """One run of a command: attributes, and the same as keys for code of the earlier tool."""

    name: str
    """Name of the run and of its folder, such as `parallel_8_number_200`."""
    folder: Path
    """Where the run's files are; `benchmark_data.db` has every request."""
    metrics: dict[str, Any]
    """`benchmark_summary.json`: means and rates."""
    percentiles: Percentiles
    """`benchmark_percentile.json`."""
    result: dict[str, Any]
    """The run's part of `result.json`: every metric with its distribution, counts, warnings."""
    trace_summary: Any
    """`trace_summary.json` of conversations, or `None`."""
    workload_throughput: Any
    """`workload_throughput.json`, or `None`."""

    _KEYS = (
        "metrics",
        "percentiles",
        "result",
        "folder",
        "trace_summary",
        "workload_throughput",
    )

    def __init__(self, name: str, folder: Path, result: dict[str, Any]) -> None:
        self.name = name
        self.folder = folder
        self.result = result
        self.metrics = _optional_json(folder / "benchmark_summary.json") or {}
        self.percentiles = Percentiles(_optional_json(folder / "benchmark_percentile.json") or [])
        self.trace_summary = _optional_json(folder / "trace_summary.json")
        self.workload_throughput = _optional_json(folder / "workload_throughput.json")

    def __getitem__(self, key: str) -> Any:
        """The attribute of this name."""
        if key not in self._KEYS:
            raise KeyError(f"no `{key}`; there are {', '.join(self._KEYS)}")
        return getattr(self, key)

    def __iter__(self) -> Iterator[str]:
        """The keys."""
        return iter(self._KEYS)

    def __len__(self) -> int:
        """How many keys there are."""
        return len(self._KEYS)

    def __repr__(self) -> str:
        """Name and metrics."""
        return f"RunResult({self.name!r}, metrics={self.metrics!r})"


class Results(Mapping[str, RunResult]):
    """All runs of a command by their names, in the order they were made.

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
        self.folder = folder
        self.result = result
        self._runs: dict[str, RunResult] = {}
        for run in result.get("runs", []):
            name = str(run["name"])
            if runs is not None and name not in runs:
                continue
            self._runs[name] = RunResult(name, _run_folder(folder, name), run)

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

    def __getitem__(self, name: str) -> RunResult:
        """The run of this name."""
        try:
            return self._runs[name]
        except KeyError:
            raise KeyError(f"no run `{name}`; there are {', '.join(self._runs)}") from None

    def __iter__(self) -> Iterator[str]:
        """The names of the runs."""
        return iter(self._runs)

    def __len__(self) -> int:
        """How many runs there are."""
        return len(self._runs)

    def __repr__(self) -> str:
        """Folder and names of runs."""
        return f"Results({str(self.folder)!r}, runs={list(self._runs)!r})"


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
