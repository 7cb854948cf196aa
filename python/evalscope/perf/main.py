"""Owns `run_perf_benchmark`: options in, the binary run, results out."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from evalscope.binary import find_evalscope_bin
from evalscope.errors import EvalscopeError, did_you_mean
from evalscope.perf import child
from evalscope.perf.arguments import Arguments, PathLike, parse_args
from evalscope.perf.plugin.registry import ApiRegistry, DatasetRegistry, PluginRegistry
from evalscope.perf.results import Results, SLAResult
from evalscope.perf.sockets import PluginSocket

__all__ = [
    "Arguments",
    "BenchmarkInterrupted",
    "PerfBenchmarkInterrupted",
    "parse_args",
    "run_multi_benchmark",
    "run_one_benchmark",
    "run_perf_benchmark",
]


class PerfBenchmarkInterrupted(KeyboardInterrupt):
    """The run was ended by Ctrl-C, or by a signal to the tool; what was measured is written.

    A `KeyboardInterrupt`, so that an `except Exception` in a loop does not go on to the next run.
    """

    results: Results | None
    """What was measured before, where there is anything."""
    signal_name: str
    """The signal: `SIGINT`."""
    exit_code: int
    """What a shell reports for it: 130."""

    def __init__(self, message: str, results: Results | None) -> None:
        super().__init__(message)
        self.results = results
        self.signal_name = "SIGINT"
        self.exit_code = 130


BenchmarkInterrupted = PerfBenchmarkInterrupted
"""The earlier name of `PerfBenchmarkInterrupted`."""


def run_perf_benchmark(
    args: Arguments | Mapping[str, Any] | Namespace, *, show_output: bool = True
) -> Results:
    """Run `evalscope perf` with these options, and read its results.

    Progress and tables go to this process's output; with `show_output=False` nothing is printed,
    and the log is in `benchmark.log` of the results. If `api` or `dataset` names a class that is
    registered in this process, the class is served from here, in a thread; the binary interprets
    all other options. It can be called from several threads at once.

    Ctrl-C is passed on to the tool, which stops sending and gives requests in flight 30 s to end;
    a second one stops it at once. Either way all files are written, and then
    `PerfBenchmarkInterrupted` is raised, a `KeyboardInterrupt` that carries the results, so that an
    interrupted script does not continue with its next step.

    The results are a dict of runs by their names; of a search (`sla_auto_tune`) an `SLAResult`,
    by loads. `outputs_dir` of an `Arguments` is the folder of the results afterwards.

    Raises:
        EvalscopeError: the tool exited with a code other than 0: wrong options (2), or all
            requests failed (1). The message is the tool's; it is not printed as well.
        PerfBenchmarkInterrupted: see above.
    """
    arguments = Arguments.of(args)
    argv, environment = arguments.to_argv(), arguments.to_environment()
    binary = find_evalscope_bin()
    child.open_missing_streams()
    with ExitStack() as sockets:
        replaced = {
            "--api": _served(sockets, "api", arguments.api, ApiRegistry),
            "--dataset": _served(sockets, "dataset", arguments.dataset, DatasetRegistry),
        }
        for flag, address in replaced.items():
            if address is not None:
                argv = [word for word in argv if not word.startswith(f"{flag}=")]
                argv.append(f"{flag}={address}")
        ended = child.run([binary, "perf", *argv], environment, show_output=show_output)
    results = _results(ended)
    if results is not None:
        arguments.wrote(results.folder)
    if ended.interrupted:
        where = f"what was measured is in {results.folder}" if results else "nothing was measured"
        raise PerfBenchmarkInterrupted(f"the benchmark was interrupted; {where}", results)
    if ended.exit_code != 0:
        raise EvalscopeError(
            _why(ended, results) + _registered_here(arguments, ended),
            exit_code=ended.exit_code,
            stderr=ended.stderr,
            results=results,
        )
    if results is None:
        raise EvalscopeError(
            "the tool did not say where its results are; are binary and package of one version?",
            exit_code=0,
            stderr=ended.stderr,
        )
    return results


def run_one_benchmark(args: Arguments, output_path: PathLike | None = None) -> Results:
    """Run with the first of several `parallel`, `number` and `rate`, below `output_path`."""
    swept = {name: args.given().get(name) for name in ("parallel", "number", "rate")}
    first = {name: value[:1] for name, value in swept.items() if isinstance(value, list)}
    return run_multi_benchmark(args.model_copy(update=first), output_path)


def run_multi_benchmark(args: Arguments, output_path: PathLike | None = None) -> Results:
    """Run all of a sweep, below `output_path` and not in a folder with a timestamp."""
    if output_path is not None:
        args = args.model_copy(update={"outputs_dir": output_path, "no_timestamp": True})
    return run_perf_benchmark(args)


def _served(
    sockets: ExitStack, role: str, name: str | None, registry: PluginRegistry
) -> str | None:
    if not isinstance(name, str) or name not in registry:
        return None
    return sockets.enter_context(PluginSocket(role, name, registry.get_class(name))).address


def _results(ended: child.Ended) -> Results | None:
    if ended.folder is None:
        return None
    try:
        results = Results.load(ended.folder, ended.runs)
        return SLAResult.of(results) or results
    except EvalscopeError:
        if ended.exit_code == 0:
            raise
        return None


def _registered_here(arguments: Arguments, ended: child.Ended) -> str:
    """A hint after "unknown": the tool does not know which classes there are in this process."""
    complaint = ended.error.partition("\n")[0]
    for name, registry in ((arguments.dataset, DatasetRegistry), (arguments.api, ApiRegistry)):
        known = registry.all_classes()
        if known and complaint.startswith("unknown ") and f"`{name}`" in complaint:
            near = did_you_mean(str(name), known)
            return f"\n  hint: registered here for `{registry.role}`: {', '.join(known)}{near}"
    return ""


def _why(ended: child.Ended, results: Results | None) -> str:
    """The tool's own words; else what its exit code and its figures say."""
    if ended.error:
        return ended.error
    if ended.exit_code < 0:
        return f"evalscope perf was killed by signal {-ended.exit_code}"
    if ended.exit_code == 1 and results is not None:
        every = results.result.get("runs", [])
        runs = [run for run in every if ended.runs is None or run["name"] in ended.runs]
        total = sum(run["counts"]["total"] for run in runs)
        failed = sum(run["counts"]["failed"] for run in runs)
        return f"{failed} of {total} requests failed; results are in {results.folder}"
    said = ended.stderr.strip().splitlines()
    last = f": {said[-1]}" if said else "; what it said is on the terminal"
    return f"evalscope perf ended with exit code {ended.exit_code}{last}"
