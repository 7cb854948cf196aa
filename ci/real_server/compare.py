"""Compares what the load tester recorded with what llama.cpp measured about the same requests.

    compare.py OUTPUTS_DIR/NAME          (a folder with parallel_*/benchmark_data.db)

llama.cpp puts a `timings` object into the last data event of every stream. Its numbers come from
the server's own clock, so they are a second opinion on ours. Compared for each successful request:

* tokens: `completion_tokens` with timings.predicted_n, and `prompt_tokens` with
  timings.prompt_n + timings.cache_n (cache_n: prompt tokens taken from the slot's cache).
  They must be equal.
* TPOT: (last token time - first token time) / (completion_tokens - 1) with
  timings.predicted_per_token_ms. (Where the record has its own TPOT in time_per_output_token, it must
  be this one.)

What llama.cpp's numbers cover, as seen in real streams (xllamacpp 2026.10.11549):
predicted_ms runs from the first token to the last one, so it holds predicted_n - 1 intervals, and
predicted_per_token_ms = predicted_ms / (predicted_n - 1), to the last digit. For example 12 tokens,
predicted_ms 73.827, predicted_per_token_ms 6.711545... = 73.827 / 11. That is our definition of
TPOT. (Another build may divide by predicted_n; this is checked below, so that such a server is
reported rather than compared wrongly.)

Which requests count for the median: those with one event per token. A token need not have an event:
the end-of-text token is counted by the server and has no text, and tokens that end inside a
multi-byte character are held back until the character is complete. Then the last *event* is earlier
than the last *token*, and a client cannot see how much. Such requests are shown, marked "hidden",
and left out of the median; their token counts must be equal all the same.

Exit code 1 when any token count differs, when the median of the TPOT differences (absolute values)
is over the limit, or when there is too little to compare.
"""

import argparse
import base64
import io
import json
import pathlib
import pickle
import re
import sqlite3
import statistics
import sys

# Unix seconds in a double are exact to about a quarter of a microsecond.
ROUNDING = 1e-6


class PlainUnpickler(pickle.Unpickler):
    """Reads lists, texts and numbers; refuses everything that would import code."""

    def find_class(self, module, name):
        raise pickle.UnpicklingError(f"unexpected {module}.{name} in response_messages")


def run_order(path):
    """parallel_2... before parallel_10..."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.parent.name)]


def rows(database):
    connection = sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)
    connection.row_factory = sqlite3.Row
    try:
        return connection.execute("SELECT * FROM result ORDER BY start_time").fetchall()
    finally:
        connection.close()


def check_row(row):
    """Returns (cells of the table, TPOT difference as a fraction or None, list of complaints)."""
    bad = []
    if not row["final_event"]:
        return None, None, ["final_event is empty"]
    timings = json.loads(row["final_event"]).get("timings")
    if timings is None:
        return None, None, ["final_event has no timings"]
    events = PlainUnpickler(io.BytesIO(base64.b64decode(row["response_messages"]))).load()
    times = [float(t) for t in json.loads(row["chunk_times"])]
    start, end = float(row["start_time"]), float(row["completed_time"])
    ours_out, ours_in = int(row["completion_tokens"]), int(row["prompt_tokens"])
    their_out = timings["predicted_n"]
    their_in = timings["prompt_n"] + timings.get("cache_n", 0)

    if ours_out != their_out:
        bad.append(f"completion tokens: {ours_out} recorded, {their_out} generated")
    if ours_in != their_in:
        bad.append(f"prompt tokens: {ours_in} recorded, {their_in} read by the server")
    if len(events) != len(times):
        bad.append(f"{len(events)} response_messages but {len(times)} chunk_times")
    if len(events) > their_out:
        bad.append(f"{len(events)} token-bearing events for {their_out} tokens")
    if any(json.loads(event).get("choices") in (None, []) for event in events):
        bad.append("an event without choices is among the token-bearing ones")
    order = [start, *times, end]
    if not times or any(later < earlier - ROUNDING for earlier, later in zip(order, order[1:])):
        bad.append("the times are not in order: start, tokens, completed")

    ours = theirs = difference = None
    note = ""
    if their_out > 1 and times:
        ours = (times[-1] - times[0]) / (ours_out - 1) * 1000 if ours_out > 1 else None
        theirs = timings["predicted_per_token_ms"]
        expected = timings["predicted_ms"] / (their_out - 1)
        if abs(theirs - expected) > 0.001 * expected:
            bad.append(
                f"this server's predicted_per_token_ms {theirs} is not predicted_ms / (predicted_n - 1)"
                f" = {expected}: its definition of TPOT is another one"
            )
        elif ours is not None:
            difference = ours / theirs - 1
    reported = row["time_per_output_token"] if "time_per_output_token" in row.keys() else None
    if ours is not None and reported is not None and abs(reported - ours / 1000) > ROUNDING:
        bad.append(f"time_per_output_token is {reported * 1000} ms, but chunk_times give {ours} ms")
    if difference is None:
        note = "too short"
    elif len(times) != their_out:
        note = f"{their_out - len(times)} hidden"
    first = (times[0] - start) * 1000 if times else None

    def ms(value):
        return "-" if value is None else f"{value:.3f}"

    cells = [
        f"{ours_in}",
        f"{their_in}",
        f"{ours_out}",
        f"{their_out}",
        f"{len(times)}",
        ms(first),
        ms(timings["prompt_ms"]),
        ms(ours),
        ms(theirs),
        "-" if difference is None else f"{difference * 100:+.2f} %",
        note,
    ]
    return cells, (difference if not note else None), bad


HEAD = ["run", "prompt", "server", "output", "server", "events", "TTFT ms", "prompt_ms", "TPOT ms"]
HEAD += ["server", "difference", ""]


def show(table):
    widths = [max(len(line[i]) for line in table) for i in range(len(HEAD))]
    for line in table:
        cells = [line[0].ljust(widths[0])] + [c.rjust(w) for c, w in zip(line[1:], widths[1:])]
        print("  ".join(cells).rstrip())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--limit", type=float, default=5.0, help="median TPOT difference, per cent")
    parser.add_argument("--least", type=int, default=4, help="requests needed for the median")
    args = parser.parse_args()

    databases = sorted(args.folder.glob("parallel_*/benchmark_data.db"), key=run_order)
    if not databases:
        sys.exit(f"compare.py: no parallel_*/benchmark_data.db in {args.folder}")

    table, differences, complaints, seen, failed = [HEAD], {}, [], 0, 0
    for database in databases:
        run = database.parent.name
        differences[run] = []
        for number, row in enumerate(rows(database), 1):
            if row["success"] != "True":
                failed += 1
                complaints.append(f"{run} request {number}: was not successful")
                continue
            seen += 1
            cells, difference, bad = check_row(row)
            complaints += [f"{run} request {number}: {text}" for text in bad]
            if cells is not None:
                table.append([run, *cells])
            if difference is not None:
                differences[run].append(difference)

    show(table)
    print()
    print("prompt, output: tokens as recorded, and beside them as counted by llama.cpp's timings.")
    print("TTFT: request start to first token, for orientation beside the server's prompt_ms.")
    print("TPOT: (last token - first token) / (output - 1), beside timings.predicted_per_token_ms.")
    print("hidden: tokens without an event of their own; the request is left out of the median.")
    print()
    counted = [d for run in differences.values() for d in run]
    for run, values in differences.items():
        if values:
            signed, size = statistics.median(values), statistics.median(map(abs, values))
            print(f"{run}: {len(values)} requests, median TPOT difference {signed * 100:+.2f} %"
                  f" (median of absolute values {size * 100:.2f} %)")
    if len(counted) < args.least:
        complaints.append(f"only {len(counted)} requests could be compared, {args.least} are needed")
    else:
        size = statistics.median(map(abs, counted)) * 100
        print(f"all runs: median TPOT difference {size:.2f} %, limit {args.limit} %")
        if size > args.limit:
            complaints.append(f"median TPOT difference {size:.2f} % is over {args.limit} %")
    for text in complaints:
        print(f"DIFFERS: {text}")
    verdict = "differs from" if complaints else "agrees with"
    print(f"compare.py: {seen} successful and {failed} failed requests: the record {verdict} the server")
    sys.exit(1 if complaints else 0)


if __name__ == "__main__":
    main()
