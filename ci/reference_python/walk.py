"""Owns what is read of the folder of a command: every attribute, key, figure and table, printed as JSON.

Run with EvalScope's package and with ours, it prints the same.
"""

import json
import math
import pathlib
import sys

from evalscope.perf.utils.perf_models import BenchmarkSummary, PercentileResult
from evalscope.perf.utils.trace_metrics import TraceLevelSummary
from evalscope.perf.utils.workload_timeline import WorkloadThroughput

NAMES = json.loads((pathlib.Path(__file__).parents[2] / "python/tests/golden/evalscope-1.14.1.json").read_text())


def plain(value):
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (str, int, float, bool, type(None))):
        return value
    return attributes(value)


def attributes(record):
    return {name: plain(getattr(record, name)) for name in NAMES["fields"][type(record).__name__]}


def walked(record):
    return {"attributes": attributes(record), "dict": plain(record.to_dict()), "table": record.to_table()}


def percentiles(result):
    rows = NAMES["fields"]["PercentileRow"]
    return {
        "rows": [attributes(row) for row in result.rows],
        "list": plain(result.to_list()),
        "columns": plain(result.to_columns()),
        "again": plain(type(result).from_transposed(result.to_columns()).to_columns()),
        "p": [[result.get_p("50%", name), result.get_p99(name)] for name in rows if name != "percentile"],
        "alias": [result.get_p99_by_alias(key) for key, _ in rows.values() if key != "Percentiles"],
        "table": result.to_table(),
    }


def run(folder):
    read = {name: json.loads((folder / name).read_text()) for name in (path.name for path in folder.glob("*.json"))}
    summary = BenchmarkSummary.from_dict(read["benchmark_summary.json"])
    found = {
        "summary": walked(summary),
        "success_rate": summary.success_rate,
        "percentiles": percentiles(PercentileResult.from_list(read["benchmark_percentile.json"])),
        "throughput": walked(WorkloadThroughput(**read["workload_throughput.json"])),
    }
    if "trace_summary.json" in read:
        found["traces"] = walked(TraceLevelSummary(**read["trace_summary.json"]))
    return found


if __name__ == "__main__":
    commands = [pathlib.Path(argument) for argument in sys.argv[1:]]
    runs = sorted(path.parent for command in commands for path in command.rglob("benchmark_summary.json"))
    json.dump({str(folder): run(folder) for folder in runs}, sys.stdout, indent=1)
