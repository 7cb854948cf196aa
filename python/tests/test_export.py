"""The snippets of docs/export.md, on a real export. DuckDB, polars and pandas are there if their
wheels are."""

from __future__ import annotations

import re
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "export.md"


@pytest.fixture
def folder(
    binary: str, simulate: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The working folder: of a command with two runs, and exports of both."""
    command = [binary, "perf", simulate(), "--model", "sim", "--dataset", "sample"]
    command += ["--parallel", "1", "2", "--number", "5", "5", "--max-tokens", "4"]
    command += ["--sleep-interval", "0", "--no-timestamp", "--name", "run"]
    command += ["--outputs-dir", str(tmp_path), "--warmup-num", "2"]
    subprocess.run(command, check=True, capture_output=True)
    run = tmp_path / "run"
    subprocess.run([binary, "export", str(run), "--what", "all"], check=True, capture_output=True)
    database = run / "parallel_1_number_5" / "benchmark_data.db"
    (run / "benchmark_data.db").symlink_to(database)
    monkeypatch.chdir(run)
    return run


def documented(tool: str) -> str:
    """The line of the page that uses a tool."""
    found = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    (line,) = [line for line in found.group(1).splitlines() if line.startswith(f"{tool}.")]
    return line


def medians(folder: Path) -> dict[str, list[float]]:
    """TTFT of each run, from its database, in order."""
    values = {}
    for path in folder.glob("*/benchmark_data.db"):
        with sqlite3.connect(path) as database:
            rows = database.execute("SELECT ttft_ms FROM requests WHERE succeeded ORDER BY 1")
            values[path.parent.name] = [value for (value,) in rows]
    return values


def test_duckdb_reads_requests(folder: Path) -> None:
    duckdb: Any = pytest.importorskip("duckdb")
    rows = eval(documented("duckdb"), {"duckdb": duckdb}).fetchall()
    wanted = medians(folder)
    assert {run: median for run, (median, _) in rows} == pytest.approx(
        {run: values[2] for run, values in wanted.items()}
    )
    kinds = dict(
        duckdb.sql(
            "select column_name, column_type from (describe from 'export/requests.parquet')"
        ).fetchall()
    )
    assert kinds["sent_at"].startswith("TIMESTAMP")
    assert kinds["succeeded"] == "BOOLEAN"
    events = "select count(*), sum(tokens) from 'export/events.parquet' where token"
    assert duckdb.sql(events).fetchall() == [(40, 40.0)]
    meta = "select key from parquet_kv_metadata('export/series.parquet')"
    keys = {bytes(key).decode() for (key,) in duckdb.sql(meta).fetchall()}
    assert {"evalscope.version", "evalscope.meta"} <= keys


def test_polars_reads_requests(folder: Path) -> None:
    polars: Any = pytest.importorskip("polars")
    table = eval(documented("polars"), {"polars": polars}).collect()
    wanted = {run: values[-1] for run, values in medians(folder).items()}
    assert dict(table.rows()) == pytest.approx(wanted)
    requests = polars.read_parquet("export/requests.parquet")
    assert requests["sent_at"].dtype == polars.Datetime("ns", "UTC")
    assert requests.height == 10
    assert requests["turn"].null_count() == 10
    events = polars.read_parquet("export/events.parquet")
    assert events.height == requests["events"].sum()


def test_pandas_reads_the_database(folder: Path) -> None:
    pandas: Any = pytest.importorskip("pandas")
    table = eval(documented("pandas"), {"pandas": pandas, "sqlite3": sqlite3})
    assert len(table) == 5
    assert sorted(table["ttft_ms"]) == medians(folder)["parallel_1_number_5"]
