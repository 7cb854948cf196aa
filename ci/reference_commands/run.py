"""Owns running the commands: a simulated server, a stub of ModelScope, the files they name, and what
must have been sent and measured."""

import base64
import http.server
import json
import os
import pathlib
import pickle
import re
import sqlite3
import subprocess
import sys
import tempfile
import threading
import urllib.parse

from commands import COMMANDS

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TABLE = ROOT / "docs" / "reference-commands.md"
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def binary():
    named = os.environ.get("EVALSCOPE_BIN")
    if named:
        return str(pathlib.Path(named).resolve())
    subprocess.run(["cargo", "build", "--release", "--locked", "-p", "evalscope"], cwd=ROOT, check=True)
    return str(pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "evalscope")


def words():
    """Some hundred pronounceable words."""
    heads, vowels, tails = "bdfgklmnprst", "aeiou", ["", "n", "r", "s", "l"]
    return [h + v + h2 + v2 + t for h in heads[:6] for v in vowels for h2 in "kmnt" for v2 in "ao" for t in tails[:3]]


def tokenizer_json():
    """A vocabulary of words, one token each."""
    vocabulary = ["[UNK]", "<|im_start|>", "<|im_end|>", "user", "assistant", *words()]
    added = [{"id": i, "content": vocabulary[i], "single_word": False, "lstrip": False, "rstrip": False,
              "normalized": False, "special": True} for i in (0, 1, 2)]
    return json.dumps({
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": None, "decoder": None,
        "model": {"type": "WordLevel", "vocab": {word: i for i, word in enumerate(vocabulary)}, "unk_token": "[UNK]"},
    })


def questions():
    lines = []
    for i in range(64):
        question = f"第{i}个问题：" + "为什么天空是蓝色的？请从物理学的角度详细说明。" * (1 + i % 9)
        lines.append(json.dumps({"question": question, "human_answers": ["…"]}, ensure_ascii=False))
    return "\n".join(lines) + "\n"


class Hub(http.server.BaseHTTPRequestHandler):
    """ModelScope's URL forms for the files that the commands need."""

    files = {
        "/api/v1/datasets/AI-ModelScope/HC3-Chinese": {"open_qa.jsonl": questions()},
        "/api/v1/models/Qwen/Qwen2.5-0.5B-Instruct": {
            "tokenizer.json": tokenizer_json(), "tokenizer_config.json": json.dumps({"chat_template": CHATML})},
        "/api/v1/models/Qwen/Qwen2.5-VL-3B-Instruct": {
            "tokenizer.json": tokenizer_json(), "chat_template.jinja": CHATML},
    }

    def do_GET(self):  # noqa: N802, the name is the library's
        url = urllib.parse.urlparse(self.path)
        query = urllib.parse.parse_qs(url.query)
        base, _, what = url.path.partition("/repo")
        files = self.files.get(base)
        if files is None:
            return self.answer(404, b"")
        if what:
            entries = [{"Name": n, "Path": n, "Size": len(t.encode()), "Type": "blob"} for n, t in files.items()]
            return self.answer(200, json.dumps({"Code": 200, "Data": {"Files": entries}}).encode())
        text = files.get(query["FilePath"][0])
        return self.answer(404, b"") if text is None else self.answer(200, text.encode())

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Simulator:
    def __init__(self, evalscope, *flags):
        self.process = subprocess.Popen(
            [evalscope, "sim", "--port", "0", "--exit-with-parent", "--ttft-ms", "2", "--itl-ms", "0.1",
             "--default-output-tokens", "16", *flags],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().split()[-1]

    def stop(self):
        self.process.stdin.close()
        self.process.wait()


def bodies_of(database):
    rows = sqlite3.connect(database).execute("SELECT request FROM result ORDER BY idx").fetchall()
    return [pickle.loads(base64.b64decode(request)) for (request,) in rows]


def content(body):
    return body["messages"][0]["content"]


def check_bodies(name, bodies, database):
    """Whether what was sent is what the document says."""
    first = bodies[0]
    if name == "prompt":
        assert {content(body) for body in bodies} == {"写一个科幻小说，请开始你的表演"}
        assert (first["temperature"], first["max_tokens"], first["stream"]) == (0.9, 1024, True)
    elif name == "prompt_file":
        assert {content(body) for body in bodies} == {"the prompt of a file\n"}
    elif name == "sampling":
        assert (first["temperature"], first["max_tokens"], first["stop"]) == (0.7, 1024, ["<|im_end|>"])
        assert all(len(content(body)) >= 128 for body in bodies)
    elif name == "template":
        assert (first["model"], first["stop"], first["skip_special_tokens"]) == ("qwen2.5", ["<|im_end|>"], False)
        assert (first["temperature"], first["max_tokens"]) == (0.7, 1024)
        assert all("问题" in content(body) and "%p" not in content(body) for body in bodies)
    elif name == "template_default":
        assert (first["model"], first["stop"], first["skip_special_tokens"]) == ("qwen", ["<|im_end|>"], False)
    elif name == "template_choices":
        assert (first["n"], first["stop_token_ids"]) == (3, [128001, 128009]) and "问题" in content(first)
    elif name == "random":
        rows = sqlite3.connect(database).execute("SELECT asked_prompt_tokens, prompt_tokens FROM result").fetchall()
        assert all(64 + 1024 <= asked <= 64 + 2048 for asked, _ in rows), rows[:3]
        assert sum(asked == seen for asked, seen in rows) >= 99 and all(abs(a - s) <= 1 for a, s in rows)
        assert len({" ".join(content(body).split()[:64]) for body in bodies}) == 1
    elif name == "pictures":
        for body in bodies:
            text, image = content(body)
            png = base64.b64decode(image["image_url"]["url"].removeprefix("data:image/png;base64,"))
            assert png[:8] == b"\x89PNG\r\n\x1a\n" and text["text"]
            assert (int.from_bytes(png[16:20]), int.from_bytes(png[20:24])) == (512, 512)
    elif name:
        raise ValueError(name)


def run(command, evalscope, places, folder):
    """Run a command; gives the outcome for the table, or raises."""
    text = command.text
    for old, new in command.changes:
        assert old in text, f"{old!r} is not in the command"
        text = text.replace(old, new)
    for name, value in places.items():
        text = text.replace(name, value)
    out = tempfile.mkdtemp(dir=folder)
    # the only word that is added: where results go, so that they are found again
    text = re.sub(r"\n?(evalscope perf)", rf"\n\1 --outputs-dir {out} --no-timestamp", text, count=1)
    shell = f'evalscope() {{ "{evalscope}" "$@"; }}\n{text}\n'
    done = subprocess.run(["bash", "-c", shell], cwd=folder, stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=places_env(places, folder))
    if command.ends:
        code, words_said = command.ends
        assert done.returncode == code and words_said in done.stdout, (done.returncode, done.stdout[-2000:])
        return f"exit {code} before any load"
    assert done.returncode == 0, (done.returncode, done.stdout[-3000:])
    results = sorted(pathlib.Path(out).glob("*/result.json"))
    runs = json.loads(results[0].read_text())["runs"]
    counts = tuple(run["counts"]["succeeded"] for run in runs)
    assert counts == command.requests, (counts, done.stdout[-2000:])
    assert all(run["counts"]["failed"] == 0 for run in runs)
    database = next(results[0].parent.glob("*/benchmark_data.db"))
    check_bodies(command.bodies, bodies_of(database), database)
    return "exit 0, " + ", ".join(f"{n} of {n} succeeded" for n in counts)


def places_env(places, folder):
    keep = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    # neither a hub nor an installed server is to be found: only what stands here
    keep["PATH"] = "/usr/bin:/bin"
    keep["PYTHONPATH"] = str(ROOT / "python")
    return {**keep, "MODELSCOPE_ENDPOINT": places["$HUB"], "EVALSCOPE_CACHE": str(folder / "cache"), "NO_COLOR": "1"}


def fill(folder):
    for name in ("data", "datasets"):
        (folder / name).mkdir()
        (folder / name / "open_qa.jsonl").write_text(questions())
    (folder / "prompt.txt").write_text("the prompt of a file\n")
    (folder / "template.json").write_text("""{
   "model":"%m",
   "messages":[
      {
         "role":"user",
         "content":"%p"
      }
   ],
   "stream":true,
   "skip_special_tokens":false,
   "stop":[
      "<|im_end|>"
   ],
   "temperature":0.7,
   "max_tokens":1024
}
""")
    tokenizer = folder / "tokenizer"
    tokenizer.mkdir()
    (tokenizer / "tokenizer.json").write_text(tokenizer_json())
    (tokenizer / "tokenizer_config.json").write_text(json.dumps({"chat_template": CHATML}))
    return tokenizer


def table(outcomes):
    lines = ["| document | command | changed to run here | outcome |", "|---|---|---|---|"]
    for command, outcome in outcomes:
        note = f"; {command.note}" if command.note else ""
        lines.append(f"| {command.document} | {command.title} | {command.changed or 'nothing'} | {outcome}{note} |")
    return "\n".join(lines) + "\n"


def main():
    evalscope = binary()
    outcomes, failures = [], []
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        tokenizer = fill(folder)
        hub = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
        threading.Thread(target=hub.serve_forever, daemon=True).start()
        server = Simulator(evalscope, "--tokenizer-path", str(tokenizer))
        keyed = Simulator(evalscope, "--api-key", "YOUR_OPENAI_API_KEY")
        places = {"$SERVER": server.url, "$KEYED": keyed.url, "$DATA": str(folder),
                  "$HUB": f"http://127.0.0.1:{hub.server_port}"}
        try:
            for command in COMMANDS:
                try:
                    outcome = run(command, evalscope, places, folder)
                except AssertionError as error:
                    outcome = "FAILED"
                    failures.append((command, error))
                outcomes.append((command, outcome))
                print(f"{command.document}: {command.title}: {outcome}", flush=True)
        finally:
            server.stop()
            keyed.stop()
            hub.shutdown()
    for command, error in failures:
        print(f"\n{command.document}: {command.title}\n{command.text}\n{error}", file=sys.stderr)
    begin, end = "<!-- printed by ci/reference-commands -->\n", "<!-- end -->\n"
    head, rest = TABLE.read_text().split(begin)
    tail = rest.split(end)[1]
    wanted = head + begin + table(outcomes) + end + tail
    if "--write" in sys.argv:
        TABLE.write_text(wanted)
    elif wanted != TABLE.read_text():
        print(f"{TABLE.name} is out of date: ci/reference-commands --write", file=sys.stderr)
        failures.append(None)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
