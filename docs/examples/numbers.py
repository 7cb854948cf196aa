"""A data set that is a program of its own: 1000 prompts, spoken as docs/plugin-protocol.md says.

evalscope perf --dataset "exec:python3 docs/examples/numbers.py" ...

It uses nothing but JSON, so it could be in any language.
"""

import json
import sys

TOTAL = 1000
at = 0

for line in sys.stdin:
    request = json.loads(line)
    method, params = request["method"], request["params"]
    if method == "hello":
        result = {"protocol": 1, "name": "numbers"}
    elif method == "next":
        until = min(at + params["max"], TOTAL)
        items = [{"text": f"Write {number} in words."} for number in range(at, until)]
        at = until
        result = {"items": items, "end": at == TOTAL}
    elif method == "rewind":
        at = 0
        result = {}
    else:  # bye
        result = {}
    # stdout belongs to the protocol: print to stderr
    print(json.dumps({"id": request["id"], "result": result}), flush=True)
    if method == "bye":
        break
