"""Owns `python -m evalscope.perf.ray --shards N [options] -- perf …`.

It must not know what a distributed run is.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence

from evalscope.errors import EvalscopeError
from evalscope.perf.main import BenchmarkInterrupted
from evalscope.perf.ray.distributed import Settings, run_words

_DEFAULTS = Settings(shards=1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m evalscope.perf.ray",
        description="Run `evalscope perf` on several machines of a Ray cluster.",
        usage="%(prog)s --shards N [options] -- perf URL …",
    )
    add = parser.add_argument
    add("--shards", type=int, required=True, metavar="N", help="processes that share the load")
    add("--address", default=_DEFAULTS.address, help="the Ray cluster [default: %(default)s]")
    add("--cpus-per-shard", type=float, default=_DEFAULTS.cpus_per_shard, metavar="CPUS")
    add(
        "--strategy",
        default=_DEFAULTS.strategy,
        choices=["STRICT_SPREAD", "SPREAD", "PACK", "STRICT_PACK"],
        help="where shards go; STRICT_SPREAD gives each a machine [default: %(default)s]",
    )
    add("--ready-timeout", type=float, default=_DEFAULTS.ready_timeout_s, metavar="SECONDS")
    add("--place-timeout", type=float, default=_DEFAULTS.place_timeout_s, metavar="SECONDS")
    add(
        "--collect",
        default=_DEFAULTS.collect,
        metavar="HOW",
        help="stream through Ray; path: `--outputs-dir` is shared; or a URL of fsspec",
    )
    add("--allow-partial", action="store_true", help="merge what there is if shards are lost")
    add("--point-retries", type=int, default=0, metavar="N", help="measure a point anew")
    add("--run-id", metavar="ID")
    add("command", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit code."""
    parser = _parser()
    given = parser.parse_args(argv)
    words = given.command[1:] if given.command[:1] == ["--"] else given.command
    if words[:1] != ["perf"]:
        parser.error("the command of the shards is missing: -- perf URL …")
    settings = Settings(
        shards=given.shards,
        address=given.address,
        cpus_per_shard=given.cpus_per_shard,
        strategy=given.strategy,
        ready_timeout_s=given.ready_timeout,
        place_timeout_s=given.place_timeout,
        collect=given.collect,
        allow_partial=given.allow_partial,
        point_retries=given.point_retries,
        run_id=given.run_id,
    )
    try:
        results = run_words(words[1:], {}, settings)
    except BenchmarkInterrupted as error:
        print(error, file=sys.stderr)
        return 130
    except KeyboardInterrupt:
        return 130
    except EvalscopeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if error.exit_code is None else error.exit_code
    print(f"results are in {results.folder}", file=sys.stderr)
    partial = any(run.result.get("state") == "partial" for run in results.values())
    return 1 if partial else 0


if __name__ == "__main__":
    # what a scheduler sends: stop, and keep what was measured
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
