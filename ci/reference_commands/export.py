"""Owns judging `evalscope export --as evalscope` by the real package, EvalScope 1.14.1: its loader, its formulas,
its dashboard, and runs of its own against the same simulated server. Runs in an interpreter that has the package."""

import base64
import contextlib
import io
import json
import logging
import math
import os
import pathlib
import pickle
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass

from evalscope.perf.arguments import Arguments
from evalscope.perf.utils import db_util
from evalscope.perf.utils.benchmark_util import BenchmarkData, MetricsAccumulator
from evalscope.perf.utils.perf_models import BenchmarkSummary
from evalscope.perf.utils.report.perf_data import RunLoader
from evalscope.perf.utils.workload_timeline import WorkloadTimeline
from evalscope.service.app import create_app
from evalscope.service.perf_archive import PERCENTILE_CHARTS, REQUEST_CHARTS, SWEEP_CHARTS
from evalscope.utils.logger import get_logger
from evalscope.version import __version__

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
DEFAULTS = ROOT / "crates" / "report" / "src" / "evalscope" / "arguments.json"
ARGS, SUMMARY, PERCENTILES = "benchmark_args.json", "benchmark_summary.json", "benchmark_percentile.json"
WORKLOAD, TIMELINE, SPEEDS = "workload_throughput.json", "workload_timeline.json", "speed_benchmark.json"
DATABASE = "benchmark_data.db"
# what neither the loader nor the dashboard reads
NOT_EXPORTED = {"benchmark.log", "performance_summary.txt", "perf_report.html"}
# the golden of crates/report/src/pickle.rs
PICKLES = [
    (
        b"\x80\x02}(X\x01\0\0\0a](N\x88\x89J\xff\xff\xff\xff\x8a\x09\0\0\0\0\x01\0\0\0\0"
        b"\x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\0G\x40\x04\0\0\0\0\0\0X\x02\0\0\0\xc3\xa9e"
        b"X\x01\0\0\0b}X\x01\0\0\0c]u.",
        {"a": [None, True, False, -1, 1 << 32, (1 << 64) - 1, 2.5, "é"], "b": {}, "c": []},
    ),
]


@dataclass
class Case:
    """A run of ours, and where it can be compared, the same of EvalScope's own."""

    name: str
    flags: str
    folders: tuple
    # flags of EvalScope for a run of the same kind; empty: the package has no such run
    theirs: str = ""
    server: tuple = ()
    code: int = 0
    # seconds until Ctrl-C
    stop_after: float = 0.0
    bodies: str = "all"
    success: str = "all"
    notes: tuple = ()


CASES = [
    Case("streamed", "--number 12 --parallel 3 --max-tokens 9", ("parallel_3_number_12",),
         "--number 12 --parallel 3 --max-tokens 9"),
    Case("whole", "--number 8 --parallel 2 --max-tokens 9 --no-stream", ("parallel_2_number_8",),
         "--number 8 --parallel 2 --max-tokens 9 --no-stream"),
    Case("sweep", "--number 4 8 12 --parallel 1 2 4 --max-tokens 5 --sleep-interval 0 --alias ours --warmup-num 2",
         ("parallel_1_number_4", "parallel_2_number_8", "parallel_4_number_12")),
    Case("all failed", "--number 6 --parallel 2", ("parallel_2_number_6",), "--number 6 --parallel 2",
         server=("--fault", "http-500"), code=1, success="none"),
    Case("partly failed", "--number 9 --parallel 2 --max-tokens 6", ("parallel_2_number_9",),
         "--number 9 --parallel 2 --max-tokens 6", server=("--fault", "http-500:every=3"), success="some"),
    Case("whole, partly failed", "--number 9 --parallel 2 --max-tokens 6 --no-stream", ("parallel_2_number_9",),
         "--number 9 --parallel 2 --max-tokens 6 --no-stream", server=("--fault", "http-500:every=3"), success="some"),
    Case("cut short", "--number 6 --parallel 2 --max-tokens 12", ("parallel_2_number_6",),
         server=("--fault", "reset:every=2"), success="some"),
    Case("several tokens an event", "--number 6 --parallel 2 --max-tokens 12", ("parallel_2_number_6",),
         server=("--fault", "batched")),
    Case("stopped", "--number 4000 --parallel 4 --max-tokens 4", ("parallel_4_number_4000",), code=130,
         stop_after=1.5, success="some"),
    Case("rate", "--number 10 --parallel 4 --rate 50 --max-tokens 4", ("parallel_4_number_10",),
         "--number 10 --parallel 4 --rate 50 --max-tokens 4"),
    Case("rates", "--number 10 --parallel 4 --rate 40 80 --max-tokens 4 --sleep-interval 0",
         ("parallel_4_number_10", "parallel_4_number_10"), notes=("is called `parallel_4_number_10`",)),
    Case("open loop", "--number 10 20 --rate 50 100 --max-tokens 4 --sleep-interval 0",
         ("rate_100.0_number_20", "rate_50.0_number_10"),
         "--open-loop --number 10 20 --rate 50 100 --max-tokens 4 --sleep-interval 0"),
    Case("no number", "--duration 1 --parallel 2 --max-tokens 4", None, notes=("is called `parallel_2_number_",)),
    Case("speed benchmark", "--dataset speed_benchmark --number 8 --parallel 1 --max-tokens 16",
         ("parallel_1_number_8",), "--dataset speed_benchmark --number 8 --parallel 1 --max-tokens 16"),
    Case("without bodies", "--number 6 --parallel 2 --max-tokens 4 --record-bodies none", ("parallel_2_number_6",),
         bodies="none", notes=("the bodies of 6 of 6 requests were not recorded",)),
    Case("bodies of failures", "--number 6 --parallel 2 --max-tokens 4 --record-bodies failed",
         ("parallel_2_number_6",), server=("--fault", "http-500:every=3"), bodies="failed", success="some",
         notes=("the bodies of 4 of 6 requests were not recorded",)),
]


class Simulator:
    def __init__(self, evalscope, *flags):
        self.process = subprocess.Popen(
            [evalscope, "sim", "--port", "0", "--exit-with-parent", "--ttft-ms", "8", "--itl-ms", "2", *flags],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().split()[-1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()


def command_line(case, flags, url, questions, out):
    path = "/v1/completions" if "speed_benchmark" in flags else "/v1/chat/completions"
    data = [] if "--dataset" in flags else ["--dataset", "openqa", "--dataset-path", str(questions)]
    return ["perf", "--url", url + path, "--model", "org/m", "--no-test-connection", "--outputs-dir", str(out),
            "--no-timestamp", "--api-key", "sk-1234567890", "--headers", "x-gateway=a-secret-of-it", *data, *flags.split()]


def measure(evalscope, case, url, questions, out):
    words = [evalscope, *command_line(case, case.flags, url, questions, out)]
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True)
    if case.stop_after:
        time.sleep(case.stop_after)
        process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == case.code, (case.name, process.returncode, said[-3000:])
    return out / "m"


def theirs(case, url, questions, out):
    tool = pathlib.Path(sys.executable).parent / "evalscope"
    words = [str(tool), *command_line(case, case.theirs, url, questions, out)]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, (case.name, done.stdout[-2000:], done.stderr[-3000:])
    return out / "m"


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def quietly(call, *args, **named):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return call(*args, **named)


def rows_of(database):
    connection = sqlite3.connect(database)
    connection.row_factory = sqlite3.Row
    with contextlib.closing(connection):
        return [dict(row) for row in connection.execute("SELECT * FROM result ORDER BY rowid")]


def as_package_writes(value, folder):
    path = folder / "as-the-package-writes.json"
    db_util.write_json_file(value, path)
    return path.read_bytes()


def check_schema(database, scratch):
    made = scratch / "schema.db"
    made.unlink(missing_ok=True)
    connection = sqlite3.connect(made)
    db_util.create_result_table(connection.cursor())
    schema = "SELECT type, name, sql FROM sqlite_master"
    want = connection.execute(schema).fetchall()
    connection.close()
    with contextlib.closing(sqlite3.connect(database)) as connection:
        assert connection.execute(schema).fetchall() == want


def check_rows(case, rows):
    assert rows
    for row in rows:
        assert row["success"] in (0, 1) and row["is_stream"] in (0, 1) and row["request_id"] is None
        assert row["completed_time"] >= row["start_time"] > 1.7e9
        gaps = json.loads(row["inter_token_latencies"])
        assert all(isinstance(gap, float) and gap >= 0 for gap in gaps)
        messages = pickle.loads(base64.b64decode(row["response_messages"]))
        kept = case.bodies == "all" or (case.bodies == "failed" and not row["success"])
        assert (row["request"] is not None) == kept, row
        if kept:
            assert json.loads(row["request"])["model"] == "org/m"
        figures = ("latency", "first_chunk_latency", "prompt_tokens", "completion_tokens", "max_gpu_memory_cost",
                   "time_per_output_token")
        if not row["success"]:
            assert all(row[figure] is None for figure in figures), row
            continue
        assert all(row[figure] is not None for figure in figures), row
        assert math.isclose(row["completed_time"] - row["start_time"], row["latency"], abs_tol=2e-6)
        if kept:
            assert messages and all(message["choices"] for message in messages)
        if row["is_stream"]:
            assert 0 < row["first_chunk_latency"] <= row["latency"]
        else:
            assert row["first_chunk_latency"] == row["latency"] and row["time_per_output_token"] == 0.0
            assert gaps == [] and (not kept or messages[0]["usage"])
    completed = [row["completed_time"] for row in rows]
    assert all(later - earlier > -0.05 for earlier, later in zip(completed, completed[1:])), "not in order of the end"
    outcomes = {row["success"] for row in rows}
    assert outcomes == {"all": {1}, "none": {0}, "some": {0, 1}}[case.success] or case.stop_after, outcomes


def fed(rows, args, summary):
    """The package's own sums over the rows."""
    sums = MetricsAccumulator(concurrency=args["parallel"], rate=args["rate"])
    timeline = WorkloadTimeline()
    for row in rows:
        data = BenchmarkData(
            request=row["request"], start_time=row["start_time"], completed_time=row["completed_time"],
            success=bool(row["success"]), is_stream=bool(row["is_stream"]), query_latency=row["latency"] or 0.0,
            first_chunk_latency=row["first_chunk_latency"] or 0.0, prompt_tokens=row["prompt_tokens"],
            completion_tokens=row["completion_tokens"], inter_chunk_latency=json.loads(row["inter_token_latencies"]),
            real_cached_tokens=0 if "KV Cache Hit Rate (%)" in summary else None)
        sums.update(data, None)
        timeline.feed(data)
    figures = sums.to_result().create_message(api_type=args["api"])
    # theirs is made of latency and TTFT; that of the rows ends with the generation, and is not known of tokens
    # that all came in one read
    per_token = [row["time_per_output_token"] for row in rows if row["time_per_output_token"]]
    if per_token:
        figures["Avg TPOT (ms)"] = 1000 * sum(per_token) / len(per_token)
    return figures, timeline


def close(ours, want, key, run):
    """Averages agree to the last digit or nearly so; what the duration is part of, nearly: ours begins before the
    first connection."""
    roughly = any(word in key for word in ("Duration", "Throughput", "Tok/Iter", "Accept"))
    share, least = (0.05, 0.15) if roughly else (2e-4, 0.011)
    assert math.isclose(ours, want, rel_tol=share, abs_tol=least), (run, key, ours, want)


def check_json(case, run, rows, scratch):
    args = json.loads((run / ARGS).read_text())
    assert list(args) == list(Arguments.model_fields), set(args) ^ set(Arguments.model_fields)
    assert args["outputs_dir"] == str(run) and args["api_key"] == "*" * 10
    assert args["headers"] == {"x-gateway": "*" * 10, "Authorization": "*" * 10}
    assert (run / ARGS).read_bytes() == as_package_writes(args, scratch)
    read = json.loads(json.dumps(quietly(Arguments.from_dict, args).to_dict(), default=str))
    for key in ("number", "parallel", "rate"):
        assert read.pop(key) == [args[key]], key
    assert read == {key: args[key] for key in read}

    summary = json.loads((run / SUMMARY).read_text())
    model = BenchmarkSummary.from_dict(summary)
    assert (run / SUMMARY).read_bytes() == as_package_writes(model.to_dict(), scratch)
    want, timeline = fed(rows, args, summary)
    want = BenchmarkSummary.from_dict(want).to_dict()
    assert list(want) == list(summary), (run, set(want) ^ set(summary))
    for key, value in summary.items():
        close(value, want[key], key, run)

    percentiles = quietly(db_util.get_percentile_results, str(run / DATABASE), api_type=args["api"])
    assert (run / PERCENTILES).read_bytes() == as_package_writes(percentiles.to_list(), scratch), run

    files = {ARGS, DATABASE, PERCENTILES, SUMMARY}
    if timeline.n_points:
        files |= {WORKLOAD, TIMELINE}
        check_workload(run, timeline, scratch)
    if args["dataset"].startswith("speed_benchmark"):
        files.add(SPEEDS)
        copy = scratch / "speeds" / DATABASE
        copy.parent.mkdir(exist_ok=True)
        shutil.copy(run / DATABASE, copy)
        quietly(db_util.speed_benchmark_result, str(copy))
        assert (run / SPEEDS).read_bytes() == (copy.parent / SPEEDS).read_bytes()
    assert {path.name for path in run.iterdir()} == files, list(run.iterdir())


def check_workload(run, timeline, scratch):
    ours, want = json.loads((run / WORKLOAD).read_text()), timeline.to_summary().to_dict()
    assert (run / WORKLOAD).read_bytes() == as_package_writes(ours, scratch)
    assert list(ours) == list(want) and [list(row) for row in ours["rows"]] == [list(row) for row in want["rows"]]
    assert [row["metric"] for row in ours["rows"]] == [row["metric"] for row in want["rows"]]
    assert ours["n_samples"] == want["n_samples"]
    for row, other in zip(ours["rows"], want["rows"]):
        for window in ("overall", "last_window", "steady_state"):
            assert math.isclose(row[window], other[window], rel_tol=1e-3, abs_tol=1e-9), (run, row, other)
    ours, want = json.loads((run / TIMELINE).read_text()), timeline.to_raw_points_dict()
    assert (run / TIMELINE).read_bytes() == as_package_writes(ours, scratch)
    assert list(ours) == list(want) and math.isclose(ours["wall_start"], want["wall_start"], abs_tol=1e-6)
    for point, other in zip(ours["points"], want["points"], strict=True):
        assert list(point) == list(other) and math.isclose(point.pop("t"), other.pop("t"), abs_tol=3e-6)
        assert point == other


def shape(value):
    """What a JSON value looks like, without its numbers and texts."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    if isinstance(value, float) and not math.isfinite(value):
        return "not a number"
    return type(value).__name__


def types_of(database, success):
    columns = list(rows_of(database)[0])
    query = ", ".join(f"group_concat(DISTINCT typeof({column}))" for column in columns)
    with contextlib.closing(sqlite3.connect(database)) as connection:
        types = connection.execute(f"SELECT {query} FROM result WHERE success = ?", [success]).fetchone()
    return dict(zip(columns, types))


def compare(ours, want):
    """A run of ours and one of the package's: the same files, of the same shape."""
    files = {path.name for path in want.iterdir()} - NOT_EXPORTED
    assert {path.name for path in ours.iterdir()} == files, (ours, files)
    for name in sorted(files - {DATABASE}):
        mine, other = (json.loads((folder / name).read_text()) for folder in (ours, want))
        if name == ARGS:
            # `data_source`: what was typed there, what is used here; `seed`: drawn here
            for loose in ("data_source", "seed"):
                mine.pop(loose), other.pop(loose)
        assert list(mine) == list(other) if isinstance(mine, dict) else len(mine) == len(other), name
        assert json.dumps(shape(mine)) == json.dumps(shape(other)), (ours, name, shape(mine), shape(other))
    mine, other = (json.loads((folder / SUMMARY).read_text()) for folder in (ours, want))
    for key in (key for key in mine if key.endswith(" Requests")):
        assert mine[key] == other[key], (ours, key, mine[key], other[key])
    for success in (0, 1):
        mine, other = types_of(ours / DATABASE, success), types_of(want / DATABASE, success)
        assert mine == other, (ours, success, mine, other)


def get(client, route, **query):
    answer = client.get(f"/api/v1/perf/{route}", query_string=query)
    return answer.status_code, answer.get_json() if answer.is_json else answer.get_data(as_text=True)


def check_dashboard(out, cases):
    """Every page of the dashboard over all exports together. `cases`: by path of a command's folder."""
    client = create_app(outputs=str(out)).test_client()
    code, listed = get(client, "list")
    assert code == 200 and {run["path"] for run in listed["runs"]} == set(cases), (listed, sorted(cases))
    for path, (case, runs) in cases.items():
        code, detail = get(client, "detail", path=path)
        assert code == 200 and detail["model"] == "org/m" and detail["num_runs"] == len(runs), (path, detail)
        code, items = get(client, "runs", path=path)
        assert code == 200 and {item["dir_name"] for item in items["runs"]} == set(runs), (path, items)
        for chart in SWEEP_CHARTS:
            code, html = get(client, "chart", path=path, chart_type=chart)
            assert code == 200 and "plotly" in html, (path, chart, html[:300])
        for run, rows in runs.items():
            for status, wanted in ((None, rows), ("success", [r for r in rows if r["success"]]),
                                   ("failed", [r for r in rows if not r["success"]])):
                query = {} if status is None else {"status": status}
                code, page = get(client, "requests", path=path, run=run, page_size=500, **query)
                assert code == 200 and page["total"] == len(wanted) and page["has_db"], (path, run, page)
                assert len(page["rows"]) == min(500, len(wanted))
            for chart in (*REQUEST_CHARTS, *PERCENTILE_CHARTS):
                code, html = get(client, "chart", path=path, chart_type=chart, run=run)
                assert code == 200, (case.name, path, run, chart, html)
        code, html = get(client, "history/report", path=path)
        assert code == 200 and html.startswith("<!DOCTYPE html>"), (path, html[:300])
    code, html = get(client, "compare/chart", paths=";".join(cases), chart_type="rps")
    assert code == 200 and "plotly" in html


def check(case, evalscope, questions, folder, dashboard):
    slug = case.name.replace(" ", "-").replace(",", "")
    scratch = folder / slug
    scratch.mkdir()
    with Simulator(evalscope, *case.server) as server:
        top = measure(evalscope, case, server.url, questions, scratch / "ours")
        native = theirs(case, server.url, questions, scratch / "theirs") if case.theirs else None
    before, out = contents(top), scratch / "export"
    done = subprocess.run([evalscope, "export", str(top), "--as", "evalscope", "-o", str(out)], capture_output=True,
                          text=True)
    assert done.returncode == 0, (case.name, done)
    assert contents(top) == before, f"{case.name}: the export changed what it reads"
    for note in case.notes:
        assert note in done.stderr, (case.name, note, done.stderr)
    runs = {}
    for exported in sorted(out.glob("*/*")):
        loaded = quietly(RunLoader.load_all, str(exported))
        found = {run.dir_name: run for run in loaded}
        for run in sorted(exported.iterdir()):
            rows = rows_of(run / DATABASE)
            check_schema(run / DATABASE, scratch)
            check_rows(case, rows)
            check_json(case, run, rows, scratch)
            assert len(found[run.name].requests) == len(rows) == found[run.name].summary.total_requests
            runs.setdefault(exported, {})[run.name] = rows
            if native:
                compare(run, native / run.name)
    names = sorted(name for found in runs.values() for name in found)
    assert case.folders is None or names == sorted(case.folders), (case.name, names)
    # all of them before one dashboard
    for exported, found in runs.items():
        target = dashboard / slug / exported.name
        shutil.copytree(exported, target)
        yield f"{slug}/{exported.name}", (case, found)
    requests = sum(len(rows) for found in runs.values() for rows in found.values())
    beside = "; of the same shape as EvalScope's own" if native else ""
    print(f"{case.name}: {', '.join(names)}: {requests} requests{beside}", flush=True)


def check_defaults():
    defaults = json.loads(DEFAULTS.read_text())
    assert list(defaults) == list(Arguments.model_fields), set(defaults) ^ set(Arguments.model_fields)
    package = json.loads(json.dumps(quietly(Arguments, model="m").to_dict(), default=str))
    # those of the run, those that only the command line sets, and those that follow from others
    own = {"model", "model_id", "url", "number", "parallel", "rate", "extra_args", "apply_chat_template"}
    for key in set(defaults) - own:
        assert defaults[key] == package[key], (key, defaults[key], package[key])


def main():
    assert __version__ == "1.14.1", f"EvalScope {__version__}: exports have the form of 1.14.1"
    get_logger().setLevel(logging.ERROR)
    evalscope = str(pathlib.Path(os.environ["EVALSCOPE_BIN"]).resolve())
    only = sys.argv[1:]
    for pickled, value in PICKLES:
        assert pickle.loads(pickled) == value
    check_defaults()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        questions = folder / "questions.jsonl"
        asked = "why is the sky blue? 天为什么是蓝的？ "
        questions.write_text("".join(json.dumps({"question": asked * n}) + "\n" for n in range(1, 17)))
        dashboard = folder / "dashboard"
        cases = {}
        for case in CASES:
            if not only or case.name in only:
                cases.update(check(case, evalscope, questions, folder, dashboard))
        check_dashboard(dashboard, cases)
        print(f"dashboard: {len(cases)} commands, every page and chart")


main()
