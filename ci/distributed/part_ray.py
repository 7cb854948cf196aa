"""Owns the part with a Ray cluster of three nodes on this machine: a sweep by four shards, whose results
are those of one run, with both ways to bring them here; and what becomes of a run that loses an actor, or a
node."""

import json
import os
import pathlib
import sqlite3
import subprocess
import sys

from common import ROOT, Skipped, environment, simulator


def check(evalscope, scratch):
    if sys.version_info < (3, 10):
        raise Skipped("Ray needs Python 3.10 or newer")
    shown = subprocess.run([evalscope, "--help"], check=True, capture_output=True, text=True).stdout
    if "merge" not in shown:
        raise Skipped(f"{evalscope} has no `merge`")
    named = os.environ.get("RAY_PYTHON")
    python = pathlib.Path(named) if named else environment(scratch, "ray>=2.40", "fsspec")
    with simulator(evalscope, "--ttft-ms", "100") as url:
        # the settings must be there before Ray is imported, and its processes end with the script's
        done = subprocess.run(
            [python, pathlib.Path(__file__).with_name("ray_nodes.py"), url, scratch], cwd=scratch, text=True,
            capture_output=True, timeout=420, env=os.environ | {
                "EVALSCOPE_BIN": str(evalscope), "PYTHONPATH": str(ROOT / "python"), "PYTHONDONTWRITEBYTECODE": "1",
                # else the driver takes the machine's own address, where nobody listens, for the loopback
                "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0"})
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-6000:]}"
    print(done.stdout, end="")


def rows(folder):
    """The numbers of the requests in a run's database."""
    with sqlite3.connect(folder / "benchmark_data.db") as database:
        return [row[0] for row in database.execute("SELECT idx FROM result ORDER BY idx")]


def meta(folder):
    """What a run's database says of it."""
    with sqlite3.connect(folder / "benchmark_data.db") as database:
        return json.loads(database.execute("SELECT value FROM run WHERE key = 'meta'").fetchone()[0])
