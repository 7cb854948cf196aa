"""Owns `run_perf_benchmark`: options in, the binary run, results out."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from evalscope.binary import find_evalscope_bin
from evalscope.errors import EvalscopeError, did_you_mean
from evalscope.perf import child
from evalscope.perf.arguments import Arguments
from evalscope.perf.plugin.registry import ApiRegistry, DatasetRegistry, PluginRegistry
from evalscope.perf.results import Results
from evalscope.perf.sockets import PluginSocket

__all__ = ["BenchmarkInterrupted", "run_perf_benchmark"]


class BenchmarkInterrupted(KeyboardInterrupt):
    """The run was ended by Ctrl-C, or by a signal to the tool; what was measured is written."""

    results: Results | None
    """What was measured before, where there is anything."""

    def __init__(self, message: str, results: Results | None) -> None:
        super().__init__(message)
        self.results = results


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
    `BenchmarkInterrupted` is raised, a `KeyboardInterrupt` that carries the results, so that an
    interrupted script does not continue with its next step.

    Raises:
        EvalscopeError: the tool exited with a code other than 0: wrong options (2), or all
            requests failed (1). The message is the tool's; it is not printed as well.
        BenchmarkInterrupted: see above.
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
    if ended.interrupted:
        where = f"what was measured is in {results.folder}" if results else "nothing was measured"
        raise BenchmarkInterrupted(f"the benchmark was interrupted; {where}", results)
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
        return Results.load(ended.folder, ended.runs)
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
        total = sum(run.result["counts"]["total"] for run in results.values())
        failed = sum(run.result["counts"]["failed"] for run in results.values())
        return f"{failed} of {total} requests failed; results are in {results.folder}"
    said = ended.stderr.strip().splitlines()
    last = f": {said[-1]}" if said else "; what it said is on the terminal"
    return f"evalscope perf ended with exit code {ended.exit_code}{last}"
