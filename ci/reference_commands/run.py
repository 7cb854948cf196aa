"""Owns running the commands: simulated servers, a stub of ModelScope, and the files that they name."""

import http.server
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import urllib.parse

from checks import CHECKS, Run, trace_lines
from commands import COMMANDS
from commands_1_14 import COMMANDS_1_14

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TABLE = ROOT / "docs" / "reference-commands.md"
STORED = ROOT / "fixtures" / "hub"
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


def stored(name):
    """The files of a dataset that lie beside the tests."""
    folder = STORED / name
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*.parquet"))}


TOKENIZER = {
    "tokenizer.json": tokenizer_json(),
    "tokenizer_config.json": json.dumps({"chat_template": CHATML}),
}
# with the chat template in a file of its own, as multimodal models have it
TOKENIZER_VL = {"tokenizer.json": tokenizer_json(), "chat_template.jinja": CHATML}


def talk(number, turns):
    said = [{"human": f"第{number}个对话的第{turn}句话", "assistant": "好的"} for turn in range(turns)]
    return json.dumps({"conversation": said}, ensure_ascii=False)


def sharegpt():
    return "\n".join(talk(number, 1 + number % 5) for number in range(300)) + "\n"


def agents():
    trace = {"input_prompt_length": 64, "num_turns": 3, "assistant_response_length": [16, 9, 12],
             "tool_call_output_length": [32, 48, 8], "tool_call_latency": [0.01, 0.02, 0.01],
             "final_assistant_response_length": 20}
    return f"{json.dumps(trace)}\n" * 12


def as_bytes(file):
    return file.encode() if isinstance(file, str) else file


class Hub(http.server.BaseHTTPRequestHandler):
    """ModelScope's URL forms for the files that the commands need."""

    files = {
        "/api/v1/datasets/AI-ModelScope/HC3-Chinese": {"open_qa.jsonl": questions()},
        "/api/v1/datasets/swift/sharegpt": {"common_zh_70k.jsonl": sharegpt()},
        "/api/v1/datasets/evalscope/trie-workloads": {
            f"{workload}_8k.jsonl": agents() for workload in ("agentic_coding", "code_qa", "office_work")},
        "/api/v1/datasets/SWE-bench/SWE-smith-trajectories": stored("swe_smith"),
        "/api/v1/datasets/AI-ModelScope/MMMU": stored("mmmu"),
        **{f"/api/v1/models/{name}": TOKENIZER for name in (
            "Qwen/Qwen2.5-0.5B-Instruct", "Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen3-Embedding-0.6B",
            "Qwen/Qwen3-30B-A3B-Instruct-2507", "Qwen/Qwen3-Next-80B-A3B-Instruct", "openai-mirror/gpt-oss-20b")},
        **{f"/api/v1/models/{name}": TOKENIZER_VL for name in (
            "Qwen/Qwen2.5-VL-3B-Instruct", "Qwen/Qwen3-VL-235B-A22B-Instruct")},
    }

    def do_GET(self):  # noqa: N802, the name is the library's
        url = urllib.parse.urlparse(self.path)
        query = urllib.parse.parse_qs(url.query)
        base, _, what = url.path.partition("/repo")
        files = self.files.get(base)
        if files is None:
            return self.answer(404, b"")
        if what:
            entries = [{"Name": n, "Path": n, "Size": len(as_bytes(t)), "Type": "blob"} for n, t in files.items()]
            return self.answer(200, json.dumps({"Code": 200, "Data": {"Files": entries}}).encode())
        text = files.get(query["FilePath"][0])
        return self.answer(404, b"") if text is None else self.answer(200, as_bytes(text))

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
    text = re.sub(r"(evalscope perf)", rf"\1 --outputs-dir {out} --no-timestamp", text, count=1)
    # a page has variables before the command, which a function does not pass on
    shell = f'evalscope() {{ command "{evalscope}" "$@"; }}\n{text}\n'
    done = subprocess.run(["bash", "-c", shell], cwd=folder, stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=places_env(places, folder))
    if command.ends:
        code, words_said = command.ends
        assert done.returncode == code and words_said in done.stdout, (done.returncode, done.stdout[-2000:])
        return f"exit {code} before any load"
    code = 1 if command.searched is None else 0
    assert done.returncode == code, (done.returncode, done.stdout[-3000:])
    results = sorted(pathlib.Path(out).glob("*/result.json"))
    result = json.loads(results[0].read_text())
    top = results[0].parent
    if command.searched != "no search":
        found = [selection["selected_value"] for selection in result["search"]["selections"]]
        wanted = command.searched
        assert all(value is None if wanted is None else near(value, wanted) for value in found), found
        # which load it is differs from one time to the next
        return f"exit {code}, " + ("no load meets the limits" if code else "a load was found")
    runs = result["runs"]
    assert all(run["counts"]["failed"] == 0 for run in runs), [run["counts"] for run in runs]
    folders = [Run(top / run["name"]) for run in runs]
    if command.check:
        for run in folders:
            CHECKS[command.check](run)
    if command.conversations:
        counts = tuple(len(run.turns()) for run in folders)
        assert counts == command.conversations, (counts, done.stdout[-2000:])
        return "exit 0, " + ", ".join(f"{n} conversations" for n in counts)
    counts = tuple(run["counts"]["succeeded"] for run in runs)
    assert counts == command.requests, (counts, done.stdout[-2000:])
    return "exit 0, " + ", ".join(f"{n} of {n} succeeded" for n in counts)


def near(value, wanted):
    """Searches on a machine that does other things too."""
    return value is not None and wanted / 8 <= value <= 8 * wanted


def places_env(places, folder):
    keep = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    # neither a hub nor an installed server is to be found: only what stands here
    keep["PATH"] = "/usr/bin:/bin"
    keep["PYTHONPATH"] = str(ROOT / "python")
    return {**keep, "MODELSCOPE_ENDPOINT": places["$HUB"], "EVALSCOPE_CACHE": str(folder / "cache"), "NO_COLOR": "1",
            "DASHSCOPE_API_KEY": "sk-simulated"}


def fill(folder):
    for name in ("data", "datasets"):
        (folder / name).mkdir()
        (folder / name / "open_qa.jsonl").write_text(questions())
    (folder / "trace.jsonl").write_text("\n".join(trace_lines()) + "\n")
    (folder / "common_zh_70k.jsonl").write_text(sharegpt())
    said = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi!"},
            {"role": "user", "content": "Write me a poem"}]
    (folder / "my_conversations.jsonl").write_text(f"{json.dumps(said)}\n" * 100)
    repaired = [[{"messages": [{"role": "user", "content": f"issue {at}"}], "prompt_tokens": 9, "rid": f"rid-{at}"},
                 {"messages": [{"role": "user", "content": "and the tests?"}], "prompt_tokens": 20}]
                for at in range(320)]
    (folder / "agentic_dataset.json").write_text(json.dumps({"conversations": repaired}))
    (folder / "long_text.txt").write_text(" ".join(words()) * 20)
    images = [{"type": "image_url", "image_url": {"url": f"https://example.com/image-{n}.jpg"}} for n in (1, 2)]
    asked = [{"role": "user", "content": [{"type": "text", "text": "Compare image 1 and image 2."}, *images]}]
    (folder / "multi_image.jsonl").write_text(json.dumps(asked) + "\n")
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
    only = [word for word in sys.argv[1:] if not word.startswith("-")]
    named = [*COMMANDS, *COMMANDS_1_14]
    commands = [c for c in named if not only or any(word in f"{c.document}: {c.title}" for word in only)]
    outcomes, failures = [], []
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        tokenizer = fill(folder)
        hub = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
        threading.Thread(target=hub.serve_forever, daemon=True).start()
        server = Simulator(evalscope, "--tokenizer-path", str(tokenizer))
        keyed = Simulator(evalscope, "--api-key", "YOUR_OPENAI_API_KEY")
        slots = Simulator(evalscope, "--slots", "8", "--service-ms", "60", "--tokenizer-path", str(tokenizer))
        places = {"$SERVER": server.url, "$KEYED": keyed.url, "$SLOTS": slots.url, "$DATA": str(folder),
                  "$HUB": f"http://127.0.0.1:{hub.server_port}"}
        try:
            for command in commands:
                try:
                    outcome = run(command, evalscope, places, folder)
                except AssertionError as error:
                    outcome = "FAILED"
                    failures.append(command)
                    print(f"{command.text}\n{error}", file=sys.stderr)
                outcomes.append((command, outcome))
                print(f"{command.document}: {command.title}: {outcome}", flush=True)
        finally:
            server.stop()
            keyed.stop()
            slots.stop()
            hub.shutdown()
    if only:
        sys.exit(1 if failures else 0)
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
