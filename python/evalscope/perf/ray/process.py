"""Owns one process of the tool on the machine where this object lives: its start, its stdin, its
lines, and its files.

It must not know where the machine is, nor what the lines mean: a driver elsewhere does.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from evalscope.binary import find_evalscope_bin

_PIECE_BYTES = 1 << 20
# what is wanted of a shard's folder: the database, with what a killed process left beside it, and
# the log
_WANTED = re.compile(r"benchmark_data\.db(-wal|-shm)?|benchmark\.log")


class ShardProcess:
    """A process that carries out a part of a run. Its methods are called from several threads."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._folder: Path | None = None
        self._own_folder: str | None = None
        self._stdin = threading.Lock()

    def hello(self) -> dict[str, str]:
        """The machine, and the version of the tool on it."""
        said = subprocess.run(
            [find_evalscope_bin(), "--version"], capture_output=True, text=True, check=True
        )
        return {"host": socket.gethostname(), "version": said.stdout.strip()}

    def time_ns(self) -> int:
        """The wall clock."""
        return time.time_ns()

    def run(
        self, argv: Sequence[str], environment: Mapping[str, str], place: str | None
    ) -> Iterator[str]:
        """Start the tool, and give the lines of its stderr; the last one tells its exit code.

        It writes into `place`, or into a folder of its own. When this machine loses its driver,
        the process loses its stdin and stops.
        """
        if place is None:
            place = self._own_folder = tempfile.mkdtemp(prefix="evalscope-shard-")
        self._folder = Path(place)
        self._process = process = subprocess.Popen(
            [find_evalscope_bin(), "perf", *argv, f"--outputs-dir={place}"],
            env={
                **os.environ,
                **environment,
                "EVALSCOPE_PYTHON": sys.executable,
                "EVALSCOPE_EXIT_WITH_PARENT": "1",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        assert process.stderr is not None
        try:
            for line in process.stderr:
                yield line.rstrip("\n")
            yield json.dumps({"event": "exit", "code": process.wait()})
        finally:
            self.kill()

    def tell(self, line: str) -> bool:
        """Write a line to the tool's stdin. Whether it could still be written."""
        process = self._process
        if process is None or process.stdin is None:
            return False
        with self._stdin:
            try:
                process.stdin.write(f"{line}\n")
                process.stdin.flush()
            except (OSError, ValueError):
                return False
        return True

    def kill(self) -> None:
        """End the tool at once, if it still runs."""
        process = self._process
        if process is not None and process.poll() is None:
            process.kill()
            process.wait()

    def pieces(self) -> Iterator[tuple[str, bytes]]:
        """The files, in pieces: each with the path of its file below the folder."""
        for path in self._files():
            name = str(path.relative_to(self._root()))
            with path.open("rb") as file:
                # an empty file has a piece too
                piece = file.read(_PIECE_BYTES)
                yield name, piece
                while piece := file.read(_PIECE_BYTES):
                    yield name, piece

    def upload(self, url: str) -> list[str]:
        """Copy the files to a place that fsspec can write to. Returns their paths there."""
        import fsspec

        names = []
        for path in self._files():
            name = path.relative_to(self._root()).as_posix()
            target = f"{url.rstrip('/')}/{name}"
            filesystem, inner = fsspec.core.url_to_fs(target)
            filesystem.makedirs(filesystem._parent(inner), exist_ok=True)
            filesystem.put_file(str(path), inner)
            names.append(name)
        return names

    def forget(self) -> None:
        """Remove the folder that this object made."""
        if self._own_folder is not None:
            shutil.rmtree(self._own_folder, ignore_errors=True)

    def _root(self) -> Path:
        assert self._folder is not None
        return self._folder

    def _files(self) -> list[Path]:
        with suppress(FileNotFoundError):
            return sorted(
                path
                for path in self._root().rglob("*")
                if path.is_file() and _WANTED.fullmatch(path.name)
            )
        return []


def download(url: str, names: Sequence[str], folder: Path) -> None:
    """Fetch files that were uploaded."""
    import fsspec

    for name in names:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        filesystem, inner = fsspec.core.url_to_fs(f"{url.rstrip('/')}/{name}")
        filesystem.get_file(inner, str(target))


def write_pieces(pieces: Iterator[tuple[str, bytes]], folder: Path) -> None:
    """Put files together from pieces. A path that leads out of the folder is refused."""
    for name, piece in pieces:
        path = folder / name
        if ".." in Path(name).parts or Path(name).is_absolute():
            raise ValueError(f"a shard sent a file with the path {name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(piece)


def parsed(line: str) -> dict[str, Any]:
    """A line of the tool as an event; one that is none is a message."""
    if line.startswith("{"):
        with suppress(ValueError):
            event = json.loads(line)
            if isinstance(event, dict) and "event" in event:
                return event
    return {"event": "message", "text": line}
