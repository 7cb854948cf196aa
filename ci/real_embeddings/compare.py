"""Compares the record of a run with what the server wrote down about the same requests.

    compare.py RUN_FOLDER REQUESTS.jsonl FROM_LINE TOKENIZER.json METRICS_BEFORE METRICS_AFTER

REQUESTS.jsonl is what serve.py wrote; the run begins at line FROM_LINE, counted from 0. Requests are paired by
the `id` of their response. Compared for each of them:

* inputs, results, and input tokens, with the `usage` of the response: must be equal.
* tokens of the dataset `random_…`: the length that the dataset asked for, with what the Python library
  `tokenizers` counts of the texts that arrived, with [CLS] and [SEP]: must be equal.
* latency: ours is from the start of the send to the arrival of the last byte, so it contains the time
  that the server took, and must never be shorter.

And of the whole run, the number of requests with the server's own /metrics, the medians of the two latencies,
and our inputs per second with those that the latencies of the server allow at all.

Exit code 1 when a limit does not hold.
"""

import json
import pathlib
import re
import sqlite3
import statistics
import sys

from tokenizers import Tokenizer

# uvicorn before, the sockets of both behind: 1 ms on an idle core
FRONT_END_MS = 5.0
SUM_LIMIT = 0.001  # rounding of result.json


def texts(body):
    """What a request has to embed, or the pairs it has to rank."""
    if "documents" in body:
        return [(body["query"], document) for document in body["documents"]]
    given = body["input"]
    return [given] if isinstance(given, str) else given


def handled(path, handler):
    """Requests of a path, as the server's own metrics count them."""
    text = pathlib.Path(path).read_text()
    lines = re.findall(r'^http_requests_total\{(.*)\} (\S+)$', text, re.MULTILINE)
    return sum(float(value) for labels, value in lines if f'handler="{handler}"' in labels)


def main():
    folder, requests, first, tokenizer, before, after = sys.argv[1:]
    folder = pathlib.Path(folder)
    (run,) = json.loads((folder / "result.json").read_text())["runs"]
    (database,) = folder.glob("**/benchmark_data.db")
    rows = sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)
    rows.row_factory = sqlite3.Row
    ours = rows.execute("SELECT * FROM requests").fetchall()
    lines = pathlib.Path(requests).read_text().splitlines()[int(first):]
    theirs = {line["id"]: line for line in map(json.loads, lines)}
    count = Tokenizer.from_file(tokenizer)

    table, missed = [("", "ours", "server's", "limit", "")], []

    def line(name, mine, other, limit, holds):
        table.append((name, mine, other, limit, "ok" if holds else "OVER"))
        if not holds:
            missed.append(name)

    def equal(name, mine, other):
        line(name, f"{mine:.0f}", f"{other:.0f}", "equal", mine == other)

    equal("requests", len(ours), len(lines))
    equal("requests in /metrics", len(ours), handled(after, lines and theirs and path_of(theirs)) - handled(before, path_of(theirs)))
    equal("succeeded", run["counts"]["succeeded"], sum(line["status"] == 200 for line in theirs.values()))
    pairs = [(mine, theirs[mine["response_id"]]) for mine in ours if mine["response_id"] in theirs]
    equal("paired by id", len(pairs), len(lines))
    if not pairs:
        show(table)
        sys.exit("compare.py: nothing to compare")

    def each(name, mine, other):
        """Sums, which must be equal for every request as well."""
        wrong = sum(mine(a) != other(b) for a, b in pairs)
        limit = "each equal" if not wrong else f"{wrong} differ"
        line(name, f"{sum(mine(a) or 0 for a, _ in pairs)}", f"{sum(other(b) for _, b in pairs)}", limit, not wrong)

    each("inputs", lambda mine: mine["inputs"], lambda other: len(texts(other["body"])))
    each("results", lambda mine: mine["inputs"], lambda other: other["results"])
    each("input tokens", lambda mine: mine["input_tokens"], lambda other: other["usage"]["prompt_tokens"])
    if ours[0]["asked_input_tokens"] is not None:
        each("tokens asked for", lambda mine: mine["asked_input_tokens"],
             lambda other: sum(len(count.encode(*of).ids if isinstance(of, tuple) else count.encode(of).ids)
                               for of in texts(other["body"])))

    more = [mine["latency_ms"] - other["took_ns"] / 1e6 for mine, other in pairs]
    line("latency, least difference", f"{min(more):+.3f} ms", "", "> 0 ms", min(more) > 0)
    median = statistics.median
    line("latency, median", f"{median(mine['latency_ms'] for mine, _ in pairs):.3f} ms",
         f"{median(other['took_ns'] / 1e6 for _, other in pairs):.3f} ms", "", True)
    line("latency, median difference", f"{median(more):+.3f} ms", "", f"<= {FRONT_END_MS:g} ms", median(more) <= FRONT_END_MS)

    inputs = sum(len(texts(other["body"])) for _, other in pairs)
    per_s = run["throughput"]["inputs_per_s"]
    expected = inputs / run["duration_s"]
    line("inputs/s", f"{per_s:.1f}", f"{expected:.1f}", f"±{SUM_LIMIT * 100:g} %", abs(per_s / expected - 1) <= SUM_LIMIT)
    show(table)
    if missed:
        print(f"  DIFFERS from the server: {', '.join(missed)}")
    sys.exit(1 if missed else 0)


def path_of(theirs):
    return next(iter(theirs.values()))["path"] if theirs else ""


def show(table):
    widths = [max(len(cells[column]) for cells in table) for column in range(len(table[0]))]
    for cells in table:
        padded = [cells[0].ljust(widths[0])] + [c.rjust(w) for c, w in zip(cells[1:-1], widths[1:])]
        print("  " + "  ".join([*padded, cells[-1]]).rstrip())


if __name__ == "__main__":
    main()
