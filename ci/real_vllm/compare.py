"""Compares the figures of a run with those that vLLM took of the same requests.

    compare.py RESULT.json METRICS_BEFORE METRICS_AFTER

METRICS are what the server's /metrics said before and after the run. vLLM adds up what it measures of
each request on its own side (vllm/v1/metrics/stats.py):

* request_time_per_output_token_seconds: from the first token to the last, by (tokens - 1). That is our
  TPOT. A request of one token counts as 0 there and has none here, so it is left out of the mean.
* time_to_first_token_seconds, e2e_request_latency_seconds: from the moment at which the request has been
  read and checked. Ours begin when it is sent and end when bytes arrive, so they hold in addition what
  the server's HTTP front end takes, and must not hold more.
* request_prompt_tokens, request_generation_tokens: must be equal.

A text to embed is a request of its own there, so a request with several texts must take at least as long as
they do on average.

Exit code 1 when a limit does not hold.
"""

import json
import pathlib
import re
import sys

TPOT_LIMIT = 0.02
# uvicorn, pydantic and the chat template before, JSON and the event stream after: 3 to 8 ms on one core
FRONT_END_MS = 15.0

SAMPLE = re.compile(r'^vllm:(\w+)(?:\{(.*)\})? (\S+)$')


def samples(path):
    """{(name, the label that tells samples of one name apart): value}"""
    found = {}
    for line in pathlib.Path(path).read_text().splitlines():
        if match := SAMPLE.match(line):
            name, labels, value = match.groups()
            told = re.search(r'(?:le|finished_reason)="([^"]*)"', labels or "")
            key = (name, told and told[1])
            found[key] = found.get(key, 0.0) + float(value)
    return found


def main():
    result, before, after = sys.argv[1:]
    (run,) = json.loads(pathlib.Path(result).read_text())["runs"]
    before, after = samples(before), samples(after)

    def grown(name, label=None):
        if (name, label) not in after:
            sys.exit(f"compare.py: this vLLM has no vllm:{name}" + (f" of {label}" if label else ""))
        return after[name, label] - before.get((name, label), 0.0)

    def mean_ms(name, least=0.0):
        """The mean over all requests but `least` of them, which added nothing to the sum."""
        return grown(f"{name}_sum") / (grown(f"{name}_count") - least) * 1e3

    def ours(name):
        return run["metrics"][name]["mean"]

    def total(name):
        return round(run["metrics"][name]["mean"] * run["metrics"][name]["count"])

    table, missed = [("metric", "ours", "vLLM's", "difference", "limit", "")], []

    def row(metric, mine, theirs, difference, limit, holds):
        table.append((metric, mine, theirs, difference, limit, "ok" if holds else "OVER"))
        if not holds:
            missed.append(metric)

    def equal(metric, mine, theirs):
        row(metric, f"{mine}", f"{theirs:.0f}", f"{mine - theirs:+.0f}", "equal", mine == theirs)

    def later(metric, mine, theirs, most):
        more = mine - theirs
        limit = f"0 to {most:g} ms" if most else ">= 0 ms"
        row(metric, f"{mine:.3f} ms", f"{theirs:.3f} ms", f"{more:+.3f} ms", limit, 0 <= more <= (most or more))

    counts = run["counts"]
    theirs = sum(grown("request_success_total", reason) for reason in ("stop", "length"))
    per_s = run["throughput"]["inputs_per_s"]
    inputs = round(per_s * run["duration_s"]) if per_s else None
    if inputs:
        equal("inputs", inputs, theirs)
    else:
        equal("requests succeeded", counts["succeeded"], theirs)
    equal("requests failed", counts["failed"], 0)
    equal("prompt tokens", total("input_tokens"), grown("request_prompt_tokens_sum"))
    if not inputs:
        equal("output tokens", total("output_tokens"), grown("request_generation_tokens_sum"))

        of_one_token = grown("request_generation_tokens_bucket", "1.0")
        mine, theirs = ours("tpot_ms"), mean_ms("request_time_per_output_token_seconds", of_one_token)
        off = mine / theirs - 1
        row("TPOT, mean", f"{mine:.3f} ms", f"{theirs:.3f} ms", f"{off * 100:+.2f} %",
            f"±{TPOT_LIMIT * 100:g} %", abs(off) <= TPOT_LIMIT)
        later("TTFT, mean", ours("ttft_ms"), mean_ms("time_to_first_token_seconds"), FRONT_END_MS)
    several = inputs and inputs > counts["succeeded"]
    later("latency, mean", ours("latency_s") * 1e3, mean_ms("e2e_request_latency_seconds"),
          None if several else FRONT_END_MS)

    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    for line in table:
        cells = [line[0].ljust(widths[0])] + [c.rjust(w) for c, w in zip(line[1:-1], widths[1:])]
        print("  " + "  ".join([*cells, line[-1]]).rstrip())
    reasons = ", ".join(f"{grown('request_success_total', reason):.0f} by {reason}" for reason in ("stop", "length"))
    print(f"  answers ended: {reasons}")
    if missed:
        print(f"  DIFFERS from vLLM: {', '.join(missed)}")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
