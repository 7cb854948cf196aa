"""Owns running the commands of README and docs/: a scratch folder for each page with the files that the
commands name, simulated servers in place of those that they measure, and the comparison of exit codes."""

import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time

from blocks import SHELL, Mistake, blocks_of

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "ci" / "reference_commands"))
from run import CHATML, tokenizer_json  # noqa: E402

# `127.0.0.1:8000`, `localhost:8000` and `--port 8877`
PORT = re.compile(r"((?:127\.0\.0\.1|localhost):|--port[ =])(8000|8877)\b")
LIMIT_S = 60
# a finished command for the snippets that read results
FINISHED = ["perf", "--model", "sim", "--dataset", "sample", "--parallel", "1", "2", "--number", "4", "4",
            "--sleep-interval", "0", "--no-timestamp", "--name", "finished", "--outputs-dir", "."]
# conversations for those that read turns
CONVERSATIONS = ["perf", "--model", "sim", "--dataset", "custom_multi_turn", "--dataset-path", "two.jsonl",
                 "--multi-turn", "--parallel", "1", "--number", "2", "--no-timestamp", "--name", "conversations",
                 "--outputs-dir", "."]
TWO_TURNS = '[{"role":"user","content":"Hi"},{"role":"assistant","content":"x"},{"role":"user","content":"And?"}]\n'


def pages():
    """Every page whose commands are run, and its name."""
    found = [ROOT / "README.md", ROOT / "README.zh-CN.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return {str(path.relative_to(ROOT)): path for path in found}


def binary():
    """The binary of EVALSCOPE_BIN, or one that is built."""
    if named := os.environ.get("EVALSCOPE_BIN"):
        return pathlib.Path(named).resolve()
    subprocess.run(["cargo", "build", "--workspace", "--locked", "--quiet"], cwd=ROOT, check=True)
    return pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug" / "evalscope"


def environment(evalscope, folder):
    """That of the commands: the binary in PATH, no keys, no proxies and no network."""
    programs = folder / "bin"
    programs.mkdir()
    (programs / "evalscope").symlink_to(evalscope)
    (programs / "python").symlink_to(sys.executable)
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith(("EVALSCOPE_", "HF_", "MODELSCOPE_")) and not name.lower().endswith("_proxy")}
    return kept | {"PATH": f"{programs}{os.pathsep}{kept['PATH']}", "PYTHONPATH": str(ROOT / "python"),
                   "PYTHONDONTWRITEBYTECODE": "1", "EVALSCOPE_BIN": str(evalscope), "HF_HUB_OFFLINE": "1",
                   "MODELSCOPE_ENDPOINT": "http://127.0.0.1:9",
                   "EVALSCOPE_CACHE": str(folder / "cache")}


def write_fixtures(folder, environ, server_port):
    """The files that the commands name."""
    texts = {
        "prompts.txt": "Why is the sky blue?\nName three rivers.\n",
        "prompt.txt": "Why is the sky blue?\n",
        "prompts.csv": "id,text\n1,Why is the sky blue?\n2,Name three rivers.\n",
        "tickets.csv": "id,text\n1,My order has not arrived.\n2,How can I change my password?\n",
        "trace.jsonl": '{"timestamp": 10, "body": {"messages": [{"role": "user", "content": "Hi"}]}}\n'
                       '{"timestamp": 10.5, "body": {"messages": [{"role": "user", "content": "Bye"}]}}\n',
        "conversation_trace.jsonl": '{"timestamp": 0, "input_length": 90, "output_length": 4, "hash_ids": [0]}\n'
                                    '{"timestamp": 601000, "input_length": 90, "output_length": 4, "hash_ids": [0]}\n',
        "countries.txt": "France\nPeru\nJapan\n",
        # the default dataset, where a download would put it
        "cache/modelscope/datasets/AI-ModelScope/HC3-Chinese/master/open_qa.jsonl": '{"question": "天空为什么是蓝色的？"}\n',
        "mine.toml": (ROOT / "docs" / "examples" / "openai.toml").read_text(),
    }
    for model in ("Qwen/Qwen3-8B", "Qwen/Qwen2.5-0.5B-Instruct"):
        texts[f"{model}/tokenizer.json"] = tokenizer_json()
        texts[f"{model}/tokenizer_config.json"] = json.dumps({"chat_template": CHATML})
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    shutil.copytree(ROOT / "fixtures" / "hub" / "mmmu", folder / "mmmu")
    url = f"http://127.0.0.1:{server_port}"
    (folder / "two.jsonl").write_text(2 * TWO_TURNS)
    for command in FINISHED, CONVERSATIONS:
        subprocess.run(["evalscope", *command, "--url", url], cwd=folder, env=environ, check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def free_port():
    """A port that is free now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Server:
    """The server at the port 8000 of the documents: it responds at once, with a few tokens."""

    def __init__(self, evalscope):
        self.process = subprocess.Popen(
            [evalscope, "sim", "--port", "0", "--ttft-ms", "1", "--itl-ms", "1", "--prefill-tok-s", "0",
             "--output-tokens", "8"], stdout=subprocess.PIPE, text=True)
        self.port = int(re.search(r":(\d+)", self.process.stdout.readline()).group(1))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


def run_shell(block, text, folder, environ):
    """Runs a shell or Python block; returns what is wrong, or nothing."""
    command = ["bash", "-euo", "pipefail", "-c", text] if block.language in SHELL else [sys.executable, "-c", text]
    before = set(folder.rglob("result.json"))
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, cwd=folder / block.folder, env=environ, stdin=subprocess.DEVNULL,
                                   stdout=output, stderr=output, start_new_session=True)
        try:
            code = process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            code = f"none within {LIMIT_S} s; a comment can give a shorter form (`ci: replace`)"
        finally:
            # what the block left in the background, such as a server
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
        output.seek(0)
        said = output.read()
    if "--verbose" in sys.argv:
        print(f"== {block.page}:{block.line}\n{text}{said}", flush=True)
    if code != block.exit:
        return f"exit code {code} instead of {block.exit}\n{text}{said}"
    for path in set(folder.rglob("result.json")) - before:
        if failed := sum(run["counts"]["failed"] for run in json.loads(path.read_text())["runs"]):
            return f"{failed} requests failed\n{text}{said}"
    return ""


def run_sql(text, folder):
    """Runs each statement against a run's database; returns what is wrong, or nothing."""
    database = sqlite3.connect(folder / "finished" / "parallel_1_number_4" / "benchmark_data.db")
    try:
        for statement in filter(str.strip, text.split(";")):
            database.execute(statement).fetchall()
    except sqlite3.Error as error:
        return f"{error}\n{text}"
    finally:
        database.close()
    return ""


def run_block(block, ports, folder, environ):
    """Runs one block; returns what is wrong, or nothing."""
    text = PORT.sub(lambda match: match.group(1) + ports[match.group(2)], block.text)
    if block.file:
        (folder / block.file).write_text(text)
        return ""
    if block.language == "sql":
        return run_sql(text, folder)
    return run_shell(block, text, folder, environ)


def run_page(blocks, evalscope, server_port):
    """Runs the blocks of a page from top to bottom; returns a line for each, and what is wrong."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        environ = environment(evalscope, folder)
        write_fixtures(folder, environ, server_port)
        ports = {"8000": str(server_port), "8877": str(free_port())}
        outcomes = []
        for block in blocks:
            start = time.monotonic()
            wrong = "" if block.skip else run_block(block, ports, folder, environ)
            outcomes.append((block, wrong, time.monotonic() - start))
        return outcomes


def main():
    names = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
    chosen = {name: path for name, path in pages().items() if not names or name in names}
    mistakes, work = [], []
    for name, path in chosen.items():
        try:
            blocks = [block for block in blocks_of(name, path.read_text()) if block.is_command()]
            work += [blocks] if blocks else []
        except Mistake as mistake:
            mistakes.append(str(mistake))
    evalscope = binary()
    with Server(evalscope) as server, concurrent.futures.ThreadPoolExecutor(6) as pool:
        done = pool.map(lambda blocks: run_page(blocks, evalscope, server.port), work)
        outcomes = [outcome for page in done for outcome in page]
    for block, wrong, took in outcomes:
        state = f"skipped: {block.skip}" if block.skip else "FAILED" if wrong else f"ok ({took:.1f} s)"
        print(f"{block.page}:{block.line}: {state}")
    mistakes += [f"{block.page}:{block.line}: {wrong}" for block, wrong, _ in outcomes if wrong]
    for mistake in mistakes:
        print(f"\n{mistake}", file=sys.stderr)
    skipped = sum(bool(block.skip) for block, *_ in outcomes)
    print(f"commands of the documents: {len(outcomes) - skipped} run, {skipped} skipped, {len(mistakes)} failed")
    sys.exit(1 if mistakes else 0)


main()
