"""Measures how fast a plugin answers through a pipe, with a stand-in for the load generator.

    python python/bench_pipe.py [SECONDS]

The stand-in does what the tool does: it keeps a few requests under way, and reads answers as they
come. Its own work is in the figures, and so is parsing the answers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PLUGIN = """
from evalscope.perf.plugin import ApiPluginBase, DatasetPluginBase, register_api, register_dataset
import json

@register_dataset("bench")
class Bench(DatasetPluginBase):
    def build_messages(self):
        number = 0
        while True:
            number += 1
            yield [{"role": "user", "content": "Why is the sky blue? %d" % number}]

@register_api("bench")
class BenchApi(ApiPluginBase):
    def build_request(self, messages, param):
        return {"model": param.model, "messages": messages, "max_tokens": param.max_tokens,
                "temperature": param.temperature, "stream": param.stream}

    def parse_responses(self, responses, request=None, **kwargs):
        usage = json.loads(responses[-1])["usage"]
        return usage["prompt_tokens"], usage["completion_tokens"]
"""
OPTIONS = {"model": "qwen3", "max_tokens": [128], "temperature": 0.0, "stream": True}
BATCH = 64
UNDER_WAY = 4
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
# what the load generator needs of a plugin
LEAST = {"next": 20_000, "build": 10_000, "parse": 10_000}


def measured(role: str, method: str, params: dict[str, Any], seconds: float, plugin: str) -> float:
    """Things per second that a plugin does, in batches."""
    command = [sys.executable, "-m", "evalscope.perf.serve", plugin, "--role", role]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=ENVIRONMENT
    )
    stdin, stdout = process.stdin, process.stdout
    assert stdin is not None
    assert stdout is not None

    def ask(number: int, method: str, params: dict[str, Any]) -> None:
        line = json.dumps({"id": number, "method": method, "params": params}) + "\n"
        stdin.write(line.encode())
        stdin.flush()

    ask(0, "hello", {"protocol": 1, "role": role, "name": None, "options": OPTIONS})
    assert "result" in json.loads(stdout.readline())
    free = threading.Semaphore(UNDER_WAY)
    stop = threading.Event()
    asked = [0]

    def keep_asking() -> None:
        while not stop.is_set():
            free.acquire()
            asked[0] += 1
            ask(asked[0], method, params)

    asker = threading.Thread(target=keep_asking)
    began = time.perf_counter()
    asker.start()
    answered = 0
    while time.perf_counter() - began < seconds:
        answer = json.loads(stdout.readline())
        assert "result" in answer, answer
        answered += 1
        free.release()
    took = time.perf_counter() - began
    stop.set()
    free.release()
    asker.join()
    while answered < asked[0]:
        json.loads(stdout.readline())
        answered += 1
    stdin.close()
    process.wait()
    return answered * BATCH / took


def main() -> int:
    """Print a table; 1 when something is too slow."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 3.0
    prompt = {"messages": [{"role": "user", "content": "Why is the sky blue?"}]}
    chunk = json.dumps({"choices": [{"index": 0, "delta": {"content": " blue"}}]})
    usage = json.dumps({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 32}})
    answer = {"request": prompt, "responses": [chunk] * 32 + [usage]}
    rows: list[tuple[str, str, str, dict[str, Any]]] = [
        ("dataset", "next", "prompts of a data set", {"max": BATCH}),
        ("api", "build", "bodies built", {"prompts": [prompt] * BATCH}),
        ("api", "parse", "answers parsed, 33 events each", {"answers": [answer] * BATCH}),
    ]
    slow = False
    show: Callable[[str], None] = lambda line: print(line, flush=True)  # noqa: E731
    show(f"Python {sys.version.split()[0]}, {BATCH} in a request, {UNDER_WAY} requests under way")
    with tempfile.TemporaryDirectory() as folder:
        plugin = Path(folder, "bench.py")
        plugin.write_text(PLUGIN)
        for role, method, what, params in rows:
            rate = measured(role, method, params, seconds, str(plugin))
            enough = rate >= LEAST[method]
            slow |= not enough
            verdict = "ok" if enough else "too slow"
            show(f"  {what:32} {rate:9,.0f}/s  (at least {LEAST[method]:,}: {verdict})")
    return int(slow)


if __name__ == "__main__":
    sys.exit(main())
