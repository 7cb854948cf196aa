"""Owns `python -m evalscope.perf.serve`: a plugin on stdin and stdout, beside the load generator.

    python -m evalscope.perf.serve FILE [NAME] --role api|dataset
    python -m evalscope.perf.serve --role tracker --kind wandb|swanlab|clearml

The tool starts it; `docs/plugin-protocol.md` says what it expects.
"""

from __future__ import annotations

import argparse
import io
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import BinaryIO

from evalscope.perf.plugin.loading import class_in_file
from evalscope.perf.plugin.registry import ApiRegistry, DatasetRegistry
from evalscope.perf.roles import ApiSession, DatasetSession
from evalscope.perf.trackers import KINDS, TrackerSession
from evalscope.perf.wire import Session, serve

# What the caller of the tool asks of the tool alone. A tool that a plugin starts would take it for
# its own, and a path below /dev/fd is another file there.
_OF_THE_TOOL = (
    "EVALSCOPE_ERROR_FILE",
    "EVALSCOPE_EXIT_WITH_PARENT",
    "EVALSCOPE_RESULT_PATH_FILE",
)
# A tool that is killed leaves a plugin that hangs; one that works ends by itself.
_SECONDS_AFTER_THE_TOOL = 10.0


def main(argv: list[str] | None = None) -> int:
    """Serve until the input ends."""
    session = _session(argv)
    for variable in _OF_THE_TOOL:
        os.environ.pop(variable, None)
    # A Ctrl-C of the terminal reaches this process too, but the tool goes on to drain.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    reader, write = _take_stdio()
    _watch(reader.fileno())
    serve(reader, write, session)
    return 0


def _session(argv: list[str] | None) -> Session:
    parser = argparse.ArgumentParser(
        prog="python -m evalscope.perf.serve",
        description="Serve a plugin to `evalscope perf`, which starts this by itself.",
    )
    parser.add_argument("file", nargs="?", metavar="FILE", help="Python file of the plugin")
    parser.add_argument("name", nargs="?", metavar="NAME", help="which of its classes")
    parser.add_argument("--role", required=True, choices=["api", "dataset", "tracker"])
    parser.add_argument("--kind", choices=sorted(KINDS), help="tracker to report to")
    given = parser.parse_args(argv)
    if given.role == "tracker":
        if given.kind is None or given.file is not None:
            parser.error("role tracker takes --kind and no FILE")
        return TrackerSession(given.kind)
    if given.file is None or given.kind is not None:
        parser.error(f"role {given.role} takes FILE and no --kind")
    file, default = given.file, given.name
    if given.role == "api":
        return ApiSession(lambda name: class_in_file(file, name or default, ApiRegistry))
    return DatasetSession(lambda name: class_in_file(file, name or default, DatasetRegistry))


def _take_stdio() -> tuple[BinaryIO, Callable[[bytes], object]]:
    """Keep stdin and stdout for the protocol, and give the plugin others.

    What it prints goes to stderr, also out of C code and child processes; what it reads is empty.
    """
    reader, writer = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    sys.stdout.flush()
    os.dup2(2, 1)
    # line by line, so that it stands in the right place among the lines of the tool
    sys.stdout = io.TextIOWrapper(
        io.FileIO(1, "w", closefd=False),
        encoding="utf-8",
        errors="backslashreplace",
        write_through=True,
    )
    _widen(reader)
    _widen(writer)

    def write(answer: bytes) -> None:
        rest = memoryview(answer)
        while rest:
            rest = rest[os.write(writer, rest) :]

    return open(reader, "rb", buffering=1 << 20), write


def _widen(pipe: int) -> None:
    """Let a pipe hold a whole batch, where the system can: fewer switches between processes."""
    try:
        import fcntl

        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 1 << 20)  # type: ignore[attr-defined,unused-ignore]
    except (ImportError, AttributeError, OSError):
        pass


def _watch(descriptor: int) -> None:
    """End this process some time after the tool has, though the plugin may hang."""
    if not hasattr(select, "poll"):
        return

    def wait() -> None:
        poll = select.poll()
        # no event is asked for: only the other end's closing is reported
        poll.register(descriptor, 0)
        poll.poll()
        time.sleep(_SECONDS_AFTER_THE_TOOL)
        os._exit(1)

    threading.Thread(target=wait, name="evalscope-watch", daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
