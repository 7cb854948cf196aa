"""Reports a made-up sweep with real client libraries, offline, and reads back what they wrote.

    python python/check_trackers.py FOLDER [wandb|swanlab|clearml]…

`ci/trackers` makes the environment that this needs.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "tests"))

from peer import PluginProcess, hello

RUNS = ("parallel_1_number_20", "parallel_8_number_80")
SETTINGS: dict[str, object] = {"model": "qwen3", "parallel": [1, 8], "headers": {}, "api_key": None}
OFFLINE = {
    "wandb": {"WANDB_MODE": "offline"},
    "swanlab": {"SWANLAB_API_KEY": "local"},
    "clearml": {"CLEARML_OFFLINE_MODE": "1"},
}


def report(kind: str, folder: Path) -> None:
    """Say what the tool says: two runs one after the other, each with steps from 1."""
    files = [folder / "result.json", *(folder / run / "benchmark_summary.json" for run in RUNS)]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text('{"x": 1}')
    environment = {**OFFLINE[kind], "CLEARML_CACHE_DIR": str(folder / "clearml")}
    with PluginProcess("--role", "tracker", "--kind", kind, **environment) as peer:
        peer.ask("hello", **hello("tracker", kind, visualizer=kind))
        started = peer.ask("start", settings=SETTINGS, name="nightly", output_dir=str(folder))
        print(f"  url: {started['url']}")
        for number, run in enumerate(RUNS, 1):
            for step in (1, 2, 3):
                values = {"succeeded": 10 * step, "requests_per_s": number + step / 8, "itl": None}
                peer.ask("metrics", run=run, step=step, values=values)
            metrics = {"Avg TTFT (ms)": 50.5 * number, "Avg ITL (ms)": None}
            rows = [
                {"Percentiles": "min", "TTFT (ms)": 1.5, "ITL (ms)": None},
                {"Percentiles": "50%", "TTFT (ms)": 50, "ITL (ms)": None},
                {"Percentiles": "max", "TTFT (ms)": 99.5 * number, "ITL (ms)": None},
            ]
            peer.ask("summary", run=run, metrics=metrics, percentiles=rows)
        peer.ask("files", paths=[str(file) for file in files])
        peer.ask("bye")
        code, stderr = peer.finish()
    assert code == 0, stderr
    assert "Traceback" not in stderr, stderr


def check_wandb(folder: Path) -> None:
    """The log of an offline run: a LevelDB log of protobuf records."""
    from wandb.proto import wandb_internal_pb2

    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    steps: dict[str, list[Any]] = {}
    summary: dict[str, Any] = {}
    config: dict[str, Any] = {}
    artifacts: list[str] = []
    for data in leveldb_records(path.read_bytes()[7:], header=7):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "history":
            for item in record.history.item:
                key = item.key or "/".join(item.nested_key)
                steps.setdefault(key, []).append(json.loads(item.value_json))
        elif kind == "summary":
            for item in record.summary.update:
                key = item.key or "/".join(item.nested_key)
                summary[key] = json.loads(item.value_json)
        elif kind == "run":
            assert record.run.project == "perf_benchmark"
            assert record.run.display_name == "nightly"
            for item in record.run.config.update:
                config[item.key] = json.loads(item.value_json)
        elif kind == "artifact" and record.artifact.type == "results":
            artifacts += [entry.path for entry in record.artifact.manifest.contents]
        elif kind == "request" and record.request.HasField("log_artifact"):
            artifact = record.request.log_artifact.artifact
            if artifact.type == "results":
                artifacts += [entry.path for entry in artifact.manifest.contents]
    assert config["parallel"] == [1, 8]
    for number, run in enumerate(RUNS, 1):
        # the table repeats the last step
        assert steps[f"{run}/step"] == [1, 2, 3, 3]
        assert steps[f"{run}/requests_per_s"] == [number + step / 8 for step in (1, 2, 3)]
        assert f"{run}/itl" not in steps
        assert summary[f"{run}/Avg TTFT (ms)"] == 50.5 * number
        (table,) = (folder / "wandb").glob(f"offline-run-*/files/media/table/{run}/*.table.json")
        assert json.loads(table.read_text())["data"][1] == ["50%", 50, None]
    names = {"result.json", *(f"{run}/benchmark_summary.json" for run in RUNS)}
    assert set(artifacts) == names, artifacts


def leveldb_records(log: bytes, header: int) -> Iterator[bytes]:
    """Records of a LevelDB log whose first block lacks `header` bytes that stand before it."""
    block = 32 * 1024
    position, parts = 0, b""
    while position + 7 <= len(log):
        left = block - (position + header) % block
        if left < 7:
            position += left
            continue
        length = int.from_bytes(log[position + 4 : position + 6], "little")
        kind = log[position + 6]
        parts += log[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # a whole record, or its last part
            yield parts
            parts = b""


def check_swanlab(folder: Path) -> None:
    """The log of an offline run, read with the library's own reader."""
    from swanlab.proto.swanlab.record.v1.record_pb2 import Record
    from swanlab.sdk.internal.core_python.store import DataStoreReader

    (path,) = folder.glob("swanlog/run-*/run-*.swanlab")
    reader = DataStoreReader()
    reader.open(path)
    text = []
    for data in reader:
        record = Record()
        record.ParseFromString(data)
        text.append(str(record))
    everything = "\n".join(text)
    for run in RUNS:
        for name in ("succeeded", "requests_per_s", "summary/Avg TTFT (ms)"):
            assert f'"{run}/{name}"' in everything, f"{run}/{name}"
        assert f'"{run}/percentiles/TTFT (ms)"' in everything
        assert f'"{run}/itl"' not in everything
    for value in ("1.375", "2.375", "50.5", "101", "199"):
        assert value in everything, value
    config = (path.parent / "files" / "config.yaml").read_text()
    assert "qwen3" in config
    for name in ("result.json", *(f"{run}/benchmark_summary.json" for run in RUNS)):
        assert name in everything, name


def check_clearml(folder: Path) -> None:
    """The session of an offline task."""
    (session,) = (path for path in folder.glob("clearml/offline/*") if path.is_dir())
    task = json.loads((session / "task.json").read_text())
    assert task["name"] == "nightly"
    events = [
        event
        for line in (session / "metrics.jsonl").read_text().splitlines()
        for event in json.loads(line)
    ]
    for number, run in enumerate(RUNS, 1):
        rate = [
            (event["iter"], event["value"])
            for event in events
            if event["metric"] == "requests_per_s" and event["variant"] == run
        ]
        assert rate == [(step, number + step / 8) for step in (1, 2, 3)], rate
        (single,) = (e for e in events if e["variant"] == f"{run}/Avg TTFT (ms)")
        assert single["value"] == 50.5 * number
        (table,) = (e for e in events if e["metric"] == "percentiles" and e["variant"] == run)
        assert "99.5" in table["plot_str"] or "199" in table["plot_str"]
    for name in ("result.json", *(f"{run}/benchmark_summary.json" for run in RUNS)):
        assert any(path.match(f"*/{Path(name).name}") for path in session.rglob("*")), name
    assert "qwen3" in json.dumps(task)


CHECKS = {"wandb": check_wandb, "swanlab": check_swanlab, "clearml": check_clearml}


def main() -> int:
    """Check each library, and print its version."""
    folder = Path(sys.argv[1])
    for kind in sys.argv[2:] or CHECKS:
        print(f"{kind} {importlib.metadata.version(kind)}", flush=True)
        report(kind, folder / kind)
        CHECKS[kind](folder / kind)
        print("  what was reported was read back", flush=True)
    return 0


if __name__ == "__main__":
    # the libraries' readers look at the environment too
    os.environ["WANDB_MODE"] = "offline"
    sys.exit(main())
