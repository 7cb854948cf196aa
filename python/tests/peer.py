"""Owns the tool's side of the protocol, as tests need it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import evalscope

# Installed or not: processes of tests take the package that the tests have.
PACKAGE = str(Path(evalscope.__file__).parents[1])
OPTIONS: dict[str, Any] = {
    "model": "qwen3",
    "url": "http://127.0.0.1:8000/v1/chat/completions",
    "parallel": [8],
    "number": [200],
    "max_tokens": [128],
    "temperature": 0.0,
    "stream": True,
    "apply_chat_template": True,
    "dataset_path": None,
    "tokenizer_path": None,
    "min_prompt_length": 0,
    "max_prompt_length": 131072,
}


class Peer:
    """Sends requests and reads answers, over any pair of streams."""

    def __init__(self, reader: BinaryIO, writer: BinaryIO) -> None:
        self._reader = reader
        self._writer = writer
        self._last = 0

    def send(self, method: str, **params: Any) -> int:
        self._last += 1
        self.send_line(json.dumps({"id": self._last, "method": method, "params": params}).encode())
        return self._last

    def send_line(self, line: bytes) -> None:
        self._writer.write(line + b"\n")
        self._writer.flush()

    def receive(self) -> dict[str, Any]:
        line = self._reader.readline()
        assert line.endswith(b"\n"), f"the plugin is gone: {line!r}"
        answer = json.loads(line)
        assert isinstance(answer, dict)
        return answer

    def ask(self, method: str, **params: Any) -> Any:
        """The result; an error fails the test."""
        number = self.send(method, **params)
        answer = self.receive()
        assert answer["id"] == number
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def fail(self, method: str, **params: Any) -> Any:
        """The error; a result fails the test."""
        number = self.send(method, **params)
        answer = self.receive()
        assert answer["id"] == number
        assert "result" not in answer, answer["result"]
        return answer["error"]

    def hello(self, role: str, name: str | None = None, **options: Any) -> Any:
        return self.ask("hello", **hello(role, name, **options))


def hello(role: str, name: str | None = None, **options: Any) -> dict[str, Any]:
    return {
        "protocol": 1,
        "tool": "evalscope 0.1.0",
        "role": role,
        "name": name,
        "options": {**OPTIONS, **options},
    }


class PluginProcess(Peer):
    """A plugin that is a process of its own, as the tool starts it."""

    def __init__(self, *argv: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "evalscope.perf.serve", *argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": PACKAGE, **environment},
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        super().__init__(self.process.stdout, self.process.stdin)  # type: ignore[arg-type]

    def __enter__(self) -> PluginProcess:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def finish(self) -> tuple[int, str]:
        """Close its input; exit code and stderr."""
        _, stderr = self.process.communicate(timeout=20)
        return self.process.returncode, stderr.decode()


@contextmanager
def connected(address: str) -> Iterator[Peer]:
    """A peer of a plugin behind a Unix socket, given as the tool is given it."""
    assert address.startswith("unix:")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(20)
        connection.connect(address[len("unix:") :].partition(".sock:")[0] + ".sock")
        with connection.makefile("rwb") as stream:
            yield Peer(stream, stream)  # type: ignore[arg-type]
