"""Stands in for the binary where a test needs a tool that does as it is told.

It writes down how it was called, speaks to the sockets it was given, makes the files of a run, and
tells about them in the ways the binary does. `STAND_IN` in its environment is JSON with:

    report      where to write down argv, environment and what plugins said
    exit_code   how to end
    error       the text of an error
    interrupts  how many SIGINT to wait for before ending with 130
    wait_stdin  end when stdin does, as EVALSCOPE_EXIT_WITH_PARENT asks
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from peer import Peer, connected

RUN = "parallel_1_number_2"


def main() -> int:
    told: dict[str, Any] = json.loads(os.environ["STAND_IN"])
    report: dict[str, Any] = {
        "argv": sys.argv[1:],
        "environment": dict(os.environ),
        "session": os.getsid(0),
        "pid": os.getpid(),
        "interrupts": 0,
    }

    def interrupt(_number: int, _frame: object) -> None:
        report["interrupts"] += 1

    signal.signal(signal.SIGINT, interrupt)
    folder = Path(told["report"]).parent / "results"
    Path(os.environ["EVALSCOPE_RESULT_PATH_FILE"]).write_text(
        json.dumps({"folder": str(folder), "runs": [RUN]})
    )
    for flag, role in (("--api=unix:", "api"), ("--dataset=unix:", "dataset")):
        for word in sys.argv[1:]:
            if word.startswith(flag):
                with connected(word.partition("=")[2]) as peer:
                    report[role] = talk(peer, role)
    print("a table on stdout", flush=True)
    print("progress on stderr", file=sys.stderr, flush=True)
    if told.get("wait_stdin"):
        while os.read(0, 1024):
            pass
    while report["interrupts"] < told.get("interrupts", 0):
        time.sleep(0.01)
    write_results(folder)
    if "error" in told:
        Path(os.environ["EVALSCOPE_ERROR_FILE"]).write_text(f"error: {told['error']}\n")
    Path(told["report"]).write_text(json.dumps(report))
    return 130 if report["interrupts"] else int(told.get("exit_code", 0))


def talk(peer: Peer, role: str) -> list[Any]:
    said = [peer.hello(role)]
    if role == "dataset":
        said += [peer.ask("next", max=2), peer.ask("rewind"), peer.ask("next", max=1)]
    else:
        prompt = {"messages": [{"role": "user", "content": "hi"}]}
        body = peer.ask("build", prompts=[prompt])
        answer = {"request": body["bodies"][0], "responses": ['{"n": 3}']}
        said += [body, peer.ask("parse", answers=[answer])]
    said.append(peer.ask("bye"))
    return said


def write_results(folder: Path) -> None:
    (folder / RUN).mkdir(parents=True)
    run = {"name": RUN, "counts": {"total": 2, "failed": 1}}
    earlier = {"name": "of_another_command", "counts": {"total": 9, "failed": 9}}
    (folder / "result.json").write_text(json.dumps({"format_version": 1, "runs": [earlier, run]}))
    (folder / RUN / "benchmark_summary.json").write_text('{"Avg TTFT (ms)": 1.5}')
    rows = [
        {"Percentiles": "50%", "TTFT (ms)": 1.5},
        {"Percentiles": "99%", "TTFT (ms)": None},
    ]
    (folder / RUN / "benchmark_percentile.json").write_text(json.dumps(rows))


if __name__ == "__main__":
    sys.exit(main())
