"""Finding the binary, and `python -m evalscope`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import evalscope.binary
from evalscope import BinaryNotFound, find_evalscope_bin


def _fake(path: Path, content: bytes = b"\x7fELF") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No installation at all: every place is an empty folder."""
    monkeypatch.delenv("EVALSCOPE_BIN", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))

    def get_path(_name: str, scheme: str | None = None) -> str:
        return str(tmp_path / ("user" if scheme else "environment"))

    monkeypatch.setattr(sysconfig, "get_path", get_path)
    monkeypatch.setattr(
        evalscope.binary, "__file__", str(tmp_path / "target" / "evalscope" / "binary.py")
    )
    return tmp_path


def test_each_place_is_tried_in_turn(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("path", "target/bin", "user", "environment"):
        expected = _fake(nowhere / place / "evalscope")
        assert find_evalscope_bin() == expected
    asked = _fake(nowhere / "asked")
    monkeypatch.setenv("EVALSCOPE_BIN", asked)
    assert find_evalscope_bin() == asked


def test_nothing_found_names_the_places(nowhere: Path) -> None:
    with pytest.raises(BinaryNotFound) as raised:
        find_evalscope_bin()
    said = str(raised.value)
    for place in ("environment", "user", "target", "PATH", "EVALSCOPE_BIN", "pip install"):
        assert place in said


def test_a_script_of_the_same_name_is_another_tool(nowhere: Path) -> None:
    _fake(nowhere / "environment" / "evalscope", b"#!/usr/bin/python\n")
    expected = _fake(nowhere / "path" / "evalscope")
    assert find_evalscope_bin() == expected


def test_a_wrong_override_is_not_passed_over(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fake(nowhere / "path" / "evalscope")
    monkeypatch.setenv("EVALSCOPE_BIN", "/nowhere/evalscope")
    with pytest.raises(BinaryNotFound, match="/nowhere/evalscope"):
        find_evalscope_bin()


def test_the_module_becomes_the_binary(binary: str) -> None:
    environment = {**os.environ, "EVALSCOPE_BIN": binary}
    command = [sys.executable, "-m", "evalscope"]
    version = subprocess.run(
        [*command, "--version"], env=environment, capture_output=True, text=True, check=True
    )
    assert version.stdout.startswith("evalscope ")
    wrong = subprocess.run(
        [*command, "perf", "--nonsense"], env=environment, capture_output=True, check=False
    )
    assert wrong.returncode == 2


@pytest.mark.skipif(os.name != "posix", reason="the shell's environment is looked at")
def test_the_module_says_which_python_has_the_package(tmp_path: Path) -> None:
    # `env` stands in for the binary: it prints what it was given
    env = shutil.which("env")
    assert env is not None
    said = subprocess.run(
        [sys.executable, "-m", "evalscope"],
        env={**os.environ, "EVALSCOPE_BIN": env},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"EVALSCOPE_PYTHON={sys.executable}\n" in said.stdout


def test_the_module_says_what_is_missing() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "evalscope", "perf"],
        env={**os.environ, "EVALSCOPE_BIN": "/nowhere"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 2
    assert said.stderr.startswith("error: `EVALSCOPE_BIN` names /nowhere")
    assert "Traceback" not in said.stderr
