"""Owns the `evalscope perf` process: its streams, its interruption, and what it left behind.

It must not know what options mean or what is in the results.
"""

from __future__ import annotations

import codecs
import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Any

# Enough for any error and its surroundings; a run with `debug` may say gigabytes.
_KEPT_STDERR_CHARS = 64 * 1024
# Ctrl-C gives requests in flight 30 s; then files are written.
_SECONDS_TO_END = 45.0
# A process that the tool left behind may hold the pipes open.
_SECONDS_TO_EMPTY_PIPES = 5.0

_RESULTS_LINE = re.compile(r"^results are in (.+)$", re.MULTILINE)
_ERROR_LINE = re.compile(r"^error: ", re.MULTILINE)


@dataclass(frozen=True)
class Ended:
    """How a run of the tool ended."""

    exit_code: int
    """Negative: the signal that killed it."""
    interrupted: bool
    """Ctrl-C was pressed here, or the tool says that it was interrupted."""
    folder: str | None
    """Absolute path of the results, where the tool came so far as to make it."""
    runs: tuple[str, ...] | None
    """The names of its runs, where the tool came so far: the folder may hold those of others."""
    error: str
    """The tool's own words about why it failed; empty where they were not seen."""
    stderr: str
    """The end of what it said on stderr, where that went through here."""


def run(
    command: Sequence[str], extra_environment: Mapping[str, str], *, show_output: bool = True
) -> Ended:
    """Run the tool to its end, with its progress and tables where this process's output goes.

    An error is only in what is returned. Without `show_output` nothing is printed at all.

    In the main thread the tool gets a session of its own, so that a Ctrl-C of the terminal
    reaches this process alone and is passed on exactly once; each further one is passed on too.
    In other threads no Ctrl-C ever arrives, and the tool stays in the terminal's group.
    """
    with _reports() as (result_report, error_report):
        environment = {
            **os.environ,
            **extra_environment,
            "EVALSCOPE_PYTHON": sys.executable,
            "EVALSCOPE_RESULT_PATH_FILE": result_report.path,
            "EVALSCOPE_ERROR_FILE": error_report.path,
            # stdin is a pipe that this process holds: at its end, the tool drains and stops
            "EVALSCOPE_EXIT_WITH_PARENT": "1",
        }
        own_session = os.name == "posix" and threading.current_thread() is threading.main_thread()
        streams = (sys.stdout, sys.stderr) if show_output else (None, None)
        out = _target(streams[0])
        # Only a terminal gets the tool's stderr unseen, for the sake of its progress bar.
        err = _target(streams[1]) if _is_terminal(streams[1]) else None
        for stream in streams:
            if stream is not None:
                # one that is closed is no reason not to measure
                with suppress(OSError, ValueError):
                    stream.flush()
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if out is None else out,
            stderr=subprocess.PIPE if err is None else err,
            start_new_session=own_session,
            pass_fds=[*result_report.passed, *error_report.passed],
        )
        interrupted = False
        try:
            stdout_pump = _Pump(process.stdout, streams[0])
            stderr_pump = _Pump(process.stderr, streams[1])
            while True:
                try:
                    exit_code = _wait(process)
                    break
                except KeyboardInterrupt:
                    interrupted = True
                    if own_session:
                        process.send_signal(signal.SIGINT)
        finally:
            _end(process)
        stdout_pump.finish()
        stderr_pump.finish()
        said = stderr_pump.text()
        folder, runs = _results_said(result_report.read())
        return Ended(
            exit_code=exit_code,
            interrupted=interrupted or exit_code in (130, -signal.SIGINT),
            folder=folder or _folder_said(said),
            runs=runs,
            error=_bare(error_report.read()) or _error_said(said),
            stderr=said,
        )


def _wait(process: subprocess.Popen[bytes]) -> int:
    """The exit code of the tool.

    A library may have had SIGINT restart system calls (polars does, after a query). In a wait
    without a limit Ctrl-C would never be seen then.
    """
    while True:
        with suppress(subprocess.TimeoutExpired):
            return process.wait(timeout=1)


def open_missing_streams() -> None:
    """Let nothing but `/dev/null` be descriptor 0, 1 or 2 where a daemon has closed them.

    The next file or socket would get such a number, and then what is printed. They stay open: the
    descriptors are the whole process's, and another thread may be in a run of its own.
    """
    if os.name != "posix":
        return
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


class _Report:
    """A file that the tool writes a text into."""

    def __init__(self, path: str, file: IO[bytes] | None = None) -> None:
        self.path = path
        self._file = file
        self.passed = [] if file is None else [file.fileno()]
        """The descriptors that the tool needs for it."""

    def read(self) -> str | None:
        """What it wrote, if anything."""
        try:
            with open(self.path, "rb") if self._file is None else self._file as file:
                file.seek(0)
                return file.read().decode(errors="replace").strip() or None
        except FileNotFoundError:
            return None


@contextmanager
def _reports() -> Iterator[tuple[_Report, _Report]]:
    """Two of them, which are gone in the end: without a name where possible.

    Then nothing is left behind, however this process ends.
    """
    with ExitStack() as open_ones:
        if os.name == "posix":
            files = [open_ones.enter_context(tempfile.TemporaryFile()) for _ in range(2)]
            one, other = (_Report(f"/dev/fd/{file.fileno()}", file) for file in files)
            # a chroot or a container may lack it
            if os.path.exists(one.path) and os.path.exists(other.path):
                yield one, other
                return
        folder = open_ones.enter_context(tempfile.TemporaryDirectory(prefix="evalscope-run-"))
        yield _Report(os.path.join(folder, "result-path")), _Report(os.path.join(folder, "error"))


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let nothing go on sending after this function is left in an unforeseen way."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdin is not None:
        process.stdin.close()


def _target(stream: Any) -> int | None:
    """The descriptor behind a stream; `None` for a notebook's, a test's and the like."""
    # Exactly a text file: a notebook's stream has a `fileno` too, but not of what it shows.
    if not isinstance(stream, io.TextIOWrapper):
        return None
    try:
        return stream.fileno()
    except (OSError, ValueError):
        return None


def _is_terminal(stream: Any) -> bool:
    descriptor = _target(stream)
    return descriptor is not None and os.isatty(descriptor)


class _Pump:
    """Copies a pipe of the tool to a stream of this process, and keeps the end of it."""

    def __init__(self, pipe: IO[bytes] | None, stream: Any) -> None:
        self._stream = stream
        self._kept = ""
        self._thread: threading.Thread | None = None
        if pipe is not None:
            self._thread = threading.Thread(
                target=self._copy, args=(pipe,), name="evalscope-output", daemon=True
            )
            self._thread.start()

    def _copy(self, pipe: IO[bytes]) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        with pipe:
            while True:
                chunk = os.read(pipe.fileno(), 64 * 1024)
                text = decoder.decode(chunk, final=not chunk)
                self._kept = (self._kept + text)[-_KEPT_STDERR_CHARS:]
                self._show(text)
                if not chunk:
                    return

    def _show(self, text: str) -> None:
        if self._stream is None or not text:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            # a stream that was closed meanwhile must not stop the pump: the tool would block
            self._stream = None

    def finish(self) -> None:
        """Wait for the rest."""
        if self._thread is not None:
            self._thread.join(_SECONDS_TO_EMPTY_PIPES)

    def text(self) -> str:
        """What was kept."""
        return self._kept


def _results_said(text: str | None) -> tuple[str | None, tuple[str, ...] | None]:
    """Folder and runs, as the tool writes them into `EVALSCOPE_RESULT_PATH_FILE`."""
    if text is None:
        return None, None
    said = json.loads(text)
    runs = said["runs"]
    # a search does not know at its beginning which runs it will have
    return said["folder"], None if runs is None else tuple(runs)


def _folder_said(stderr: str) -> str | None:
    found = _RESULTS_LINE.findall(stderr)
    return os.path.abspath(found[-1].strip()) if found else None


def _error_said(stderr: str) -> str:
    starts = [match.start() for match in _ERROR_LINE.finditer(stderr)]
    return _bare(stderr[starts[-1] :]) if starts else ""


def _bare(text: str | None) -> str:
    text = (text or "").strip()
    return text[len("error: ") :] if text.startswith("error: ") else text
