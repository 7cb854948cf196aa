"""Owns the acceptance of the Python package against the real EvalScope 1.14.1: its names, objects of both
packages made from the same folders, the scripts of its documents, and its own tests.

Run by ci/reference-python with an interpreter that has the real package.
"""

import http.server
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "ci" / "reference_commands"))

from run import Hub, Simulator, binary, fill  # noqa: E402

GOLDEN = ROOT / "python" / "tests" / "golden" / "evalscope-1.14.1.json"
HERE = pathlib.Path(__file__).parent
# EvalScope's tests that speak of what is here
TESTS = [
    "test_line_by_line_body.py",
    "test_openai_api_parse_responses.py",
    "test_dataset_args.py",
    "test_target_input_len.py",
    "test_chat_template_error.py",
    "test_prefix_injection.py",
    "test_trie_replay.py",
    "test_perf_basic.py",
    "test_perf_multi_turn.py",
    "test_perf_embedding_rerank.py",
]
# The others, and what they are about instead.
OTHERS = {
    "test_arguments_secrets.py": "its evaluation and its HTTP client",
    "test_async_lifecycle.py": "its event loops",
    "test_open_loop_strategy.py": "its event loops",
    "test_perf_archive.py": "its dashboard; `ci/reference-commands export` runs that",
    "test_perf_report_loader.py": "its dashboard",
    "test_perf_sla.py": "doubles the load up to 65536 requests in flight; python/tests has a smaller search",
    "test_perf_streaming.py": "private functions of its HTTP client",
    "test_perf_visualizer.py": "accounts of experiment trackers; `ci/trackers` runs their libraries",
    "test_request_build_errors.py": "its HTTP client",
    "test_request_generation.py": "its processes that make prompts",
    "test_rich_display.py": "its tables",
    "test_stream_metrics.py": "its accumulators; `objects` compares the figures",
    "test_trace_metrics.py": "its accumulators",
    "test_workload_timeline.py": "its accumulators",
    "test_workload_trace.py": "its class of traces; here the program reads them",
    "test_workload_trace_e2e.py": "its class of traces",
}
# Of those that run, tests that need what cannot be here, or what cannot be had without a network.
NOT_HERE = {
    "test_local_openqa": "starts a model with transformers",
    "test_local_speed_benchmark": "the same",
    "from_dataset": "files of a dataset that no checkout has",
    "test_rerank_random": "sends 2000 requests, which take the simulated reranker ten minutes",
    "without_target_input_len": "asks for an error of pydantic, which is not needed here; it is a `ValueError`",
    "drop_mode": "the same",
}
# what else they ask the hub for
TOKENIZERS = ["deepseek-ai/DeepSeek-R1-0528", "moonshotai/Kimi-K2.5", "Qwen/Qwen2.5-VL-7B-Instruct"]
IMAGES = ROOT / "crates" / "workload" / "src" / "dataset" / "fixtures" / "images.parquet"


def python(*words, ours=True, folder=None, **environment):
    """Run the interpreter with our package, or with the real one; gives what it printed."""
    env = {**os.environ, **environment}
    env.pop("PYTHONPATH", None)
    if ours:
        env["PYTHONPATH"] = str(ROOT / "python")
    done = subprocess.run([sys.executable, *map(str, words)], cwd=folder, env=env, text=True, capture_output=True)
    if done.returncode != 0:
        raise SystemExit(f"{words}\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}")
    return done.stdout


def check_names(_places):
    printed = python(HERE / "names.py", ours=False)
    if "--write" in sys.argv:
        GOLDEN.write_text(printed)
    assert json.loads(printed) == json.loads(GOLDEN.read_text()), "golden file is out of date: --write"
    return f"{sum(len(of) for of in json.loads(printed)['fields'].values())} attributes, keys and defaults"


RUNS = """
import json, sys
from evalscope.perf.main import run_perf_benchmark
print(run_perf_benchmark(json.loads(sys.argv[1]), show_output=False).folder)
"""


def check_objects(places):
    """Both packages read the same folders: streamed, whole, with failures, conversations, an open loop."""
    common = {"url": places["url"] + "/v1/chat/completions", "model": "m", "parallel": 2, "number": 8, "max_tokens": 8,
              "dataset": "sample", "sleep_interval": 0}
    talks = {"dataset": "random_multi_turn", "tokenizer_path": str(places["tokenizer"]), "multi_turn": True,
             "min_turns": 2, "max_turns": 3, "min_prompt_length": 4, "max_prompt_length": 9}
    kinds = {"streamed": {"parallel": [1, 3], "number": [4, 6]}, "whole": {"stream": False}, "talks": talks,
             "open": {"open_loop": True, "parallel": None, "rate": 40}}
    folders = []
    for kind, options in kinds.items():
        options = {**common, **options, "outputs_dir": str(places["folder"] / "objects"), "name": kind}
        folders.append(python("-c", RUNS, json.dumps(options)).strip())
    walked = [json.loads(python(HERE / "walk.py", *folders, ours=ours)) for ours in (True, False)]
    assert len(walked[0]) == 5
    for folder, of in walked[0].items():
        for part, seen in of.items():
            assert seen == walked[1][folder][part], difference(folder, part, seen, walked[1][folder][part])
    return f"{len(walked[0])} runs, the same attributes, dicts and tables"


def difference(folder, part, ours, theirs):
    lines = zip(json.dumps(ours, indent=1).splitlines(), json.dumps(theirs, indent=1).splitlines())
    return f"{folder} {part}: " + "; ".join(f"here {a}, EvalScope {b}" for a, b in lines if a != b)


def check_documents(places):
    """The scripts of the page on custom requests and datasets, changed only where they name a host, a file
    and a key."""
    checkout = places["checkout"]
    if checkout is None:
        return None
    page = (checkout / "docs/en/user_guides/stress_test/custom.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    plugin, script, dataset = (next(b for b in blocks if mark in b) for mark in (
        "@register_api('custom')", "env = dotenv_values", "@register_dataset('custom')"))
    prompts = places["folder"] / "prompts.txt"
    prompts.write_text("one prompt\nanother prompt\n")
    url = places["url"] + "/v1/chat/completions"
    api = plugin + script.replace("https://your-endpoint", url)
    data = dataset.replace("https://your-api-endpoint", url).replace("path/to/your/dataset.txt", str(prompts))
    for name, text, count in (("api", api, 1), ("dataset", data, 1000)):
        folder = places["folder"] / f"document-{name}"
        folder.mkdir()
        (folder / "script.py").write_text(text)
        python("script.py", folder=folder, MODELSCOPE_ENDPOINT=places["hub"],
               EVALSCOPE_CACHE=str(places["folder"] / "cache"))
        (result,) = folder.glob("outputs/*/*/result.json")
        counts = json.loads(result.read_text())["runs"][0]["counts"]
        assert (counts["succeeded"], counts["failed"]) == (count, 0), counts
    return "the API and the dataset of its page on plugins"


CONFTEST = """
import tests.perf.perf_test_base as base

# the only thing that is changed: a key is there, and DashScope is a simulated server
base.DASHSCOPE_API_KEY = "sk-simulated"
for name in ("DASHSCOPE_CHAT_URL", "LOCAL_CHAT_URL"):
    setattr(base, name, {url!r} + "/v1/chat/completions")
for name in ("DASHSCOPE_COMPLETIONS_URL", "LOCAL_COMPLETIONS_URL"):
    setattr(base, name, {url!r} + "/v1/completions")
base.DASHSCOPE_EMBEDDINGS_URL = {url!r} + "/v1/embeddings"
base.DASHSCOPE_RERANKS_URL = {url!r} + "/v1/rerank"
"""


def check_tests(places):
    """EvalScope's own tests, as they are."""
    checkout = places["checkout"]
    if checkout is None:
        return None
    folder = places["folder"] / "tests-of-evalscope"
    shutil.copytree(checkout / "tests" / "perf", folder / "tests" / "perf")
    (folder / "tests" / "__init__.py").touch()
    (folder / "conftest.py").write_text(CONFTEST.format(url=places["url"]))
    chosen = [folder / "tests" / "perf" / name for name in TESTS]
    printed = python(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", " and ".join(f"not {name}" for name in NOT_HERE),
        *[path.relative_to(folder) for path in chosen if path.is_file()], folder=folder,
        MODELSCOPE_ENDPOINT=places["hub"], EVALSCOPE_CACHE=str(places["folder"] / "cache"))
    there = {path.name for path in (checkout / "tests" / "perf").glob("test_*.py")}
    new = sorted(there - set(TESTS) - set(OTHERS))
    outcome = printed.strip().splitlines()[-1].strip("= ")
    return f"{outcome}; {len(there & set(OTHERS))} files are about other things" + (f"; new: {new}" if new else "")


def main():
    os.environ["EVALSCOPE_BIN"] = binary()
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    checkout = os.environ.get("EVALSCOPE_CHECKOUT")
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        small = Hub.files["/api/v1/models/Qwen/Qwen2.5-0.5B-Instruct"]
        Hub.files = {
            **Hub.files,
            **{f"/api/v1/models/{name}": small for name in TOKENIZERS},
            "/api/v1/datasets/black-forest-labs/kontext-bench": {"data/test-0.parquet": IMAGES.read_bytes()},
        }
        hub = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
        threading.Thread(target=hub.serve_forever, daemon=True).start()
        tokenizer = fill(folder)
        server = Simulator(os.environ["EVALSCOPE_BIN"], "--tokenizer-path", str(tokenizer))
        places = {"url": server.url.rstrip("/"), "hub": f"http://127.0.0.1:{hub.server_port}", "folder": folder,
                  "tokenizer": tokenizer, "checkout": pathlib.Path(checkout).resolve() if checkout else None}
        try:
            asked = {word for word in sys.argv[1:] if not word.startswith("-")}
            for name, check in (("names", check_names), ("objects", check_objects), ("documents", check_documents),
                                ("tests", check_tests)):
                if asked and name not in asked:
                    continue
                found = check(places)
                print(f"{name}: {found or 'left out; EVALSCOPE_CHECKOUT names no checkout'}", flush=True)
        finally:
            server.stop()
            hub.shutdown()


if __name__ == "__main__":
    main()
