"""A plugin that behaves as its first argument says. It needs nothing but Python."""

import json
import os
import signal
import subprocess
import sys
import time


def say(line):
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def answer(request, result):
    say(json.dumps({"id": request["id"], "result": result}))


def refuse(request, message, traceback=None):
    say(json.dumps({"id": request["id"], "error": {"message": message, "traceback": traceback}}))


def item(n):
    return {"text": f"prompt {n}"}


def body(prompt):
    return {"prompt": prompt, "stream": True, "max_tokens": 5}


def main():
    how = sys.argv[1]
    total = int(sys.argv[2]) if len(sys.argv) > 2 and how not in ("gives", "tells") else 10**9
    if how == "ignores_sigterm":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if how == "has_a_child":
        child = subprocess.Popen(["sleep", "1000"])
        with open(sys.argv[3], "w") as file:
            file.write(str(child.pid))
    if how == "chatty":
        for n in range(20_000):
            print(f"line {n}", file=sys.stderr)
        sys.stderr.write("x" * 100_000 + "\n")
        print("the end of it", file=sys.stderr, flush=True)
    if how == "dead_at_once":
        print("ModuleNotFoundError: No module named 'numpy'", file=sys.stderr)
        sys.exit(3)
    at = 0
    calls = 0
    for line in sys.stdin:
        request = json.loads(line)
        method, params = request["method"], request["params"]
        calls += 1
        if method == "hello":
            if how == "wrong_version":
                answer(request, {"protocol": 2, "name": "new"})
            elif how == "refuses":
                refuse(request, "there is no dataset `x`; did you mean `y`?")
            elif how == "hangs_in_hello":
                time.sleep(1000)
            else:
                more = {"answers": json.loads(sys.argv[2])} if how == "tells" else {}
                answer(request, {"protocol": 1, "name": "stand-in", **more})
            continue
        if method == "bye":
            answer(request, {})
            if how in ("ignores_sigterm", "has_a_child"):
                time.sleep(1000)
            return
        if method == "rewind":
            at = 0
            answer(request, {})
            continue
        if how == "hangs" and calls > 3:
            print("thinking", file=sys.stderr, flush=True)
            time.sleep(1000)
        elif how == "dies" and calls > 3:
            print("Killed by nobody", file=sys.stderr, flush=True)
            os._exit(7)
        elif how == "rubbish" and calls > 3:
            say("Loading weights: 100%")
        elif how == "wrong_id" and calls > 3:
            say('{"id":77,"result":{}}')
        elif how == "neither" and calls > 3:
            say(json.dumps({"id": request["id"]}))
        elif how == "long_line" and calls > 3:
            sys.stdout.write("x" * (65 << 20))
            sys.stdout.flush()
        elif how == "raises" and calls > 3:
            refuse(request, "build raised ValueError: no", "Traceback:\n  File x\nValueError: no")
        elif how == "wrong_types" and calls > 3:
            answer(request, {"items": 5, "bodies": "x", "counts": None})
        elif how == "wrong_length" and calls > 3:
            answer(request, {"items": [], "bodies": [], "counts": []})
        elif how == "wrong_item" and calls > 3:
            answer(request, {"items": [{"text": "a", "body": {}}], "bodies": [5], "end": False})
        elif how == "gives" and calls > 3:
            answer(request, {"items": [json.loads(sys.argv[2])], "end": False})
        elif how == "raises_lines" and calls > 3:
            refuse(request, "row 7:\nerror: not ours")
        elif method == "next":
            n = min(params["max"], total - at)
            answer(request, {"items": [item(at + i) for i in range(n)], "end": at + n >= total})
            at += n
        elif method == "build":
            answer(request, {"bodies": [body(prompt) for prompt in params["prompts"]]})
        elif method == "parse":
            counts = []
            for one in params["answers"]:
                if "huge" in one["responses"]:
                    counts.append({"prompt_tokens": 10**30, "completion_tokens": 1})
                elif one["responses"][0].startswith("odd "):
                    counts.append(json.loads(one["responses"][0][4:]))
                elif one["responses"][0].startswith("failed"):
                    counts.append({"failed": "no, said sk-12345\x1b[31m"})
                elif "bad" in one["responses"]:
                    counts.append({"error": "KeyError: 'usage'", "traceback": "in line 3"})
                else:
                    n = len(one["responses"])
                    counts.append({"prompt_tokens": None, "completion_tokens": n})
            answer(request, {"counts": counts})


main()
