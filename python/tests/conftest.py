"""Owns what tests share: the binary, a simulated server, and plugins in files."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import textwrap
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from foreign import Words

from evalscope.binary import find_evalscope_bin

FIXTURES = Path(__file__).parents[2] / "fixtures" / "plugin"


@pytest.fixture(scope="session", autouse=True)
def _interrupts() -> None:
    """A shell's background job ignores SIGINT, and so do all that it starts."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def binary() -> str:
    return find_evalscope_bin()


@pytest.fixture(scope="session")
def help_text(binary: str) -> str:
    """What the binary says it can: some tests need more than an old one has."""
    return subprocess.run(
        [binary, "perf", "--help"], capture_output=True, text=True, check=True
    ).stdout


@pytest.fixture
def simulate(binary: str) -> Iterator[Callable[..., str]]:
    """Starts simulated servers on free ports; gives their URLs."""
    servers: list[subprocess.Popen[str]] = []

    def start(*flags: str) -> str:
        server = subprocess.Popen(
            [binary, "sim", "--port", "0", "--ttft-ms", "1", "--itl-ms", "1", *flags],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        servers.append(server)
        assert server.stdout is not None
        found = re.search(r"http://\S+", server.stdout.readline())
        assert found is not None
        return f"{found.group().rstrip('/')}/v1/chat/completions"

    yield start
    for server in servers:
        server.kill()
        server.wait()
        assert server.stdout is not None
        server.stdout.close()


@pytest.fixture
def plugin_file(tmp_path: Path) -> Callable[..., str]:
    """Writes a plugin; its imports are there already."""

    def write(text: str, name: str = "plugin.py") -> str:
        path = tmp_path / name
        start = "import os, sys, json, time\nfrom evalscope.perf.plugin import *\n"
        path.write_text(start + textwrap.dedent(text), encoding="utf-8")
        return str(path)

    return write


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> Words:
    """Stands in for transformers."""
    tokenizer = Words()
    library = types.ModuleType("transformers")
    library.AutoTokenizer = types.SimpleNamespace(  # type: ignore[attr-defined]
        from_pretrained=lambda *_args, **_options: tokenizer
    )
    monkeypatch.setitem(sys.modules, "modelscope", None)
    monkeypatch.setitem(sys.modules, "transformers", library)
    return tokenizer
